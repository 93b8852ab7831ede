"""Plain-function handlers run in threads of their run's own, never in asyncio's shared pool: a stuck handler must starve nobody else.

A thread cannot be stopped. Whoever waits for one may be interrupted and give its verdict, but its lane stays taken until the thread has
come back; that is why a `ThreadCall` can be awaited twice, once for the result and once for the end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Generic, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ThreadCall(Generic[T]):
    """One call that runs in a thread, seen from the loop that started it.

    Await `result()` for what it returns or raises. Cancelling that await leaves the thread running and settles nothing; `ended()` then
    waits for the thread itself.
    """

    __slots__ = ("_end", "_job")

    def __init__(self, job: Future[T], fn: Callable[..., T]) -> None:
        loop = asyncio.get_running_loop()
        self._job = job
        # Only ever a bare "it is over": an asyncio future that carried the exception would log it when the waiter has left.
        self._end: asyncio.Future[None] = loop.create_future()

        def over(_job: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed: an abandoned thread came back to nobody
                loop.call_soon_threadsafe(self._end.set_result, None)

        job.add_done_callback(over)
        under_way = getattr(loop, "under_way", None)  # a test's virtual loop: its time must not jump over what a thread of ours does
        if under_way is not None:
            under_way(job, self._end, fn)

    async def result(self) -> T:
        """What the call returned or raised; CancelledError when it was withdrawn. Cancelling the waiter does not touch the call."""
        await self.ended()
        if self._job.cancelled():
            raise asyncio.CancelledError
        return self._job.result()

    async def ended(self) -> None:
        """Wait until the thread has come back, or the call was withdrawn; says nothing of how it went."""
        await asyncio.shield(self._end)

    def withdraw(self) -> bool:
        """Take the call back; True when no thread had begun it, so that it never will. A running one goes on."""
        return self._job.cancel()


def start_daemon(fn: Callable[[], T], name: str) -> ThreadCall[T]:
    """Call `fn` in a new thread that the interpreter does not wait for at its end: for what has nothing in hand, and may hang."""
    job: Future[T] = Future()
    context = copy_context()

    def run() -> None:
        try:
            job.set_result(context.run(fn))
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody awaits it
            job.set_exception(error)

    call = ThreadCall(job, fn)
    job.set_running_or_notify_cancel()
    threading.Thread(target=run, name=f"holdgate-{name}", daemon=True).start()
    return call


class HandlerThreads:
    """The threads of one run: at most `size` of them, named `holdgate-<run>_<n>`.

    `size` is the run's concurrency: a lane stays taken until its thread comes back, so a call never has to queue here.
    """

    __slots__ = ("_executor",)

    def __init__(self, size: int, run: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=size, thread_name_prefix=f"holdgate-{run}")

    def start(self, fn: Callable[[*Ts], T], *args: *Ts) -> ThreadCall[T]:
        """Call `fn` in a thread, in a copy of the caller's context, so that call forms in it know their delivery."""
        # A copy each: one Context cannot be entered by two threads, and an abandoned thread may still be in the last one.
        context = copy_context()
        return ThreadCall(self._executor.submit(lambda: context.run(fn, *args)), fn)

    def close(self) -> None:
        """Take no more calls, and wait for none. Threads that still run finish on their own; the interpreter waits for them at exit."""
        self._executor.shutdown(wait=False, cancel_futures=True)
