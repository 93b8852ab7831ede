"""Users' functions, async or plain: how the one is told from the other, how each is called, and what to raise for the wrong one.

A function has a colour, and Python shows it only in part before the call. An async function that is called as a plain one returns a
coroutine that nobody awaits: the call seems to succeed, and was never made. So what a function has returned is looked at, too. Where a call
form is wrong, the error names the function and the form that is meant. A handler that sets context variables is called in a context of its
own (`in_context`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextvars import Context
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType, coroutine
from typing import Any, TypeVar

from holdgate.errors import SettingsError

T = TypeVar("T")
A = TypeVar("A")


def is_async(fn: Any, *, through_wrappers: bool = False) -> bool:
    """Return whether calling `fn` gives something to await, as far as can be seen before the call.

    An async function does, and so does an object whose `__call__` is one, and a `functools.partial` of either. A plain function that wraps
    an async one (`functools.wraps`) may do so as well, or may run the async one to its end. With `through_wrappers` the wrapped function
    decides. That is right only where a result is awaited if it can be, and where one that raises `is_of_a_second_loop` goes to a thread.
    """
    while not (inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))):  # noqa: B004 - for its colour
        inner = getattr(fn, "__wrapped__", None) if through_wrappers else None
        if inner is None and isinstance(fn, partial):
            inner = fn.func
        if inner is None:
            return False
        fn = inner
    return True


# What asyncio (run, Runner, run_until_complete), anyio and asgiref say to code that begins an event loop where one runs.
_SECOND_LOOP = re.compile(
    "cannot be called from a running event loop|[Ee]vent loop is already running|while another loop is running"
    "|Already running .* in this thread|in the same thread as an async event loop"
)


def is_of_a_second_loop(error: RuntimeError) -> bool:
    """Return whether a plain function has failed because it begins an event loop of its own, and was called where one runs."""
    return _SECOND_LOOP.search(str(error)) is not None


def named(fn: Any) -> str:
    """Return the name of a function, for an error."""
    return str(getattr(fn, "__qualname__", None) or type(fn).__qualname__)


def check_function(fn: Any, form: str) -> None:
    """Raise SettingsError unless `fn` can be called. A coroutine that was made too early is closed: Python would warn about it."""
    if callable(fn):
        return
    if inspect.iscoroutine(fn):
        fn.close()
        raise SettingsError(f"{form}() was given a coroutine, which began before the call could be refused: write {form}(fn, *args)")
    raise SettingsError(f"{form}() takes a function, and {type(fn).__name__} cannot be called")


def check_fallback(fallback: Any) -> None:
    """Raise SettingsError for an async fallback of a plain function: nobody would await it."""
    if is_async(fallback):
        raise SettingsError(f"fallback {named(fallback)} is async and the call is not; give a plain function")


def no_keywords(fn: Any, form: str, keywords: Iterable[str]) -> str:
    """Return what to write where a call form was given keywords for its function. They could be its own: `fallback` is."""
    name = getattr(fn, "__name__", type(fn).__name__)
    listed = ", ".join(f"{keyword}=..." for keyword in keywords)
    return f"{form}() takes no keywords for the function, got {listed}: write {form}(functools.partial({name}, ..., {listed}))"


def no_coroutine(fn: Any, result: Any) -> None:
    """Raise SettingsError for an async function that was called as a plain one."""
    result.close()
    raise SettingsError(f"{named(fn)} is an async function; use `await dependency.call(...)`")


def awaitable(fn: Callable[..., Awaitable[T]], pending: Awaitable[T]) -> Awaitable[T]:
    """Return what an async function has returned. Raises SettingsError if that cannot be awaited: the function is a plain one."""
    if pending.__class__ is CoroutineType or inspect.isawaitable(pending):
        return pending
    raise SettingsError(f"{named(fn)} is not an async function: use call_sync")


def apply_sync(fn: Callable[..., T], *args: Any) -> T:
    """Call a plain function. Raises SettingsError for an async one."""
    result = fn(*args)
    if result.__class__ is CoroutineType:
        no_coroutine(fn, result)
    return result


def apply_async(fn: Callable[..., Awaitable[T]], *args: Any) -> Awaitable[T]:
    """Call an async function, and return what is to be awaited. Raises SettingsError for a plain one."""
    return awaitable(fn, fn(*args))


async def see_to(result: object) -> None:
    """Do what a handler has returned instead of doing it: `return charge(delivery)` without an await, or a wrapper that passes it on.

    Raises SettingsError for a generator that has not begun. Nobody would ever run it, and each of its messages would be settled.
    """
    awaited: object = None
    while inspect.isawaitable(result) and result is not awaited:  # some clients are awaited once, and give themselves
        awaited, result = result, await result
    made: Any = result
    if isinstance(result, AsyncGeneratorType) or (isinstance(result, GeneratorType) and inspect.getgeneratorstate(made) == "GEN_CREATED"):
        name = named(made)
        raise SettingsError(f"{name} has a `yield`, so that calling it runs nothing: give a handler without one, or one that runs it")


def seen_to(handler: Callable[[T], Awaitable[object]]) -> Callable[[T], Awaitable[None]]:
    """Return the handler together with `see_to`, for a caller that gives both one context."""

    async def handled(given: T) -> None:
        result = await handler(given)
        if result is not None:
            await see_to(result)

    return handled


@coroutine
def in_context(context: Context, fn: Callable[[A], Awaitable[T]], argument: A) -> Generator[Any, Any, T]:
    """Await `fn(argument)`, called and continued within `context`, without a task of its own.

    A task costs five microseconds, and is another task to every library that asks for the current one. To enter a context for each step of
    a coroutine costs a fraction of that. Everything that the coroutine waits for, and all that is thrown into it, passes through.
    """
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


async def answer_with(answer: Any) -> Any:
    """Return the answer of a fallback, awaited where the fallback is async."""
    return await answer if inspect.isawaitable(answer) else answer
