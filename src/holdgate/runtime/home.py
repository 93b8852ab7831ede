"""Where a guard is at home for callers that have no event loop, or another one: its own loop, or a thread that is made for it.

Theory of operation. A guard belongs to one event loop. A patient call may come from anywhere: a worker thread of dramatiq, a callback of
pika, a job of arq, a script without any loop. So it does nothing to the guard itself. It posts *steps*, which run on the guard's loop, one
after the other.

A guard that was entered (`async with Guard()`) is at home on that loop, and a caller on it runs its steps directly. A guard that nobody has
entered gets a thread with a loop of its own at the first call. Why then, and why a thread? A module is imported where no loop runs, and
often in a parent that forks; a thread that is begun at import would be missing in each child. And the loop of a framework may be blocked by
its jobs, or begun anew for each of them, while a wait must end and a limit must be kept for all threads alike. The thread sleeps until a
step or a timer comes.

The thread is a daemon: it must not keep a program from ending. At the program's end, or by `close`, it leaves its guard, so that spans,
observers and the control plane get to see the end.

What is ugly. A process that is forked while the thread runs has the guard without its thread. Every step is refused there, with the
remedy: nothing could tell in which state the copy is.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from threading import get_ident
from types import TracebackType
from typing import Protocol, Self, TypeVarTuple

from holdgate.errors import CommandError, GuardClosed

Ts = TypeVarTuple("Ts")

# At the end of a program: the log's last lines, a span, the close of a listening socket. Calls that still run are in daemon threads, which
# end with the process (seconds).
_LEAVE_WITHIN = 1.0


class LodgedGuard(Protocol):
    """What a home asks of its guard, which says when it was entered and left."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Home:
    """Runs steps on the loop of one guard, from any thread, and begins a thread with a loop where the guard has none."""

    def __init__(self, guard: LodgedGuard) -> None:
        self._guard = guard
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0  # that of the loop
        self._pid = 0  # of the process in which the guard was entered
        self._context: Context = copy_context()  # in which steps run: it belongs to no call
        self._is_left = False
        self._own: threading.Thread | None = None
        self._leave: asyncio.Event | None = None

    def entered(self) -> None:
        """Note that the guard was entered, on the loop that runs here."""
        self._thread, self._pid, self._context = get_ident(), os.getpid(), copy_context()
        self._loop = asyncio.get_running_loop()

    def left(self) -> None:
        """Note that the guard was left."""
        self._is_left = True

    @property
    def is_here(self) -> bool:
        """Whether the caller is on the guard's own thread, which must not be blocked."""
        return self._loop is not None and get_ident() == self._thread

    @property
    def is_gone(self) -> bool:
        """Whether the guard's loop is closed, so that a step which was posted a moment before may never run."""
        return self._loop is not None and self._loop.is_closed()

    def find(self) -> None:
        """Find the guard's loop, or begin a thread with one. Raises GuardClosed, and what entering the guard raises."""
        if self._is_left:
            raise GuardClosed("the guard was left, so nothing can wait for it: make a new one")
        if self._loop is None:
            with self._lock:
                if self._own is None and self._loop is None:
                    self._begin()
        if self._pid != os.getpid():
            raise GuardClosed(
                "this guard was used before the process was forked, and its thread was not copied: make the first patient call after the"
                " fork, or a Guard in each process"
            )

    def post(self, step: Callable[[*Ts], object], *args: *Ts) -> bool:
        """Run a step on the guard's loop: now, if this is its thread, or soon. Returns False if the loop is closed: it will never run."""
        if self.is_here:
            self._context.run(step, *args)
            return True
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(step, *args, context=self._context)
        except RuntimeError:  # it is closed
            return False
        return True

    def close(self) -> None:
        """Leave a guard that lives in a thread of its own, and wait for that. Does nothing for one that has no thread.

        Raises CommandError for a guard that was entered by `async with`, which leaves it, and on the guard's own thread.
        """
        if self._own is None:
            if self._loop is not None:
                raise CommandError("this guard was entered by `async with`, which leaves it: close() is for one with a thread of its own")
            return
        if self.is_here:
            raise CommandError("close() waits for the guard's thread, and was called on it: call it from a thread of the program")
        self._ask_to_leave()
        self._own.join()
        atexit.unregister(self._at_exit)

    # -- the thread -------------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        ready: Future[None] = Future()
        own = threading.Thread(target=self._live, args=(ready,), name="holdgate guard", daemon=True)
        own.start()
        self._own = own  # before the wait: whatever ends that, the thread is there, and `close` ends it
        atexit.register(self._at_exit)
        ready.result()

    def _live(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._stay(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _stay(self, ready: Future[None]) -> None:
        self._leave = asyncio.Event()
        async with self._guard:
            ready.set_result(None)
            await self._leave.wait()

    def _ask_to_leave(self) -> None:
        if self._loop is not None and self._leave is not None:
            with suppress(RuntimeError):  # it is closed already
                self._loop.call_soon_threadsafe(self._leave.set)

    def _at_exit(self) -> None:
        if self._own is not None and self._pid == os.getpid():
            self._ask_to_leave()
            self._own.join(_LEAVE_WITHIN)
