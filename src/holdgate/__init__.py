"""When a dependency is down, your workers stop pulling, keep their place, and come back gently."""

from holdgate.core import CircuitSettings, CountWindow, Outcome, Override, RampSettings, State, TimeWindow
from holdgate.errors import CallNotPermitted, HoldgateError, Reject
from holdgate.flow.delivery import Delivery, Settlement
from holdgate.flow.fate import RetryPolicy
from holdgate.flow.sources import Partition, Queue
from holdgate.runtime.dependency import Dependency
from holdgate.runtime.guard import Guard
from holdgate.runtime.parking import Parking

__all__ = [
    "CallNotPermitted",
    "CircuitSettings",
    "CountWindow",
    "Delivery",
    "Dependency",
    "Guard",
    "HoldgateError",
    "Outcome",
    "Override",
    "Parking",
    "Partition",
    "Queue",
    "RampSettings",
    "Reject",
    "RetryPolicy",
    "Settlement",
    "State",
    "TimeWindow",
]
