"""A small world: workers with circuits, a dependency that is up or down, and an ordered log with delays, all on one virtual clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from holdgate.core import Circuit, CircuitSettings, Outcome, Permit, State
from holdgate.fleet import FleetMember, FleetSettings
from holdgate.fleet.records import Lead, decode

NAME = "payments"


@dataclass
class Worker:
    """One worker: a member, a circuit, and calls as often as its circuit lets it."""

    name: str
    member: FleetMember
    circuit: Circuit
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
        worker = Worker(
            name, member, Circuit(NAME, now=self.now + offset, draw=random.Random(self.chance.random()).random), self.every, offset
        )
        worker.circuit.set_full(self.full, self.now + offset)
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
        circuit = worker.circuit
        permit = circuit.try_acquire(self.now + worker.clock_offset) if worker.backlog else None
        if isinstance(permit, Permit):
            good = not (self.down(self.now) or worker.sick or self.chance.random() < self.failure_rate)
            if circuit.state is State.HALF_OPEN:
                self.watch()
            self.at(self.now + self.took, lambda: self.ended(worker, permit, good))

    def ended(self, worker: Worker, permit: Permit, good: bool) -> None:
        if self.is_off(worker, lambda: self.ended(worker, permit, good)):
            return
        worker.circuit.record(permit, Outcome.SUCCESS if good else Outcome.FAILURE, self.now + worker.clock_offset)
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
        circuit.advance(now)
        facts = circuit.own_facts(now)
        if member.watches(NAME) or facts.in_a_row or facts.state is not State.CLOSED:
            circuit.guide(member.look(NAME, facts, worker.backlog, self.full, now), now)
        records = member.take_records(now)
        if records and not worker.cut and not self.log_is_dead:
            self.append(records)
        if records and member.watches(NAME):  # what it has said may have changed what it is to do
            circuit.guide(member.look(NAME, circuit.own_facts(now), worker.backlog, self.full, now), now)
        due = min((at for at in (member.next_deadline(), circuit.next_deadline()) if at is not None), default=None)
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

    @property
    def probes(self) -> int:
        return sum(worker.circuit.read_totals().probes_failed + worker.circuit.read_totals().probes_succeeded for worker in self.workers)

    def watch(self) -> None:
        half_open = [worker.circuit for worker in self.workers if worker.circuit.state is State.HALF_OPEN and worker.alive]
        probing = sum(circuit.is_probing and bool(circuit.live) for circuit in half_open)
        self.result.most_probes = max(self.result.most_probes, probing)
        busy = sum(len(circuit.live) for circuit in half_open if circuit.has_share)
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
