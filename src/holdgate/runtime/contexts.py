"""A coroutine that runs in a context of its own, without a task of its own.

A task costs five microseconds and is another task to every library that asks for the current one; entering a context for each step of a
coroutine costs a fraction of one. Everything that the coroutine waits for, and all that is thrown into it, passes through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")
A = TypeVar("A")


@coroutine
def in_context(context: Context, fn: Callable[[A], Awaitable[T]], argument: A) -> Generator[Any, Any, T]:
    """Await `fn(argument)`, called and continued within `context`."""
    enter = context.run
    steps = enter(_begin, fn, argument)
    step: Callable[[Any], Any] = steps.send
    sent: Any = None
    while True:
        try:
            waits_for = enter(step, sent)
        except StopIteration as end:
            result: T = end.value
            return result
        try:
            sent = yield waits_for
            step = steps.send
        except GeneratorExit:
            enter(steps.close)
            raise
        except BaseException as error:  # noqa: BLE001 - it is for the coroutine: a cancellation, most of all
            sent, step = error, steps.throw


def _begin(fn: Callable[[A], Awaitable[T]], argument: A) -> Generator[Any, Any, T]:
    return fn(argument).__await__()
