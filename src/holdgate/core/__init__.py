"""The circuit breaker alone: pure rules, no clock, no I/O. `now` is monotonic seconds that the caller gives."""

from holdgate.core.circuit import Circuit
from holdgate.core.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    Event,
    LeaseExpired,
    LeaseTooShort,
    LimitChanged,
    OverrideCleared,
    OverrideSet,
    ThresholdExceeded,
)
from holdgate.core.outcomes import Classifier, Outcome
from holdgate.core.permits import Permit, Rejected
from holdgate.core.ramp import RampSettings
from holdgate.core.settings import CircuitSettings
from holdgate.core.snapshot import CircuitSnapshot
from holdgate.core.states import Override, State
from holdgate.core.thresholds import Reason
from holdgate.core.windows import CountWindow, TimeWindow

__all__ = [
    "Circuit",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitOpened",
    "CircuitReset",
    "CircuitSettings",
    "CircuitSnapshot",
    "Classifier",
    "CountWindow",
    "Event",
    "LeaseExpired",
    "LeaseTooShort",
    "LimitChanged",
    "Outcome",
    "Override",
    "OverrideCleared",
    "OverrideSet",
    "Permit",
    "RampSettings",
    "Reason",
    "Rejected",
    "State",
    "ThresholdExceeded",
    "TimeWindow",
]
