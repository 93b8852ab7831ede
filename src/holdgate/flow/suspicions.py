"""Outages that no need describes: nobody is charged for their failures, and their handler's sources are held until a message succeeds.

Nothing shows which dependency is down, so there is no circuit to open. The verdict of unclaimed.py begins a hold with messages as probes.
Those that have failed come again after the policy's backoff, as ever. Beside them one message at a time that was never tried starts, at
growing distances: without it, a few bad messages that came together would hold everything behind them for ever. The first success ends the
hold, and what waited for time goes on immediately, as far as there are lanes.

In an outage that takes some calls and not all, success and hold take turns. That is announced once a minute and not each time, and messages
keep their backoffs.

Where each message has its own needs, the messages that need the same are suspected together, and nothing is held: the others of the source
have nothing to do with it. They come again after their backoffs, and it is announced all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from math import inf

from holdgate.flow.attribution import Attribution
from holdgate.flow.blame import history_of
from holdgate.flow.events import FlowEvent, OutageOver, OutageSuspected
from holdgate.flow.gate import gates_of
from holdgate.flow.message import AnyDelivery, Source
from holdgate.flow.state import Assignment, Run
from holdgate.flow.unclaimed import RunResults, UnclaimedType
from holdgate.flow.waiting import WaitingList

# As often as for a source that is blocked (reminders.py): so that any log excerpt has one.
_EVERY = 60.0


class Suspicion:
    """A hold of one handler's sources. `needs` are those of the messages that fail, where each has its own: then nothing is held, and
    `sources` are those that such a message came from. None means that the sources are held."""

    __slots__ = ("announced", "kind", "needs", "probes", "run", "since", "sources", "successes")

    def __init__(self, run: Run, results: RunResults, kind: UnclaimedType, now: float, needs: tuple[str, ...] | None) -> None:
        self.run = run
        self.kind = kind
        self.needs = needs
        self.sources: dict[Source, None] = {}  # a set that keeps its order
        self.since = now
        self.successes = results.successes  # one more, and it is over
        self.probes = 0  # how many messages that were never tried before have been or are to be
        self.announced = False


class Suspicions:
    """Begins and ends these holds, for all runs of one engine. `draw` spreads the probes."""

    def __init__(self, runs: Collection[Run], waiting: WaitingList, draw: Callable[[], float]) -> None:
        self._runs = runs
        self._waiting = waiting
        self._draw = draw
        self.pending: dict[RunResults, Suspicion] = {}
        self._announced_at: dict[RunResults, float] = {}

    def failed(self, delivery: AnyDelivery, attribution: Attribution, now: float) -> bool:
        """Note a failure that no need claims; True if that is no fault of the message."""
        assignment: Assignment = delivery.assignment
        results = assignment.results_of(delivery)
        before = bool(delivery.redelivered)
        conviction = assignment.run.retry.conviction
        kind = results.failed(history_of(delivery), attribution, conviction, now, redelivered=before)
        if kind is None:
            return False
        if results not in self.pending and kind.evidence >= results.enough(conviction):
            self._begin(delivery, results, kind, now)
        if assignment.by_message and results in self.pending:
            self.pending[results].sources[assignment.source] = None
        return True

    def look(self, now: float) -> list[FlowEvent]:
        """End the holds that are over, start messages as probes, and return what is to be announced by now."""
        events: list[FlowEvent] = []
        for results, suspicion in list(self.pending.items()):
            if suspicion.run not in self._runs:
                del self.pending[results]
                self._announced_at.pop(results, None)
            elif results.successes > suspicion.successes:
                events += self._end(results, suspicion, now)
            else:
                if results.next_try <= now:
                    self._try_another(results, suspicion, now)
                events += self._announce(results, suspicion, now)
        return events

    def next_deadline(self) -> float | None:
        """Return when one of them has to be looked at again; None means that there is none."""
        times = [min(results.next_try, self._announced_at.get(results, -_EVERY) + _EVERY) for results in self.pending]
        return min(times, default=None)

    def _begin(self, delivery: AnyDelivery, results: RunResults, kind: UnclaimedType, now: float) -> None:
        run: Run = delivery.assignment.run
        if delivery.assignment.by_message:
            needs = tuple(gate.name for gate in delivery.needs.gates)
            self.pending[results] = Suspicion(run, results, kind, now, needs)
            results.next_try = inf
            return
        suspicion = self.pending[results] = Suspicion(run, results, kind, now, None)
        self._plan_next(results, suspicion, now)
        results.suspected = True
        for assignment in _assignments(run, results):
            assignment.recompute()

    def _end(self, results: RunResults, suspicion: Suspicion, now: float) -> Iterator[FlowEvent]:
        del self.pending[results]
        results.suspected = False
        for assignment in _assignments(suspicion.run, results):
            assignment.recompute()
        if suspicion.announced:  # not each time that success and hold take turns: backoffs would mean nothing any more
            self._waiting.end_backoffs_of(results)
            yield OutageOver(now, _sources(suspicion, results), suspicion.kind.error, now - suspicion.since)

    def _announce(self, results: RunResults, suspicion: Suspicion, now: float) -> Iterator[FlowEvent]:
        announced_at = self._announced_at.get(results)
        if announced_at is None or announced_at + _EVERY <= now:
            self._announced_at[results] = now
            sources = tuple(source for source in _sources(suspicion, results) if source in suspicion.run.assignments)
            if not sources:  # another worker has them now, and says it
                return
            suspicion.announced = True
            kind = suspicion.kind
            of = kind.messages + kind.others
            yield OutageSuspected(
                now,
                sources,
                kind.error,
                kind.messages,
                of,
                suspicion.since,
                status=kind.status,
                is_bug=kind.is_bug,
                began=kind.began,
                needs=suspicion.needs,
            )

    def _try_another(self, results: RunResults, suspicion: Suspicion, now: float) -> None:
        """Let one message that was never tried wait for a lane, of the next source that has one; none while the one before waits."""
        self._plan_next(results, suspicion, now)
        assignments = [assignment for assignment in _assignments(suspicion.run, results) if not assignment.stopped]
        if any(assignment.unstarted for assignment in assignments):
            return
        first = suspicion.probes % len(assignments) if assignments else 0
        for assignment in assignments[first:] + assignments[:first]:
            delivery = assignment.inbox.take()
            if delivery is not None:
                if assignment.full:
                    assignment.make_room()
                self._waiting.add(delivery, gates_of(delivery))
                assignment.mark_dirty()  # with nothing left to try, more is fetched
                return

    def _plan_next(self, results: RunResults, suspicion: Suspicion, now: float) -> None:
        suspicion.probes += 1
        results.next_try = now + suspicion.run.retry.wait(suspicion.probes, self._draw())


def _assignments(run: Run, results: RunResults) -> Iterator[Assignment]:
    return (assignment for assignment in run.assignments.values() if assignment.results is results and not assignment.closing)


def _sources(suspicion: Suspicion, results: RunResults) -> tuple[Source, ...]:
    if suspicion.needs is None:
        return tuple(assignment.source for assignment in _assignments(suspicion.run, results))
    return tuple(suspicion.sources)
