"""Workers that each break one invariant on purpose: the real guard, with one part of it, or of its intake, that does the wrong thing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from holdgate.core import Circuit, Permit, Rejected, State
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.gate import gates_of
from holdgate.flow.message import Delivery, Settlement
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.flow.policy import Verdict
from holdgate.flow.state import Assignment, Run
from holdgate.ports import IntakeListener
from holdgate_lab.fleet.brokers import FleetIntake
from holdgate_lab.fleet.environment import Environment
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.strategy import Handler, Strategy
from holdgate_lab.fleet.watched import FleetEngine
from holdgate_lab.fleet.worker import FleetWorker
from holdgate_lab.fleet.world import NewWorker


def side_of(intake: FleetIntake) -> Any:
    """The half of the intake that talks to its broker."""
    return intake._side


# -- handlers and settlements ---------------------------------------------------------------------------------------------------------


class CommitsTooEarly(FleetWorker):
    """Settles a message when its handler begins."""

    def handler(self) -> Handler:
        work = super().handler()

        async def early(delivery: Delivery[Any]) -> None:
            for intake in self.intakes:
                intake.settle(delivery, Settlement.ACK)
                side_of(intake).flush()
            await work(delivery)

        return early


class CommitsBackwards(FleetWorker):
    """Commits where it began, again, whenever a handler has ended."""

    def handler(self) -> Handler:
        work = super().handler()

        async def backwards(delivery: Delivery[Any]) -> None:
            await work(delivery)
            if self.topics is not None:
                side = side_of(self.topics)
                side.flush()
                side._group.commit(side.member, side._generation, dict.fromkeys(side._assigned, 0))

        return backwards


class WorksTwice(FleetWorker):
    """Begins again what it has just finished."""

    def handler(self) -> Handler:
        work = super().handler()

        async def twice(delivery: Delivery[Any]) -> None:
            await work(delivery)
            await work(delivery)

        return twice


# -- intakes --------------------------------------------------------------------------------------------------------------------------


class ForgetsOrder(FleetWorker):
    """Gives what a poll has brought backwards."""

    class intake_type(FleetIntake):  # noqa: N801 - the name of what it replaces
        async def receive(self) -> Sequence[Delivery[Any]]:
            return list(reversed(await super().receive()))


class CommitsTooLate(FleetWorker):
    """Gives its partitions back without a last commit."""

    class intake_type(FleetIntake):  # noqa: N801 - as above
        async def open(self, listener: IntakeListener) -> None:
            side_of(self)._commit = lambda: None
            await super().open(listener)


class NeverPauses(FleetWorker):
    """Reads on though its inboxes are full."""

    class intake_type(FleetIntake):  # noqa: N801 - as above
        def apply(self, plan: Plan) -> None:
            super().apply(Plan(dict.fromkeys(plan.sources, SourcePlan()), plan.version))


class NeverGivesBack(FleetWorker):
    """Does not hear when the group wants its partitions back."""

    class intake_type(FleetIntake):  # noqa: N801 - as above
        async def open(self, listener: IntakeListener) -> None:
            side_of(self)._give_back = asyncio.Event().wait
            await super().open(listener)


class IsNotToldOfLosses(FleetWorker):
    """Goes on with what an eviction has taken away."""

    class intake_type(FleetIntake):  # noqa: N801 - as above
        async def open(self, listener: IntakeListener) -> None:
            told: Any = listener
            told.lost = lambda _sources: None
            await super().open(listener)


class LosesItsBroker(FleetWorker):
    """Its intake cannot go on after a while: the run ends by an error, and nobody starts it again."""

    class intake_type(FleetIntake):  # noqa: N801 - as above
        async def receive(self) -> Sequence[Delivery[Any]]:
            deliveries = await super().receive()
            if self._process.now() > 1.0:
                raise ConnectionError("the broker is gone")
            return deliveries


# -- the guard and its engine ---------------------------------------------------------------------------------------------------------


class ForgetsTime(FleetWorker):
    """Its engine sees no time pass: what waits for time waits for ever."""

    class engine_type(FleetEngine):  # noqa: N801 - the name of what it replaces
        def turn(self, now: float) -> None:
            self._began = getattr(self, "_began", now)
            super().turn(self._began)

        def next_deadline(self) -> float | None:
            return None


class LeavesWhileHeld(FleetWorker):
    """Leaves the group when a circuit opens, as a crash loop does."""

    def start(self) -> None:
        watch: Any = self.watch
        hear = watch.hear

        def leave(engine: Any, event: Any) -> None:
            hear(engine, event)
            if type(event).__name__ == "CircuitOpened":
                self.drop()

        watch.hear = leave
        super().start()


class WorksWhileHeld(FleetWorker):
    """Takes messages of a held source from its inbox."""

    class engine_type(FleetEngine):  # noqa: N801 - the name of what it replaces
        def next(self, run: Run, now: float) -> Delivery[Any] | None:
            for assignment in run.assignments.values():
                # Not of one that has others fetched in its hold: it takes many failures to come to that, which makes a long story.
                alone = any(gate.asked_by for gate in assignment.needed)
                delivery = assignment.inbox.take() if assignment.plan.held and not alone else None
                if delivery is not None:
                    self._watched.hands_out(delivery)
            return super().next(run, now)


class HasNoMercy(FleetWorker):
    """Charges every failure to the message, as a consumer with a plain retry limit does."""

    class engine_type(FleetEngine):  # noqa: N801 - as above
        def settle(
            self, delivery: Delivery[Any], attribution: Attribution, error: str, now: float, *, reason: str | None = None
        ) -> Verdict:
            for gate, permit in zip(gates_of(delivery), delivery.permits or (), strict=False):
                gate.circuit.release(permit, now)
            delivery.permits = ()
            assignment: Assignment = delivery.assignment
            gates, assignment.gates = assignment.gates, ()
            cause = attribution.cause if attribution.cause is Cause.RETURNED else Cause.MESSAGE
            verdict = super().settle(delivery, Attribution((), cause), error, now, reason=reason)
            assignment.gates = gates
            return verdict


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


def with_circuit(kind: type[Circuit]) -> NewWorker:
    """A worker with circuits of this kind."""

    class Sabotaged(FleetWorker):
        def circuit(self, circuit: Circuit) -> Circuit:
            return kind(circuit.name, circuit.settings, draw=self.process.draw)

    return Sabotaged


def needs_everything(environment: Environment, number: int, _strategy: Strategy, life: int) -> FleetWorker:
    """A worker whose consumer has one breaker for all that it calls."""

    class Everything(Strategy):
        def needs(self, scenario: Scenario) -> Mapping[str, Sequence[str]]:
            every = [spec.name for spec in scenario.dependencies if spec.name != "dead letters"]
            return {spec.name: every for spec in scenario.streams}

    return FleetWorker(environment, number, Everything(), life)
