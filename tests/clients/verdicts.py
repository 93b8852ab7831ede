"""What a dependency with a preset takes an exception for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from holdgate import Dependency, Outcome


def verdict_on(preset: ModuleType, error: BaseException) -> str:
    """What it is taken for, with all that it stands for: "failure", "throttled", or "own" for the message's own."""
    outcome = Dependency("downstream", failures=preset.failures).classify(error)
    return "own" if outcome in {Outcome.IGNORED, None} else outcome.value


def is_failure(preset: ModuleType, error: BaseException) -> bool:
    """Whether it is the dependency's, and not the message's own."""
    return verdict_on(preset, error) != "own"


async def raised(call: Callable[[], Awaitable[Any]]) -> Exception:
    """What a call raises. Raises AssertionError where it raises nothing."""
    try:
        await call()
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        return error
    raise AssertionError("the client raised nothing")
