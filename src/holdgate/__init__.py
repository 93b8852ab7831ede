"""When a dependency is down, your workers stop pulling, keep their place, and come back gently."""

from holdgate.core import CircuitSettings, CountWindow, Outcome, Override, RampSettings, State, TimeWindow
from holdgate.errors import CallNotPermitted, HoldgateError, Reject
from holdgate.flow.message import Delivery, Partition, Queue, Settlement
from holdgate.flow.policy import RetryPolicy
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
