"""When a dependency is down, your workers stop pulling, keep their place, and come back gently."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate import core as core
    from holdgate import errors as errors
    from holdgate import events as events
    from holdgate import ports as ports
    from holdgate.config.settings import Settings, load
    from holdgate.core import CircuitSettings, CircuitSnapshot, CountWindow, Limits, Outcome, Override, RampSettings, State, TimeWindow
    from holdgate.errors import CallNotPermitted, HoldgateError, Reject
    from holdgate.flow.message import Delivery, Partition, Queue, Settlement
    from holdgate.flow.policy import RetryPolicy
    from holdgate.flow.snapshot import Snapshot, SourceSnapshot
    from holdgate.runtime.dependency import Dependency
    from holdgate.runtime.fleet import Fleet
    from holdgate.runtime.folding import LogSettings
    from holdgate.runtime.guard import Guard
    from holdgate.runtime.health import Health
    from holdgate.runtime.needs import needs_by_header
    from holdgate.runtime.parking import Parking

__all__ = [
    "CallNotPermitted",
    "CircuitSettings",
    "CircuitSnapshot",
    "CountWindow",
    "Delivery",
    "Dependency",
    "Fleet",
    "Guard",
    "Health",
    "HoldgateError",
    "Limits",
    "LogSettings",
    "Outcome",
    "Override",
    "Parking",
    "Partition",
    "Queue",
    "RampSettings",
    "Reject",
    "RetryPolicy",
    "Settings",
    "Settlement",
    "Snapshot",
    "SourceSnapshot",
    "State",
    "TimeWindow",
    "load",
    "needs_by_header",
]

# A name is imported when it is first asked for: who uses a Dependency alone pays for no engine. The imports above say the same to type
# checkers, and tests/test_import.py compares the two.
_HOMES = {
    "holdgate.config.settings": ("Settings", "load"),
    "holdgate.core": (
        "CircuitSettings",
        "CircuitSnapshot",
        "CountWindow",
        "Limits",
        "Outcome",
        "Override",
        "RampSettings",
        "State",
        "TimeWindow",
    ),
    "holdgate.errors": ("CallNotPermitted", "HoldgateError", "Reject"),
    "holdgate.flow.message": ("Delivery", "Partition", "Queue", "Settlement"),
    "holdgate.flow.policy": ("RetryPolicy",),
    "holdgate.flow.snapshot": ("Snapshot", "SourceSnapshot"),
    "holdgate.runtime.dependency": ("Dependency",),
    "holdgate.runtime.fleet": ("Fleet",),
    "holdgate.runtime.folding": ("LogSettings",),
    "holdgate.runtime.guard": ("Guard",),
    "holdgate.runtime.health": ("Health",),
    "holdgate.runtime.needs": ("needs_by_header",),
    "holdgate.runtime.parking": ("Parking",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("core", "errors", "events", "ports")


if not TYPE_CHECKING:  # to a type checker every name would be there, and `from holdgate import Gaurd` right

    def __getattr__(name: str) -> object:
        """Import a public name, or a public module, when it is first asked for."""
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in _HOME_OF:
            from holdgate.slips import no_such_name  # noqa: PLC0415 - for an error alone

            raise no_such_name(__name__, name)
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
