"""`Dependency.guarded`: a function wrapped, so that each call of it is a call of the dependency.

What is ugly: the two wrappers spell out the usual case, a call outside of handlers, on the one thread that may go to the circuit directly,
admitted without a look at anything else, ended well and quickly while nothing bad is in the window. It is what `Circuit.try_acquire` and
`record` do then, without the two calls, and with a permit that is used again and again, since nobody but the wrapper has it. That nearly
halves the cost of a call. Everything else goes the way of calling.py.

`busy` is true around each step, and `thread` is looked at inside: see OwnCircuit in access.py. No step calls anything or makes an object,
so nothing can come between. What the circuit says before the first step holds in it, as long as `thread` is still its own there: only that
thread could have changed the circuit.

A refusal is spelled out, too (without the frame of `refuse` in the traceback), and on any thread: it reads when the wait ends, which one
thread writes in one step, and counts. A thread that reads it just before it changes is refused as if it had called a moment earlier.

`Dependency.call` and `call_sync` outside of handlers go through the same two wrappers (`caller_sync`, `caller_async`).
"""

# ruff: noqa: C901, PLR0911 - see above

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from threading import get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from holdgate.core import Rejected
from holdgate.core.permits import issue
from holdgate.errors import CallNotPermitted, SettingsError
from holdgate.runtime.calling import CalledDependency, OwnCall, current_attempt, refuse, run_async, run_sync
from holdgate.runtime.functions import (
    answer_with,
    apply_async,
    apply_sync,
    check_fallback,
    check_function,
    is_async,
    named,
    no_coroutine,
)

if TYPE_CHECKING:
    from holdgate.runtime.access import Access


P = ParamSpec("P")
T = TypeVar("T")


def guard_function(dependency: CalledDependency, fn: Callable[P, Any], fallback: Any) -> Callable[P, Any]:
    """`fn` as a call of the dependency, of the same colour."""
    check_function(fn, "guarded")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise SettingsError(f"{named(fn)} is a generator: its work happens after the call has returned; use calling() around the loop")
    if not is_async(fn):
        check_fallback(fallback)
    if dependency.looks_at_results:
        return _guard_by_result(dependency, fn, fallback)
    return _guard_async(dependency, fn, fallback) if is_async(fn) else _guard_sync(dependency, fn, fallback)


def caller_sync(dependency: CalledDependency) -> Callable[..., Any]:
    """Return what calls any plain function as a call of the dependency: `caller(fn, *args)`."""
    return _guard_sync(dependency, apply_sync, None)


def caller_async(dependency: CalledDependency) -> Callable[..., Awaitable[Any]]:
    """Return what calls any async function as a call of the dependency: `await caller(fn, *args)`."""
    return _guard_async(dependency, apply_async, None)


def _guard_sync(dependency: CalledDependency, fn: Callable[P, T], fallback: Any) -> Callable[P, T]:
    get_attempt = current_attempt.get
    name = dependency.name

    @functools.wraps(fn)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        if get_attempt() is not None:
            return run_sync(dependency, fn, args, kwargs, fallback)
        access = dependency.access
        circuit = access.circuit
        now = access.now()
        if now >= circuit.plain_until or now < circuit.latest:
            if now >= circuit.refuse_until:
                return _long_way(dependency, access, fn, args, kwargs, fallback=fallback)
            circuit.rejected += 1
            if fallback is None:
                raise CallNotPermitted(name, circuit.rejection.retry_at)
            return cast("T", refuse(dependency, circuit.rejection, fallback))
        if get_ident() != access.thread:
            return _long_way(dependency, access, fn, args, kwargs, fallback=fallback)
        live = circuit.live
        permit = access.spare
        if permit is None:
            permit = issue(0, now, 1)
        access.busy = True
        is_ours = access.thread is not None  # pyright: ignore[reportUnnecessaryComparison] - as below
        if not is_ours:
            access.busy = False
            return _long_way(dependency, access, fn, args, kwargs, fallback=fallback)
        access.spare = None
        permit.generation = circuit.generation
        permit.acquired_at = circuit.latest = now
        live[permit] = None
        access.busy = False
        try:
            result = fn(*args, **kwargs)
            if result.__class__ is CoroutineType:
                no_coroutine(fn, result)
        except BaseException as error:
            OwnCall(dependency, access, permit).raised(error)
            raise
        now = access.now()
        took = now - permit.acquired_at
        evidence = circuit.evidence
        window = evidence.window
        access.busy = True
        is_ours = access.thread is not None  # pyright: ignore[reportUnnecessaryComparison] - another thread may have taken it away
        if is_ours and permit in live and now < window.clean_until and took <= evidence.quick:
            del live[permit]
            evidence.in_a_row = 0
            evidence.quick_seconds += took
            window.goods += 1
            access.busy = False
            access.spare = permit
            if circuit.events_pending:
                access.after()
            return result
        access.busy = False
        access.succeeded(permit)
        return result

    return guarded


def _guard_async(dependency: CalledDependency, fn: Callable[P, Awaitable[T]], fallback: Any) -> Callable[P, Awaitable[T]]:
    get_attempt = current_attempt.get
    name = dependency.name

    @functools.wraps(fn)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        if get_attempt() is not None:
            return await run_async(dependency, fn, args, kwargs, fallback)
        access = dependency.access
        circuit = access.circuit
        now = access.now()
        if now >= circuit.plain_until or now < circuit.latest:
            if now >= circuit.refuse_until:
                return await _long_way_async(dependency, access, fn, args, kwargs, fallback=fallback)
            circuit.rejected += 1
            if fallback is None:
                raise CallNotPermitted(name, circuit.rejection.retry_at)
            return cast("T", await answer_with(refuse(dependency, circuit.rejection, fallback)))
        if get_ident() != access.thread:
            return await _long_way_async(dependency, access, fn, args, kwargs, fallback=fallback)
        live = circuit.live
        permit = access.spare
        if permit is None:
            permit = issue(0, now, 1)
        access.busy = True
        is_ours = access.thread is not None  # pyright: ignore[reportUnnecessaryComparison] - as below
        if not is_ours:
            access.busy = False
            return await _long_way_async(dependency, access, fn, args, kwargs, fallback=fallback)
        access.spare = None
        permit.generation = circuit.generation
        permit.acquired_at = circuit.latest = now
        live[permit] = None
        access.busy = False
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            OwnCall(dependency, access, permit).raised(error)
            raise
        now = access.now()
        took = now - permit.acquired_at
        evidence = circuit.evidence
        window = evidence.window
        if get_ident() != access.thread:  # another thread has driven the coroutine on
            access.succeeded(permit)
            return result
        access.busy = True
        is_ours = access.thread is not None  # pyright: ignore[reportUnnecessaryComparison] - another thread may have taken it away
        if is_ours and permit in live and now < window.clean_until and took <= evidence.quick:
            del live[permit]
            evidence.in_a_row = 0
            evidence.quick_seconds += took
            window.goods += 1
            access.busy = False
            access.spare = permit
            if circuit.events_pending:
                access.after()
            return result
        access.busy = False
        access.succeeded(permit)
        return result

    return guarded


def _long_way(dependency: CalledDependency, access: Access, fn: Callable[..., T], args: Any, kwargs: Any, *, fallback: Any) -> T:
    permit = access.acquire()
    if isinstance(permit, Rejected):
        return cast("T", refuse(dependency, permit, fallback))
    try:
        result = fn(*args, **kwargs)
        if result.__class__ is CoroutineType:
            no_coroutine(fn, result)
    except BaseException as error:
        OwnCall(dependency, access, permit).raised(error)
        raise
    access.succeeded(permit)
    return result


async def _long_way_async(
    dependency: CalledDependency, access: Access, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any, *, fallback: Any
) -> T:
    permit = access.acquire()
    if isinstance(permit, Rejected):
        return cast("T", await answer_with(refuse(dependency, permit, fallback)))
    try:
        result = await fn(*args, **kwargs)
    except BaseException as error:
        OwnCall(dependency, access, permit).raised(error)
        raise
    access.succeeded(permit)
    return result


def _guard_by_result(dependency: CalledDependency, fn: Callable[P, Any], fallback: Any) -> Callable[P, Any]:
    """Where each result is looked at, the way through `begin` adds little to that."""
    if is_async(fn):

        @functools.wraps(fn)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await run_async(dependency, fn, args, kwargs, fallback)

        return awaited

    @functools.wraps(fn)
    def called(*args: P.args, **kwargs: P.kwargs) -> Any:
        return run_sync(dependency, fn, args, kwargs, fallback)

    return called
