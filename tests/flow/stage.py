"""What tests of the flow floor are staged with: deliveries, places, an engine with its runs, and the ends that a handler can come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdgate.core import Circuit, CircuitSettings, Limits, Outcome, RampSettings, State
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.engine import Engine
from holdgate.flow.gate import Gate
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.plan import SourcePlan
from holdgate.flow.policy import Needs, RetryPolicy, Verdict
from holdgate.flow.state import Assignment, Run

ORDERS = Partition("orders", 0)
BILLS = Partition("bills", 0)
FREE = SourcePlan(fetch=True, reasons=())
# Opens at the second failure in a row, for ten seconds; back at the full rate after three good calls at each limit.
QUICK = CircuitSettings(consecutive_failures=2, open_duration=10.0, open_jitter=0.0, ramp=RampSettings(minimum_verdicts=1))


class Message(Delivery[int]):
    """A delivery whose message is its position."""

    __slots__ = ()

    @property
    def position(self) -> int:
        return self.message


def messages(source: Partition, count: int, first: int = 0) -> list[Message]:
    return [Message(source, position) for position in range(first, first + count)]


def partitions(count: int, topic: str = "orders") -> list[Partition]:
    return [Partition(topic, number) for number in range(count)]


def gate(name: str = "payments", settings: CircuitSettings = QUICK) -> Gate:
    return Gate(Circuit(name, settings))


def run_of(
    needs: Sequence[str] | Mapping[str, Sequence[str]] = (),
    *,
    order: Order = "source",
    concurrency: int | None = None,
    inbox: int = 500,
    span: int = 1000,
    held_span: int | None = None,
    retry: RetryPolicy | None = None,
    rejects: bool = False,
) -> Run:
    return Run(
        Needs(needs), order=order, concurrency=concurrency, inbox=inbox, span=span, held_span=held_span, retry=retry, rejects=rejects
    )


def place_of(*gates: Gate, run: Run | None = None, source: Partition = ORDERS) -> Assignment:
    """A place in its run, needing these gates."""
    run = run or run_of()
    assignment = Assignment(run, source, gates)
    run.assignments[source] = assignment
    run.count_lanes()
    run.dirty.clear()  # as after a turn
    return assignment


def placed(assignment: Assignment, position: int = 0) -> Message:
    """A delivery that came in at this place."""
    delivery = Message(assignment.source, position)
    delivery.assignment = assignment
    return delivery


# -- how handlers end -----------------------------------------------------------------------------------------------------------------


def _end(cause: Cause, outcome: Outcome | None, needs: int, **more: Any) -> Attribution:
    return Attribution((NeedVerdict(outcome),) * needs, cause, **more)


def returned(needs: int = 1) -> Attribution:
    return _end(Cause.RETURNED, Outcome.SUCCESS, needs)


def dependency_failed(needs: int = 1, *, shared: bool = False) -> Attribution:
    return _end(Cause.DEPENDENCY, Outcome.FAILURE, needs, shared=shared)


def own_failure(needs: int = 1) -> Attribution:
    return _end(Cause.MESSAGE, Outcome.IGNORED, needs)


def unclaimed(needs: int = 0, error: str = "client.ConnectError") -> Attribution:
    """Its own failure only because nobody has said anything about it."""
    return _end(Cause.MESSAGE, Outcome.IGNORED, needs, unclaimed=error)


def throttled(needs: int = 1, retry_after: float | None = None) -> Attribution:
    """A dependency has too many calls for now, and may say how long to wait."""
    return _end(Cause.THROTTLED, Outcome.THROTTLED, needs, retry_after=retry_after)


def rejected(needs: int = 1) -> Attribution:
    return _end(Cause.REJECTED, Outcome.IGNORED, needs)


def refused(*names: str, needs: int = 1) -> Attribution:
    return _end(Cause.REFUSED, None, needs, refused=names)


# -- an engine with one run -----------------------------------------------------------------------------------------------------------


class Stage:
    """An engine, its circuits, and a run; `now` is moved by hand."""

    def __init__(
        self,
        *dependencies: str,
        settings: CircuitSettings = QUICK,
        run: Run | None = None,
        sources: Sequence[Partition] = (ORDERS,),
        limits: Mapping[str, Limits] | None = None,
    ) -> None:
        self.now = 0.0
        self.engine = Engine(draw=lambda: 0.5, hold_warn_after=600.0)
        self.gates = [self.engine.add_gate(Circuit(name, settings, limits=(limits or {}).get(name))) for name in dependencies]
        self.run = run or run_of(dependencies)
        self.engine.add_run(self.run)
        self.engine.assigned(self.run, sources, self.now)
        self.turn()

    def turn(self, later: float = 0.0) -> None:
        self.now += later
        self.engine.turn(self.now)

    def receive(self, count: int = 1, source: Partition = ORDERS, first: int = 0) -> list[Message]:
        """Deliveries come in, and the engine takes its turn."""
        came = messages(source, count, first)
        self.engine.received(self.run, came)
        self.turn()
        return came

    def assignment(self, source: Partition = ORDERS) -> Assignment:
        return self.run.assignments[source]

    def start(self) -> Delivery[Any]:
        """What a free lane starts now; there must be something."""
        delivery = self.engine.next(self.run, self.now)
        assert delivery is not None
        return delivery

    def start_all(self) -> list[Delivery[Any]]:
        """What all free lanes start now."""
        started = []
        while (delivery := self.engine.next(self.run, self.now)) is not None:
            started.append(delivery)
        return started

    def end(self, delivery: Delivery[Any], attribution: Attribution) -> Verdict:
        """A handler ends like this, and the engine takes its turn."""
        verdict = self.engine.settle(delivery, attribution, "ValueError", self.now)
        self.turn()
        return verdict

    def trip(self, dependency: str = "payments") -> None:
        """Open a circuit at once for its first wait, as two failures in a row would."""
        self.engine.gates[dependency].circuit.open_for(10.0, self.now)
        self.turn()

    def events(self) -> list[object]:
        return list(self.engine.take_events())


def parallel(*needs: str, concurrency: int = 4, **more: Any) -> Stage:
    return Stage(*needs, run=run_of(needs, order="none", concurrency=concurrency, **more))


def in_flight(stage: Stage, name: str = "payments") -> int:
    return stage.engine.gates[name].circuit.snapshot(stage.now).in_flight


def positions(deliveries: list[Delivery[Any]]) -> list[int]:
    return [delivery.position for delivery in deliveries]


def half_open(stage: Stage, name: str = "payments") -> None:
    """The open wait of the circuit is over."""
    stage.trip(name)
    stage.turn(later=10.0)
    assert stage.engine.gates[name].circuit.state is State.HALF_OPEN


class Sized(Delivery[int]):
    """A delivery that says how big it is without being so."""

    __slots__ = ("size",)

    def __init__(self, source: Partition, position: int, size: int) -> None:
        super().__init__(source, position)
        self.size = size

    @property
    def position(self) -> int:
        return self.message

    @property
    def body(self) -> bytes | None:
        return None if self.size < 0 else b"x" * self.size

    @property
    def key(self) -> bytes | None:
        return b"key"
