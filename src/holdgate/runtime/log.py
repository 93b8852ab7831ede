"""What the log says: one line for each event, and for each exception its type and the user's line, never its text.

What the log says of a handler's exception: its type and the user's line. Never its text, which may quote the message or a URL.

Events in words, for the log: one line that says what happened and what happens next. Never a payload, a key or an exception's text.

Events go out: to the log, and to each observer, isolated from one another and from the guard.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import site
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from holdgate.core import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    LeaseExpired,
    LeaseTooShort,
    LimitChanged,
    OverrideCleared,
    OverrideSet,
    ThresholdExceeded,
)
from holdgate.core.causes import leaves
from holdgate.errors import SettingsError
from holdgate.flow.events import (
    AnyEvent,
    AttributionShared,
    CommandEnded,
    CommandGiven,
    HandlerStuck,
    HoldContinued,
    LocalCauseSuspected,
    MessageSkipped,
    OutageOver,
    OutageSuspected,
    SourceBlocked,
    SourceFallingBack,
    SourceHeld,
    SourceReleased,
    SourceRetried,
    UndeclaredNeed,
)
from holdgate.flow.message import Partition, Source

# Where other people's code lives: the line that a reader can do something about is outside of these.
_NOT_THE_USERS = tuple(
    {*site.getsitepackages(), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parents[1])}
)


def whereabouts(error: BaseException) -> str:
    """`file:line` of the innermost line outside of libraries, or of the innermost at all; of a group, that of its first member."""
    error = _telling(error)
    # Not `extract_tb`, which reads the lines of source, too: this runs before a circuit is told of the failure.
    places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for place in places if not place[0].startswith(_NOT_THE_USERS)]
    if not places:
        return "an unknown place"
    file, line = (own or places)[-1]
    return f"{file}:{line}"


def steps(error: BaseException) -> str:
    """The way to it, or to the first member of a group, line by line, without the exception's text."""
    return "".join(traceback.format_tb(_telling(error).__traceback__)).rstrip()


def _telling(error: BaseException) -> BaseException:
    """The exception whose way is told: of a group its first member, whose way does not begin at the group, if it was raised at all."""
    leaf = leaves(error)[0]
    return error if leaf.__traceback__ is None else leaf


def lines(events: Iterable[AnyEvent]) -> Iterator[tuple[AnyEvent, str]]:
    """Each event with its line; partitions that are held or released together share one."""
    for _, group in groupby(events, _together):
        alike = list(group)
        word = _WORDS.get(type(alike[0]))
        yield alike[0], word(alike) if word is not None else str(alike[0])


def _together(event: AnyEvent) -> object:
    if isinstance(event, SourceHeld):
        return SourceHeld, event.reasons
    return (SourceReleased, event.at) if isinstance(event, SourceReleased) else id(event)


def sources(several: Iterable[Source]) -> str:
    """Partitions by topic, `orders[0,1,4]`; queues by name."""
    by_topic: dict[str, list[int]] = {}
    for source in several:
        numbers = by_topic.setdefault(source.name, [])
        if isinstance(source, Partition):
            numbers.append(source.number)
    return ", ".join(name + (f"[{','.join(map(str, sorted(numbers)))}]" if numbers else "") for name, numbers in by_topic.items())


def _opened(events: list[Any]) -> str:
    event = events[0]
    return f"{event.name}: {_state(event)} -> open ({event.reason.value}), next try in {event.until - event.at:.1f} s, level {event.level}"


def _threshold(events: list[Any]) -> str:
    event = events[0]
    would = " and would have opened" if event.observed else ""
    return f"{event.name}: {event.reason.value} is {event.value:g}, the threshold {event.threshold:g}{would}"


def _released(events: list[Any]) -> str:
    return f"no longer holding {sources(event.source for event in events)}, held for {events[0].held_for:.1f} s"


def _continued(events: list[Any]) -> str:
    event = events[0]
    tried = "no try is planned" if event.next_try is None else f"next try in {max(0.0, event.next_try - event.at):.1f} s"
    return f"still holding {event.source} after {event.at - event.since:.0f} s: {', '.join(event.reasons)}; {tried}"


def _blocked(events: list[Any]) -> str:
    event = events[0]
    if event.suspect:
        failed = f"failed {event.attempts} times with {event.error}"
        return f"{event.source} waits behind its message at {event.position}, which {failed}: no other message tells message from outage"
    cause = event.error or "rejected"
    return f"{event.source} is blocked by its message at {event.position}: {cause} after {event.attempts} attempts of its own"


def _skipped(events: list[Any]) -> str:
    event = events[0]
    who = "an operator" if event.by_operator else "the retry policy"
    return f"{event.source}@{event.position} was skipped by {who}: {event.reason}"


def _undeclared(events: list[Any]) -> str:
    event = events[0]
    return f"the handler of {event.source} called {event.dependency!r}, which its needs do not name: declare it, and it is held in time"


def _shared(events: list[Any]) -> str:
    event = events[0]
    names = ", ".join(event.dependencies)
    return f"one exception on {event.source} counted against {names}: call them by `dependency.call` to tell them apart"


def _local(events: list[Any]) -> str:
    return f"every dependency tripped at about the same time ({', '.join(events[0].dependencies)}): look for the cause here first"


def _suspected(events: list[Any]) -> str:
    event = events[0]
    lasts = f"for {event.at - event.since:.0f} s by now" if event.at - event.since >= 1 else "until one succeeds"
    return (
        f"{sources(event.sources)}: {event.failed} of the last {event.of} messages failed with {event.error}, which no need claims;"
        f" taken for an outage, held {lasts}, nothing is charged: add {event.error} to failures= of the dependency that is down,"
        " or a Dependency to needs=; if these messages are bad, raise Reject instead"
    )


def _over(events: list[Any]) -> str:
    event = events[0]
    return f"{sources(event.sources)}: a message succeeded, the outage of {event.error} is over after {event.held_for:.1f} s"


def _overridden(events: list[Any]) -> str:
    event = events[0]
    until = "until it is cleared" if event.until is None else f"for {event.until - event.at:.1f} s"
    return f"{event.name}: {_plain(event.override)} by an operator, {until}"


def _given(events: list[Any]) -> str:
    event = events[0]
    message = "" if event.position is None else f"@{event.position}"
    lasts = "" if event.until is None else f", for {event.until - event.at:.0f} s"
    return f"{_plain_command(event)} {event.target}{message} by {event.actor}{lasts}: {event.reason}"


def _ended(events: list[Any]) -> str:
    event, given = events[0], events[0].given
    return f"{_plain_command(given)} {given.target} by {given.actor} is over after {event.at - given.at:.0f} s"


def _lease(events: list[Any]) -> str:
    event = events[0]
    return f"{event.name}: a call did not end within {event.lease:g} s of its permit, which counts as a failure now"


def _too_short(events: list[Any]) -> str:
    event = events[0]
    return f"{event.name}: a call succeeded after {event.duration:.1f} s, when its permit was taken back: raise permit_lease above that"


_WORDS: dict[type, Callable[[list[Any]], str]] = {
    CircuitOpened: _opened,
    CircuitHalfOpened: lambda events: f"{events[0].name}: {_state(events[0])} -> half open, one probe goes",
    CircuitClosed: lambda events: f"{events[0].name}: {_state(events[0])} -> closed, full rate",
    LimitChanged: lambda events: f"{events[0].name}: ramp from {events[0].previous} to {events[0].limit} in flight",
    ThresholdExceeded: _threshold,
    OverrideSet: _overridden,
    OverrideCleared: lambda events: f"{events[0].name}: no longer {_plain(events[0].override)}",
    CircuitReset: lambda events: f"{events[0].name}: reset by an operator to closed, full rate at once",
    LeaseExpired: _lease,
    LeaseTooShort: _too_short,
    SourceHeld: lambda events: f"holding {sources(event.source for event in events)}: {', '.join(events[0].reasons)}",
    SourceReleased: _released,
    SourceFallingBack: lambda events: f"{events[0].source} falls back: {', '.join(events[0].dependencies)} down",
    HoldContinued: _continued,
    SourceBlocked: _blocked,
    MessageSkipped: _skipped,
    SourceRetried: lambda events: f"{events[0].source}: {events[0].messages} rejected, tried again by an operator: {events[0].reason}",
    CommandGiven: _given,
    CommandEnded: _ended,
    HandlerStuck: lambda events: f"the handler of {events[0].source}@{events[0].position} has run for {events[0].seconds:.0f} s",
    UndeclaredNeed: _undeclared,
    AttributionShared: _shared,
    LocalCauseSuspected: _local,
    OutageSuspected: _suspected,
    OutageOver: _over,
}


def _state(event: Any) -> str:
    return _plain(event.previous)


def _plain_command(given: Any) -> str:
    return str(given.command).replace("_", " ")


def _plain(member: Any) -> str:
    return str(member.value).replace("_", " ")


log = logging.getLogger("holdgate")

# What a person should hear of without having asked.
_WARNINGS = (CircuitOpened, HandlerStuck, HoldContinued, SourceBlocked, MessageSkipped, LocalCauseSuspected, OutageSuspected)

Observer = Callable[[AnyEvent], object]


class Announcer:
    """Hands every event to the log and to each observer, in order. An observer that raises is logged, and called again the next time."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        if not isinstance(cast("object", observers), Iterable):
            raise SettingsError(f"observers={observers!r} is no list: write observers=[...], be it of one function")
        self._observers = tuple(observers)
        for observer in self._observers:
            if not callable(observer):
                raise SettingsError(f"observer {observer!r} cannot be called: give a function that takes an event")
            if inspect.iscoroutinefunction(observer):
                raise SettingsError(f"observer {observer!r} is async and nobody would await it: give a plain function")

    def announce(self, events: Sequence[AnyEvent]) -> None:
        """Tell everybody now. Called at the end of a turn, when nothing is half done."""
        if not events:
            return
        for event, line in lines(events):
            log.log(logging.WARNING if isinstance(event, _WARNINGS) else logging.INFO, "%s", line)
        for event in events:
            for observer in self._observers:
                self._tell(observer, event)

    def _tell(self, observer: Observer, event: AnyEvent) -> None:
        try:
            observer(event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - somebody else's code: whatever it raises is its own affair
            # Its name and no more: the repr of a partial shows its arguments, a webhook's address for one.
            name = getattr(observer, "__qualname__", type(observer).__qualname__)
            log.warning("observer %s raised %s on %s", name, type(error).__name__, type(event).__name__)
