"""The call forms themselves: a function called, a block entered. Each admits, runs and reports one call; wrapping.py has the third."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from holdgate.core import Rejected
from holdgate.errors import CallNotPermitted, SettingsError
from holdgate.runtime.calls import Call, begin

if TYPE_CHECKING:
    from holdgate.runtime.dependency import Dependency

T = TypeVar("T")


async def run_async(dependency: Dependency, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any, fallback: Any) -> T:
    """Call an async function, or answer with the fallback when refused (which may be async too)."""
    call = begin(dependency)
    if isinstance(call, Rejected):
        return cast("T", await answer_with(refuse(dependency, call, fallback)))
    try:
        result = await _pending(fn, fn(*args, **kwargs))
    except BaseException as error:
        call.raised(error)
        raise
    call.returned(result)
    return result


def run_sync(dependency: Dependency, fn: Callable[..., T], args: Any, kwargs: Any, fallback: Any) -> T:
    """Call a plain function, or answer with the fallback when refused."""
    call = begin(dependency)
    if isinstance(call, Rejected):
        return cast("T", refuse(dependency, call, fallback))
    try:
        result = fn(*args, **kwargs)
        if result.__class__ is CoroutineType:
            no_coroutine(fn, result)
    except BaseException as error:
        call.raised(error)
        raise
    call.returned(result)
    return result


class Calling:
    """One call as a block, for `with` and `async with`. Made by `Dependency.calling`; used once at a time."""

    __slots__ = ("_call", "_dependency")

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._call: Call | None = None

    def __enter__(self) -> Self:
        if self._call is not None:
            raise SettingsError("this block is entered already; each call needs a `calling()` of its own")
        call = begin(self._dependency)
        if isinstance(call, Rejected):
            raise CallNotPermitted(self._dependency.name, call.retry_at)
        self._call = call
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        if error is None:
            call.passed()
        else:
            call.raised(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.__exit__(kind, error, traceback)


def check_function(fn: Any, form: str) -> None:
    """Raise SettingsError unless `fn` can be called; a coroutine made too early is closed, so that Python does not complain about it."""
    if callable(fn):
        return
    if inspect.iscoroutine(fn):
        fn.close()
        raise SettingsError(f"{form}() was given a coroutine, which exists before anybody could refuse it: write {form}(fn, *args)")
    raise SettingsError(f"{form}() takes a function, and {type(fn).__name__} cannot be called")


def check_fallback(fallback: Any) -> None:
    """Raise SettingsError for an async fallback of a plain function: nobody would await it."""
    if is_async(fallback):
        raise SettingsError(f"fallback {named(fallback)} is async and the call is not; give a plain function")


def is_async(fn: Any) -> bool:
    """Whether calling `fn` gives a coroutine, as far as can be seen before the call."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004 - for its colour


def refuse(dependency: Dependency, rejected: Rejected, fallback: Any) -> Any:
    """Raise CallNotPermitted, or return what the fallback makes of it."""
    # A fresh exception each time: one that is raised again and again grows its traceback for ever.
    if fallback is None:
        raise CallNotPermitted(dependency.name, rejected.retry_at)
    return fallback(CallNotPermitted(dependency.name, rejected.retry_at))


async def answer_with(answer: Any) -> Any:
    """What a fallback gave, awaited where it is async."""
    return await answer if inspect.isawaitable(answer) else answer


def _pending(fn: Callable[..., Awaitable[T]], pending: Awaitable[T]) -> Awaitable[T]:
    if pending.__class__ is CoroutineType or inspect.isawaitable(pending):
        return pending
    raise SettingsError(f"{named(fn)} is no async function; use call_sync")


def no_coroutine(fn: Any, result: Any) -> None:
    """Raise SettingsError for an async function that was called as a plain one."""
    result.close()
    raise SettingsError(f"{named(fn)} is an async function; use `await dependency.call(...)`")


def named(fn: Any) -> str:
    """Its name, for an error."""
    return str(getattr(fn, "__qualname__", None) or type(fn).__qualname__)
