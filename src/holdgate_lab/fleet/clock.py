"""The virtual clock, and the simulated processes on it, each with an event loop of its own.

A `Schedule` is a heap of what is to happen, in order of time, and in order of asking where two things happen at the same time. A
`ProcessLoop` is a real asyncio loop without selector, threads and signals: its timers are acts of the schedule, and what is ready runs to
its end within one act, as no time passes meanwhile. So a Guard runs in it as it does in production, many loops share one clock in one
thread, and one process can be frozen or killed alone.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from random import Random
from typing import Any, TypeVar, TypeVarTuple, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Act = Callable[[], object]

# The heap is swept when more than so many timers, and most of what is in it, were cancelled: as asyncio does it.
_SWEEP = 100
# So many steps of one process in one moment are a loop that never ends: a timer that is always due, a task that always yields.
_STEPS_IN_A_MOMENT = 100_000
# What a process that is ended gets to unwind: each of its tasks lets go within a few steps, or never.
_LAST_STEPS = 20_000


class Schedule:
    """A heap of acts. `now` moves from one to the next and never stands still for real."""

    __slots__ = ("_acts", "_cancelled", "_number", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._number = 0
        self._cancelled = 0
        self._acts: list[tuple[float, int, Act]] = []

    def at(self, when: float, act: Act) -> None:
        """Do it at that second; when that is over already, now, after what was asked for before."""
        self._number += 1
        heapq.heappush(self._acts, (max(self.now, when), self._number, act))

    def after(self, seconds: float, act: Act) -> None:
        """Do it so many seconds from now."""
        self.at(self.now + seconds, act)

    def step(self, until: float) -> bool:
        """Do the next act, unless it comes after `until`: False, and then it is `until`."""
        acts = self._acts
        if not acts or acts[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, act = heapq.heappop(acts)
        act()
        return True

    def one_was_cancelled(self) -> None:
        """A timer will do nothing: forget such ones now and then, or a guard that arms its timer anew for each message fills the heap."""
        self._cancelled += 1
        if self._cancelled > _SWEEP and self._cancelled > len(self._acts) / 2:
            self._acts = [entry for entry in self._acts if not (isinstance(entry[2], _Timer) and entry[2].cancelled())]
            heapq.heapify(self._acts)
            self._cancelled = 0


class _Timer(asyncio.TimerHandle):
    """A timer of one process, and the act that it is in the schedule."""

    _loop: ProcessLoop

    def __call__(self) -> None:
        self._loop.is_due(self)


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one simulated process. `failed` hears of what a real loop would log: a callback or task that raised."""

    def __init__(self, schedule: Schedule, failed: Callable[[str], None]) -> None:
        self.is_frozen = False
        self.is_ended = False
        self._schedule = schedule
        self._failed = failed
        self._ready: deque[asyncio.Handle] = deque()
        self._is_running = False
        self._is_scheduled = False
        self._is_over = False
        self._moment: tuple[float, int] = (-1.0, 0)  # when it last ran, and the steps since

    # -- what a process may be ordered to do ------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Do nothing until `thaw`, as at SIGSTOP. What becomes due waits in its order."""
        self.is_frozen = True

    def thaw(self) -> None:
        """Go on."""
        self.is_frozen = False
        self._run_soon()

    def end(self) -> None:
        """The process is gone. Its tasks unwind at once, in a time of their own, so that Python finds none of them half done; whoever calls
        this has cut them off from the world before."""
        self.is_frozen, self.is_ended = False, True
        self._schedule, self._is_scheduled = Schedule(), False
        with _running(self):
            tasks = asyncio.all_tasks(self)
            for task in tasks:
                task.cancel()
        self._run_soon()
        for _ in range(_LAST_STEPS):
            if all(task.done() for task in tasks) or not self._schedule.step(float("inf")):
                break
        self._is_over = True
        self._ready.clear()

    # -- what is due ------------------------------------------------------------------------------------------------------------------

    def is_due(self, timer: asyncio.Handle) -> None:
        """A timer's time has come."""
        if not self._is_over:
            self._ready.append(timer)
            self._run()

    def _run_soon(self) -> None:
        if not (self._is_scheduled or self._is_running or self.is_frozen or self._is_over):
            self._is_scheduled = True
            self._schedule.at(self._schedule.now, self._on_schedule)

    def _on_schedule(self) -> None:
        self._is_scheduled = False
        self._run()

    def _run(self) -> None:
        """Run what is ready, and what that makes ready, to the end."""
        if self.is_frozen or self._is_running:
            return
        ready = self._ready
        self._is_running = True
        try:
            with _running(self):
                while ready:
                    handle = ready.popleft()
                    if not handle.cancelled():
                        handle._run()  # noqa: SLF001 - what every loop does with its handles
                        self._count_step()
        finally:
            self._is_running = False

    def _count_step(self) -> None:
        at, steps = self._moment
        now = self._schedule.now
        self._moment = (now, steps + 1 if at == now else 1)
        if steps == _STEPS_IN_A_MOMENT and at == now:
            self._failed(f"has taken {_STEPS_IN_A_MOMENT} steps in one moment")
            self._ready.clear()

    # -- what asyncio asks of a loop --------------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._schedule.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._is_running

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._run_soon()
        return handle

    def call_soon_threadsafe(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.Handle:
        """There are no threads here."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._schedule.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        self._schedule.at(when, timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:  # noqa: ARG002 - asyncio's own name and signature
        self._schedule.one_was_cancelled()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T] | Generator[Any, None, T], *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        return asyncio.Task(cast("Coroutine[Any, Any, T]", coro), loop=self, name=None if name is None else str(name), context=context)

    def get_task_factory(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_ended:  # what is being unwound may complain; nobody is there to hear it
            self._failed(f"{context.get('message')}: {context.get('exception')!r}")


class _running:  # noqa: N801 - reads as what it does
    """While this block runs, the loop is the running one of this thread; whatever ran before, a test's own loop for one, comes back."""

    __slots__ = ("_before", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._before = asyncio._get_running_loop()  # noqa: SLF001 - made for those who write event loops
        asyncio._set_running_loop(self._loop)  # noqa: SLF001 - made for those who write event loops

    def __exit__(self, *_: object) -> None:
        asyncio._set_running_loop(self._before)  # noqa: SLF001 - made for those who write event loops


class Process:
    """One life of one simulated process: its loop, its chance, whether it lives. Implements `holdgate.ports.Clock`.

    `draw` is its own chance, so that what others do does not change it. `tell` hears its story, `complain` of what it breaks: an invariant,
    and in words how.
    """

    def __init__(
        self, name: str, schedule: Schedule, chance: Random, *, tell: Callable[[str], None], complain: Callable[[str, str], None]
    ) -> None:
        self.name = name
        self.is_alive = True
        self.was_frozen = False  # and may have missed what the group has asked of it
        self.draw = chance.random
        # It has no sockets, signals and subprocesses, which an abstract loop promises.
        self.loop = ProcessLoop(schedule, self._failed)  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]
        self._schedule = schedule
        self._tell = tell
        self._complain = complain

    def now(self) -> float:
        """The second."""
        return self._schedule.now

    def say(self, words: str) -> None:
        """Tell what this process does."""
        if self.is_alive:
            self._tell(f"{self.name} {words}")

    def complain(self, invariant: str, words: str) -> None:
        """It breaks an invariant."""
        if self.is_alive:
            self._complain(invariant, words)

    def freeze(self, seconds: float) -> None:
        """Do nothing for so long."""
        self.say(f"is frozen for {seconds:g} s")
        self.was_frozen = True
        self.loop.freeze()
        self._schedule.after(seconds, self._thaw)

    @property
    def is_frozen(self) -> bool:
        """Whether it does nothing now, and will go on."""
        return self.loop.is_frozen

    def _thaw(self) -> None:
        if self.is_alive:
            self.say("goes on")
            self.loop.thaw()

    def _failed(self, words: str) -> None:
        self.complain("runtime", f"{self.name}: {words}")
