"""What the log says: one line for each event, and one for each exception that a handler raised.

Three parts. What a handler raised is logged by its type and the user's own line, never by its text, which may quote the message or a URL.
An event is one line that says what happened and what happens next; it never has a payload, a key or an exception's text in it. And the
`Announcer` hands each event to the log and to every observer, isolated from one another and from the guard.

A reader greps for names and reasons (`payments`, `circuit:payments`, `consecutive_failures`), so those stand in the lines as they stand in
settings and metrics. The rest is for somebody who has never met holdgate.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any, cast

from holdgate.core.causes import leaves
from holdgate.core.states import Reason
from holdgate.errors import SettingsError
from holdgate.events import (
    AnyEvent,
    AttributionShared,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    CommandEnded,
    CommandGiven,
    HandlerStuck,
    HoldContinued,
    LeaseExpired,
    LeaseTooShort,
    LimitChanged,
    LocalCauseSuspected,
    MessageSkipped,
    OutageOver,
    OutageSuspected,
    OverrideCleared,
    OverrideSet,
    SourceBlocked,
    SourceFallingBack,
    SourceHeld,
    SourceReleased,
    SourceRetried,
    ThresholdExceeded,
    UndeclaredNeed,
)
from holdgate.flow.message import Partition, Source
from holdgate.ports import AttemptSpans, ControlPlane
from holdgate.telemetry.log_fields import fields_of, one_line


@cache
def _not_the_users() -> tuple[str, ...]:
    """Return where other people's code lives: the line that a reader can do something about is outside of these folders."""
    import site  # noqa: PLC0415 - at the first failure: a start needs none of the three
    import sysconfig  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    return tuple({*site.getsitepackages(), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parents[1])})


def whereabouts(error: BaseException) -> str:
    """Return `file:line` of the innermost line outside of libraries, or of the innermost of all; of a group, that of its first member."""
    error = _telling(error)
    # Not `extract_tb`, which reads the lines of source, too: this runs before a circuit is told of the failure.
    places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for place in places if not place[0].startswith(_not_the_users())]
    if not places:
        return "an unknown place"
    file, line = (own or places)[-1]
    return f"{file}:{line}"


def steps(error: BaseException) -> str:
    """Return the traceback of an exception, or of the first member of a group, without the exception's text."""
    return "".join(traceback.format_tb(_telling(error).__traceback__)).rstrip()


def _telling(error: BaseException) -> BaseException:
    """Return the exception whose traceback says most: of a group its first member, if that was raised at all."""
    leaf = leaves(error)[0]
    return error if leaf.__traceback__ is None else leaf


def lines(events: Iterable[AnyEvent]) -> Iterator[tuple[AnyEvent, str]]:
    """Yield each event with its line. Partitions that are held or released together share one."""
    for _, group in groupby(events, _together):
        alike = list(group)
        word = _WORDS.get(type(alike[0]))
        yield alike[0], word(alike) if word is not None else str(alike[0])


def _together(event: AnyEvent) -> object:
    if isinstance(event, SourceHeld):
        return SourceHeld, event.reasons
    return (SourceReleased, event.at) if isinstance(event, SourceReleased) else id(event)


def sources(several: Iterable[Source]) -> str:
    """Return partitions by topic, `orders[0,1,4]`, and queues by name."""
    by_topic: dict[str, list[int]] = {}
    for source in several:
        numbers = by_topic.setdefault(source.name, [])
        if isinstance(source, Partition):
            numbers.append(source.number)
    return ", ".join(name + (f"[{','.join(map(str, sorted(numbers)))}]" if numbers else "") for name, numbers in by_topic.items())


def _opened(events: list[Any]) -> str:
    event = events[0]
    wait = event.until - event.at
    return f"{event.name}: {_state(event)} -> open ({event.reason.value}), next try in {wait:.1f} s, backoff level {event.level}"


# Rules that have no figure of their own: one event meets them.
_MET_BY_ONE = {
    Reason.PROBE: "the probe failed",
    Reason.SLOW_PROBE: "the probe was slow",
    Reason.PERMIT_LEASE: "a call did not end within permit_lease",
}


def _threshold(events: list[Any]) -> str:
    event = events[0]
    would = "; the circuit would have opened, and is only observed" if event.observed else ""
    if event.reason in _MET_BY_ONE:
        return f"{event.name}: {_MET_BY_ONE[event.reason]}{would}"
    return f"{event.name}: {event.reason.value} is {event.value:g}, the threshold is {event.threshold:g}{would}"


def _released(events: list[Any]) -> str:
    return f"no longer holding {sources(event.source for event in events)}, held for {events[0].held_for:.1f} s"


def _continued(events: list[Any]) -> str:
    event = events[0]
    tried = "nothing is planned that would end it" if event.next_try is None else f"next try in {max(0.0, event.next_try - event.at):.1f} s"
    return f"still holding {event.source} after {event.at - event.since:.0f} s: {', '.join(event.reasons)}; {tried}"


def _blocked(events: list[Any]) -> str:
    event = events[0]
    message = f"{'offset' if isinstance(event.source, Partition) else 'delivery tag'} {event.position}"
    if event.suspect:
        return (
            f"{event.source} is waiting behind {message}, which has failed {event.attempts} times ({event.error})."
            " No other message has been tried meanwhile, so holdgate cannot tell a bad message from an outage."
        )
    error = f" ({event.error})" if event.error else ""
    failed = f"failed {event.attempts} times by its own fault{error}" if event.attempts else f"was rejected{error}"
    return f"{event.source} is blocked behind {message}, which {failed} and has nowhere to go. Everything behind it waits."


def _skipped(events: list[Any]) -> str:
    event = events[0]
    who = "an operator" if event.by_operator else "the retry policy"
    return f"{event.source}@{event.position} was skipped by {who}: {event.reason}"


def _retried(events: list[Any]) -> str:
    event = events[0]
    return f"{event.source}: an operator lets {event.messages} rejected messages be tried again: {event.reason}"


def _fallen_back(events: list[Any]) -> str:
    event = events[0]
    return f"{event.source} falls back, because {', '.join(event.dependencies)} cannot be called"


def _undeclared(events: list[Any]) -> str:
    event = events[0]
    return (
        f"the handler of {event.source} called {event.dependency!r}, which is not in needs=: add it, and {event.source} is held while"
        f" {event.dependency!r} is down"
    )


def _shared(events: list[Any]) -> str:
    event = events[0]
    names = ", ".join(event.dependencies)
    return f"one exception on {event.source} counted against {names}: call each by `dependency.call`, so that they can be told apart"


def _local(events: list[Any]) -> str:
    names = ", ".join(events[0].dependencies)
    return f"every dependency failed at about the same time ({names}): look for the cause on this machine first"


def _suspected(events: list[Any]) -> str:
    event = events[0]
    lasting = event.at - event.since
    lasts = f"has been held for {lasting:.0f} s" if lasting else "is held until a message succeeds"
    return (
        f"{sources(event.sources)}: {event.failed} of the last {event.of} messages failed with {event.error}, which no dependency in needs="
        f" claims. holdgate takes that for an outage: the source {lasts}, and no message is charged. Add {event.error} to failures= of the"
        " dependency that is down, or a Dependency to needs=. If these messages are bad, raise Reject instead."
    )


def _over(events: list[Any]) -> str:
    event = events[0]
    return f"{sources(event.sources)}: a message succeeded, so the outage of {event.error} is over after {event.held_for:.1f} s"


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


def _limit(events: list[Any]) -> str:
    event = events[0]
    return f"{event.name}: half open, up to {event.limit} calls in parallel now, {event.previous} before"


def _lease(events: list[Any]) -> str:
    event = events[0]
    return f"{event.name}: a call has not ended within {event.lease:g} s (permit_lease), and counts as a failure now"


def _too_short(events: list[Any]) -> str:
    event = events[0]
    took = f"{event.duration:.1f} s"
    return f"{event.name}: a call succeeded after {took}, and had counted as a failure by then: raise permit_lease above that"


_WORDS: dict[type, Callable[[list[Any]], str]] = {
    CircuitOpened: _opened,
    CircuitHalfOpened: lambda events: f"{events[0].name}: {_state(events[0])} -> half open, one probe goes through",
    CircuitClosed: lambda events: f"{events[0].name}: {_state(events[0])} -> closed, full rate",
    LimitChanged: _limit,
    ThresholdExceeded: _threshold,
    OverrideSet: _overridden,
    OverrideCleared: lambda events: f"{events[0].name}: no longer {_plain(events[0].override)}",
    CircuitReset: lambda events: f"{events[0].name}: reset by an operator to closed, immediately the full rate",
    LeaseExpired: _lease,
    LeaseTooShort: _too_short,
    SourceHeld: lambda events: f"holding {sources(event.source for event in events)}: {', '.join(events[0].reasons)}",
    SourceReleased: _released,
    SourceFallingBack: _fallen_back,
    HoldContinued: _continued,
    SourceBlocked: _blocked,
    MessageSkipped: _skipped,
    SourceRetried: _retried,
    CommandGiven: _given,
    CommandEnded: _ended,
    HandlerStuck: lambda events: (
        f"the handler of {events[0].source}@{events[0].position} has run for {events[0].seconds:.0f} s and has not ended"
    ),
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

# What a person should see without having asked.
_WARNINGS = (CircuitOpened, HandlerStuck, HoldContinued, SourceBlocked, MessageSkipped, LocalCauseSuspected, OutageSuspected)

Observer = Callable[[AnyEvent], object]


class Announcer:
    """Hands every event to the log, the spans, each observer and the control plane, in order.

    One that raises is logged, and called again the next time.
    """

    def __init__(self, observers: Iterable[Observer], spans: AttemptSpans | None = None, control: ControlPlane | None = None) -> None:
        if not isinstance(cast("object", observers), Iterable):
            raise SettingsError(f"observers={observers!r} must be a list: write observers=[...], also for one function")
        first = () if spans is None else (spans.announced,)
        last = () if control is None else (control.note,)
        self._observers = (*first, *observers, *last)
        for observer in self._observers:
            if not callable(observer):
                raise SettingsError(f"observer {observer!r} must be a function that takes an event")
            if inspect.iscoroutinefunction(observer):
                raise SettingsError(f"observer {observer!r} is async, and the guard does not await it: give a plain function")

    def announce(self, events: Sequence[AnyEvent]) -> None:
        """Hand these events out, now. Called at the end of a turn, when nothing is half done."""
        if not events:
            return
        for event, line in lines(events):
            alike = [each for each in events if _together(each) == _together(event)]
            log.log(logging.WARNING if isinstance(event, _WARNINGS) else logging.INFO, "%s", one_line(line), extra=fields_of(alike))
        for event in events:
            for observer in self._observers:
                self._hand_to(observer, event)

    def _hand_to(self, observer: Observer, event: AnyEvent) -> None:
        try:
            observer(event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - somebody else's code: whatever it raises is its own affair
            # Its name and no more: the repr of a partial shows its arguments, a webhook's address for one.
            name = getattr(observer, "__qualname__", type(observer).__qualname__)
            log.warning("observer %s raised %s on %s", name, type(error).__name__, type(event).__name__)
