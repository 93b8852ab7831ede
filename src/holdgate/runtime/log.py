"""Events in words and as fields of log records, and where they go: to the log, and to every observer.

The words of an event say what happened and what happens next. They never have a payload, a key or an exception's text in them. A reader
greps for names and reasons (`payments`, `circuit:payments`, `consecutive_failures`), so those stand in the lines as they stand in settings
and metrics. The rest is for somebody who has never met holdgate.

Every record of an event has its figures as attributes of its own, beside the line for people (`fields_of`). A formatter that puts the
`extra` of a record into its output, as python-json-logger and structlog's ProcessorFormatter do, needs nothing more:

    {"message": "payments is down ...", "holdgate_event": "CircuitOpened", "holdgate_dependency": "payments",
     "holdgate_reason": "consecutive_failures", "holdgate_until_in": 5.0, ...}

All of them begin with `holdgate_`, so that they meet no attribute that a record has already. An event's times are seconds of a monotonic
clock, which mean nothing to a reader: they become seconds from the event on (`_in`) or up to it (`_ago`).

The log is made of five files: this one; outages.py, which tells an outage in few lines instead of one for each event; failures.py, what
handlers raised; run_log.py, that a run works; and folding.py, how lines of one kind share a line. wording.py has the words that all share.

The `Announcer` hands each event to the log and to every observer, isolated from one another and from the guard.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeGuard, cast

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
    ConductorChanged,
    DependencyMet,
    Event,
    FleetLogCameBack,
    FleetLogFellSilent,
    FleetMembersChanged,
    FleetOpened,
    FleetOrdered,
    FleetRecovered,
    HandlerStuck,
    HoldContinued,
    KeysHeld,
    KeysReleased,
    LeaseExpired,
    LeaseTooShort,
    LimitBegan,
    LimitChanged,
    LimitEnded,
    LimitMoved,
    LocalCauseFound,
    LocalCauseSuspected,
    MessagesHeld,
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
from holdgate.flow.events import AHEAD, BEHIND
from holdgate.flow.message import Partition, Queue
from holdgate.ports import AttemptSpans, ControlPlane
from holdgate.runtime.outages import continued, held, limited, partly_held
from holdgate.runtime.wording import lasting, many, one_line, sources

if TYPE_CHECKING:
    from holdgate.runtime.folding import Folding
    from holdgate.runtime.outages import Line, Outages


def words(event: AnyEvent) -> tuple[int, str]:
    """Return the level and the line of an event by itself."""
    word = _WORDS.get(type(event))
    return logging.WARNING if isinstance(event, _WARNINGS) else logging.INFO, str(event) if word is None else word([event])


def _opened(events: list[Any]) -> str:
    event = events[0]
    then = "one worker tries for all" if event.in_fleet else f"next try in {lasting(event.until - event.at)}"
    return f"{event.name}: {_state(event)} -> open ({event.reason.value}), {then}"


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
    return f"no longer holding {sources(event.source for event in events)}, held for {lasting(events[0].held_for)}"


def _blocked(events: list[Any]) -> str:
    event = events[0]
    message = f"{'offset' if isinstance(event.source, Partition) else 'delivery tag'} {event.position}"
    if event.throttled:
        return (
            f"{event.source} is waiting behind {message}, which a limit has refused {event.attempts} times in a row ({event.error}). It is"
            " tried again, at most every two and a half minutes. A request that is larger than its limit never passes: reject it in the"
            " handler, or skip it"
        )
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


def _met(events: list[Any]) -> str:
    event = events[0]
    return (
        f"the handler of {event.source} calls {event.dependency!r}, which nobody has declared: this guard watches it from now on. Add it to"
        f" needs=, and {event.source} is held before its handler is refused"
    )


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


# What a status means when most messages meet it.
_REFUSED_FOR = {
    401: "an expired token or wrong credentials",
    403: "a right that is missing",
    404: "a wrong address",
    405: "a wrong address",
    407: "a proxy that wants a login",
    410: "a wrong address",
}

# Of a server that is too slow, has too much to do, or fails, it looks like what it is.
_TOO_SLOW, _TOO_MANY, _SERVERS_OWN = 408, 429, 500

# What can be said in seconds: a hold that has begun just now has no length.
_BEGUN_JUST_NOW = 1.0


def _suspected(events: list[Any]) -> str:
    event = events[0]
    where = sources(event.sources)
    bad = "If these messages are bad, raise Reject instead."
    if event.is_bug:
        looks = f"{where}: {_failing(event)}; this looks like a bug or a format change"
        return f"{looks}: {_held(event)}. Mend the handler and deploy. {bad}"
    if event.status is not None and not _is_outage(event.status):
        reason = _REFUSED_FOR.get(event.status, "a request that the server does not accept any more")
        return (
            f"{where}: {_failing(event)}; this looks like {reason}: {_held(event)}. If {event.status} is the dependency's failure, add it"
            f" to failures= (http.status_of gives it). {bad}"
        )
    return (
        f"{where}: {event.failed} of the last {event.of} messages{_needing(event)} failed with {event.what}, which no dependency in needs="
        f" claims. holdgate takes that for an outage: {_held(event)}. Add {event.error} to failures= of the"
        f" dependency that is down, or a Dependency to needs=. {bad}"
    )


def _is_outage(status: int) -> bool:
    """Return whether this status says that the server is in trouble, and not that it refuses what was sent."""
    return status in {_TOO_SLOW, _TOO_MANY} or status >= _SERVERS_OWN


def _held(event: Any) -> str:
    """Return what becomes of the messages meanwhile."""
    since = event.at - event.since
    if event.needs is not None:
        return "they are tried again, and not charged; the other messages go on"
    if since < _BEGUN_JUST_NOW:
        return "the source is held until a message succeeds, and no message is charged"
    return f"the source has been held for {lasting(since)}, and no message is charged"


def _needing(event: Any) -> str:
    """Return which messages of these sources fail, where each has its own needs."""
    if event.needs is None:
        return ""
    return f" that need {' and '.join(event.needs) or 'nothing'}"


def _failing(event: Any) -> str:
    """Return how many messages fail with what, and since when, by the wall clock: people compare it with a deploy."""
    began = time.strftime("%H:%M", time.localtime(time.time() - (event.at - event.began)))
    if event.failed == event.of:
        which = "every message" + _needing(event).replace("need", "needs")
    else:
        which = f"{event.failed} of the last {event.of} messages{_needing(event)}"
    return f"the handler fails for {which} with {event.what} since {began}"


def _over(events: list[Any]) -> str:
    event = events[0]
    return f"{sources(event.sources)}: a message succeeded, so the outage of {event.error} is over after {lasting(event.held_for)}"


def _overridden(events: list[Any]) -> str:
    event = events[0]
    until = "until it is cleared" if event.until is None else f"for {lasting(event.until - event.at)}"
    return f"{event.name}: {_plain(event.override)} by an operator, {until}"


def _given(events: list[Any]) -> str:
    event = events[0]
    if event.command == "reload":
        return f"settings: {event.target} ({event.actor}) was read again: {event.reason}"
    message = "" if event.position is None else f"@{event.position}"
    lasts = "" if event.until is None else f", for {lasting(event.until - event.at)}"
    return f"{_plain_command(event)} {event.target}{message} by {event.actor}{lasts}: {event.reason}"


def _ended(events: list[Any]) -> str:
    event, given = events[0], events[0].given
    return f"{_plain_command(given)} {given.target} by {given.actor} is over after {lasting(event.at - given.at)}"


def _limit(events: list[Any]) -> str:
    event = events[0]
    return f"{event.name}: half open, up to {event.limit} calls in parallel now, {event.previous} before"


def _fleet_opened(events: list[Any]) -> str:
    event = events[0]
    if not event.workers:  # an operator holds it, or this worker has come in the middle of an outage
        return f"fleet: {event.dependency} is down for all; one worker tries for all"
    seen = f"{many(event.workers, 'worker')} saw {many(event.failures, 'failure')}"
    return f"fleet: {event.dependency} is down for all: {seen}; one worker tries for all"


def _conductor(events: list[Any]) -> str:
    event = events[0]
    who = "this worker" if event.own else f"worker {event.conductor}"
    return f"fleet: {who} tries {event.dependency} for all{' from now on' if event.takeover else ''} (epoch {event.epoch})"


def _local_cause(events: list[Any]) -> str:
    event = events[0]
    return (
        f"fleet: {event.dependency} fails here, and at {event.bad} of the {event.callers} workers that need it: look for the cause on this"
        " machine first"
    )


def _ordered(events: list[Any]) -> str:
    event = events[0]
    lasts = "" if event.lasts is None else f", for {lasting(event.lasts)}"
    return f"fleet: {event.word.replace('_', ' ')} {event.dependency} at every worker, by {event.actor}{lasts}: {event.reason}"


def _lease(events: list[Any]) -> str:
    event = events[0]
    return f"{event.name}: a call has not ended within {lasting(event.lease)} (permit_lease), and counts as a failure now"


def _too_short(events: list[Any]) -> str:
    event = events[0]
    took = lasting(event.duration)
    return f"{event.name}: a call succeeded after {took}, and had counted as a failure by then: raise permit_lease above that"


def _keys_held(events: list[Any]) -> str:
    event = events[0]
    are, them = ("is", "it") if event.held == 1 else ("are", "them")
    others = "the others go on" if not event.holds else f"{many(event.holds, 'source')} full of such messages"
    return f"{event.dependency}: {many(event.held, 'key')} {are} held, {many(event.waiting, 'message')} waiting for {them}; {others}"


_WORDS: dict[type, Callable[[list[Any]], str]] = {
    CircuitOpened: _opened,
    CircuitHalfOpened: lambda events: f"{events[0].name}: {_state(events[0])} -> half open, one probe goes through",
    CircuitClosed: lambda events: f"{events[0].name}: {_state(events[0])} -> closed, full rate",
    LimitChanged: _limit,
    LimitBegan: lambda events: limited(events[0]),
    LimitMoved: lambda events: limited(events[0]),
    LimitEnded: lambda events: f"{events[0].dependency} limits nothing any more, after {lasting(events[0].lasted)}",
    KeysHeld: _keys_held,
    KeysReleased: lambda events: f"{events[0].dependency}: no key is held any more, after {lasting(events[0].lasted)}",
    ThresholdExceeded: _threshold,
    OverrideSet: _overridden,
    OverrideCleared: lambda events: f"{events[0].name}: no longer {_plain(events[0].override)}",
    CircuitReset: lambda events: f"{events[0].name}: reset by an operator to closed, immediately the full rate",
    FleetOpened: _fleet_opened,
    ConductorChanged: _conductor,
    FleetRecovered: lambda events: (
        f"fleet: {events[0].dependency} is back for all after {lasting(events[0].seconds)}, {many(events[0].failed, 'probe')} failed"
    ),
    LocalCauseFound: _local_cause,
    FleetMembersChanged: lambda events: f"fleet: {many(events[0].size, 'worker')} now, {events[0].joined} came and {events[0].left} went",
    FleetLogFellSilent: lambda events: (
        f"fleet: its log has been silent for {lasting(events[0].seconds)}, so this worker goes by its own rules"
    ),
    FleetLogCameBack: lambda events: f"fleet: its log is back after {lasting(events[0].seconds)}",
    FleetOrdered: _ordered,
    LeaseExpired: _lease,
    LeaseTooShort: _too_short,
    SourceHeld: held,
    MessagesHeld: partly_held,
    SourceReleased: _released,
    SourceFallingBack: _fallen_back,
    HoldContinued: lambda events: continued(events, events[0].reasons),
    SourceBlocked: _blocked,
    MessageSkipped: _skipped,
    SourceRetried: _retried,
    CommandGiven: _given,
    CommandEnded: _ended,
    HandlerStuck: lambda events: (
        f"the handler of {events[0].source}@{events[0].position} has run for {lasting(events[0].seconds)} and has not ended"
    ),
    DependencyMet: _met,
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


# -- fields ---------------------------------------------------------------------------------------------------------------------------

_PREFIX = "holdgate_"


def fields_of(alike: Sequence[AnyEvent]) -> dict[str, Any]:
    """Return the fields of one record, which tells of events that happened together: sources that were held or released at a time.

    The figures are those of the first event. With several, `holdgate_sources` has the sources of all.
    """
    first = alike[0]
    found = dict(_flat(first, first.at))
    if isinstance(first, Event):
        found["dependency"] = found.pop("name")
    if isinstance(first, SourceHeld | SourceReleased):
        found["sources"] = [_as_json(each.source) for each in alike if isinstance(each, SourceHeld | SourceReleased)]
        found.pop("source")
    return {_PREFIX + name: value for name, value in {"event": type(first).__name__, **found}.items()}


def _flat(value: Any, at: float) -> Iterable[tuple[str, Any]]:
    for field in fields(value):
        name, found = field.name, getattr(value, field.name)
        if name == "at":
            continue
        if name in AHEAD:
            yield f"{name}_in", None if found is None else found - at
        elif name in BEHIND:
            yield f"{name}_ago", None if found is None else at - found
        elif isinstance(found, CommandGiven):  # the command that has ended
            yield from _flat(found, found.at)
        else:
            yield name, _as_json(found)


def _as_json(value: Any) -> Any:
    """Return what JSON has a word for."""
    if isinstance(value, Partition | Queue):
        return one_line(str(value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return one_line(value)
    return [_as_json(each) for each in value] if value.__class__ is tuple else value


# -- where they go -----------------------------------------------------------------------------------------------------------------------

log = logging.getLogger("holdgate")

# What a person should see without having asked.
_WARNINGS = (
    CircuitOpened,
    HandlerStuck,
    HoldContinued,
    SourceBlocked,
    MessageSkipped,
    LocalCauseSuspected,
    LocalCauseFound,
    OutageSuspected,
    FleetLogFellSilent,
)

Observer = Callable[[AnyEvent], object]


def _is_of_many(event: AnyEvent) -> TypeGuard[HandlerStuck | MessageSkipped]:
    """Return whether one such event is like the next: a handler that hangs, a message that the policy skips."""
    return isinstance(event, HandlerStuck) or (isinstance(event, MessageSkipped) and not event.by_operator)


def _write(line: Line) -> None:
    log.log(line.level, "%s", one_line(line.text), extra=fields_of(line.of))


class Announcer:
    """Hands every event to the log, the spans, each observer and the control plane, in order.

    One that raises is logged, and called again the next time.
    """

    def __init__(
        self,
        observers: Iterable[Observer],
        outages: Outages,
        folding: Folding,
        spans: AttemptSpans | None = None,
        control: ControlPlane | None = None,
    ) -> None:
        self._outages = outages
        self._folding = folding
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
        for event in events:
            self._write_folded(event)
            if isinstance(event, CircuitOpened):
                self._folding.drop(event.name)  # the line of the outage counts them
            if isinstance(event, LimitBegan | LimitMoved):
                self._outages.tell_later(event, _write)
        told = [event for event in events if not _is_of_many(event) and not isinstance(event, LimitBegan | LimitMoved)]
        for line in self._outages.tell(told, words, asides=log.isEnabledFor(logging.DEBUG)):
            _write(line)
        for event in events:
            for observer in self._observers:
                self._hand_to(observer, event)

    def _write_folded(self, event: AnyEvent) -> None:
        """Write an event of which a hang, or a policy that skips, brings one for each message."""
        if not _is_of_many(event):
            return
        level, line = words(event)
        name = event.source.name
        what = "handler has not ended" if isinstance(event, HandlerStuck) else "message was skipped"
        several = "handlers have not ended" if isinstance(event, HandlerStuck) else "messages were skipped"
        self._folding.write(
            (type(event).__name__, name, ""),
            line,
            lambda count, within: f"{name}: {many(count, f'more {what}', f'more {several}')} within {within}, the last: {line}",
            level=level,
            extra=fields_of([event]),
        )

    def _hand_to(self, observer: Observer, event: AnyEvent) -> None:
        try:
            observer(event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - somebody else's code: whatever it raises is its own affair
            # Its name and no more: the repr of a partial shows its arguments, a webhook's address for one.
            name = getattr(observer, "__qualname__", type(observer).__qualname__)
            log.warning("observer %s raised %s on %s", name, type(error).__name__, type(event).__name__)
