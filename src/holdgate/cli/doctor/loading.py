"""An app that is named on the command line as `module:app`, and what is found in it.

To import an app runs its code, as `uvicorn module:app` and `celery -A module` do. So it happens only here, only for a name that a person
has typed, with the working directory on the path. Nothing of a message, a settings file or a broker's answer ever comes here. What the app
prints while it is imported goes to standard error: standard output belongs to the command.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from holdgate.cli.commands import Refusal
from holdgate.errors import SettingsError

_MISSING = object()


@dataclass(frozen=True, slots=True)
class AppFinding:
    """Something that is said of an app: `about` a task or a subscriber, what an outage costs it, or why nothing can be said."""

    about: str
    text: str
    refused: bool = False
    cost: bool = True


class CheckedGuard(Protocol):
    """A guard around an app, which can say what it would refuse."""

    def check(self) -> None:
        """Raise SettingsError for what would be refused when the app starts."""
        ...


def of_guarded(what: str, guards: Iterable[CheckedGuard]) -> Iterator[AppFinding]:
    """Yield what is said first of an app that has guards already, or that it does not start with one: `what` is their class."""
    for guard in guards:
        try:
            guard.check()
        except SettingsError as error:
            yield AppFinding("app", f"it has a {what}, and does not start with it: {error}", refused=True, cost=False)
        else:
            yield AppFinding(
                "app",
                f"it has a {what}: an outage of what its messages need costs none of what follows, which is the cost of an outage of"
                " anything else",
            )


def is_ours(value: object) -> bool:
    """Return whether a class, or what a partial calls, is one of holdgate's or derived from one."""
    found: object = getattr(value, "func", value)
    return isinstance(found, type) and any(base.__module__.startswith("holdgate.") for base in found.__mro__)


def load_app(spec: str, kind: str) -> Any:
    """Import what is named `module:app`, where `app` may be a dotted path.

    - `kind`: the name of the class that is wanted, for errors.

    Raises Refusal, which says what is wrong and never quotes the text of the app's own exception: that may have a URL with a password.
    """
    module_name, colon, path = spec.partition(":")
    if not (colon and module_name and path):
        raise Refusal(f"{spec!r} names no app: write MODULE:APP, as in shop.worker:app")
    found: Any = _imported(module_name)
    for name in path.split("."):
        # An attribute may be a property, or made when it is first asked for, as those of a proxy are.
        found = running(f"looking for {path!r}", partial(getattr, found, name, _MISSING))
        if found is _MISSING:
            raise Refusal(f"{spec!r}: {module_name} has no {path!r}: it has {_candidates(module_name, kind)}")
    return found


def _candidates(module_name: str, kind: str) -> str:
    """Return the names in a module that may have been meant."""
    names = [name for name, value in vars(sys.modules[module_name]).items() if type(value).__name__ == kind]
    return ", ".join(f"{module_name}:{name}" for name in sorted(names)) or f"no {kind}"


def running(step: str, function: Callable[[], Any], module: str = "") -> Any:
    """Call a function that runs code of the app.

    - `step`: what it does, in words.
    - `module`: the module that it imports, which may not exist; empty for another function.

    Raises Refusal, which says where the app's error was raised.
    """
    try:
        with redirect_stdout(sys.stderr):
            return function()
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and (module == missing or module.startswith(f"{missing}.")):
            text = f"there is no module {missing!r} in {Path.cwd()} or installed: go to the folder from which the app starts"
        else:
            text = f"{step} needs {missing!r}, which is not installed: run this where the app runs"
        raise Refusal(text) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever an app does when it is imported
        raise Refusal(f"{step} raised {type(error).__qualname__} at {_place(error)}: mend that first") from None


def _imported(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return running(f"importing {name}", lambda: importlib.import_module(name), name)


def _place(error: BaseException) -> str:
    """Return the line of the app that raised, or the last one that is known."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "importlib" not in each.filename and each.filename != __file__]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown line"
