"""The lanes of a simulated worker: handlers begin, end, are interrupted, and what the engine says is done.

What the runtime's guard, worker and lanes do, in the same order, with acts on the virtual clock in the place of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from holdgate.flow.attribution import attribute
from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.engine import Engine
from holdgate.flow.events import AnyEvent
from holdgate.flow.gate import gates_of
from holdgate.flow.message import Delivery, Partition, Settlement, Source
from holdgate.flow.policy import Verdict
from holdgate.flow.state import Assignment, Run
from holdgate.simulator.fleet.attempt import Attempt
from holdgate.simulator.fleet.circuit_record import CircuitRecord
from holdgate.simulator.fleet.hearing import hear
from holdgate.simulator.fleet.life import Life
from holdgate.simulator.fleet.parcel import Parcel
from holdgate.simulator.fleet.queue_reader import QueueReader
from holdgate.simulator.fleet.topic_reader import TopicReader

if TYPE_CHECKING:
    from holdgate.flow.gate import Gate
    from holdgate.simulator.fleet.dependency import ModelDependency
    from holdgate.simulator.fleet.strategy import Strategy
    from holdgate.simulator.fleet.world import World

# A turn settles in one or two rounds.
_ROUNDS = 16
# So many turns in one moment are a loop that never ends: a timer that is always due.
_TURNS_AT_ONCE = 10_000
# What confirming one dead letter takes where nothing else is said of their target, and what a fallback takes.
_LETTER = _FALLBACK = 0.005
_HALF = 0.5

AnyDelivery = Delivery[Any]
Reader = TopicReader | QueueReader


def parcels_of(delivery: AnyDelivery) -> Sequence[Parcel]:
    """The messages of a delivery: several if it is a batch."""
    return cast("list[Parcel]", delivery.message) if isinstance(delivery, Batch) else [cast("Parcel", delivery)]


class Lanes(Life):
    """One engine and all that runs for it."""

    def __init__(self, world: World, number: int, strategy: Strategy, life: int) -> None:
        super().__init__(world, number, life)
        self.engine: Engine = strategy.engine(self.draw)
        self.strategy = strategy
        self.readers: list[Reader] = []
        self.records: dict[Gate, CircuitRecord] = {}
        self.attempts: dict[AnyDelivery, Attempt] = {}
        self.fallbacks: set[AnyDelivery] = set()  # on their way, as are letters to the dead letters
        self.letters: set[Parcel] = set()
        self.full_before: dict[Gate, int] = {}  # where the ramp of each dependency ended at the last turn
        self._probing: set[Gate] = set()
        self._applied: dict[Run, int] = {}  # the version of each plan that its reader has
        self._armed_for: float | None = None
        self._turns: tuple[float, int] = (0.0, 0)
        self._stays = self.draw() < _HALF  # whether its lanes go on with the source they have: the fast path, or the ring of all sources
        for spec in world.scenario.dependencies:
            gate = self.engine.add_gate(strategy.circuit(spec, self.draw), probed=spec.probe)
            self.records[gate] = CircuitRecord(gate, world.witness.complain)
        self._judges = {gate: strategy.judge(gate.name) for gate in self.records}

    # -- time -------------------------------------------------------------------------------------------------------------------------

    def poll_takes(self) -> float:
        """Seconds until a poll brings what is there."""
        return 0.001 + 0.01 * self.draw()

    def turn(self) -> None:
        """Bring everything up to date: circuits, grants, plans, the timer."""
        now = self.now
        engine = self.engine
        self._count_turn(now)
        for _ in range(_ROUNDS):
            engine.turn(now)
            for reader in self.readers:
                self.hand_out(reader.run)
                self._apply(reader)
            if not engine.needs_turn:
                break
        for gate in engine.take_probes():
            self._probe(gate)
        events = engine.take_events()
        for event in events:
            self._heard(event)
        if events:
            self.full_before = {gate: self.full_of(gate) for gate in self.records}
        self._arm(now)

    def full_of(self, gate: Gate) -> int:
        """Where the ramp of a dependency ends: what may be in work at once that needs it."""
        return sum(run.capacity for run in self.engine.runs if gate.name in run.needs.names())

    def _heard(self, event: AnyEvent) -> None:
        hear(self, event)

    def _count_turn(self, now: float) -> None:
        at, count = self._turns
        self._turns = (now, count + 1 if at == now else 1)
        if self._turns[1] == _TURNS_AT_ONCE:
            self.world.witness.complain("liveness", f"{self.name} has taken {_TURNS_AT_ONCE} turns in one moment")
            self.is_alive = False

    def _apply(self, reader: Reader) -> None:
        if reader.run.plan.version != self._applied.get(reader.run):
            self._applied[reader.run] = reader.run.plan.version
            reader.apply(reader.run.plan)

    def _arm(self, now: float) -> None:
        deadline = self.engine.next_deadline()
        if deadline is None or (self._armed_for is not None and now < self._armed_for <= deadline):
            return
        self._armed_for = deadline
        self.world.schedule.at(deadline, lambda: self.act(lambda: self._on_time(deadline)))

    def _on_time(self, deadline: float) -> None:
        if self._armed_for == deadline:
            self._armed_for = None
            self.turn()

    def _turn_if_needed(self) -> None:
        if self.engine.needs_turn:
            self.turn()

    # -- handlers begin ---------------------------------------------------------------------------------------------------------------

    def receive(self, run: Run, parcels: Sequence[Parcel]) -> None:
        """A poll has brought these."""
        if run.order == "key":
            for parcel in parcels:
                parcel.order_key = parcel.facts.key
        self.engine.received(run, parcels if run.batch is None else batches_of(parcels))
        self.turn()

    def hand_out(self, run: Run) -> None:
        """Start whatever a free lane may start."""
        now = self.now
        while (delivery := self.engine.next(run, now)) is not None:
            trial = delivery.history
            if trial is not None and trial.falling_back:
                self._fall_back(delivery)
            elif trial is not None and trial.reason is not None:
                self._send_letter(cast("Parcel", delivery))
            else:
                self._start(delivery)

    def _start(self, delivery: AnyDelivery) -> None:
        witness = self.world.witness
        assignment: Assignment = delivery.assignment
        if isinstance(delivery, Batch) and len(delivery) == 1:
            delivery = delivery.single()
        parcels = parcels_of(delivery)
        if assignment.plan.held:
            witness.complain("held", f"a handler begins on {assignment.source}, which is held by {', '.join(assignment.plan.reasons)}")
        witness.starts(parcels)
        generations = tuple(self.records[gate].starts(len(parcels)) for gate in gates_of(delivery))
        attempt = Attempt(self, delivery, parcels, generations)
        self.attempts[delivery] = attempt
        timeout = self.world.scenario.timeout
        if timeout is not None:
            self.later(timeout, lambda: self._time_out(attempt))
        attempt.begin()

    # -- handlers end -----------------------------------------------------------------------------------------------------------------

    def ended(self, attempt: Attempt, error: Exception | None, *, timed_out: bool = False) -> None:
        """A handler has ended; `error` None: it did its work."""
        delivery = attempt.delivery
        self._stop(attempt)
        if error is None:
            for parcel in attempt.parcels:
                self.world.witness.succeeded(parcel)
            self.strategy.succeeded(self, delivery)
        else:
            self.say(f"fails at {attempt}: {type(error).__name__} {error}")
            self.strategy.failed(self, delivery, error, timed_out=timed_out)
        self._something_ended()

    def done(self, delivery: AnyDelivery) -> None:
        """Its handler has returned: what the engine makes of it, and what follows it."""
        engine, now = self.engine, self.now
        assignment: Assignment = delivery.assignment
        if delivery.history is not None:
            self.settle(delivery, None)
            return
        if self._stays and assignment.direct is not None and not assignment.held:
            following = engine.pass_on(delivery, now)
            self.acknowledge(delivery)
        else:
            if engine.succeeded(delivery, now) is Verdict.DONE:
                self.acknowledge(delivery)
            if not self._stays:
                assignment.run.mark_ready(assignment)
            following = engine.follow(assignment, now) if self._stays else None
        if following is not None:
            self._start(following)
        elif not engine.needs_turn:
            self.hand_out(assignment.run)

    def settle(self, delivery: AnyDelivery, error: Exception | None, *, timed_out: bool = False, naive: bool = False) -> None:
        """Let the engine judge how the attempt ended, and do what it says. `naive`: nobody suspects an outage in it."""
        gates = gates_of(delivery)
        attribution = attribute([self._judges[gate] for gate in gates], None, error, self.now, timed_out=timed_out)
        if naive:
            attribution = replace(attribution, unclaimed="")
        verdict = self.engine.settle(delivery, attribution, type(error).__name__, self.now)
        if verdict is Verdict.DONE:
            self.acknowledge(delivery)
        elif verdict is Verdict.REJECT:
            self._send_letter(cast("Parcel", delivery))

    def acknowledge(self, delivery: AnyDelivery, settlement: Settlement = Settlement.ACK) -> None:
        """Tell the broker."""
        kind = TopicReader if isinstance(delivery.source, Partition) else QueueReader
        reader = next(reader for reader in self.readers if isinstance(reader, kind))
        for parcel in parcels_of(delivery):
            reader.settle(parcel, settlement)

    def interrupt(self, assignments: Collection[Assignment]) -> None:
        """Cancel what runs for these places: no verdict."""
        for attempt in [attempt for delivery, attempt in self.attempts.items() if delivery.assignment in assignments]:
            self._stop(attempt)
            self.engine.interrupted(attempt.delivery, self.now)
        for delivery in [delivery for delivery in self.fallbacks if delivery.assignment in assignments]:
            self.fallbacks.remove(delivery)
            self.engine.interrupted(delivery, self.now)
        self._turn_if_needed()

    def lost(self, run: Run, sources: Collection[Source]) -> None:
        """These sources are gone without a word."""
        self.interrupt(self.engine.forget(run, sources, self.now))
        self.turn()

    def works_for(self, assignments: Collection[Assignment]) -> bool:
        """Whether a handler or a fallback runs for one of these places, or a dead letter of theirs is on its way."""
        return any(delivery.assignment in assignments for delivery in (*self.attempts, *self.fallbacks, *self.letters))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing runs."""
        return not (self.attempts or self.fallbacks or self.letters)

    def _time_out(self, attempt: Attempt) -> None:
        if not attempt.is_over:
            self.ended(attempt, TimeoutError(), timed_out=True)

    def _stop(self, attempt: Attempt) -> None:
        attempt.is_over = True
        del self.attempts[attempt.delivery]
        for gate, generation in zip(gates_of(attempt.delivery), attempt.generations, strict=False):
            self.records[gate].stopped(generation, len(attempt.parcels))
        for parcel in attempt.parcels:
            self.world.witness.stopped(parcel)

    def _something_ended(self) -> None:
        self._turn_if_needed()
        if any(reader.giving_back and reader.have_ended() for reader in self.readers):
            self._turn_if_needed()
        if self.is_quiet:
            for gate, record in self.records.items():
                if gate not in self._probing:
                    record.look_for_leaks()

    # -- beside handlers: fallbacks, dead letters, probes -----------------------------------------------------------------------------

    def _fall_back(self, delivery: AnyDelivery) -> None:
        if not any(gate.is_open for gate in gates_of(delivery)):
            self.world.witness.complain("fallback", f"the fallback of {delivery.source} runs, and nothing that it needs is open")
        self.fallbacks.add(delivery)
        self.later(_FALLBACK, lambda: self._fell_back(delivery))

    def _fell_back(self, delivery: AnyDelivery) -> None:
        if delivery not in self.fallbacks:
            return
        self.fallbacks.remove(delivery)
        if self.draw() < self.strategy.failing_fallbacks:
            self.engine.fallback_failed(delivery, self.now)
        else:
            for parcel in parcels_of(delivery):
                self.world.witness.succeeded(parcel)
            if self.engine.fell_back(delivery, self.now) is Verdict.DONE:
                self.acknowledge(delivery)
        self._something_ended()

    def _send_letter(self, parcel: Parcel) -> None:
        if not self.world.scenario.dead_letters:  # only a queue comes here without: its broker puts it aside
            if self.engine.rejected(parcel, self.now) is Verdict.DONE:
                self.acknowledge(parcel, Settlement.REJECT)
            return
        self.letters.add(parcel)
        target = self.world.letter_target
        if target is None:
            self.later(_LETTER, lambda: self._letter_ended(parcel, is_good=True))
        else:
            self._call_aside(target, lambda is_good: self._letter_ended(parcel, is_good=is_good))

    def _letter_ended(self, parcel: Parcel, *, is_good: bool) -> None:
        self.letters.discard(parcel)
        if not is_good:
            self.engine.reject_failed(parcel, self.now)
        else:
            self.world.witness.buried(parcel)
            if self.engine.rejected(parcel, self.now) is Verdict.DONE:
                self.acknowledge(parcel)
        self._something_ended()

    def _probe(self, gate: Gate) -> None:
        self._probing.add(gate)
        self._call_aside(self.world.dependencies[gate.name], lambda is_good: self._probed(gate, is_good=is_good))

    def _probed(self, gate: Gate, *, is_good: bool) -> None:
        self._probing.discard(gate)
        self.engine.probe_ended(gate, is_good, self.now)
        self.turn()

    def _call_aside(self, dependency: ModelDependency, ended: Callable[[bool], None]) -> None:
        """A call that is no message's."""
        answer = dependency.call(self.now)
        patience = dependency.spec.timeout
        is_good = answer.good and answer.seconds <= patience
        if answer.occupies:
            self.world.schedule.after(answer.seconds, dependency.leave)
        self.later(min(answer.seconds, patience), lambda: ended(is_good))
