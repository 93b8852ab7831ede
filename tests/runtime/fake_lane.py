from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from holdgate.core import Circuit, Outcome, Permit, State
from holdgate.flow.attribution import AttemptCalls
from holdgate.flow.gate import Gate
from holdgate.flow.message import Delivery, Queue
from holdgate.runtime.access import Access
from holdgate.runtime.calling import CalledDependency


class ManualClock:
    """Time that a test moves by hand."""

    def __init__(self, now: float = 0.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def draw(self) -> float:
        return 0.5


class FakeLane:
    """What call forms see of a lane that runs one delivery, which needs the given circuits and has their permits."""

    def __init__(self, *circuits: Circuit, now: float = 0.0) -> None:
        delivery: Delivery[Any] = Delivery(Queue("orders"), object())
        gates = tuple(Gate(circuit) for circuit in circuits)
        delivery.assignment = SimpleNamespace(gates=gates, all_need=gates)
        delivery.permits = tuple(circuit.try_acquire(now) for circuit in circuits)
        self.delivery: Delivery[Any] | None = delivery
        self.calls: AttemptCalls | None = None
        self.circuits: dict[str, Access] = {}  # other ones that its guard has

    def access_of(self, dependency: CalledDependency) -> Access:
        return self.circuits.get(dependency.name, dependency.access)


def trip(circuit: Circuit, now: float = 0.0) -> None:
    """Open the circuit by failures in a row."""
    while circuit.state is State.CLOSED:
        permit = circuit.try_acquire(now)
        assert isinstance(permit, Permit)
        circuit.record(permit, Outcome.FAILURE, now)
