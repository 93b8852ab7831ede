"""Time for tests: a clock that is moved by hand, and an event loop whose time jumps, so that an hour of holding takes milliseconds.

Under virtual time timers are not waited for. Whenever no task can run, the loop's clock jumps to the next timer. Everything happens in the
same order as in real time, but immediately. Threads, sockets and subprocesses are not driven by the loop's timers and keep real time; while
they work the clock stands still. `VirtualEventLoop` says what that means for a test.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import wraps
from itertools import cycle
from typing import Any, ClassVar, ParamSpec, TypeVar, TypeVarTuple, cast

from holdgate.testing.outside import Outside, uncounted_threads

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# The middle of [0, 1): jitter drawn with it is no jitter at all, so that expected times in a test are round numbers.
NO_JITTER = 0.5


class ManualClock:
    """A clock that stands still until it is moved; implements `holdgate.ports.Clock`.

    - `start`: where it stands first, in seconds.
    - `draws`: the numbers that `draw` returns, in turn and then from the beginning again, each in [0, 1). The default is always 0.5, which
      is no jitter.
    """

    def __init__(self, start: float = 0.0, draws: tuple[float, ...] = (NO_JITTER,)) -> None:
        self._now = start
        self._draws = cycle(_chances(draws))

    def now(self) -> float:
        """Return where it stands, in seconds."""
        return self._now

    def draw(self) -> float:
        """Return the next of `draws`."""
        return next(self._draws)

    def advance(self, seconds: float) -> None:
        """Move it forward. Raises ValueError for less than 0, because monotonic time never goes back."""
        if seconds < 0:
            raise ValueError(f"seconds must be 0 or more, got {seconds}: a monotonic clock cannot go back")
        self._now += seconds


class LoopClock:
    """A clock that shows the running event loop's time; implements `holdgate.ports.Clock`.

    Give it to a Guard under `run_virtual`, so that the guard and the timers of the loop agree on what time it is. A thread without a loop
    sees the time of the last loop that used the clock.

    - `draws`: as in `ManualClock`.
    """

    def __init__(self, draws: tuple[float, ...] = (NO_JITTER,)) -> None:
        self._draws = cycle(_chances(draws))
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """Return the loop's time in seconds. Raises RuntimeError if no loop runs here and none has used this clock before."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            # A plain handler asks from its thread, through a call form.
            if self._loop is None:
                raise
        return self._loop.time()

    def draw(self) -> float:
        """Return the next of `draws`."""
        return next(self._draws)


class Stalled(RuntimeError):
    """Under virtual time nothing can happen any more: every task waits, and no timer, thread or socket will wake one."""


class _JumpingSelector(selectors.DefaultSelector):
    """Turn the loop's wait for its next timer into a jump of its clock, unless a thread or a connection is at work."""

    def __init__(self, outside: Outside, thread_patience: float, stall_patience: float, work_patience: float) -> None:
        super().__init__()
        self.now = 0.0
        self._outside = outside
        self._thread_patience = thread_patience
        self._stall_patience = stall_patience
        self._work_patience = work_patience
        self._threads = uncounted_threads()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._outside.is_at_work(self.get_map().values()):
            ready = super().select(self._work_patience)
            if not ready:
                raise Stalled(self._outside.give_up(self._work_patience, self.get_map().values()))
            return ready
        # Counted before the next look: a thread wakes the loop, and ends. One that is no longer there has done so by now.
        has_others = uncounted_threads() > self._threads
        patience = self._stall_patience if timeout is None else self._thread_patience
        ready = super().select(patience if has_others else 0)
        if not ready and timeout is None:
            raise Stalled("every task waits, and no timer is set: look for a future that is never resolved")
        if not ready and timeout is not None:
            self.now += timeout
        return ready


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """An event loop that begins at second 0 and jumps to its next timer whenever nothing can run.

    Time stands still while something outside of the loop is at work: a plain handler in its thread, `asyncio.to_thread` and
    `run_in_executor`, a DNS look-up, an open connection or pipe to another process. The loop waits for them in real time. A thread that
    itself waits for virtual time to pass, or a connection that is kept open, would never let it pass; then the loop raises `Stalled` and
    names what it waited for. `wait_in_thread` is how a thread may wait for virtual time.

    Of other threads the loop only knows that they exist. It holds each jump back a little for them, so a slow one sees timeouts come early.

    - `thread_patience`: real seconds for which a jump is held back while there are other threads. With the default an answer, which takes
      less than a millisecond, comes in time, and a thousand jumps end within ten seconds.
    - `stall_patience`: real seconds after which the loop raises `Stalled` if no timer is set and there are other threads. Without other
      threads it raises immediately. The default is longer than a thread waits for its turn on a busy processor.
    - `work_patience`: real seconds after which it raises `Stalled` if nothing has come from outside. The default is slower than the answer
      to any test.
    """

    _latest: ClassVar[VirtualEventLoop | None] = None

    def __init__(self, *, thread_patience: float = 0.01, stall_patience: float = 5.0, work_patience: float = 30.0) -> None:
        self._outside = Outside()
        self._virtual = _JumpingSelector(self._outside, thread_patience, stall_patience, work_patience)
        self._pool: ThreadPoolExecutor | None = None
        self._waiters: dict[threading.Event, None] = {}  # threads that wait for virtual time
        self._thread = threading.get_ident()
        super().__init__(self._virtual)
        self._outside.know(self._virtual.get_map().values())  # the pipe by which the loop wakes itself
        VirtualEventLoop._latest = self

    @classmethod
    def here(cls) -> VirtualEventLoop | None:
        """Return the virtual loop that runs in this thread; in a thread without a loop the one that was made last, if it is still open.

        None means that no time is virtual here.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return VirtualEventLoop._latest
        return running if isinstance(running, VirtualEventLoop) else None

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._virtual.now

    def under_way(self, job: Future[Any], result: asyncio.Future[Any], function: object) -> None:
        """Let no time pass until `job`, a call of `function`, has ended in its thread and `result` is done in this loop.

        For code that has threads of its own.
        """
        self._outside.began(job, result, function)
        job.add_done_callback(self._nudge)

    def wait_in_thread(self, seconds: float) -> None:
        """Block the calling thread for virtual seconds, as `time.sleep` does for real ones. Returns early if the loop is closed meanwhile.

        For what a plain handler calls. In the loop's own thread it blocks the loop: the clock jumps, and nothing else happens meanwhile.
        """
        if threading.get_ident() == self._thread:
            self._virtual.now += seconds
            return
        is_over = threading.Event()
        # Noted before the loop is asked: a loop that is closed in between either refuses, or finds the thread here.
        self._waiters[is_over] = None
        with suppress(RuntimeError):  # the loop is closed
            self.call_soon_threadsafe(self._wait, seconds, is_over)
            is_over.wait()

    def close(self) -> None:
        """Close as every loop does, and let go of the threads that wait for virtual time."""
        super().close()
        if VirtualEventLoop._latest is self:
            VirtualEventLoop._latest = None
        for waiter in list(self._waiters):
            waiter.set()

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run `func` as every loop does, and let no time pass until its result is here."""
        jobs: list[Future[Any]] = []
        result: asyncio.Future[T] = super().run_in_executor(cast("Executor", _Noting(executor or self._default_pool(), jobs)), func, *args)
        self.under_way(jobs[0], result, func)
        return result

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """Set the executor as every loop does."""
        self._pool = executor
        super().set_default_executor(executor)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002 - in virtual time it means nothing
        """Shut the executor down as every loop does, without waiting again for what was given up."""
        if self._outside.given_up and self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        else:
            await super().shutdown_default_executor()

    def _wait(self, seconds: float, is_over: threading.Event) -> None:
        # From here on the thread is not at work, and from `_go_on` on it is again: both in this thread, so that no jump comes in between.
        self._outside.waiting += 1
        self.call_later(seconds, self._go_on, is_over)

    def _go_on(self, is_over: threading.Event) -> None:
        self._outside.waiting -= 1
        del self._waiters[is_over]
        is_over.set()

    def _default_pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        return cast("ThreadPoolExecutor", self._pool)

    def _nudge(self, _job: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self.call_soon_threadsafe(lambda: None)


class _Noting:
    """Pass jobs on to an executor, and note them."""

    def __init__(self, executor: Executor, jobs: list[Future[Any]]) -> None:
        self._executor = executor
        self._jobs = jobs

    def submit(self, func: Callable[..., T], *args: Any) -> Future[T]:
        job = self._executor.submit(func, *args)
        self._jobs.append(job)
        return job


def run_virtual(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine as `asyncio.run` does, but on virtual time, and return its result.

    Timers, `asyncio.sleep` and timeouts take no real time. Must not be called inside a running loop. Raises what `main` raises, and
    `Stalled`.

    - `main`: the coroutine.
    - `debug`: as in `asyncio.run`. None means as the environment says.
    """
    with asyncio.Runner(loop_factory=VirtualEventLoop, debug=debug) as runner:
        return runner.run(main)


async def run_virtual_apart(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on virtual time from a real loop: in a thread, with a loop of its own. Returns its result, and raises what it raises.

    - `make`: makes the coroutine, in that thread.

    A cancellation ends the coroutine too, and waits for its end.
    """
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def main() -> T:
        begun.append((asyncio.get_running_loop(), asyncio.current_task()))
        return await make()

    apart = asyncio.create_task(asyncio.to_thread(lambda: run_virtual(main())))
    try:
        return await asyncio.shield(apart)
    except asyncio.CancelledError:
        for loop, task in begun:
            with suppress(RuntimeError):  # it is over already, and its loop is closed
                loop.call_soon_threadsafe(cast("asyncio.Task[Any]", task).cancel)
        await asyncio.wait({apart})
        raise


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Decorate an async test, or any async function, so that it becomes a plain function that runs on virtual time.

    Works under every test framework, and with pytest's fixtures and parameters. Async fixtures live in another loop and cannot be used.
    """

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtual(test(*args, **kwargs))

    return run


def _chances(draws: tuple[float, ...]) -> tuple[float, ...]:
    if not draws or not all(0 <= draw < 1 for draw in draws):
        raise ValueError(f"draws must be one or more numbers in [0, 1), got {draws}")
    return draws
