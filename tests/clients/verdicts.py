"""What a dependency with a preset takes an exception for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from holdgate import Dependency, Outcome


def is_failure(preset: ModuleType, error: BaseException) -> bool:
    """Whether it is the dependency's failure, the exceptions that it was raised from included."""
    dependency = Dependency("downstream", failures=preset.failures)
    link: BaseException | None = error
    while link is not None:
        if dependency.classify(link) is Outcome.FAILURE:
            return True
        link = link.__cause__
    return False


async def raised(call: Callable[[], Awaitable[Any]]) -> Exception:
    """What a call raises. Raises AssertionError where it raises nothing."""
    try:
        await call()
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        return error
    raise AssertionError("the client raised nothing")
