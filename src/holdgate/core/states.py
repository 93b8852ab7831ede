"""The states of a circuit and the one table of transitions, and the values that a circuit gives: permits, refusals and snapshots.

The table is complete: a pair without a row cannot happen, and raises before anything has changed. The text of a `Trigger` is the label in
the README's diagram, which is made from the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from holdgate.errors import HoldgateError

if TYPE_CHECKING:
    from holdgate.core.limits import KeysSnapshot, LimiterSnapshot


class State(Enum):
    """The state of a circuit. CLOSED admits every call, OPEN none, HALF_OPEN as many as the ramp's limit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Override(Enum):
    """What an operator has laid over the state. It is a field of its own, so that the state below is not lost.

    FORCED_OPEN rejects everything. DISABLED admits everything and records nothing. METRICS_ONLY admits everything, records, and reports
    when the circuit would have opened.
    """

    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


class Trigger(Enum):
    """What can change the state, with the reason in words."""

    BREACHED = "a rule was met"
    WAIT_REQUESTED = "a server or an operator asked for a wait"
    WAITED = "the wait is over"
    RECOVERED = "a good stage at the full rate"
    FORCE_ENDED = "a forced opening ended"
    RESET = "an operator reset it"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.CLOSED, Trigger.BREACHED): State.OPEN,
    (State.CLOSED, Trigger.WAIT_REQUESTED): State.OPEN,
    (State.HALF_OPEN, Trigger.BREACHED): State.OPEN,
    (State.HALF_OPEN, Trigger.WAIT_REQUESTED): State.OPEN,
    (State.OPEN, Trigger.WAITED): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.RECOVERED): State.CLOSED,
    # FORCED_OPEN always ends in HALF_OPEN, whatever the state below: traffic never goes from nothing to everything in one step.
    (State.CLOSED, Trigger.FORCE_ENDED): State.HALF_OPEN,
    (State.OPEN, Trigger.FORCE_ENDED): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.FORCE_ENDED): State.HALF_OPEN,
    (State.CLOSED, Trigger.RESET): State.CLOSED,
    (State.OPEN, Trigger.RESET): State.CLOSED,
    (State.HALF_OPEN, Trigger.RESET): State.CLOSED,
}


def transition(state: State, trigger: Trigger) -> State:
    """Return the state that follows. Raises HoldgateError for a pair without a row, which is a defect of the caller."""
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise HoldgateError(f"a circuit in {state.name} has no transition for {trigger.name} ({trigger.value})") from None


class Reason(StrEnum):
    """Why a circuit opened. The values are labels of metrics, so they are part of the public interface."""

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
    """A rule that was met: which one, the value, and the threshold that the value reached."""

    reason: Reason
    value: float
    threshold: float


# The standing of a permit. Plain integers: they are written twice per call, and an enum's attribute costs a look-up each time.
LIVE = 0
SETTLED = 1
EXPIRED = 2


class Permit:
    """Permission for one call, to be given back once with `Circuit.record` or `Circuit.release`.

    `generation` is the circuit's when the permit was issued; a result of an older generation decides nothing. `acquired_at` is the
    monotonic second of its issue, `weight` how much it counts against a ramp's limit.

    It has no `__init__`, because that would cost more than the rest of an acquire. Only a circuit makes permits, and it sets every field.
    """

    __slots__ = ("acquired_at", "generation", "stage", "standing", "weight")

    acquired_at: float
    generation: int
    weight: int
    standing: int
    stage: int  # the ramp's stage; set on permits of a half-open alone

    def __repr__(self) -> str:
        return f"<Permit generation={self.generation} acquired_at={self.acquired_at:g} weight={self.weight}>"


def issue(generation: int, now: float, weight: int) -> Permit:
    """Return a live permit. `Circuit.try_acquire` has a copy of these lines, to save the call."""
    permit = Permit()
    permit.generation = generation
    permit.acquired_at = now
    permit.weight = weight
    permit.standing = LIVE
    return permit


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal. One object serves many calls, and nothing is kept per refusal.

    `retry_at` is the monotonic second from which a call may be admitted. None means unknown: a ramp has no room, or only an operator can
    end the opening. `state` is the circuit's; under FORCED_OPEN it is the state below, and `override` is set. `is_limited`: the dependency
    is there, and takes no more calls for now.
    """

    retry_at: float | None
    state: State
    override: Override | None = None
    is_limited: bool = False


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
