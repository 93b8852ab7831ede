"""One dependency as the engine sees it: its circuit, what waits for it, the assignments that need it, and the votes of messages.

*Votes.* A circuit counts calls; a consumer's calls are not independent, because a message that fails comes again. One message is at most
one vote: it votes again only if no *other* message succeeded on the dependency since its own first failed attempt in the circuit's
current generation. So a poison message among healthy neighbours cannot open the circuit, and a lone message in front of a dead
dependency can.

A gate's own methods are its only writers (tests/flow/test_state_writers.py), with three exceptions. The waiting list keeps `lines`, and
state.py keeps `assignments`. What runs once for each message counts `successes` by itself, to save the call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdgate.core import Circuit, Override, State
from holdgate.core.keys import Keys
from holdgate.core.outcomes import MessageCounts
from holdgate.flow.message import AnyDelivery


class Gate(MessageCounts):
    """One dependency of one engine."""

    __slots__ = (
        "asked_by",
        "assignments",
        "circuit",
        "down_since",
        "good_probes",
        "held_by_limit",
        "keys",
        "lines",
        "name",
        "probe_due",
        "probed",
        "reasons",
    )

    def __init__(self, circuit: Circuit, keys: Keys | None = None) -> None:
        super().__init__()
        self.name = circuit.name
        self.circuit = circuit
        self.keys = keys  # its keys, each with limits and a circuit of its own; None means no keys
        self.reasons = (f"circuit:{circuit.name}",)  # of a source that it alone holds
        # The deliveries that wait for it, by run and number of arrival: the waiting list puts them in and takes them out.
        self.lines: dict[Any, dict[int, Any]] = {}
        # The assignments that need it: a set that keeps its order, so that plans and events are the same every time.
        self.assignments: dict[Any, None] = {}
        # Whose message alone has failed here again and again: sources fetch in the hold, to have another one to ask with. None means that
        # there is no such message.
        self.asked_by: Any = None
        self.down_since = 0.0  # when it last left CLOSED
        self.probed = False  # it has a health probe
        self.probe_due = False  # a probe is to run before the next attempt
        self.good_probes = 0  # never reset
        self.held_by_limit = False  # its limit lets nothing go for so long that its sources are held (limiting.py)

    # -- what happens to it -----------------------------------------------------------------------------------------------------------

    def left_closed(self, at: float) -> None:
        """Note since when it is down."""
        self.down_since = at

    def hold_by_limit(self, *, holds: bool) -> None:
        """Hold its sources by its limit, or do so no longer."""
        self.held_by_limit = holds

    def be_asked_by(self, assignment: Any) -> None:
        """Note whose message alone has failed here again and again; None means that no message alone has."""
        self.asked_by = assignment

    def have_probe(self) -> None:
        """Note that it has a health probe."""
        self.probed = True

    def want_probe(self, *, wanted: bool) -> None:
        """Have a probe run before the next attempt, or not."""
        self.probe_due = wanted

    def probe_was_good(self) -> None:
        """Count a probe that came back well."""
        self.good_probes += 1

    # -- what it is asked -------------------------------------------------------------------------------------------------------------

    @property
    def shut(self) -> bool:
        """Whether nothing at all is admitted, so that a source which needs it is held. Half-open is not shut, unless a fleet gives it no
        share."""
        circuit = self.circuit
        if circuit.override is None:
            return circuit.state is State.OPEN or circuit.without_share
        return circuit.override is Override.FORCED_OPEN

    @property
    def is_open(self) -> bool:
        """Whether its circuit, and no operator, keeps it shut."""
        return self.circuit.override is None and self.shut

    @property
    def learns(self) -> bool:
        """Whether a throttled message waits for a slot here: the limiter has heard its refusal, or the circuit limits by itself."""
        if self.keys is not None and self.keys.learns:
            return True
        limits = self.circuit.limits
        return self.circuit.limit is not None or (limits.active and limits.learns)

    @property
    def limited(self) -> bool:
        """Whether it limits how many it admits: in half-open to a number, to none while it is shut, and to what its limiter has found."""
        return self.circuit.free_slots is not None


def may_fall_back(gates: Iterable[Gate], after: float, now: float) -> bool:
    """Return whether some of these gates are unavailable, and all that are have been down for `after` seconds."""
    unavailable = [gate for gate in gates if gate.circuit.limit is not None]
    return bool(unavailable) and all(gate.is_open and now >= gate.down_since + after for gate in unavailable)


def gates_of(delivery: AnyDelivery) -> tuple[Gate, ...]:
    """Return what the delivery needs: what its source needs or it needs itself, and what refused one of its calls. Its permits are in this
    order."""
    assignment = delivery.assignment
    gates: tuple[Gate, ...] = delivery.needs.gates if assignment.all_need is None else assignment.gates
    return gates + delivery.history.extra if delivery.history is not None else gates
