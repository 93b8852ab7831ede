"""What each message needs: `needs=` as a function of the delivery, or by the value of a header.

Where the messages of one topic or queue need different things, the user's function is asked once for each, when it has come in and before
anything is started: `Sorter.sort` notes the answer on the delivery. The function makes no call and waits for nothing. It runs between the
poll and the engine, where a wait would stop everything.

It cannot say ahead what it may answer. So a plain function may answer what was given to `Guard(...)`, and the values of `needs_by_header`
are known by themselves. Any other answer, and a function that raises, is an error at the expense of that one message (`NeedsError`): the
message takes a lane like any other, fails there instead of being handled, and ends by the retry policy as after a failure of its handler.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from holdgate.errors import NeedsError, Reject, SettingsError
from holdgate.flow.message import AnyDelivery, Delivery, Source
from holdgate.flow.passing import MessageNeeds
from holdgate.flow.policy import ByMessage
from holdgate.runtime.dependency import Dependency
from holdgate.runtime.functions import is_async
from holdgate.runtime.keys import with_keys
from holdgate.runtime.wording import whereabouts

if TYPE_CHECKING:
    from holdgate.flow.engine import Engine
    from holdgate.flow.gate import Gate
    from holdgate.flow.state import Run
    from holdgate.runtime.handlers import Handler

NeedsOf: TypeAlias = Callable[[Delivery[Any]], Dependency | Iterable[Dependency]]
OneNeeds: TypeAlias = Sequence[Dependency] | NeedsOf
NeedsSetting: TypeAlias = OneNeeds | Mapping[str, OneNeeds]


class NeedsByHeader:
    """Gives what a message needs by the value of one header; `needs_by_header` makes it. `dependencies` are all that it may answer."""

    def __init__(self, header: str, by_value: Mapping[Any, Sequence[Dependency]], otherwise: Sequence[Dependency] | None = None) -> None:
        if not isinstance(cast("object", header), str) or not header:
            raise SettingsError(f"needs_by_header takes the header's name first, got {header!r}: needs_by_header('type', {{...}})")
        if not isinstance(cast("object", by_value), Mapping) or not by_value:
            raise SettingsError(f"needs_by_header({header!r}, ...) takes a mapping of values to lists of dependencies, got {by_value!r}")
        self._header = header
        self._by_value = {
            _plain(value): tuple(check_list(listed, f"needs_by_header({header!r}, ...)[{value!r}]")) for value, listed in by_value.items()
        }
        self._otherwise = None if otherwise is None else tuple(check_list(otherwise, f"needs_by_header({header!r}, otherwise=...)"))
        every = [dependency for listed in (*self._by_value.values(), self._otherwise or ()) for dependency in listed]
        self.dependencies = tuple(dict.fromkeys(every))

    def __call__(self, delivery: Delivery[Any]) -> tuple[Dependency, ...]:
        """Return what this message needs. Raises NeedsError for a message without the header, or with another value, unless `otherwise`
        says what it needs."""
        try:
            found = self._by_value.get(_plain(delivery.headers.get(self._header)), self._otherwise)
        except TypeError:  # a list or a table, which cannot be looked up
            found = self._otherwise
        if found is None:
            known = ", ".join(map(repr, self._by_value))
            raise NeedsError(f"header {self._header!r} has none of the values {known}: add its value, or otherwise=[...] for the rest")
        return found


def needs_by_header(
    header: str, by_value: Mapping[Any, Sequence[Dependency]], *, otherwise: Sequence[Dependency] | None = None
) -> NeedsByHeader:
    """Return a `needs=` for sources whose messages need different things: what each needs is looked up by the value of one of its headers.

    - `header`: the header's name. If it comes twice, the last one counts.
    - `by_value`: for each value a list of dependencies, empty for one that needs nothing. A value of bytes, as Kafka has it, is read as
      UTF-8: "mail" and b"mail" are the same.
    - `otherwise`: what a message needs that has another value, or no such header. None means that such a message fails with a NeedsError,
      and goes where rejected messages go.

    Raises SettingsError.
    """
    return NeedsByHeader(header, by_value, otherwise)


def _plain(value: object) -> object:
    """Return a header's value as text, if it is bytes that are UTF-8."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def named_needs(needs: NeedsSetting) -> Mapping[str, OneNeeds] | None:
    """Return the needs by topic or queue. None means that all have the same."""
    return cast("Mapping[str, OneNeeds]", needs) if isinstance(cast("object", needs), Mapping) else None


def check_list(listed: object, where: str) -> list[Dependency]:
    """Return a list of dependencies from the settings. Raises SettingsError for anything else."""
    if isinstance(listed, Dependency):
        raise SettingsError(f"{where} takes a list, got {listed!r}: write [{listed!r}]")
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise SettingsError(_no_dependency(where, listed))
    items: list[object] = list(cast("Iterable[object]", listed))  # once: it may be a generator
    for item in items:
        if not isinstance(item, Dependency):
            raise SettingsError(_no_dependency(where, item))
    return cast("list[Dependency]", items)


def _no_dependency(where: str, item: object) -> str:
    return f"{where} takes a list of Dependency objects, got {item!r} ({type(item).__name__}): pass the Dependency itself, not its name"


def possible_needs(function: NeedsOf, where: str, declared: Iterable[Dependency]) -> tuple[Dependency, ...]:
    """Return what a `needs` function may answer: what it names itself, or what the guard was given. Raises SettingsError."""
    if isinstance(function, NeedsByHeader):
        return function.dependencies
    if is_async(function):
        raise SettingsError(f"{where}={function!r} is async: give a plain function, which makes no call and is asked once for each message")
    possible = tuple(declared)
    if not possible:
        raise SettingsError(
            f"{where} is a function, and the guard knows no dependency that it could answer: write Guard(payments, email), or"
            " needs_by_header('type', {'charge': [payments], 'mail': [email]})"
        )
    return possible


class Sorter:
    """Asks for each delivery what it needs, and by which keys. `functions` are by topic or queue, or under None the one for all."""

    def __init__(self, functions: Mapping[str | None, NeedsOf]) -> None:
        self._functions = functions
        self._for_all = functions.get(None)
        self._by_key: dict[str, tuple[Gate, ...]] = {}  # by topic or queue: what all of its messages need, if that has keys; else nothing

    def sort(self, deliveries: Iterable[AnyDelivery], run: Run, engine: Engine, dependencies: Mapping[str, Dependency]) -> None:
        """Note on each delivery what it needs, if its source's messages say that themselves. `dependencies` are the guard's, by name."""
        for delivery in deliveries:
            source: Source = delivery.source
            function = self._for_all or self._functions.get(source.name)
            by_message = function is not None and isinstance(run.needs.of(source), ByMessage)
            gates = () if by_message else self._gates_by_key(source, run, engine)
            if not by_message and not gates:
                continue
            try:
                if function is not None and by_message:
                    names = dict.fromkeys(_known(one, dependencies) for one in _answered(function(delivery)))
                    gates = tuple(engine.gates[name] for name in names)
                kind = run.kinds.needing(gates, source) if by_message else None
                if any(gate.keys is not None for gate in gates):
                    results = run.kinds.results_of(source) if kind is None else kind.results
                    delivery.needs = with_keys(delivery, gates, results, dependencies)
                else:
                    delivery.needs = kind
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the user's code: whatever it raises is this message's
                delivery.needs = MessageNeeds((), error if isinstance(error, NeedsError | Reject) else _as_needs_error(error))

    def _gates_by_key(self, source: Source, run: Run, engine: Engine) -> tuple[Gate, ...]:
        """Return what all messages of a source need, if some of that has keys; else nothing."""
        found = self._by_key.get(source.name)
        if found is None:
            gates = tuple(engine.gates[name] for name in run.needs.of(source) or ())
            found = self._by_key[source.name] = gates if any(gate.keys is not None for gate in gates) else ()
        return found


def _answered(answer: object) -> Iterable[object]:
    """Return what a `needs` function has answered, one by one."""
    if isinstance(answer, Dependency):
        return (answer,)
    if inspect.iscoroutine(answer):
        answer.close()
    if isinstance(answer, str | bytes) or not isinstance(answer, Iterable):
        raise NeedsError(f"needs= answered {_described(answer)}: it must return a Dependency, several, or [] for nothing")
    return cast("Iterable[object]", answer)


def _known(one: object, dependencies: Mapping[str, Dependency]) -> str:
    if not isinstance(one, Dependency):
        raise NeedsError(f"needs= answered {_described(one)}: it must return a Dependency, several, or [] for nothing")
    if dependencies.get(one.name) is not one:
        raise NeedsError(f"needs= answered the dependency {one.name!r}, which the guard does not know: write Guard({one.name}, ...)")
    return one.name


def _described(answer: object) -> str:
    # Not the value: it may come from the message.
    if answer is None:
        return "None"
    return "a name" if isinstance(answer, str) else f"an object of type {type(answer).__name__}"


def _as_needs_error(error: BaseException) -> NeedsError:
    trace: TracebackType | None = error.__traceback__
    trace = None if trace is None else trace.tb_next  # without the frame of this file
    # Not its text, which may quote the message.
    text = f"needs= raised {type(error).__name__} at {whereabouts(error)}: it must answer for every message, [] for one that needs nothing"
    return NeedsError(text).with_traceback(trace)


def needs_error(delivery: AnyDelivery) -> Exception | None:
    """Return the error with which a delivery ends instead of being handled, because its needs are not known. None means that they are.

    A new one for each attempt: an exception that is raised again carries the frames of all times before.
    """
    error: NeedsError | Reject | None = delivery.needs.error if delivery.assignment.all_need is None else None
    if error is None:
        return None
    again = Reject(error.reason) if isinstance(error, Reject) else NeedsError(str(error))
    return again.with_traceback(error.__traceback__)


def with_known_needs(handler_of: Callable[[Source], Handler]) -> Callable[[Source], Handler]:
    """Return the same handlers, which a delivery whose needs are not known does not reach: it fails instead."""

    def guarded(source: Source) -> Handler:
        handler = handler_of(source)

        def handle(delivery: AnyDelivery) -> Awaitable[object]:
            error = needs_error(delivery)
            if error is not None:
                raise error
            return handler(delivery)

        return handle

    return guarded
