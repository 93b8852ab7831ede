"""Outages that nobody described: their failures are charged to nobody, and their handler's sources are held until a message succeeds.

Which dependency is down nobody knows, so there is no circuit to open. What begins with the verdict of unclaimed.py is a hold with messages
as probes: those that have failed come again after the policy's backoff, as ever, and beside them one fresh message at a time does, at
growing distances. Without a fresh one a few bad messages that came together would hold everything behind them for ever. The first success
ends it: what waited for time goes on at once, as far as lanes go.

In an outage that takes some calls and not all, success and hold take turns. That is said once a minute and not each time, and messages keep
their backoffs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.blame import trial_of
from holdgate.flow.events import FlowEvent, OutageOver, OutageSuspected
from holdgate.flow.message import Delivery
from holdgate.flow.state import Assignment, Run
from holdgate.flow.unclaimed import RunResults, UnclaimedType
from holdgate.flow.waiting import WaitingList

# As for a source that is blocked (reminders.py): in any log excerpt that somebody looks at.
_EVERY = 60.0


class Suspicion:
    """One handler's sources are held."""

    __slots__ = ("fresh", "kind", "run", "since", "successes", "told")

    def __init__(self, run: Run, results: RunResults, kind: UnclaimedType, now: float) -> None:
        self.run = run
        self.kind = kind
        self.since = now
        self.successes = results.successes  # one more, and it is over
        self.fresh = 0  # how many messages that had not failed were tried
        self.told = False


class Suspicions:
    """Begins and ends these holds, for all runs of one engine. `draw` spreads the probes."""

    def __init__(self, waiting: WaitingList, draw: Callable[[], float]) -> None:
        self._waiting = waiting
        self._draw = draw
        self._standing: dict[RunResults, Suspicion] = {}
        self._told_at: dict[RunResults, float] = {}

    def failed(self, delivery: Delivery[Any], attribution: Attribution, now: float) -> bool:
        """An attempt ended like this. True when it is no fault of the message though no need claims it."""
        assignment: Assignment = delivery.assignment
        assignment.results.claimed += attribution.cause is Cause.DEPENDENCY
        if not attribution.unclaimed:
            return False
        before = bool(delivery.redelivered)
        kind = assignment.results.failed(trial_of(delivery), attribution.unclaimed, assignment.run.retry.conviction, redelivered=before)
        if kind is None:
            return False
        if assignment.results not in self._standing and kind.evidence >= assignment.run.retry.conviction:
            self._begin(assignment.run, assignment.results, kind, now)
        return True

    def look(self, runs: Iterable[Run], now: float) -> list[FlowEvent]:
        """End what is over, send fresh messages as probes, and say what has to be said by now."""
        events: list[FlowEvent] = []
        for results, suspicion in list(self._standing.items()):
            if suspicion.run not in runs:
                del self._standing[results]
                self._told_at.pop(results, None)
            elif results.successes > suspicion.successes:
                events += self._end(results, suspicion, now)
            else:
                if results.next_try <= now:
                    self._try_fresh(results, suspicion, now)
                events += self._tell(results, suspicion, now)
        return events

    def next_deadline(self) -> float | None:
        """When one of them has to be looked at again; None while there is none."""
        times = [min(results.next_try, self._told_at.get(results, -_EVERY) + _EVERY) for results in self._standing]
        return min(times, default=None)

    def _begin(self, run: Run, results: RunResults, kind: UnclaimedType, now: float) -> None:
        suspicion = self._standing[results] = Suspicion(run, results, kind, now)
        self._plan_fresh(results, suspicion, now)
        results.suspected = True
        for assignment in _places(run, results):
            assignment.touch()

    def _end(self, results: RunResults, suspicion: Suspicion, now: float) -> Iterator[FlowEvent]:
        del self._standing[results]
        results.suspected = False
        assignments = list(_places(suspicion.run, results))
        for assignment in assignments:
            assignment.touch()
        if suspicion.told:  # not each time that success and hold take turns: backoffs would mean nothing any more
            self._waiting.end_waits_of(assignments)
            yield OutageOver(now, tuple(assignment.source for assignment in assignments), suspicion.kind.error, now - suspicion.since)

    def _tell(self, results: RunResults, suspicion: Suspicion, now: float) -> Iterator[FlowEvent]:
        told_at = self._told_at.get(results)
        if told_at is None or told_at + _EVERY <= now:
            self._told_at[results] = now
            suspicion.told = True
            kind = suspicion.kind
            sources = tuple(assignment.source for assignment in _places(suspicion.run, results))
            yield OutageSuspected(now, sources, kind.error, kind.messages, kind.messages + kind.others, suspicion.since)

    def _try_fresh(self, results: RunResults, suspicion: Suspicion, now: float) -> None:
        """One message that has not been tried yet, of the next source that has one to give; none while the one before waits."""
        self._plan_fresh(results, suspicion, now)
        assignments = [assignment for assignment in _places(suspicion.run, results) if not assignment.stopped]
        if any(assignment.fresh_heads for assignment in assignments):
            return
        first = suspicion.fresh % len(assignments) if assignments else 0
        for assignment in assignments[first:] + assignments[:first]:
            delivery = assignment.inbox.take()
            if delivery is not None:
                if assignment.full:
                    assignment.make_room()
                self._waiting.add(delivery, assignment.gates)
                assignment.touch()  # with nothing left to try, more is fetched
                return

    def _plan_fresh(self, results: RunResults, suspicion: Suspicion, now: float) -> None:
        suspicion.fresh += 1
        results.next_try = now + suspicion.run.retry.wait(suspicion.fresh, self._draw())


def _places(run: Run, results: RunResults) -> Iterator[Assignment]:
    return (assignment for assignment in run.assignments.values() if assignment.results is results and not assignment.closing)
