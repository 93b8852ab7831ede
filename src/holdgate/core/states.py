"""The words of a circuit: its states, overrides and reasons, the one table of transitions, permits, refusals and snapshots.

The states of a circuit, the overrides an operator may lay over them, and the one table of transitions.

What a circuit hands out: a permit to make one call, or a refusal.

What a circuit looks like at one moment: enough to answer why it is open, or why not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from holdgate.errors import HoldgateError


class State(Enum):
    """Where the circuit is. CLOSED: calls go through. OPEN: none do. HALF_OPEN: as many as the ramp's limit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Override(Enum):
    """What an operator laid over the state. It is a second field, so that the state below is not lost.

    FORCED_OPEN rejects everything. DISABLED admits everything and records nothing. METRICS_ONLY admits everything, records, and tells when
    it would have opened.
    """

    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


class Trigger(Enum):
    """What can change the state."""

    BREACHED = "a rule was met"
    TOLD_TO_WAIT = "a server or an operator said when to come back"
    WAITED = "the wait is over"
    RECOVERED = "a good stage at the full rate"
    UNFORCED = "a forced opening ended"
    RESET = "an operator reset it"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.CLOSED, Trigger.BREACHED): State.OPEN,
    (State.CLOSED, Trigger.TOLD_TO_WAIT): State.OPEN,
    (State.HALF_OPEN, Trigger.BREACHED): State.OPEN,
    (State.HALF_OPEN, Trigger.TOLD_TO_WAIT): State.OPEN,
    (State.OPEN, Trigger.WAITED): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.RECOVERED): State.CLOSED,
    # Out of FORCED_OPEN there is one way, whatever lay below: never from nothing to everything.
    (State.CLOSED, Trigger.UNFORCED): State.HALF_OPEN,
    (State.OPEN, Trigger.UNFORCED): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.UNFORCED): State.HALF_OPEN,
    (State.CLOSED, Trigger.RESET): State.CLOSED,
    (State.OPEN, Trigger.RESET): State.CLOSED,
    (State.HALF_OPEN, Trigger.RESET): State.CLOSED,
}


def transition(state: State, trigger: Trigger) -> State:
    """The state that follows; HoldgateError for a pair without a row, which is a defect of the caller: nothing has changed then."""
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise HoldgateError(f"a circuit in {state.name} cannot change because {trigger.value}") from None


class Reason(StrEnum):
    """Why a circuit opened. The values are label values of metrics, so they are part of the interface."""

    FAILURE_RATE = "failure_rate"
    SLOW_CALL_RATE = "slow_call_rate"
    CONSECUTIVE_FAILURES = "consecutive_failures"
    PROBE = "probe"
    SLOW_PROBE = "slow_probe"
    PERMIT_LEASE = "permit_lease"
    RETRY_AFTER = "retry_after"
    OPEN_FOR = "open_for"


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that was met: which one, what was seen, and the threshold it reached."""

    reason: Reason
    value: float
    threshold: float


# Where a permit stands. Plain integers: they are written twice per call, and an enum's attribute costs a look-up each time.
LIVE = 0
SETTLED = 1
EXPIRED = 2


class Permit:
    """Leave for one call, to be given back once with `Circuit.record` or `Circuit.release`.

    `generation` is the circuit's when it was issued: a result of an older one decides nothing. `acquired_at` is the monotonic second of
    its issue, `weight` what it counts against a ramp's limit.

    It has no `__init__`, because one costs more than the rest of an acquire; the circuit alone makes permits, and fills in every field.
    """

    __slots__ = ("acquired_at", "generation", "stage", "standing", "weight")

    acquired_at: float
    generation: int
    weight: int
    standing: int
    stage: int  # the ramp's stage; only a permit of a half-open has one

    def __repr__(self) -> str:
        return f"<Permit generation={self.generation} acquired_at={self.acquired_at:g} weight={self.weight}>"


def issue(generation: int, now: float, weight: int) -> Permit:
    """A live permit. `Circuit.try_acquire` has a copy of these lines, to save the call."""
    permit = Permit()
    permit.generation = generation
    permit.acquired_at = now
    permit.weight = weight
    permit.standing = LIVE
    return permit


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal. One object serves many: nothing is kept per refusal.

    `retry_at` is the monotonic second from which a try may be admitted; None: unknown (a ramp without room, or only an operator ends it).
    `state` is the circuit's, which FORCED_OPEN leaves as it was; `override` tells that.
    """

    retry_at: float | None
    state: State
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class CircuitSnapshot:
    """A frozen reading of one circuit; taking it changes nothing.

    `open_until`: monotonic seconds, None unless OPEN. `limit`: weight that may be in flight, None without a limit of the circuit's own,
    0 while nothing goes through. `in_flight`: weight of the live permits of this generation. `calls`, `failures`, `slow_calls`: what the
    window holds; after an opening it keeps what caused it until the circuit closes. The rates are in [0, 1], None below the minimum of
    calls. `rejected`, `late_results`, `settled_twice`: totals since construction. `next_deadline`: as `Circuit.next_deadline`.
    """

    name: str
    state: State
    override: Override | None
    generation: int
    level: int
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
