"""The call forms themselves: a function called, a block entered, a function wrapped. Each admits, runs and reports one call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from threading import get_ident
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast

from holdgate.core import Outcome, Rejected, State
from holdgate.errors import CallNotPermitted, SettingsError
from holdgate.runtime.attempt import current_attempt
from holdgate.runtime.calls import Call, OwnCall, begin

if TYPE_CHECKING:
    from holdgate.runtime.dependency import Dependency

P = ParamSpec("P")
T = TypeVar("T")

_SUCCESS = Outcome.SUCCESS
_CLOSED = State.CLOSED


async def run_async(dependency: Dependency, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any, fallback: Any) -> T:
    """Call an async function, or answer with the fallback when refused (which may be async too)."""
    call = begin(dependency)
    if isinstance(call, Rejected):
        return cast("T", await _answer(_refuse(dependency, call, fallback)))
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
        return cast("T", _refuse(dependency, call, fallback))
    try:
        result = fn(*args, **kwargs)
        if result.__class__ is CoroutineType:
            _no_coroutine(fn, result)
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


def guard_function(dependency: Dependency, fn: Callable[P, Any], fallback: Any) -> Callable[P, Any]:
    """`fn` as a call of the dependency, of the same colour."""
    check_function(fn, "guarded")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise SettingsError(f"{_named(fn)} is a generator: its work happens after the call has returned; use calling() around the loop")
    if is_async(fn):
        return _guard_async(dependency, fn, fallback)
    check_fallback(fallback)
    return _guard_sync(dependency, fn, fallback)


# The two wrappers spell out the usual case, a call outside of handlers that returns: it costs half of what the way through `begin` does.
# On the thread that the circuit belongs to they even go past the binding. `permit` is Any because isinstance costs a tenth of the call.


def _guard_sync(dependency: Dependency, fn: Callable[P, T], fallback: Any) -> Callable[P, T]:
    get_attempt = current_attempt.get
    usual = dependency.result_failures is None

    @functools.wraps(fn)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        if get_attempt() is not None:
            return run_sync(dependency, fn, args, kwargs, fallback)
        access = dependency.access
        direct = access.thread == get_ident()
        permit: Any = access.circuit.try_acquire(access.now()) if direct else access.acquire()
        if permit.__class__ is Rejected:
            if fallback is None:
                raise CallNotPermitted(dependency.name, permit.retry_at)
            return cast("T", fallback(CallNotPermitted(dependency.name, permit.retry_at)))
        try:
            result = fn(*args, **kwargs)
            if result.__class__ is CoroutineType:
                _no_coroutine(fn, result)
        except BaseException as error:
            OwnCall(dependency, access, permit).raised(error)
            raise
        if direct and usual:
            circuit = access.circuit
            circuit.record(permit, _SUCCESS, access.now())
            if circuit.events_pending or circuit.state is not _CLOSED:
                access.after()
        elif usual:
            access.succeeded(permit)
        else:
            OwnCall(dependency, access, permit).returned(result)
        return result

    return guarded


def _guard_async(dependency: Dependency, fn: Callable[P, Awaitable[T]], fallback: Any) -> Callable[P, Awaitable[T]]:
    get_attempt = current_attempt.get
    usual = dependency.result_failures is None

    @functools.wraps(fn)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        if get_attempt() is not None:
            return await run_async(dependency, fn, args, kwargs, fallback)
        access = dependency.access
        direct = access.thread == get_ident()
        permit: Any = access.circuit.try_acquire(access.now()) if direct else access.acquire()
        if permit.__class__ is Rejected:
            return cast("T", await _answer(_refuse(dependency, permit, fallback)))
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            OwnCall(dependency, access, permit).raised(error)
            raise
        if direct and usual:
            circuit = access.circuit
            circuit.record(permit, _SUCCESS, access.now())
            if circuit.events_pending or circuit.state is not _CLOSED:
                access.after()
        elif usual:
            access.succeeded(permit)
        else:
            OwnCall(dependency, access, permit).returned(result)
        return result

    return guarded


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
        raise SettingsError(f"fallback {_named(fallback)} is async and the call is not; give a plain function")


def is_async(fn: Any) -> bool:
    """Whether calling `fn` gives a coroutine, as far as can be seen before the call."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004 - for its colour


def _refuse(dependency: Dependency, rejected: Rejected, fallback: Any) -> Any:
    # A fresh exception each time: one that is raised again and again grows its traceback for ever.
    if fallback is None:
        raise CallNotPermitted(dependency.name, rejected.retry_at)
    return fallback(CallNotPermitted(dependency.name, rejected.retry_at))


async def _answer(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _pending(fn: Callable[..., Awaitable[T]], pending: Awaitable[T]) -> Awaitable[T]:
    if pending.__class__ is CoroutineType or inspect.isawaitable(pending):
        return pending
    raise SettingsError(f"{_named(fn)} is no async function; use call_sync")


def _no_coroutine(fn: Any, result: Any) -> None:
    result.close()
    raise SettingsError(f"{_named(fn)} is an async function; use `await dependency.call(...)`")


def _named(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", None) or type(fn).__qualname__)
