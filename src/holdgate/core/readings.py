"""What a circuit shows of itself: its snapshot, which says why it is open or why not, and its totals since it was made.

Nothing here changes a circuit. A reading asks its parts (window, calls in flight, totals) and puts the answers side by side, so that
circuit.py has the rules alone. What only the circuit knows, such as the outage at that moment, it hands over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from holdgate.core.states import State
from holdgate.core.totals import CircuitTotals

if TYPE_CHECKING:
    from holdgate.core.evidence import Evidence
    from holdgate.core.guidance import Guidance
    from holdgate.core.limited_calls import LimitedCalls
    from holdgate.core.limits import KeysSnapshot, LimiterSnapshot
    from holdgate.core.outages import Outage
    from holdgate.core.permits import PermitsInFlight
    from holdgate.core.states import Override


@dataclass(frozen=True, slots=True)
class CircuitSnapshot:
    """A frozen reading of one circuit: enough to answer why it is open, or why not.

    - `level`: 0 after health, 1 in an outage, more after relapses or with `open_multiplier`. It falls by one per healthy interval.
    - `outage_since`: the monotonic second at which the circuit opened from CLOSED. None means that there is no outage.
    - `probes`: how often a wait of this outage has ended, so that a probe could be made.
    - `open_until`: when the wait ends, in monotonic seconds. None unless the state is OPEN.
    - `limit`: the weight that may be in flight. None means that the circuit sets no limit, 0 that it refuses everything.
    - `in_flight`: the weight of the live permits of this generation.
    - `calls`, `failures`, `slow_calls`: what the window holds. After an opening it keeps what caused it until the circuit closes.
    - `failure_rate`, `slow_call_rate`: ratios in [0, 1]. None below the minimum of calls.
    - `rejected`, `late_results`, `settled_twice`: totals since construction.
    - `next_deadline`: as `Circuit.next_deadline`.
    - `full`: the limit at which a ramp ends, from 1. `limit / full` is the share of its work that a half-open admits.
    - `limits`: how many calls the dependency takes, as far as that is known. None means that nothing limits them.
    - `keys`: how many keys are known, and held. None means that it has none, or that nobody knows of them here.
    - `guidance`: what its fleet wants, as far as that is followed. None means that the circuit goes by its own rules.
    """

    name: str
    state: State
    override: Override | None
    generation: int
    level: int
    outage_since: float | None
    probes: int
    open_until: float | None
    limit: int | None
    in_flight: int
    calls: int
    failures: int
    slow_calls: int
    failure_rate: float | None
    slow_call_rate: float | None
    consecutive_failures: int
    rejected: int
    late_results: int
    settled_twice: int
    next_deadline: float | None
    full: int = 1
    limits: LimiterSnapshot | None = None
    keys: KeysSnapshot | None = None
    guidance: Guidance | None = None


class ReadCircuit(Protocol):
    """A circuit, as far as a reading looks at it."""

    name: str
    state: State
    override: Override | None
    generation: int
    evidence: Evidence
    limits: LimitedCalls
    permits: PermitsInFlight
    totals: CircuitTotals
    rejected: int
    latest: float
    full: int

    @property
    def limit(self) -> int | None:
        """The weight that may be in flight."""
        ...

    def next_deadline(self) -> float | None:
        """Return when time alone changes something."""
        ...


def snapshot_of(circuit: ReadCircuit, now: float, outage: Outage, *, until: float, guidance: Guidance | None) -> CircuitSnapshot:
    """Return the circuit as it is at `now`. `until` is when the wait of OPEN ends, `guidance` what is followed."""
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
        in_flight=circuit.permits.weight,
        calls=calls,
        failures=failures,
        slow_calls=slow,
        failure_rate=None if rates is None else rates[0],
        slow_call_rate=None if rates is None else rates[1],
        consecutive_failures=evidence.in_a_row,
        rejected=circuit.rejected,
        late_results=circuit.permits.late_results,
        settled_twice=circuit.permits.settled_twice,
        next_deadline=circuit.next_deadline(),
        full=circuit.full,
        limits=circuit.limits.snapshot(now),
        guidance=guidance,
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
        late=circuit.permits.late_results,
        refused=circuit.rejected,
        probes_succeeded=totals.probes_succeeded,
        probes_failed=totals.probes_failed,
    )
