"""Time for tests: a clock that is moved by hand, and an event loop whose time jumps, so that an hour of holding takes milliseconds.

Under virtual time a timer is not waited for. Whenever no task can run, the loop's clock jumps to the next timer, so that everything
happens in the same order as in real time, only at once. What is not driven by the loop's own timers keeps real time: threads, sockets,
subprocesses. See `VirtualEventLoop` for what that means.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from itertools import cycle
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

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
    """Turns the loop's wait for its next timer into a jump of its clock."""

    def __init__(self, thread_patience: float, stall_patience: float) -> None:
        super().__init__()
        self.now = 0.0
        self._thread_patience = thread_patience
        self._stall_patience = stall_patience
        self._threads = threading.active_count()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(self._real_wait(timeout))
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Stalled("every task waits, and no timer is set: look for a future that nobody resolves")
        self.now += timeout
        return ready

    def _real_wait(self, timeout: float | None) -> float | None:
        """How long the world outside the loop gets before time jumps; None: as long as it takes."""
        if timeout == 0:
            return 0
        if len(self.get_map()) > 1:
            # A socket besides the loop's own pipe: with no timer set only it can go on.
            return None if timeout is None else self._thread_patience
        if threading.active_count() <= self._threads:
            return 0
        return self._stall_patience if timeout is None else self._thread_patience


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """An event loop that begins at second 0 and jumps to its next timer whenever nothing can run.

    The real world is asked first: with other threads or sockets about, each jump is held back for `thread_patience` real seconds (0.01:
    an answer from a thread takes less than a millisecond, and a thousand jumps still end within ten seconds). Slower threads see
    timeouts come early: test these in real time. When no timer is set and nothing comes from outside, for `stall_patience` real seconds
    (1.0) if there are threads, it raises `Stalled` instead of hanging.
    """

    def __init__(self, *, thread_patience: float = 0.01, stall_patience: float = 1.0) -> None:
        self._virtual = _JumpingSelector(thread_patience, stall_patience)
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now


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
