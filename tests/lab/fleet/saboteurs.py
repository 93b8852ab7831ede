"""Workers that each break one invariant on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from holdgate.core import Circuit, CircuitSettings, Permit, Rejected, State
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.gate import gates_of
from holdgate.flow.policy import Needs
from holdgate.flow.state import Assignment, Run
from holdgate_lab.fleet.parcel import Parcel
from holdgate_lab.fleet.scenario import DependencySpec, Scenario
from holdgate_lab.fleet.strategy import Strategy
from holdgate_lab.fleet.topic_reader import TopicReader
from holdgate_lab.fleet.worker import Worker
from holdgate_lab.fleet.world import World


class CommitsTooEarly(Worker):
    """Settles a message when its handler begins."""

    def _start(self, parcel: Parcel) -> None:
        super()._start(parcel)
        self.acknowledge(parcel)
        for reader in self.readers:
            if isinstance(reader, TopicReader):
                reader._commit()


class CommitsBackwards(Worker):
    """Commits where it began, again, whenever a handler has ended."""

    def done(self, parcel: Parcel) -> None:
        super().done(parcel)
        for reader in self.readers:
            if isinstance(reader, TopicReader):
                reader._commit()
                self.world.group.commit(reader.member, reader._generation, dict.fromkeys(reader._assigned, 0))


class WorksTwice(Worker):
    """Begins again what it has just finished."""

    def done(self, parcel: Parcel) -> None:
        super().done(parcel)
        parcel.permits = None
        self._start(parcel)


class ForgetsOrder(Worker):
    """Puts what a poll has brought into its inboxes backwards."""

    def receive(self, run: Run, parcels: Sequence[Parcel]) -> None:
        super().receive(run, list(reversed(parcels)))


class CommitsTooLate(Worker):
    """Gives its partitions back without a last commit."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        for reader in self.readers:
            if isinstance(reader, TopicReader):
                reader._commit = lambda: True  # type: ignore[method-assign]


class NeverPauses(Worker):
    """Reads on though its inboxes are full."""

    def _apply(self, reader: Any) -> None:
        reader.want_poll()


class ForgetsTime(Worker):
    """Has no timer: what waits for time waits for ever."""

    def _arm(self, now: float) -> None:
        pass


class LeavesWhileHeld(Worker):
    """Leaves the group when a circuit opens, as a crash loop does."""

    def _heard(self, event: Any) -> None:
        super()._heard(event)
        if type(event).__name__ == "CircuitOpened":
            for reader in self.readers:
                reader.lose()


class NeverGivesBack(Worker):
    """Does not hear when the group wants its partitions back."""

    def hear(self) -> None:
        if not self.engine.runs or all(run.assignments for run in self.engine.runs):
            return
        super().hear()


class IsNotToldOfLosses(Worker):
    """Goes on with what an eviction has taken away."""

    def lost(self, run: Run, sources: Any) -> None:
        pass


class WorksWhileHeld(Worker):
    """Takes messages of a held source from its inbox."""

    def turn(self) -> None:
        super().turn()
        places: list[Assignment] = [place for run in self.engine.runs for place in run.assignments.values() if place.plan.held]
        for place in places:
            parcel = place.inbox.take()
            if isinstance(parcel, Parcel):
                self._start(parcel)

    def done(self, parcel: Parcel) -> None:
        pass

    def settle(self, parcel: Parcel, error: Exception | None, *, timed_out: bool = False) -> None:
        if parcel.permits is not None:
            super().settle(parcel, error, timed_out=timed_out)


class HasNoMercy(Worker):
    """Charges every failure to the message, as a consumer with a plain retry limit does."""

    def settle(self, parcel: Parcel, error: Exception | None, *, timed_out: bool = False) -> None:
        for gate, permit in zip(gates_of(parcel), parcel.permits or (), strict=False):
            gate.circuit.release(permit, self.now)
        parcel.permits = ()
        place: Assignment = parcel.assignment
        gates, place.gates = place.gates, ()
        cause = Cause.RETURNED if error is None else Cause.MESSAGE
        verdict = self.engine.settle(parcel, Attribution((), cause), type(error).__name__, self.now)
        place.gates = gates
        if verdict.name == "DONE":
            self.acknowledge(parcel)
        elif verdict.name == "REJECT":
            self._send_letter(parcel)


# -- circuits -------------------------------------------------------------------------------------------------------------------------


class Unlimited(Circuit):
    """Admits in half-open whoever comes."""

    def try_acquire(self, now: float, weight: int = 1) -> Permit | Rejected:
        answer = super().try_acquire(now, weight)
        if isinstance(answer, Rejected) and self.state is State.HALF_OPEN and self._half_open is not None:
            self._half_open.ramp.in_flight -= weight
            answer = super().try_acquire(now, weight)
            self._half_open.ramp.in_flight += weight
        return answer

    def may_acquire(self, now: float) -> bool:
        return super().may_acquire(now) or self.state is State.HALF_OPEN

    @property
    def free_slots(self) -> int | None:
        return None if self.state is State.HALF_OPEN else super().free_slots


class Jumping(Circuit):
    """Goes to the full rate after the first probe."""

    def _follow(self, half_open: Any, step: Any, now: float) -> None:
        if self.state is State.HALF_OPEN and not half_open.ramp.is_probing and step.breach is None:
            half_open.ramp.limit = max(half_open.ramp.limit, 8 * half_open.ramp.full)
        super()._follow(half_open, step, now)


class Hasty(Circuit):
    """Closes after the first good stage, at whatever limit."""

    def _follow(self, half_open: Any, step: Any, now: float) -> None:
        is_probing = half_open.ramp.is_probing or half_open.ramp.limit == 1
        super()._follow(half_open, step if is_probing or step.breach is not None else replace(step, recovered=True), now)


class Keeping(Circuit):
    """Takes no permit back that was not used."""

    def release(self, permit: Permit, now: float) -> None:
        pass


class Leaking(Circuit):
    """Admits calls while it is open."""

    def try_acquire(self, now: float, weight: int = 1) -> Permit | Rejected:
        answer = super().try_acquire(now, weight)
        if isinstance(answer, Permit) or self.state is not State.OPEN:
            return answer
        permit = Permit()
        permit.generation, permit.acquired_at, permit.weight, permit.standing = self.generation, now, weight, 0
        return permit

    def may_acquire(self, now: float) -> bool:
        return True


def with_circuit(kind: type[Circuit]) -> Callable[[World, int, Strategy, int], Worker]:
    """A worker with circuits of this kind."""

    class Sabotaged(Strategy):
        def circuit(self, spec: DependencySpec, draw: Callable[[], float]) -> Circuit:
            settings: CircuitSettings = spec.circuit
            return kind(spec.name, settings, draw=draw)

    return lambda world, number, _strategy, life: Worker(world, number, Sabotaged(), life)


def needs_everything(world: World, number: int, _strategy: Strategy, life: int) -> Worker:
    """A worker whose consumer has one breaker for all that it calls."""

    class Everything(Strategy):
        def topic_run(self, scenario: Scenario) -> Run:
            run = super().topic_run(scenario)
            run.needs = Needs([spec.name for spec in scenario.dependencies])
            return run

    return Worker(world, number, Everything(), life)
