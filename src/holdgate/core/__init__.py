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
from holdgate.core.limiter import Limiter
from holdgate.core.limits import KeysSnapshot, LimiterSnapshot, Limits
from holdgate.core.outcomes import Classifier, Outcome
from holdgate.core.permits import Permit
from holdgate.core.readings import CircuitSnapshot
from holdgate.core.settings import CircuitSettings, RampSettings
from holdgate.core.states import Override, Reason, Rejected, State
from holdgate.core.windows import CountWindow, TimeWindow
from holdgate.told import Told

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
    "KeysSnapshot",
    "LeaseExpired",
    "LeaseTooShort",
    "LimitChanged",
    "Limiter",
    "LimiterSnapshot",
    "Limits",
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
    "Told",
]
