"""Slips: what anybody writes by mistake on a first day, answered with the remedy where Python would answer with a riddle, or not at all.

- `guard.run(need=[payments])`: an unknown keyword gets the one that was probably meant, and so does what should have been given by its
  name, as in `KafkaIntake(consumer, ["orders"])` and a bare `@guard.patient` (`suggest_keywords`).
- `Dependency("payments", failures=http.failures())`: a predicate was called where it is to be passed (`passed_uncalled`).
- `needs=lambda: [payments]`: a function of nothing (`refuse_function_of_nothing`).
- `from holdgate import KafkaIntake`: what needs a client library has a module of its own (`no_such_name`).
- `from holdgate.integrations.celery import CeleryGuard` beside Celery 5.5: its inside is another one (`other_version`).

Nothing here runs for a message, and nothing costs more than a look at a few names when all is well.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from holdgate.errors import SettingsError

P = ParamSpec("P")
T = TypeVar("T")

# How alike two names must be, as difflib measures it: "need" and "needs" are 0.89, "failure" and "failures" 0.93.
_ALIKE = 0.6


def suggest_keywords(fn: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that an unknown keyword, and one argument too many, raise a TypeError that names what was probably meant."""
    parameters = list(inspect.signature(fn).parameters.values())
    names = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    known = frozenset(each.name for each in parameters)
    takes_any = not names or any(each.kind is each.VAR_POSITIONAL for each in parameters)
    most = math.inf if takes_any else len(parameters) - len(names)

    @wraps(fn)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if not kwargs.keys() <= known:
            raise TypeError(_unknown(fn, next(name for name in kwargs if name not in known), names))
        if len(args) > most:
            raise TypeError(_too_many(fn, args, parameters[0].name == "self", names))
        return fn(*args, **kwargs)

    return checked


def _unknown(fn: Callable[..., Any], name: str, names: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - for an error alone

    meant = get_close_matches(name, names, n=1, cutoff=_ALIKE)
    remedy = f"did you mean {meant[0]}=?" if meant else f"it takes {', '.join(f'{each}=' for each in names)}"
    return f"{_called(fn)}() got an unexpected keyword argument {name!r}: {remedy}"


def _too_many(fn: Callable[..., Any], args: tuple[object, ...], is_method: bool, names: list[str]) -> str:
    given = len(args) - is_method
    if given == 1 and inspect.isfunction(args[-1]):
        written = fn.__name__
        return f"{_called(fn)}() was given a function, and takes its settings first: write @...{written}({names[0]}=...) with parentheses"
    listed = ", ".join(f"{each}=" for each in names)
    return f"{_called(fn)}() was given {given} arguments without a name: give by its name what comes last, one of {listed}"


def _called(fn: Callable[..., Any]) -> str:
    return fn.__qualname__.removesuffix(".__init__")


def passed_uncalled(where: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a predicate that is given to a setting. A call without an exception raises SettingsError with the remedy.

    `where` shows how it is given, as in "failures=http.failures".
    """

    def decorate(fn: Callable[P, T]) -> Callable[P, T]:
        @wraps(fn)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            if not args and not kwargs:
                raise SettingsError(f"{where}() was called without an exception: pass the function itself, as in {where}")
            return fn(*args, **kwargs)

        return checked

    return decorate


def refuse_function_of_nothing(setting: str, value: object) -> None:
    """Raise SettingsError for a function that takes no argument where a list, or a function of a delivery, is meant."""
    if isinstance(value, Mapping):
        for name, each in cast("Mapping[object, object]", value).items():
            refuse_function_of_nothing(f"{setting}[{name!r}]", each)
    elif callable(value) and _takes_nothing(value):
        raise SettingsError(f"{setting} is a function that takes nothing: write the list itself, {setting}=[...], without lambda")


def _takes_nothing(fn: Callable[..., object]) -> bool:
    try:
        return not inspect.signature(fn).parameters
    except (TypeError, ValueError):  # no signature is known: its caller will see
        return False


# By module, what somebody may look for further up.
HOMES = {
    "holdgate.brokers.kafka": ("KafkaDeadLetters", "KafkaDelivery", "KafkaFleetLog", "KafkaIntake", "RecordsLost"),
    "holdgate.brokers.confluent": ("ConfluentDeadLetters", "ConfluentDelivery", "ConfluentIntake"),
    "holdgate.brokers.rabbitmq": (
        "DeliveryLimitNear",
        "Diagnosis",
        "RabbitMQDeadLetters",
        "RabbitMQDelivery",
        "RabbitMQFleetLog",
        "RabbitMQIntake",
    ),
    "holdgate.brokers.share": ("LateAccept", "ShareDelivery", "ShareDiagnosis", "ShareIntake", "ShareTerms"),
    "holdgate.brokers.redis": ("RedisFleetLog",),
    "holdgate.integrations.faststream": ("FastStreamGuard",),
    "holdgate.integrations.celery": ("CeleryGuard",),
    "holdgate.integrations.taskiq": ("GuardReceiver", "TaskiqGuard"),
    "holdgate.integrations.asgi": ("consuming",),
    "holdgate.control": ("Control",),
    "holdgate.errors": (
        "AlreadySettled",
        "CommandError",
        "GuardClosed",
        "IntakeError",
        "MissingExtra",
        "NeedsError",
        "SettingsError",
        "WaitedTooLong",
    ),
    "holdgate.testing": ("MemoryBroker", "MemoryDeadLetters", "MemoryIntake", "Outage", "in_virtual_time", "rehearse", "rehearse_async"),
    "holdgate.testing.scripted.aiohttp": ("ScriptedConnector",),
    "holdgate.testing.scripted.grpc": ("AsyncScriptedChannel", "ScriptedChannel", "ScriptedRpcError"),
    "holdgate.testing.scripted.httpx": ("AsyncScriptedTransport", "ScriptedTransport"),
    "holdgate.testing.scripted.redis": ("AsyncScriptedConnection", "ScriptedConnection"),
    "holdgate.testing.scripted.requests": ("Reply", "ScriptedAdapter"),
    "holdgate.testing.scripted.sqlalchemy": ("script_engine",),
}
_HOME_OF = {name: home for home, names in HOMES.items() for name in names}


def no_such_name(package: str, name: str) -> Exception:
    """Return the error for a name that a package does not have, with the import that was meant where it is known.

    Called by the package's `__getattr__`. `from package import name` hides an AttributeError and its text, so it gets an ImportError.
    `hasattr` needs the other, or it would raise.
    """
    home = _HOME_OF.get(name)
    if home is None:
        return AttributeError(f"module {package!r} has no attribute {name!r}")
    text = f"cannot import name {name!r} from {package!r}: write `from {home} import {name}`"
    frame = inspect.currentframe()
    for _ in ("this function", "__getattr__"):
        frame = None if frame is None else frame.f_back
    # By this function importlib looks whether a name is there, and nothing else says that it is asking.
    is_import = frame is not None and frame.f_code.co_name == "_handle_fromlist"
    return ImportError(text, name=name) if is_import else AttributeError(text)


def other_version(package: str, lowest: tuple[int, ...], below: tuple[int, ...]) -> str | None:
    """Return what is wrong with the version of a framework whose inside changes. None means from `lowest` on, and before `below`."""
    from importlib import metadata  # noqa: PLC0415 - it takes milliseconds, and only integrations ask

    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:  # it is there, and was not installed by a package: nobody knows which one it is
        return None
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[: len(lowest)])
    if lowest <= numbers and numbers[: len(below)] < below:
        return None
    wanted, end = (".".join(map(str, each)) for each in (lowest, below))
    return f"needs {package} {wanted} or newer, below {end}, got {version}"
