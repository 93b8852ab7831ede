"""Looks on while a fleet works: counts, keeps the trace, and notes what never must happen.

It sees every circuit and every call from outside, and reads the log by itself (reading.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from holdgate.core import State
from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitReset, Event
from holdgate.core.guidance import Guidance, Phase
from holdgate.core.states import Reason
from holdgate.fleet.settings import FleetSettings
from holdgate_lab.fleet.clock import Schedule
from holdgate_lab.fleet.dependency import ModelDependency
from holdgate_lab.together.log import SharedLog
from holdgate_lab.together.reading import LogReader
from holdgate_lab.together.scenario import NAME, Together
from holdgate_lab.together.worker import TogetherWorker

# A broken rule is often broken by everything that follows.
_MOST = 20
# How far back somebody else's failure may lie when a worker opens for the fleet: the span of pooled failures, and the way of a record.
_RECENT = 2.0
# Who was sick until less than so long before the end may still be waiting.
_COMES_BACK = 60.0


class Moment(NamedTuple):
    """One change of one circuit: when, whose, its new state, and why it opened."""

    at: float
    worker: int
    state: State
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule that was broken at second `at`, and how."""

    at: float
    rule: str
    words: str


class TogetherWatch:
    """Who looks on. `workers` are those of the run, by number."""

    def __init__(
        self, scenario: Together, schedule: Schedule, log: SharedLog, workers: Mapping[int, TogetherWorker], service: ModelDependency
    ) -> None:
        self.violations: list[BrokenRule] = []
        self.trace: list[Moment] = []
        self.failed = self.failed_after = self.good = 0
        self.fleet_openings = self.probes = self.probes_at_once = self.overshoot = self.peak_in_flight = 0
        self.opened: set[int] = set()
        self._scenario = scenario
        self._schedule = schedule
        self._workers = workers
        self._service = service
        self._probing: set[TogetherWorker] = set()
        self._failures: deque[tuple[float, int]] = deque()
        self._breached: set[TogetherWorker] = set()  # opened by their own calls in a ramp of the fleet, with no good call since
        self._own_open: set[int] = set()  # whose circuits have opened by their own calls, and not closed since
        self._epochs: dict[TogetherWorker, int] = {}
        self._conducting: dict[int, set[int]] = {}
        self._closed_at: float | None = 0.0
        self.reader = LogReader(NAME)
        log.watchers.append(self._read)

    def finish(self) -> None:
        """The run is over: everything must be well again."""
        scenario, now = self._scenario, self._schedule.now
        for epoch, writers in self.reader.writers.items():
            if len(writers) > 1 and not scenario.hostile:  # a hostile writer writes what it likes
                self._complain("one conductor", f"{len(writers)} workers give verdicts in epoch {epoch}")
        spared = {*scenario.idle, *(number for number, _, until in scenario.sick if until > now - _COMES_BACK)}
        for worker in self._workers.values():
            if worker.is_alive and worker.number not in spared and worker.circuit.state is not State.CLOSED:
                words = f"worker {worker.number} is {worker.circuit.state.name} {now - scenario.healed:g} s after the last fault"
                self._complain("progress", words)

    # -- calls ------------------------------------------------------------------------------------------------------------------------

    def admitted(self, worker: TogetherWorker) -> None:
        """A call has begun."""
        circuit = worker.circuit
        is_guided = _is_ramping(worker)
        if circuit.is_probing and not is_guided:
            self.probes += 1
            self._probing.add(worker)
            if not self._is_called_freely():
                self.probes_at_once = max(self.probes_at_once, len(self._probing))
        if self._schedule.now >= self._scenario.back_at:
            self.peak_in_flight = max(self.peak_in_flight, self._service.inside)
        if is_guided and worker.name == NAME:
            self._look_at_limit()

    def _is_called_freely(self) -> bool:
        """Return whether some worker makes as many calls as it has messages. Beside these a probe is one call of many."""
        at_work = (worker for worker in self._workers.values() if worker.is_alive and worker.number not in self._scenario.idle)
        return any(worker.name == NAME and worker.circuit.state is State.CLOSED for worker in at_work)

    def ended(self, worker: TogetherWorker, good: bool, began: float) -> None:
        """A call has ended that began then."""
        now = self._schedule.now
        self._probing.discard(worker)
        if worker.name != NAME:
            return
        self.good += good
        self.failed += not good
        self.failed_after += not good and began >= self._scenario.back_at
        if good:
            self._breached.discard(worker)
        else:
            self._failures.append((now, worker.number))

    def _look_at_limit(self) -> None:
        guided = [worker for worker in self._workers.values() if worker.is_alive and worker.name == NAME and _is_ramping(worker)]
        self.overshoot = max(self.overshoot, sum(worker.in_flight for worker in guided) - self._fleet_limit())

    # -- circuits ---------------------------------------------------------------------------------------------------------------------

    def moved(self, worker: TogetherWorker, event: Event) -> None:
        """A circuit has changed."""
        if isinstance(event, CircuitOpened):
            self._opened(worker, event)
        elif isinstance(event, CircuitClosed):
            if worker in self._breached:
                self._complain(
                    "keeps open", f"worker {worker.number} is closed, and its own last calls have opened its circuit in the ramp"
                )
            self._own_open.discard(worker.number)
            self._note(worker, State.CLOSED, None)
        elif isinstance(event, CircuitHalfOpened):
            self._note(worker, State.HALF_OPEN, None)
        elif isinstance(event, CircuitReset):
            self._note(worker, State.CLOSED, None)

    def _opened(self, worker: TogetherWorker, event: CircuitOpened) -> None:
        self.opened.add(worker.number)
        if event.reason is not Reason.FLEET:
            self._own_open.add(worker.number)
        self._note(worker, State.OPEN, event.reason)
        if event.reason is not Reason.FLEET:
            if event.previous is State.HALF_OPEN and _is_ramping(worker):
                self._breached.add(worker)
            return
        if worker.name == NAME and event.previous is State.CLOSED and not self._is_agreed():
            self._look_at_quorum(f"worker {worker.number} opens for the fleet")

    def _is_agreed(self) -> bool:
        verdicts = self.reader.verdicts
        return bool(verdicts) and verdicts[-1].phase != "up"

    def _read(self, data: bytes) -> None:
        was_agreed = self._is_agreed()
        self.reader.read(data, self._schedule.now)
        if self._is_agreed() and not was_agreed:
            self.fleet_openings += 1
            if not self._scenario.hostile:  # whoever may write verdicts needs no quorum
                self._look_at_quorum("the fleet opens")

    def _look_at_quorum(self, words: str) -> None:
        since = self._schedule.now - _RECENT - self._slowest()
        failing = {number for at, number in self._failures if at >= since} | self._own_open
        if len(failing) < FleetSettings().quorum:
            self._complain("quorum", f"{words}, and {len(failing)} workers have failed lately or have opened")

    def _note(self, worker: TogetherWorker, state: State, reason: Reason | None) -> None:
        now = self._schedule.now
        self.trace.append(Moment(now, worker.number, state, reason))
        if worker.name != NAME:
            return
        if all(each.circuit.state is State.CLOSED for each in self._workers.values() if each.is_alive and each.name == NAME):
            self._closed_at = now
        else:
            self._closed_at = None

    def closed_after(self) -> float | None:
        """Return how long after the last fault all circuits were closed for good."""
        return None if self._closed_at is None else max(0.0, self._closed_at - self._scenario.healed)

    # -- the fleet --------------------------------------------------------------------------------------------------------------------

    def guided(self, worker: TogetherWorker, guidance: Guidance) -> None:
        """The fleet has told a circuit how to go."""
        if worker.name != NAME or guidance.phase is Phase.LOCAL:
            return
        before = self._epochs.get(worker, 0)
        if guidance.epoch < before:
            self._complain("epoch", f"worker {worker.number} goes by epoch {guidance.epoch} after {before}")
        self._epochs[worker] = guidance.epoch
        if guidance.phase is Phase.PROBE:
            conducting = self._conducting.setdefault(guidance.epoch, set())
            conducting.add(worker.number)
            if len(conducting) > 1:
                self._complain("one conductor", f"workers {sorted(conducting)} ask for all in epoch {guidance.epoch}")

    def conductor(self) -> int | None:
        """Return who conducts now. None: nobody does, or it is gone."""
        holder = self.reader.conductor
        return next((worker.number for worker in self._workers.values() if worker.me == holder and worker.is_alive), None)

    def _fleet_limit(self) -> int:
        # Who has begun under a higher limit goes on: a lower one counts when the last of these calls can have ended.
        return self.reader.limit_since(self._schedule.now - self._service.spec.timeout - self._slowest())

    def _slowest(self) -> float:
        """How old what a worker reads may be at most, beside the usual hops."""
        faults, end = self._scenario.log_faults, self._scenario.seconds
        spans = [2 * fault.seconds for fault in faults if fault.kind == "slow"]
        spans += [min(fault.until, end) - fault.at for fault in faults if fault.kind in {"cut", "refuse"}]
        spans += [happening.seconds for happening in self._scenario.happenings if happening.kind == "freeze"]
        late = 10.0 if any(fault.kind == "late" for fault in faults) else 0.0
        return 2 * self._scenario.hop[1] + sum(spans) + late

    def _complain(self, rule: str, words: str) -> None:
        if len(self.violations) < _MOST:
            self.violations.append(BrokenRule(self._schedule.now, rule, words))


def _is_ramping(worker: TogetherWorker) -> bool:
    guidance = worker.guidance
    return guidance is not None and guidance.phase is Phase.RAMP and worker.circuit.state is State.HALF_OPEN
