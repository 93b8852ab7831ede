"""Threads for plain functions: handlers, and probes. All are daemons.

A thread cannot be stopped. The lane that waits for a thread can be interrupted and give its verdict, but the lane stays taken until the
thread has come back. That is why a `ThreadCall` can be awaited twice, once for the result and once for the end.

Why not `ThreadPoolExecutor`: the interpreter waits at its end for the threads of every pool, so that one handler that hangs keeps a
process that was asked to stop. It does not wait for daemons. Nothing is lost by that: a message whose handler has not ended when its run
ends is not settled, whatever the thread does afterwards, and comes again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ThreadCall(Generic[T]):
    """One call that runs in a thread, seen from the loop that started it.

    Await `result()` for what the call returns or raises. Cancelling that await leaves the thread running and settles nothing. `ended()`
    then waits for the thread itself.
    """

    __slots__ = ("_end", "_job")

    def __init__(self, job: Future[T], fn: Callable[..., T]) -> None:
        loop = asyncio.get_running_loop()
        self._job = job
        # This future only marks the end: an asyncio future that carried the exception would log it when the waiter has left.
        end: asyncio.Future[None] = loop.create_future()
        self._end = end

        def over(_job: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits for this abandoned thread
                loop.call_soon_threadsafe(end.set_result, None)

        job.add_done_callback(over)
        under_way = getattr(loop, "under_way", None)  # a virtual loop of tests, whose time must not jump while a thread of ours works
        if under_way is not None:
            under_way(job, end, fn)

    async def result(self) -> T:
        """Return or raise what the call did; CancelledError when the call was withdrawn. Cancelling the waiter does not touch the call."""
        await self.ended()
        if self._job.cancelled():
            raise asyncio.CancelledError
        error = self._job.exception()
        if error is None:
            return self._job.result()
        try:
            raise error  # not by `job.result()`, which loses what is false (findings/futures_lose_false_exceptions.sh)
        finally:
            del self, error  # as in `_make`: what it raises has this frame in its traceback

    async def ended(self) -> None:
        """Wait until the thread has come back, or the call was withdrawn. The result is not looked at."""
        await asyncio.shield(self._end)

    def withdraw(self) -> bool:
        """Take the call back. Returns True when no thread had begun it, so that none will. A call that runs goes on."""
        return self._job.cancel()


# What a thread is given: the call, the context in which it is made, the function, and its arguments.
_Job = tuple["Future[Any]", Context, Callable[..., Any], tuple[Any, ...]]


def _make(job: Future[Any], context: Context, fn: Callable[..., Any], args: tuple[Any, ...], free: Callable[[], object]) -> None:
    """Make one call, and keep what came of it for the one who awaits it. `free` is called when it has ended, before anybody knows."""
    try:
        result = context.run(fn, *args)
    except BaseException as error:  # noqa: BLE001 - the caller awaits it, whatever it is
        free()
        job.set_exception(error)
        del job  # the exception has this frame in its traceback: with the job in it, the two would keep each other alive
    else:
        free()
        job.set_result(result)


def start_daemon(fn: Callable[[], T], name: str) -> ThreadCall[T]:
    """Call `fn` in a new thread of its own, in a copy of the caller's context."""
    job: Future[T] = Future()
    call = ThreadCall(job, fn)
    job.set_running_or_notify_cancel()
    threading.Thread(target=_make, args=(job, copy_context(), fn, (), _nothing), name=f"holdgate-{name}", daemon=True).start()
    return call


def _nothing() -> None:
    """Free a thread that makes no other call."""


class HandlerThreads:
    """The threads of one run: at most `size` of them, named `holdgate-<run>_<n>`, made when they are needed.

    `size` is the run's concurrency. A lane stays taken until its thread comes back, so a call hardly ever has to wait for a thread.
    """

    __slots__ = ("_closed", "_idle", "_made", "_run", "_size", "_work")

    def __init__(self, size: int, run: str) -> None:
        self._size = size
        self._run = run
        self._made = 0
        self._closed = False
        self._work: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)  # counts the threads that have no call to make, now or next

    def start(self, fn: Callable[[*Ts], T], *args: *Ts) -> ThreadCall[T]:
        """Call `fn` in a thread, in a copy of the caller's context, so that call forms in the thread know their delivery.

        Raises RuntimeError after `close`. To be called on one thread only, that of the loop.
        """
        if self._closed:
            raise RuntimeError("the threads of this run are shut down")
        job: Future[T] = Future()
        call = ThreadCall(job, fn)
        # Each call gets a copy: two threads cannot enter one Context, and an abandoned thread may still be in the last copy.
        self._work.put((job, copy_context(), fn, args))
        # A thread counts as idle before its end is told. If it counted from when it waits again, the next call would come in between, and
        # nearly each one would make another thread. In a full house the call waits in the queue, and counting does not matter any more.
        if not self._idle.acquire(blocking=False) and self._made < self._size:
            name = f"holdgate-{self._run}_{self._made}"
            self._made += 1
            threading.Thread(target=_serve, args=(self._work, self._idle), name=name, daemon=True).start()
        return call

    def close(self) -> None:
        """Refuse further calls, and wait for none. What no thread has begun is withdrawn. Threads that still run finish on their own."""
        self._closed = True
        with suppress(Empty):
            while True:
                waiting = self._work.get_nowait()
                if waiting is not None:
                    waiting[0].cancel()
        for _ in range(self._made):
            self._work.put(None)


def _serve(work: SimpleQueue[_Job | None], idle: threading.Semaphore) -> None:
    """Make one call after the other, until there is a None instead."""
    while True:
        job = work.get()
        if job is None:
            return
        if job[0].set_running_or_notify_cancel():
            _make(*job, idle.release)
        else:  # it was withdrawn
            idle.release()
        del job  # a thread that waits keeps no delivery alive
