"""What a dependency with a preset takes an exception for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from holdgate import Dependency, Outcome


def is_failure(preset: ModuleType, error: BaseException) -> bool:
    """Whether it is the dependency's failure, with all that it stands for."""
    return Dependency("downstream", failures=preset.failures).classify(error) is Outcome.FAILURE


async def raised(call: Callable[[], Awaitable[Any]]) -> Exception:
    """What a call raises. Raises AssertionError where it raises nothing."""
    try:
        await call()
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        return error
    raise AssertionError("the client raised nothing")
