"""One simulated worker: an Engine, its readers, and lanes that cost nothing.

It does what the runtime's guard, worker and lanes do, in the same order, with acts on the virtual clock in the place of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import TYPE_CHECKING, cast

from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, LimitChanged
from holdgate.flow.attribution import attribute
from holdgate.flow.delivery import Settlement
from holdgate.flow.engine import Engine
from holdgate.flow.events import AnyEvent, SourceBlocked, SourceHeld, SourceReleased
from holdgate.flow.fate import Verdict
from holdgate.flow.place import Place, Run
from holdgate.flow.sources import Source
from holdgate.flow.verdicts import gates_of
from holdgate.simulator.fleet.attempt import Attempt, Judging
from holdgate.simulator.fleet.circuit_record import CircuitRecord
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
# What confirming one dead letter takes where nothing else is said of their target.
_LETTER = 0.005
_HALF = 0.5

Reader = TopicReader | QueueReader


class Worker:
    """Worker `number` of the fleet, from its start to its end. `strategy` says how it treats failures."""

    def __init__(self, world: World, number: int, strategy: Strategy, life: int) -> None:
        self.world = world
        self.name = f"worker {number}"
        self.number = number
        self.is_alive = True
        self.was_frozen = False  # and may have missed what the group has asked of it
        self.draw = Random(f"{world.seed}/{number}/{life}").random
        self.engine: Engine = strategy.engine(self.draw)
        self.strategy = strategy
        self.records: dict[Gate, CircuitRecord] = {}
        self.attempts: dict[Parcel, Attempt] = {}
        self.letters: set[Parcel] = set()  # on their way to the dead letters
        self.readers: list[Reader] = []
        self._applied: dict[Run, int] = {}  # the version of each plan that its reader has
        self._deferred: list[Callable[[], None]] | None = None  # what happens while it is frozen
        self._armed_for: float | None = None
        self._turns: tuple[float, int] = (0.0, 0)
        self._is_draining = False
        self._stays = self.draw() < _HALF  # whether its lanes go on with the source they have: the fast path, or the ring of all sources
        for spec in world.scenario.dependencies:
            gate = self.engine.add_gate(strategy.circuit(spec, self.draw), probed=spec.probe)
            self.records[gate] = CircuitRecord(gate, world.witness.complain)
        self._judges = {gate: Judging(gate.name) for gate in self.records}
        self._add_readers()

    def _add_readers(self) -> None:
        scenario = self.world.scenario
        if scenario.topics:
            self.readers.append(TopicReader(self, self._add_run(self.strategy.topic_run(scenario))))
        if scenario.queues:
            self.readers.append(QueueReader(self, self._add_run(self.strategy.queue_run(scenario))))

    def _add_run(self, run: Run) -> Run:
        self.engine.add_run(run)
        return run

    # -- its life ---------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the readers."""
        self.say("starts")
        for reader in self.readers:
            reader.open()

    def leave(self) -> None:
        """Drain and end."""
        self.say("drains")
        self._is_draining = True
        for reader in self.readers:
            self.engine.drain(reader.run, self.now)
        self.turn()
        self.later(self.world.scenario.drain_timeout, self._lose_patience)
        self._look_for_end()

    def kill(self) -> None:
        """Be gone: nothing of it acts any more."""
        self.say("is killed")
        self.is_alive = False
        for reader in self.readers:
            if isinstance(reader, QueueReader):
                reader.break_channels()

    def freeze(self, seconds: float) -> None:
        """Do nothing for so long."""
        self.say(f"is frozen for {seconds:g} s")
        self._deferred = []
        self.was_frozen = True
        self.world.schedule.after(seconds, self._thaw)

    def drop(self) -> None:
        """Lose every connection."""
        self.say("loses its connections")
        for reader in self.readers:
            reader.lose()

    def lose_queues(self) -> None:
        """The broker closes the channels of a worker that was silent for too long; it finds out when it goes on."""
        for reader in self.readers:
            if isinstance(reader, QueueReader):
                reader.break_channels()
                self.act(reader.lose)

    def hear(self) -> None:
        """The group has changed."""
        for reader in self.readers:
            reader.hear()

    def look_for_messages(self) -> None:
        """Something may have come in."""
        for reader in self.readers:
            reader.want_poll()

    @property
    def is_frozen(self) -> bool:
        """Whether it does nothing now, and will go on."""
        return self._deferred is not None

    def _thaw(self) -> None:
        deferred, self._deferred = self._deferred, None
        if self.is_alive and deferred is not None:
            self.say("goes on")
            for act in deferred:
                self.act(act)

    def _lose_patience(self) -> None:
        if self._is_draining:
            self.interrupt({attempt.parcel.place for attempt in self.attempts.values()})
            self._end()

    def _look_for_end(self) -> None:
        if self._is_draining and not self.attempts and not self.letters:
            self._end()

    def _end(self) -> None:
        self._is_draining = False
        for reader in self.readers:
            self.engine.remove_run(reader.run, self.now)
            reader.close()
        self.is_alive = False
        self.say("has ended")

    # -- time -------------------------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The second."""
        return self.world.schedule.now

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something of this worker's after so many seconds, unless it is dead by then."""
        self.world.schedule.after(seconds, lambda: self.act(act))

    def act(self, act: Callable[[], None]) -> None:
        """Do it now, or when the worker is no longer frozen, or never when it is dead."""
        if not self.is_alive:
            return
        if self._deferred is not None:
            self._deferred.append(act)
            return
        act()

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
            if not engine.restless:
                break
        for gate in engine.take_probes():
            self._probe(gate)
        for event in engine.take_events():
            self._heard(event)
        self._arm(now)

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

    # -- messages ---------------------------------------------------------------------------------------------------------------------

    def receive(self, run: Run, parcels: Sequence[Parcel]) -> None:
        """A poll has brought these."""
        if run.order == "key":
            for parcel in parcels:
                parcel.order_key = parcel.facts.key
        self.engine.received(run, parcels)
        self.turn()

    def calls_of(self, parcel: Parcel) -> Sequence[ModelDependency]:
        """The dependencies that its handler calls, in order."""
        return self.world.needs[parcel.source.name]

    def fails_at_once(self, parcel: Parcel) -> bool:
        """Whether its first call fails because of what it is."""
        return parcel.facts.is_poison and self.world.traffic[parcel.source.name].spec.poison_as == "dependency"

    def works_for(self, places: Collection[Place]) -> bool:
        """Whether a handler runs for one of these places, or a dead letter of theirs is on its way."""
        return any(parcel.place in places for parcel in (*self.attempts, *self.letters))

    def interrupt(self, places: Collection[Place]) -> None:
        """Cancel what runs for these places: no verdict."""
        for attempt in [attempt for parcel, attempt in self.attempts.items() if parcel.place in places]:
            self._stop(attempt)
            self.engine.interrupted(attempt.parcel, self.now)
        self._turn_if_needed()

    def lost(self, run: Run, sources: Collection[Source]) -> None:
        """These sources are gone without a word."""
        self.interrupt(self.engine.forget(run, sources, self.now))
        self.turn()

    def hand_out(self, run: Run) -> None:
        """Start whatever a free lane may start."""
        now = self.now
        while (delivery := self.engine.next(run, now)) is not None:
            parcel = cast("Parcel", delivery)
            if parcel.trial is not None and parcel.trial.reason is not None:
                self._send_letter(parcel)
            else:
                self._start(parcel)

    def _start(self, parcel: Parcel) -> None:
        witness = self.world.witness
        place: Place = parcel.place
        if place.plan.held:
            witness.complain("held", f"a handler begins on {parcel.source}, which is held by {', '.join(place.plan.reasons)}")
        witness.starts(parcel)
        gates = gates_of(parcel)
        attempt = Attempt(self, parcel, tuple(self.records[gate].starts() for gate in gates))
        self.attempts[parcel] = attempt
        timeout = self.world.scenario.timeout
        if timeout is not None:
            self.later(timeout, lambda: self._time_out(attempt))
        attempt.begin()

    def _time_out(self, attempt: Attempt) -> None:
        if not attempt.is_over:
            self.ended(attempt, TimeoutError(), timed_out=True)

    def _stop(self, attempt: Attempt) -> None:
        attempt.is_over = True
        parcel = attempt.parcel
        del self.attempts[parcel]
        for gate, generation in zip(gates_of(parcel), attempt.generations, strict=False):
            self.records[gate].stopped(generation)
        self.world.witness.stopped(parcel)

    def ended(self, attempt: Attempt, error: Exception | None, *, timed_out: bool = False) -> None:
        """A handler has ended; `error` None: it did its work."""
        parcel = attempt.parcel
        self._stop(attempt)
        if error is None:
            self.world.witness.succeeded(parcel)
            self.strategy.succeeded(self, parcel)
        else:
            self.say(f"fails at {parcel.source}@{parcel.place_in_source}: {type(error).__name__} {error}")
            self.strategy.failed(self, parcel, error, timed_out=timed_out)
        self._turn_if_needed()
        if any(reader.giving_back and reader.have_ended() for reader in self.readers):
            self._turn_if_needed()
        self._look_for_end()

    def done(self, parcel: Parcel) -> None:
        """Its handler has returned: what the engine makes of it, and what follows it."""
        engine, now = self.engine, self.now
        place: Place = parcel.place
        if parcel.trial is not None:
            self.settle(parcel, None)
            return
        if self._stays and place.direct is not None and not place.held:
            following = engine.pass_on(parcel, now)
            self.acknowledge(parcel)
        else:
            if engine.succeeded(parcel, now) is Verdict.DONE:
                self.acknowledge(parcel)
            if not self._stays:
                place.run.offer(place)
            following = engine.follow(place, now) if self._stays else None
        if following is not None:
            self._start(cast("Parcel", following))
        elif not engine.restless:
            self.hand_out(place.run)

    def settle(self, parcel: Parcel, error: Exception | None, *, timed_out: bool = False) -> None:
        """Let the engine judge how the attempt ended, and do what it says."""
        gates = gates_of(parcel)
        attribution = attribute([self._judges[gate] for gate in gates], None, error, self.now, timed_out=timed_out)
        verdict = self.engine.settle(parcel, attribution, type(error).__name__, self.now)
        if verdict is Verdict.DONE:
            self.acknowledge(parcel)
        elif verdict is Verdict.REJECT:
            self._send_letter(parcel)

    def acknowledge(self, parcel: Parcel, settlement: Settlement = Settlement.ACK) -> None:
        """Tell the broker."""
        self.reader_of(parcel).settle(parcel, settlement)

    def reader_of(self, parcel: Parcel) -> Reader:
        """Who has brought it."""
        return next(reader for reader in self.readers if reader.run is parcel.place.run)

    def _turn_if_needed(self) -> None:
        if self.engine.restless:
            self.turn()

    # -- dead letters -----------------------------------------------------------------------------------------------------------------

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
        self._turn_if_needed()
        if any(reader.giving_back and reader.have_ended() for reader in self.readers):
            self._turn_if_needed()
        self._look_for_end()

    def _probe(self, gate: Gate) -> None:
        self._call_aside(self.world.dependencies[gate.name], lambda is_good: self._probed(gate, is_good=is_good))

    def _probed(self, gate: Gate, *, is_good: bool) -> None:
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

    # -- the story --------------------------------------------------------------------------------------------------------------------

    def say(self, words: str) -> None:
        """Tell what this worker does."""
        self.world.witness.say(f"{self.name} {words}")

    def _heard(self, event: AnyEvent) -> None:
        witness = self.world.witness
        if isinstance(event, LimitChanged):
            circuit = self.engine.gates[event.name].circuit
            full = sum(run.capacity for run in self.engine.runs if event.name in run.needs.names())
            self.records[self.engine.gates[event.name]].moved(event, circuit.settings.ramp, full)
            self.say(f"lets {event.limit} through to {event.name} at a time, after {event.previous}")
        elif isinstance(event, SourceHeld):
            self._look_at_reasons(event)
            self.say(f"holds {event.source}: {', '.join(event.reasons)}")
        elif isinstance(event, SourceReleased):
            self.say(f"holds {event.source} no longer")
        elif isinstance(event, SourceBlocked):
            witness.say(f"{self.name}: {event.source} waits behind {event.position}")
        elif isinstance(event, CircuitOpened):
            self.say(f"opens {event.name} until {event.until:.3f} s: {event.reason}")
        elif isinstance(event, CircuitHalfOpened):
            self.say(f"probes {event.name}")
        elif isinstance(event, CircuitClosed):
            self.say(f"closes {event.name}")

    def _look_at_reasons(self, event: SourceHeld) -> None:
        needs = {f"circuit:{name}" for name in self.world.traffic[event.source.name].spec.needs}
        foreign = [reason for reason in event.reasons if reason.startswith("circuit:") and reason not in needs]
        if foreign:
            self.world.witness.complain("isolation", f"{event.source} is held by {', '.join(foreign)}, which it does not need")
