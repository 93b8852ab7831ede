"""How long a circuit stays open: the wait of a level, and how levels rise and fall."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.settings import CircuitSettings


def middle() -> float:
    """The middle of the jitter's range: without a source of chance the waits are exactly what the settings say, and repeatable."""
    return 0.5


def wait(settings: CircuitSettings, level: int, draw: Callable[[], float]) -> float:
    """The seconds to stay open at `level`, from 1. The cap comes last, so jitter never makes a wait longer than the maximum."""
    jitter = 1 - settings.open_jitter + 2 * settings.open_jitter * draw()
    return min(settings.open_duration_max, _nominal(settings, level) * jitter)


def raised(settings: CircuitSettings, level: int) -> int:
    """The level after one more opening. It stops at the first whose wait reaches the maximum: a long outage must be forgotten in time."""
    if level > 0 and _nominal(settings, level) >= settings.open_duration_max:
        return level
    return level + 1


def healthy_intervals(settings: CircuitSettings, since: float, now: float) -> int:
    """How many full healthy intervals fit between two times; each takes one level away."""
    return max(0, int((now - since) / settings.healthy_interval))


def _nominal(settings: CircuitSettings, level: int) -> float:
    return settings.open_duration * settings.open_multiplier ** (level - 1)
