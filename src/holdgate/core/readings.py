"""What a circuit shows of itself: its snapshot, which says why it is open or why not, and its totals since it was made.

Nothing here changes a circuit. A reading asks its parts (window, calls in flight, totals) and puts the answers side by side, so that
circuit.py has the rules alone. What only the circuit knows, such as the outage at that moment, it hands over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from holdgate.core.states import CircuitSnapshot, State
from holdgate.core.totals import CircuitTotals

if TYPE_CHECKING:
    from holdgate.core.evidence import Evidence
    from holdgate.core.limited_calls import LimitedCalls
    from holdgate.core.outages import Outage
    from holdgate.core.states import Override, Permit


class ReadCircuit(Protocol):
    """A circuit, as far as a reading looks at it."""

    name: str
    state: State
    override: Override | None
    generation: int
    evidence: Evidence
    limits: LimitedCalls
    live: dict[Permit, None]
    totals: CircuitTotals
    rejected: int
    late_results: int
    settled_twice: int

    @property
    def limit(self) -> int | None:
        """The weight that may be in flight."""
        ...

    def next_deadline(self) -> float | None:
        """Return when time alone changes something."""
        ...


def snapshot_of(circuit: ReadCircuit, now: float, outage: Outage, until: float, full: int) -> CircuitSnapshot:
    """Return the circuit as it is at `now`. `until` is when the wait of OPEN ends, and `full` the end of a ramp."""
    evidence = circuit.evidence
    calls, failures, slow = evidence.window.seen_at(now)
    rates = evidence.rates(calls, failures, slow)
    return CircuitSnapshot(
        name=circuit.name,
        state=circuit.state,
        override=circuit.override,
        generation=circuit.generation,
        level=outage.level,
        outage_since=outage.since,
        probes=outage.probes,
        open_until=until if circuit.state is State.OPEN else None,
        limit=circuit.limit,
        in_flight=sum(permit.weight for permits in (circuit.live, evidence.overdue.permits) for permit in permits),
        calls=calls,
        failures=failures,
        slow_calls=slow,
        failure_rate=None if rates is None else rates[0],
        slow_call_rate=None if rates is None else rates[1],
        consecutive_failures=evidence.in_a_row,
        rejected=circuit.rejected,
        late_results=circuit.late_results,
        settled_twice=circuit.settled_twice,
        next_deadline=circuit.next_deadline(),
        full=full,
        limits=circuit.limits.snapshot(now),
    )


def totals_of(circuit: ReadCircuit) -> CircuitTotals:
    """Return what has happened since construction, in an object that does not change any more."""
    evidence, totals = circuit.evidence, circuit.totals
    quick = evidence.window.passed + evidence.window.goods
    return CircuitTotals(
        succeeded=totals.succeeded.copy(lowest=quick, their_sum=evidence.quick_seconds),
        failed=totals.failed.copy(),
        ignored=totals.ignored,
        throttled=totals.throttled,
        late=circuit.late_results,
        refused=circuit.rejected,
        probes_succeeded=totals.probes_succeeded,
        probes_failed=totals.probes_failed,
    )
