"""What `Guard(...)` was given, checked before anything is made of it. Each function raises SettingsError with the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from holdgate.core.validation import count
from holdgate.errors import SettingsError
from holdgate.ports import Clock, ControlPlane
from holdgate.runtime.clock import SystemClock
from holdgate.runtime.dependency import Dependency
from holdgate.runtime.folding import LogSettings

# Less is a slip: the number was meant in megabytes. A broker's own default limit of one message is 1 MiB.
_MEMORY_AT_LEAST = 1024 * 1024


def check_dependencies(given: Iterable[object]) -> None:
    """Look whether all of these are dependencies, and not their names."""
    for each in given:
        if not isinstance(each, Dependency):
            raise SettingsError(f"Guard takes Dependency objects, got {each!r} ({type(each).__name__}): pass the Dependency itself")


def check_clock(clock: object) -> Clock:
    """Return the clock. None means this process's own."""
    if clock is None:
        return SystemClock()
    if not all(callable(getattr(clock, name, None)) for name in ("now", "draw")):
        raise SettingsError(f"clock must have now() and draw(), got {clock!r}: leave it out, or give a holdgate.ports.Clock")
    return cast("Clock", clock)


def check_log(settings: object) -> LogSettings:
    """Return how much the log says. None means the defaults."""
    if settings is None:
        return LogSettings()
    if not isinstance(settings, LogSettings):
        raise SettingsError(f"log must be a LogSettings, got {settings!r}: write log=LogSettings(exception_text=True), say")
    return settings


def check_control(control: object) -> ControlPlane | None:
    """Return the control plane. None means that there is none."""
    if control is not None and not isinstance(control, ControlPlane):
        raise SettingsError(
            f"control must be a Control, got {type(control).__name__}: give Guard(control=Control(port=9099)), or leave it out"
        )
    return control


def check_memory(memory: object) -> int | None:
    """Return the bytes of messages that may be in hand. None means no bound."""
    if memory is None:
        return None
    bound = count("memory", memory)
    if bound < _MEMORY_AT_LEAST:
        raise SettingsError(f"memory={memory!r} must be at least {_MEMORY_AT_LEAST} bytes (1 MiB), or None for no bound: it counts bytes")
    return bound
