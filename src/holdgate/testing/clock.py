"""Time for tests: a clock that is moved by hand, and an event loop whose time jumps, so that an hour of holding takes milliseconds.

Under virtual time a timer is not waited for. Whenever no task can run, the loop's clock jumps to the next timer, so that everything
happens in the same order as in real time, only at once. What is not driven by the loop's own timers keeps real time: threads, sockets,
subprocesses. While they work the clock stands still. See `VirtualEventLoop` for what that means.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import wraps
from itertools import cycle
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, cast

from holdgate.testing.outside import Outside, uncounted_threads

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# The middle of [0, 1): jitter drawn with it is no jitter at all, so that expected times in a test are round numbers.
NO_JITTER = 0.5


class ManualClock:
    """A clock that stands still until it is moved; implements `holdgate.ports.Clock`.

    `start` is in seconds. `draws` are what `draw` gives, in turn and from the beginning again, each in [0, 1); left out: always 0.5,
    which is no jitter.
    """

    def __init__(self, start: float = 0.0, draws: tuple[float, ...] = (NO_JITTER,)) -> None:
        self._now = start
        self._draws = cycle(_chances(draws))

    def now(self) -> float:
        """Where it stands, in seconds."""
        return self._now

    def draw(self) -> float:
        """The next of `draws`."""
        return next(self._draws)

    def advance(self, seconds: float) -> None:
        """Move it forward. Raises ValueError for less than 0: monotonic time never goes back."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds} s")
        self._now += seconds


class LoopClock:
    """A clock that shows the running event loop's time; implements `holdgate.ports.Clock`.

    Give it to a Guard under `run_virtual`, so that the guard and the timers of the loop agree on what time it is. `draws` as in
    `ManualClock`. A thread without a loop sees the time of the last loop that used it.
    """

    def __init__(self, draws: tuple[float, ...] = (NO_JITTER,)) -> None:
        self._draws = cycle(_chances(draws))
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """The loop's time in seconds. Raises RuntimeError when no loop runs here and none has ever used this clock."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            # A plain handler in a thread asks too, by way of a call form.
            if self._loop is None:
                raise
        return self._loop.time()

    def draw(self) -> float:
        """The next of `draws`."""
        return next(self._draws)


class Stalled(RuntimeError):
    """Under virtual time nothing can happen any more: every task waits for something that no timer, thread or socket will bring."""


class _JumpingSelector(selectors.DefaultSelector):
    """Turns the loop's wait for its next timer into a jump of its clock, unless the world outside is at work."""

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
        if uncounted_threads() > self._threads:
            ready = super().select(self._stall_patience if timeout is None else self._thread_patience)
        if not ready and timeout is None:
            raise Stalled("every task waits, and no timer is set: look for a future that nobody resolves")
        if not ready and timeout is not None:
            self.now += timeout
        return ready


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """An event loop that begins at second 0 and jumps to its next timer whenever nothing can run.

    Time stands still while the real world is at work: a plain handler in its thread, `asyncio.to_thread` and `run_in_executor`, a DNS
    look-up, an open connection or pipe to somebody outside this loop. They are waited for in real time, however slow they are, and when
    nothing has come for `work_patience` real seconds (30: nobody's test has a slower answer), it raises `Stalled`, naming what it waited
    for: a thread that itself waits for virtual time to pass, or a connection that is kept open, would never let it pass.

    Other threads it only knows to be there: each jump is held back for `thread_patience` real seconds (0.01: an answer takes less than a
    millisecond, and a thousand jumps still end within ten seconds), so that slower ones see timeouts come early. When no timer is set and
    nothing comes, for `stall_patience` real seconds (1.0) if there are threads, it raises `Stalled` instead of hanging.
    """

    def __init__(self, *, thread_patience: float = 0.01, stall_patience: float = 1.0, work_patience: float = 30.0) -> None:
        self._outside = Outside()
        self._virtual = _JumpingSelector(self._outside, thread_patience, stall_patience, work_patience)
        self._pool: ThreadPoolExecutor | None = None
        super().__init__(self._virtual)
        self._outside.know(self._virtual.get_map().values())  # the pipe by which the loop wakes itself

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now

    def under_way(self, job: Future[Any], told: asyncio.Future[Any], function: object) -> None:
        """Let no time pass until `job`, a call of `function`, has ended in its thread and `told` is done here. For whoever has threads of
        his own."""
        self._outside.began(job, told, function)
        job.add_done_callback(self._nudge)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As every loop does it, and counted until the result is here."""
        jobs: list[Future[Any]] = []
        told: asyncio.Future[T] = super().run_in_executor(cast("Executor", _Noting(executor or self._default_pool(), jobs)), func, *args)
        self.under_way(jobs[0], told, func)
        return told

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """As every loop does it."""
        self._pool = executor
        super().set_default_executor(executor)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002 - in virtual time it means nothing
        """As every loop does it; what was given up is not waited for once more."""
        if self._outside.given_up and self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        else:
            await super().shutdown_default_executor()

    def _default_pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        return cast("ThreadPoolExecutor", self._pool)

    def _nudge(self, _job: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self.call_soon_threadsafe(lambda: None)


class _Noting:
    """An executor that notes the jobs which a loop gives it."""

    def __init__(self, executor: Executor, jobs: list[Future[Any]]) -> None:
        self._executor = executor
        self._jobs = jobs

    def submit(self, func: Callable[..., T], *args: Any) -> Future[T]:
        job = self._executor.submit(func, *args)
        self._jobs.append(job)
        return job


def run_virtual(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine as `asyncio.run` does, on virtual time; returns its result.

    Timers, `asyncio.sleep` and timeouts take no real time. Not from inside a running loop. Raises what `main` raises, and `Stalled`.
    """
    with asyncio.Runner(loop_factory=VirtualEventLoop, debug=debug) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Decorate an async test, or any async function, to be a plain one that runs on virtual time.

    Works under any test framework, and with pytest's fixtures and parameters; async fixtures live in another loop and do not mix.
    """

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtual(test(*args, **kwargs))

    return run


def _chances(draws: tuple[float, ...]) -> tuple[float, ...]:
    if not draws or not all(0 <= draw < 1 for draw in draws):
        raise ValueError(f"draws are one or more numbers from 0 up to, but not, 1: {draws}")
    return draws
