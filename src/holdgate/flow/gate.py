"""One dependency as the engine sees it: its circuit, the heads that wait for it, the places that need it, and the votes of messages.

*Votes.* A circuit counts calls; a consumer's calls are not independent, because a message that fails comes again. One message is at most
one vote: it votes again only if no *other* message succeeded on the dependency since its own first failed attempt in the circuit's
current generation. So a poison message among healthy neighbours cannot open the circuit, and a lone message in front of a dead
dependency can.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdgate.core import Circuit, Override, State
from holdgate.flow.message import Delivery


class Gate:
    """One dependency of one engine. Plain data; admission and the engine move it."""

    __slots__ = (
        "assignments",
        "circuit",
        "down_since",
        "failures",
        "good_probes",
        "heads",
        "name",
        "probe_due",
        "probed",
        "recoveries",
        "successes",
    )

    def __init__(self, circuit: Circuit) -> None:
        self.name = circuit.name
        self.circuit = circuit
        # By run and number of arrival, those that wait and need it: the waiting list puts them in and takes them out.
        self.heads: dict[Any, dict[int, Any]] = {}
        # The assignments that need it, which put themselves in: a set that keeps its order, so plans and events are the same every time.
        self.assignments: dict[Any, None] = {}
        # Of messages, ever: only differences are looked at.
        self.successes = 0
        self.recoveries = 0  # those of the successes that had failed here before
        self.failures = 0  # votes
        self.down_since = 0.0  # when it last left CLOSED
        self.probed = False  # it has a health probe
        self.probe_due = False  # one is to run before the next attempt
        self.good_probes = 0  # ever

    @property
    def shut(self) -> bool:
        """Whether nothing at all is admitted, so that a source which needs it is held. Half-open is not shut."""
        circuit = self.circuit
        if circuit.override is None:
            return circuit.state is State.OPEN
        return circuit.override is Override.FORCED_OPEN

    @property
    def first_successes(self) -> int:
        """Messages that succeeded here at once: not counted on the fast path, which counts successes alone."""
        return self.successes - self.recoveries

    @property
    def is_open(self) -> bool:
        """Whether its circuit, and no operator, keeps it shut."""
        return self.circuit.override is None and self.circuit.state is State.OPEN

    @property
    def limited(self) -> bool:
        """Whether it admits a counted number at most: in half-open, or none while it is shut."""
        return self.circuit.free_slots is not None


def may_fall_back(gates: Iterable[Gate], after: float, now: float) -> bool:
    """Whether something is unavailable, and all that is has been down for that long."""
    unavailable = [gate for gate in gates if gate.limited]
    return bool(unavailable) and all(gate.is_open and now >= gate.down_since + after for gate in unavailable)


def gates_of(delivery: Delivery[Any]) -> tuple[Gate, ...]:
    """What the delivery needs: what its source needs, and what refused one of its calls. Its permits are in this order."""
    gates: tuple[Gate, ...] = delivery.assignment.gates
    return gates + delivery.trial.extra if delivery.trial is not None else gates
