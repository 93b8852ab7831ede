"""What the log says of an outage: it begins, it goes on, it is over. A story of few lines, made of many events.

Events say what happens to circuits and sources. A failed probe alone is five of them: half-open, released, threshold, open, held. Somebody
who reads at night asks something else: what is down, why, since when, how much waits, what happens next, and at the end what it has cost.
So this file keeps what the reader knows, and says what the reader does not know yet.

- *A circuit.* From its opening until it closes it is one outage. A probe that fails is one line, with the next try. The ramp is one line
  when it begins, and one for each cut. At the end there is one line with the length, the failed calls and what has waited.
- *A limit.* It is not an outage, and has a line when it is found, when it is another by much, and when it is over.
- *A source.* It is released for a moment while a probe runs, which nobody needs to know. `_known` has the reasons that the reader was given
  for each source, and `_actual` those of now. The two are compared after the events of a turn. A difference that a half-open circuit
  explains has no line: it ends when the circuit closes or opens.

Every event that has no line here is written at DEBUG, by its own text (log.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from holdgate.core.states import Override, Reason, State
from holdgate.events import (
    AnyEvent,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    HoldContinued,
    LimitBegan,
    LimitChanged,
    LimitEnded,
    LimitMoved,
    MessagesHeld,
    OverrideSet,
    SourceHeld,
    SourceReleased,
    ThresholdExceeded,
)
from holdgate.flow.limiting import per_time
from holdgate.flow.message import Source
from holdgate.flow.plan import CIRCUIT
from holdgate.runtime.wording import lasting, many, sources


class Line(NamedTuple):
    """One line: its level, what it says, and the events of which it tells."""

    level: int
    text: str
    of: tuple[AnyEvent, ...]


class _Lines(list[Line]):
    """The lines of one turn. `asides`: those at DEBUG are among them."""

    def __init__(self, words: Callable[[AnyEvent], tuple[int, str]], *, asides: bool) -> None:
        super().__init__()
        self._words = words
        self._asides = asides

    def aside(self, event: AnyEvent) -> None:
        """Add the line of an event at DEBUG, by its own text."""
        if self._asides:
            self.append(Line(logging.DEBUG, self._words(event)[1], (event,)))

    def tell_or_aside(self, event: AnyEvent, text: str | None) -> None:
        """Add this line of an event at INFO; None means aside."""
        if text is None:
            self.aside(event)
        else:
            self.append(Line(logging.INFO, text, (event,)))


_DRAINING = "draining"

_RATES = {Reason.FAILURE_RATE: "failed", Reason.SLOW_CALL_RATE: "were slow"}
# Rules that have no figure of their own.
_RULES = {
    Reason.OPEN_FOR: "the program asked to leave it alone",
    Reason.PERMIT_LEASE: "a call has not ended within permit_lease",
    Reason.SLOW_PROBE: "the probe was slow",
    Reason.FLEET: "the whole fleet waits for it",
}


def _next_try(event: CircuitOpened) -> str:
    """Return when it is tried again. After a probe that took long little is left of the wait, which began with the probe: then how far the
    two tries are apart says more than how soon the next one is."""
    if event.in_fleet:
        return "one worker tries for all"
    left = event.until - event.at
    took = 0.0 if event.asked is None else event.at - event.asked
    apart = f", {lasting(left + took)} after this one" if took > left else ""
    return f"next try in {lasting(left)}{apart}"


class OutageFacts(Protocol):
    """Knows what events do not say: how much waits at the broker, as of the last time that it was asked, and what a circuit has counted."""

    def waiting_for(self, dependency: str) -> tuple[int, bool]:
        """Return how many messages wait for this dependency, and whether that is all of them. If not, the broker may have more."""
        ...

    def ask_before(self, at: float) -> None:
        """Ask the brokers, so that the number is fresh at this monotonic second."""
        ...

    def ask(self, then: Callable[[], object]) -> None:
        """Ask the brokers, and call `then` when they have answered, or do not within seconds."""
        ...

    def failed_with(self, dependency: str, at: float) -> str | None:
        """Return what a call form has failed with last, and forget it. None means that none has failed since it was asked, or none that
        can have opened the circuit at this monotonic second."""
        ...

    def failures_of(self, dependency: str) -> int:
        """Return the failed calls in the window of a circuit, which keeps those that have opened it."""
        ...


class _Outage:
    """One outage of one dependency, as the reader knows it."""

    __slots__ = ("answered", "failures", "since", "trying", "waited", "waited_is_all")

    def __init__(self, since: float) -> None:
        self.since = since
        self.failures = 0  # failed calls: those that opened the circuit, and all since
        self.trying = False  # half-open
        self.answered = False  # the reader knows that a probe was good
        self.waited = 0  # the most that was seen
        self.waited_is_all = True


class Outages:
    """Turns the events of circuits and holds into the lines of outages. One for each guard. It does no I/O but what `facts` do."""

    def __init__(self, facts: OutageFacts) -> None:
        self._facts = facts
        self._outages: dict[str, _Outage] = {}
        self._throttled_with: dict[str, str] = {}  # what the last refusal of a dependency was that had too many calls
        self._last: dict[str, str] = {}  # what the last failed call of a dependency failed with
        self._known: dict[Source, tuple[str, ...]] = {}
        self._actual: dict[Source, tuple[str, ...]] = {}
        self._events: dict[Source, SourceHeld | SourceReleased] = {}  # the last of each

    def failed(self, dependency: str, kind: str) -> bool:
        """Count a failed call. Returns whether the reader knows that this dependency is down, so that the call needs no line."""
        self._last[dependency] = kind
        outage = self._outages.get(dependency)
        if outage is None:
            return False
        outage.failures += 1
        return True

    def throttled(self, dependency: str, kind: str) -> None:
        """Note with what a dependency has refused a call because there were too many."""
        self._throttled_with[dependency] = kind

    def is_down(self, dependency: str) -> bool:
        """Return whether the reader knows that it is down."""
        return dependency in self._outages

    def tell(self, events: Iterable[AnyEvent], words: Callable[[AnyEvent], tuple[int, str]], *, asides: bool = True) -> list[Line]:
        """Return the lines for the events of one turn, in order. `words` are those of an event by itself.

        `asides` False leaves out those at DEBUG: one line for each source, of which there may be ten thousand.
        """
        lines = _Lines(words, asides=asides)
        thresholds: dict[str, ThresholdExceeded] = {}
        over: list[tuple[CircuitClosed, _Outage]] = []
        continued: list[HoldContinued] = []
        partly: list[MessagesHeld] = []
        for event in events:
            match event:
                case ThresholdExceeded(observed=False):
                    thresholds[event.name] = event
                    lines.aside(event)
                case CircuitOpened():
                    lines.append(Line(logging.WARNING, self._opened(event, thresholds.get(event.name)), (event,)))
                case CircuitHalfOpened() | LimitChanged():
                    lines.tell_or_aside(event, self._half_open(event))
                case CircuitClosed() if event.name in self._outages:
                    over.append((event, self._outages.pop(event.name)))
                case SourceHeld() | SourceReleased():
                    self._note(event)
                    lines.aside(event)
                case HoldContinued():
                    continued.append(event)
                case MessagesHeld():
                    partly.append(event)
                case _:
                    lines.append(self._other(event, words))
        lines += self._ended(over)
        lines += self._differences()
        for _, group in groupby(partly, lambda event: event.dependencies):
            together = list(group)
            lines.append(Line(logging.INFO, partly_held(together), tuple(together)))
        lines += self._reminders(continued)
        return lines

    def tell_later(self, event: LimitBegan | LimitMoved, write: Callable[[Line], object]) -> None:
        """Write the line of a limit when the brokers have said how much waits: behind a limit nobody has asked them yet."""
        kind = self._throttled_with.get(event.dependency)
        self._facts.ask(lambda: write(Line(logging.INFO, self._limited(event, kind), (event,))))

    def _other(self, event: AnyEvent, words: Callable[[AnyEvent], tuple[int, str]]) -> Line:
        """Return the line of an event that is neither part of an outage nor of a hold."""
        if isinstance(event, LimitEnded):
            self._throttled_with.pop(event.dependency, None)
        self._operated(event)
        return Line(*words(event), (event,))

    # -- circuits ---------------------------------------------------------------------------------------------------------------------

    def _opened(self, event: CircuitOpened, threshold: ThresholdExceeded | None) -> str:
        name = event.name
        next_try = _next_try(event)
        # A call in a thread, or outside of handlers, opens the circuit before its attempt has ended, if it is part of one at all.
        failed_with = self._facts.failed_with(name, event.at)
        if failed_with is not None:
            self._last[name] = failed_with
        self._facts.ask_before(event.until)
        outage = self._outages.get(name)
        if outage is None:
            outage = self._outages[name] = _Outage(event.at)
            outage.failures = self._facts.failures_of(name)
            return f"{name} is down ({event.reason.value}): {self._why(event, threshold)}; {next_try}"
        state, answered = "down again" if outage.answered else "still down", outage.answered
        outage.trying = outage.answered = False
        why = f"{event.reason.value}: {self._why(event, threshold)}" if answered else self._probe(event)
        return f"{name} is {state} ({why}), {next_try}, {self._wait(name, outage)}; down for {lasting(event.at - outage.since)}"

    def _why(self, event: CircuitOpened, threshold: ThresholdExceeded | None) -> str:
        """Return in words which rule was met."""
        last = self._last.get(event.name)
        with_last = "" if last is None else f", the last with {last}"
        value, most = (0.0, 0.0) if threshold is None else (threshold.value, threshold.threshold)
        if event.reason in _RATES:
            return f"a share of {value:.2g} of its calls {_RATES[event.reason]}, {most:g} is too much{with_last}"
        if event.reason is Reason.CONSECUTIVE_FAILURES:
            return f"{value:g} calls in a row failed{with_last}"
        if event.reason is Reason.RETRY_AFTER:
            return "its server asked to be left alone" + ("" if last is None else f", with {last}")
        return _RULES.get(event.reason, f"the probe failed with {last}")

    def _probe(self, event: CircuitOpened) -> str:
        """Return how the probe ended: `probe: HTTPStatusError 503`."""
        last = self._last.get(event.name, "failed")
        match event.reason:
            case Reason.SLOW_PROBE:
                return "probe: it answered, too slowly"
            case Reason.PERMIT_LEASE:
                return "probe: no answer within permit_lease"
            case Reason.RETRY_AFTER:
                return f"probe: {last}, its server asked to be left alone"
            case Reason.OPEN_FOR:
                return "the program asked to leave it alone"
            case Reason.FLEET:
                return "fleet: all its workers wait for it"
            case _:
                return f"probe: {last}"

    def _half_open(self, event: CircuitHalfOpened | LimitChanged) -> str | None:
        """Return the line for a step of the way back. None means that the reader need not know."""
        outage = self._outages.get(event.name)
        if isinstance(event, CircuitHalfOpened):
            if outage is None:  # a forced opening has ended
                outage = self._outages[event.name] = _Outage(event.at)
            outage.trying = True
            return None if event.previous is State.OPEN else f"{event.name}: one call tries whether it answers"
        if outage is not None and 0 < event.limit < event.previous and not event.in_fleet:
            outage.answered = True
            return f"{event.name} fails in part: up to {event.limit} calls in parallel now, {event.previous} before"
        if outage is None or outage.answered or not event.limit:  # 0: in a fleet it is the turn of others
            return None
        outage.answered = True
        waits = self._wait(event.name, outage)
        return (
            f"{event.name} answers again after {lasting(event.at - outage.since)}: up to {many(event.limit, 'call')} in parallel now,"
            f" more as they succeed; {waits}"
        )

    def _limited(self, event: LimitBegan | LimitMoved, kind: str | None) -> str:
        """Return the line about a limit that was found: how much it lets through, how much waits, and how long that takes."""
        number, is_all = self._facts.waiting_for(event.dependency)
        waits = f"; {'' if is_all else 'at least '}{number:,} wait{'s' if number == 1 else ''}" if number else ""
        lasts = f", about {lasting(number / event.pace)}" if number and is_all and event.pace else ""
        return f"{limited(event)}{'' if kind is None else f' ({kind})'}{_asks(event)}{waits}{lasts}"

    def _wait(self, name: str, outage: _Outage) -> str:
        number, is_all = self._facts.waiting_for(name)
        if number >= outage.waited:
            outage.waited, outage.waited_is_all = number, is_all
        if not number and not is_all:
            return "none waits here"
        return f"{'' if is_all else 'at least '}{number:,} wait" + ("s" if number == 1 else "")

    def _ended(self, over: Iterable[tuple[CircuitClosed, _Outage]]) -> Iterator[Line]:
        for event, outage in over:
            self._wait(event.name, outage)
            is_known = outage.waited or outage.waited_is_all
            waited = (
                f"{'' if outage.waited_is_all else 'at least '}{many(outage.waited, 'message')} waited" if is_known else "none waited here"
            )
            freed = self._freed(event.name)
            goes_on = f"; no longer holding {sources(freed)}" if freed else ""
            failures = many(outage.failures, "call")
            lasted = lasting(event.at - outage.since)
            yield Line(logging.INFO, f"{event.name} is back after {lasted}: {failures} failed, {waited}{goes_on}", (event,))

    def _operated(self, event: AnyEvent) -> None:
        """Begin or end an outage without a line of its own: the event's own line says what an operator did."""
        if isinstance(event, OverrideSet) and event.override is Override.FORCED_OPEN:
            self._outages.setdefault(event.name, _Outage(event.at)).trying = False
        elif isinstance(event, CircuitReset | OverrideSet):
            self._outages.pop(event.name, None)

    # -- sources ----------------------------------------------------------------------------------------------------------------------

    def _note(self, event: SourceHeld | SourceReleased) -> None:
        self._events[event.source] = event
        if isinstance(event, SourceHeld):
            # The end has lines of its own.
            told = tuple(reason for reason in event.reasons if reason != _DRAINING) if _DRAINING in event.reasons else event.reasons
            self._actual[event.source] = told
        else:
            self._actual.pop(event.source, None)

    def _freed(self, name: str) -> list[Source]:
        """Take note that the reader knows which sources this circuit holds no longer, and return those that nothing holds any more."""
        reason = f"{CIRCUIT}{name}"
        for source in [source for source, reasons in self._actual.items() if reason in reasons]:
            # A closed circuit holds nothing: the source went away while it was held. If it comes back, its next hold is a new one.
            del self._actual[source]
            self._known.pop(source, None)
        held = [source for source, reasons in self._known.items() if reason in reasons]
        freed = [source for source in held if not self._actual.get(source) and not self._explains(source)]
        for source in freed:
            del self._known[source]
        return freed

    def _explains(self, source: Source) -> bool:
        return self._explains_that(self._actual.get(source, ()), self._known.get(source, ()))

    def _explains_that(self, reasons: tuple[str, ...], told: tuple[str, ...]) -> bool:
        """Return whether a probe under way explains why the reader knows of more reasons than there are.

        One that is over leaves the rest to the other: a source that needs both is free when both are over.
        """
        actual, known = set(reasons), set(told)
        gone = known - actual
        tried = {f"{CIRCUIT}{name}" for name, outage in self._outages.items() if outage.trying}
        return actual <= known and not gone.isdisjoint(tried) and all(reason.startswith(CIRCUIT) for reason in gone)

    def _differences(self) -> Iterator[Line]:
        """Yield what has become of sources, those with the same reasons together, and note that the reader knows it now."""
        changed = self._changed()
        holding = dict.fromkeys(source for source in changed if self._actual.get(source))
        freed = dict.fromkeys(source for source in changed if not self._actual.get(source))
        for _, group in groupby(holding, lambda source: (self._actual[source], why_all(self._events[source]))):
            events = tuple(self._events[source] for source in group)
            yield Line(logging.INFO, held(events, self._actual[events[0].source]), events)
        # Of the others nothing is left but that their run drains.
        released = [event for event in map(self._events.__getitem__, freed) if isinstance(event, SourceReleased)]
        if released:
            longest = max(event.held_for for event in released)
            freed_sources = sources(event.source for event in released)
            yield Line(logging.INFO, f"no longer holding {freed_sources}, held for {lasting(longest)}", tuple(released))
        for source in freed:
            self._known.pop(source, None)
        for source in holding:
            self._known[source] = self._actual[source]
        for source in [source for source, reasons in self._actual.items() if not reasons]:
            del self._actual[source]

    def _changed(self) -> list[Source]:
        """Return the sources whose present state the reader does not know, those that are held first.

        There may be ten thousand, of few kinds: whether a probe explains the difference is asked once for each kind.
        """
        explained: dict[tuple[tuple[str, ...], tuple[str, ...]], bool] = {}
        changed: list[Source] = []
        for source in (*self._actual, *self._known):
            kind = self._actual.get(source, ()), self._known.get(source, ())
            if kind[0] == kind[1]:
                continue
            if kind not in explained:
                explained[kind] = self._explains_that(*kind)
            if not explained[kind]:
                changed.append(source)
        return changed

    def _reminders(self, events: Iterable[HoldContinued]) -> Iterator[Line]:
        for (reasons, _), group in groupby(events, lambda event: (event.reasons, event.next_try)):
            together = list(group)
            yield Line(logging.WARNING, continued(together, reasons), tuple(together))


# Where each message has its own needs: why the others wait, too.
_WHY_ALL = {
    "": "",
    "order": '; order="source" keeps everything behind the first message: order="key" or "none" lets messages pass that need none of it',
    "held_span": "; the others wait, too, since held_span= lets no more of them pass",
    "memory": "; the others wait, too, since the messages that cannot go fill Guard(memory=)",
}


def why_all(event: AnyEvent) -> str:
    """Return why everything of a source waits although not all of it lacks something; empty if all does."""
    return _WHY_ALL[event.because] if isinstance(event, SourceHeld) else ""


def held(events: Sequence[AnyEvent], reasons: Iterable[str] | None = None) -> str:
    """Return the line about holds that begin, all for the same reasons. `reasons` None means those of the first."""
    several = [event for event in events if isinstance(event, SourceHeld)]
    known = several[0].reasons if reasons is None else reasons
    return f"holding {sources(event.source for event in several)}: {', '.join(known)}{why_all(several[0])}"


def limited(event: LimitBegan | LimitMoved) -> str:
    """Return how many calls a dependency lets through, by what was found."""
    observed = isinstance(event, LimitBegan) and event.observed
    given = ", the rate of its Limits," if event.why == "rate" and event.pace is not None else ""
    lets = f"{event.dependency} {'would let' if observed else 'lets'} {_many_calls(event.pace, event.width)}{given} through"
    if isinstance(event, LimitMoved):
        return f"{lets} now, {_many_calls(event.previous_pace, event.previous_width)} before"
    return f"{lets}; it is only observed" if observed else lets


def _asks(event: LimitBegan | LimitMoved) -> str:
    """Return when it is asked whether it takes calls again. Empty if it takes some."""
    if isinstance(event, LimitMoved) or event.width != 0:
        return ""
    return f", one message asks again{'' if event.until is None else f' in {lasting(event.until - event.at)}'}"


def _many_calls(pace: float | None, width: int | None) -> str:
    if pace is not None:
        return per_time(pace)
    if width is None:
        return "any number of calls"
    return f"{many(width, 'call')} in parallel" if width else "nothing"


def partly_held(events: Sequence[MessagesHeld]) -> str:
    """Return the line about sources of which some messages wait, all for the same dependencies."""
    names = " or ".join(events[0].dependencies)
    return f"{sources(event.source for event in events)}: messages that need {names} wait, and the others go on"


def continued(events: list[HoldContinued], reasons: Iterable[str]) -> str:
    """Return the line about holds that last, all for the same reasons."""
    first = events[0]
    since = min(event.since for event in events)
    wait = None if first.next_try is None else lasting(max(0.0, first.next_try - first.at))
    then = "nothing is planned that would end it" if wait is None else f"next try in {wait}"
    held = sources(event.source for event in events)
    return f"still holding {held} after {lasting(first.at - since)}: {', '.join(reasons)}; {then}"
