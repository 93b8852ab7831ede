"""A small world: workers with model circuits, a dependency that is up or down, and an ordered log with delays, all on one virtual clock.

The circuit here is a model of what core's does with guidance, in forty lines, so that the fold is judged by itself. The simulator of the
laboratory plays the real ones.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from holdgate.core.guidance import Guidance, OwnFacts, Phase
from holdgate.core.settings import CircuitSettings
from holdgate.core.states import Reason, State
from holdgate.fleet import FleetMember, FleetSettings
from holdgate.fleet.records import Lead, decode

NAME = "payments"


class ModelCircuit:
    """What a circuit does with guidance, and by itself: five failures in a row open, a probe after the wait, and a ramp of doubling limits."""

    def __init__(self, full: int) -> None:
        self.full = full
        self.state = State.CLOSED
        self.by_fleet = False
        self.guidance = Guidance(Phase.LOCAL)
        self.limit = full
        self.in_a_row = self.failed = self.succeeded = self.probes_failed = self.probes_succeeded = 0
        self.last_good: float | None = None
        self.generation = self.in_flight = 0
        self.stage = self.good = self.bad = 0
        self.until = self.since = 0.0
        self.is_probe = False
        self.own_good = 0

    def guide(self, guidance: Guidance, now: float) -> None:
        self.guidance = guidance
        match guidance.phase:
            case Phase.WAIT | Phase.PROBE:
                if self.state is State.CLOSED or (guidance.phase is Phase.WAIT and self.state is State.HALF_OPEN):
                    self.open(now, by_fleet=True)
            case Phase.RAMP:
                if self.state is not State.HALF_OPEN and not (self.state is State.OPEN and not self.by_fleet and self.stage == guidance.stage):
                    self.swap(State.HALF_OPEN)
                    self.is_probe = False
                self.limit = guidance.limit
                if guidance.stage != self.stage:
                    self.stage, self.good, self.bad = guidance.stage, 0, 0
            case Phase.UP:
                if self.state is not State.CLOSED and (self.by_fleet or self.state is State.HALF_OPEN):
                    self.close()
            case Phase.LOCAL:
                self.stage = 0

    def swap(self, state: State) -> None:
        self.state = state
        self.generation += 1
        self.in_flight = 0

    def open(self, now: float, *, by_fleet: bool = False) -> None:
        if self.state is State.CLOSED:
            self.since = now
        self.swap(State.OPEN)
        self.by_fleet = by_fleet
        self.until = now + max(3.5, 0.1 * (now - self.since))

    def close(self) -> None:
        self.swap(State.CLOSED)
        self.in_a_row = 0

    def lapse(self, now: float) -> None:
        if now >= self.guidance.until:
            self.guide(Guidance(Phase.LOCAL), now)

    def admits(self, now: float) -> bool:
        self.lapse(now)
        phase = self.guidance.phase
        at = min(self.until, self.since + self.guidance.wait_at_most) if phase is Phase.PROBE else self.until
        if self.state is State.OPEN and now >= at and phase in {Phase.PROBE, Phase.LOCAL, Phase.UP}:
            self.swap(State.HALF_OPEN)
            self.limit, self.is_probe, self.own_good = 1, True, 0
        if self.state is State.OPEN:
            return False
        return self.in_flight < (self.full if self.state is State.CLOSED else self.limit)

    def begin(self) -> tuple[int, int]:
        self.in_flight += 1
        return self.generation, self.stage

    def end(self, ticket: tuple[int, int], good: bool, now: float) -> None:
        generation, stage = ticket
        self.failed += not good
        self.succeeded += good
        if generation != self.generation:
            return
        self.in_flight -= 1
        self.in_a_row = 0 if good else self.in_a_row + 1
        if good:
            self.last_good = now
        if self.state is State.HALF_OPEN:
            self.half_open(stage, good, now)
        elif self.in_a_row >= 5:
            self.open(now)

    def half_open(self, stage: int, good: bool, now: float) -> None:
        if self.is_probe:
            self.is_probe = False
            self.probes_succeeded += good
            self.probes_failed += not good
            if not good:
                self.open(now)
            return
        if self.guidance.phase is Phase.RAMP:
            if stage == self.stage:
                self.good += good
                self.bad += not good
            if self.in_a_row >= 3:
                self.open(now)
        elif not good:
            self.open(now)
        else:
            self.own_good += 1
            if self.own_good >= max(3, self.limit):
                self.own_good = 0
                if self.limit >= self.full:
                    self.close()
                self.limit = min(self.full, 2 * self.limit)

    def facts(self) -> OwnFacts:
        is_open = self.state is not State.CLOSED
        return OwnFacts(
            state=self.state,
            override=None,
            in_a_row=self.in_a_row,
            failed=self.failed,
            succeeded=self.succeeded,
            last_good=self.last_good,
            opened_by=(None if self.by_fleet else Reason.CONSECUTIVE_FAILURES) if is_open else None,
            probes_failed=self.probes_failed,
            probes_succeeded=self.probes_succeeded,
            stage=self.stage,
            stage_good=self.good,
            stage_bad=self.bad,
            in_flight=self.in_flight,
        )


@dataclass
class Worker:
    """One worker: a member, a circuit, and calls as often as its circuit lets it."""

    name: str
    member: FleetMember
    circuit: ModelCircuit
    every: float
    clock_offset: float = 0.0
    backlog: bool = True
    alive: bool = True
    frozen_until: float = 0.0
    cut: bool = False  # from the log
    sick: bool = False
    inbox: list[bytes] = field(default_factory=list)
    turn_at: float = -1.0


@dataclass
class Tallied:
    """What a run came to."""

    failed: int = 0
    failed_after: int = 0
    probes: int = 0
    most_probes: int = 0
    most_over: int = 0
    records: list[tuple[float, int]] = field(default_factory=list)
    opened: int = 0
    closed_at: float | None = None


class World:
    """The clock, the log, the dependency and the workers."""

    def __init__(
        self,
        size: int = 20,
        *,
        seed: int = 1,
        every: float = 0.1,
        full: int = 1,
        took: float = 0.02,
        hop: tuple[float, float] = (0.005, 0.05),
        down: Callable[[float], bool] = lambda _now: False,
        failure_rate: float = 0.0,
        fleet: FleetSettings | None = None,
        offsets: bool = False,
    ) -> None:
        self.now = 0.0
        self.chance = random.Random(seed)
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.log: list[tuple[float, bytes]] = []
        self.log_is_dead = False
        self.late: Callable[[float], float] = lambda _now: 0.0
        self.down = down
        self.failure_rate = failure_rate
        self.took, self.hop = took, hop
        self.result = Tallied()
        self.fleet = fleet or FleetSettings()
        self.workers: list[Worker] = []
        self.every, self.full, self.offsets = every, full, offsets
        self.reads_at: dict[str, float] = {}
        self.limit = 0
        for _ in range(size):
            self.join()

    def join(self) -> Worker:
        name = f"{self.chance.getrandbits(48):012x}"
        offset = self.chance.uniform(-3600, 3600) if self.offsets else 0.0
        member = FleetMember(name, self.fleet, random.Random(self.chance.random()).random)
        worker = Worker(name, member, ModelCircuit(self.full), self.every, offset)
        member.add(NAME, CircuitSettings(), self.now + offset)
        self.workers.append(worker)
        start = self.now
        history = [data for at, data in self.log if at >= start - 30]
        member.heard(history, self.now + offset)
        self.at(self.now, lambda: self.turn(worker))
        for _ in range(self.full):
            self.at(self.now + self.every * self.chance.random(), lambda: self.call(worker))
        return worker

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (when, next(self.order), what))

    def run(self, until: float) -> None:
        while self.queue and self.queue[0][0] <= until:
            self.now, _, what = heapq.heappop(self.queue)
            what()
        self.now = until

    # -- A worker ------------------------------------------------------------------------------------------------------------------

    def is_off(self, worker: Worker, what: Callable[[], None]) -> bool:
        if not worker.alive:
            return True
        if self.now < worker.frozen_until:
            self.at(worker.frozen_until, what)
            return True
        return False

    def call(self, worker: Worker) -> None:
        if self.is_off(worker, lambda: self.call(worker)):
            return
        self.at(self.now + worker.every * self.chance.uniform(0.9, 1.1), lambda: self.call(worker))
        if worker.backlog and worker.circuit.admits(self.now + worker.clock_offset):
            ticket = worker.circuit.begin()
            is_probe = worker.circuit.state is State.HALF_OPEN and worker.circuit.is_probe
            self.result.probes += is_probe
            good = not (self.down(self.now) or worker.sick or self.chance.random() < self.failure_rate)
            if worker.circuit.state is State.HALF_OPEN:
                self.watch()
            self.at(self.now + self.took, lambda: self.ended(worker, ticket, good))

    def ended(self, worker: Worker, ticket: tuple[int, int], good: bool) -> None:
        if self.is_off(worker, lambda: self.ended(worker, ticket, good)):
            return
        worker.circuit.end(ticket, good, self.now + worker.clock_offset)
        self.result.failed += not good
        self.result.failed_after += not good and not self.down(self.now)
        if not good or worker.member.watches(NAME):
            self.turn(worker)

    def turn(self, worker: Worker) -> None:
        if self.is_off(worker, lambda: self.turn(worker)):
            return
        now = self.now + worker.clock_offset
        member, circuit = worker.member, worker.circuit
        if worker.inbox:
            entries, worker.inbox = worker.inbox, []
            member.heard(entries, now)
        circuit.lapse(now)
        if member.watches(NAME) or circuit.in_a_row:
            before = circuit.state
            circuit.guide(member.look(NAME, circuit.facts(), worker.backlog, self.full, now), now)
            self.result.opened += before is State.CLOSED and circuit.state is State.OPEN
        records = member.take_records(now)
        if records and not worker.cut and not self.log_is_dead:
            self.append(records)
        if member.watches(NAME):
            circuit.guide(member.look(NAME, circuit.facts(), worker.backlog, self.full, now), now)
        due = member.next_deadline()
        if due is not None:
            at = max(self.now + 0.001, due - worker.clock_offset)
            worker.turn_at = at
            self.at(at, lambda: self.turn(worker) if worker.turn_at == at else None)

    # -- The log -------------------------------------------------------------------------------------------------------------------

    def append(self, records: list[bytes]) -> None:
        self.at(self.now + self.chance.uniform(*self.hop) / 2 + self.late(self.now), lambda: self.arrived(records))

    def arrived(self, records: list[bytes]) -> None:
        for data in records:
            assert len(data) <= 1024
            self.log.append((self.now, data))
            self.result.records.append((self.now, len(data)))
            said = self.said(data)
            if isinstance(said, Lead):
                self.limit = said.limit if said.phase == "ramp" else 0
        for worker in self.workers:
            if not worker.cut:
                at = max(self.reads_at.get(worker.name, 0.0), self.now + self.chance.uniform(*self.hop) / 2 + self.late(self.now))
                self.reads_at[worker.name] = at
                self.at(at, lambda worker=worker: self.deliver(worker, records))

    def deliver(self, worker: Worker, records: list[bytes]) -> None:
        worker.inbox.extend(records)
        self.turn(worker)

    # -- Readings ------------------------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        half_open = [worker.circuit for worker in self.workers if worker.circuit.state is State.HALF_OPEN and worker.alive]
        probing = sum(circuit.is_probe and circuit.in_flight > 0 for circuit in half_open)
        self.result.most_probes = max(self.result.most_probes, probing)
        busy = sum(circuit.in_flight for circuit in half_open if circuit.guidance.phase is Phase.RAMP)
        if self.limit and busy:
            self.result.most_over = max(self.result.most_over, busy - self.limit)

    def said(self, data: bytes) -> object:
        record = decode(self.fleet.name, data)
        return None if record is None else record.said

    def all_closed(self) -> bool:
        return all(w.circuit.state is State.CLOSED for w in self.workers if w.alive)

    def run_until_closed(self, until: float, step: float = 0.1) -> float | None:
        while self.now < until:
            self.run(self.now + step)
            if self.all_closed():
                return self.now
        return None
