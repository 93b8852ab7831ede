"""The guard's event loop, in a thread of its own beside Celery's main loop, and how other threads act on it.

Theory of operation. A guard is asyncio code, and a Celery worker's main process is not. To hand each task to another thread and to wait for
the answer would cost two switches of threads for a decision of three microseconds. Instead the loop's steps and what other threads do
exclude each other. The loop's thread has the lock except while it waits for events, and another thread that has the lock acts as if it were
a step of that loop:

    with loop:                 # no step of the loop runs now
        run.offer(delivery)    # whatever needs the running loop finds this one

The lock is in the selector, so that it is free exactly while the loop waits. A callback that another thread schedules wakes the loop; a
timer does so only if the loop would sleep for longer.

It is safe to fork. The lock is taken before a fork, so that the loop waits for events meanwhile and holds nothing, and the child is another
process: `belongs_here` is false there. What the loop had open (the control's port, most of all) is the parent's. The child replaces each
of those descriptors, because a port that a pool process keeps open could not be bound again after a crash of the worker. Closing them
would not do: their owners exist in the child too, and would close the number once more, when it is another file's.

What is ugly: `asyncio._set_running_loop` has an underscore, though asyncio lists it for those who implement loops.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import Context
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple
from weakref import WeakSet

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _YieldingSelector(selectors.BaseSelector):
    """A selector that lets others have the lock while it waits."""

    def __init__(self, lock: threading.RLock) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = lock
        self.sleeps_for: float | None = 0.0  # seconds; None means until something happens

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.sleeps_for = timeout
        self._lock.release()
        try:
            return self._selector.select(timeout)
        finally:
            self._lock.acquire()
            self.sleeps_for = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map() or {}  # None when it is closed

    def close(self) -> None:
        self._selector.close()

    def descriptors(self) -> list[int]:
        """Return the files that it watches, and its own."""
        own = getattr(self._selector, "fileno", None)
        return [key.fd for key in self.get_map().values()] + ([] if own is None else [own()])


class _WokenLoop(asyncio.SelectorEventLoop):
    """An event loop that wakes when another thread, which has its lock, schedules something."""

    def __init__(self, selector: _YieldingSelector) -> None:
        super().__init__(selector)
        self.set_debug(False)  # it refuses timers of other threads, and knows nothing of our lock
        self._waits = selector
        self.thread = threading.get_ident()

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.Handle:
        if threading.get_ident() != self.thread:
            return self.call_soon_threadsafe(callback, *args, context=context)
        return super().call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        if threading.get_ident() != self.thread:
            # What is left of the loop's sleep is not known, and it has slept for less than it meant to.
            sleeps_for = self._waits.sleeps_for
            if sleeps_for is None or when < self.time() + sleeps_for:
                self.call_soon_threadsafe(_nothing)
        return handle


def _nothing() -> None: ...


class SharedLoop:
    """An event loop in a thread of its own. `with` it, any thread of this process acts as a step of that loop; it must not wait there."""

    def __init__(self, name: str) -> None:
        # It knows its owner: a signal handler may find that it has interrupted a step of the loop.
        self._lock = threading.RLock()
        self._name = name
        # False in a child that was forked from this process. A flag that the fork sets: to ask for the pid is a system call for each task.
        self.belongs_here = True
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: _WokenLoop | None = None
        self._selector = _YieldingSelector(self._lock)
        self._forking = False

    def start(self) -> None:
        """Begin, and return when the loop runs."""
        _loops.add(self)
        self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def is_entered(self) -> bool:
        """Whether this thread acts as a step of the loop at this moment. A signal handler must not do so once more, in the middle of it."""
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # noqa: SLF001 - threading.Condition asks it as well

    def __enter__(self) -> Self:
        self._lock.acquire()
        asyncio._set_running_loop(self._loop)  # noqa: SLF001 - see the head of this file
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio._set_running_loop(None)  # noqa: SLF001
        self._lock.release()

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and return its result. Must not be called with the lock. Raises TimeoutError after `timeout` seconds;
        None means no limit."""
        if self._loop is None:
            work.close()
            raise RuntimeError("the loop has not started")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def stop(self, timeout: float) -> bool:
        """End the loop and its thread. Returns whether they have ended within `timeout` seconds; the thread does not keep the process."""
        _loops.discard(self)
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return True
        with suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout)
        return not thread.is_alive()

    def _main(self) -> None:
        self._lock.acquire()
        try:
            loop = self._loop = _WokenLoop(self._selector)
            loop.call_soon(self._ready.set)
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.get_loop()
                loop.run_forever()
        finally:
            self._ready.set()
            self._lock.release()

    # -- forks --------------------------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let the loop wait for events, and hold nothing. A step of the loop itself that forks has the lock already."""
        if threading.current_thread() is not self._thread:
            self._lock.acquire()
            self._forking = True

    def after_fork_in_parent(self) -> None:
        self._unlock()

    def after_fork_in_child(self) -> None:
        """Let go of what the parent's loop has open."""
        self.belongs_here = False
        self._unlock()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in self._selector.descriptors():
            with suppress(OSError):
                os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)

    def _unlock(self) -> None:
        if self._forking:
            self._forking = False
            self._lock.release()


# Those that run here. A fork goes through all of them.
_loops: WeakSet[SharedLoop] = WeakSet()


def _each(act: Callable[[SharedLoop], None]) -> Callable[[], None]:
    def call() -> None:
        for loop in list(_loops):
            act(loop)

    return call


def _in_child() -> None:
    for loop in list(_loops):
        loop.after_fork_in_child()
    _loops.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_each(SharedLoop.before_fork), after_in_parent=_each(SharedLoop.after_fork_in_parent), after_in_child=_in_child
    )
