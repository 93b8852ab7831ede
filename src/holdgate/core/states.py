"""The states of a circuit, what an operator may lay over them, why it opens, and its refusals. Frozen values and labels, and no rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


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
    FLEET = "fleet"


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that was met: which one, the value, and the threshold that the value reached."""

    reason: Reason
    value: float
    threshold: float


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
