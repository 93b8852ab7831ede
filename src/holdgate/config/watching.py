"""A settings file that is read again while a worker runs: at SIGHUP, and when it has changed.

The file is read in a thread, because the disk may be far away, and taken up on the event loop in one step. Whatever goes wrong is logged,
and the old settings stay: no slip of the pen in a file may end a worker.

The file is looked at before it is read, first when it is loaded: a worker connects before it watches. One that is written meanwhile looks
different the next time, and is read once more; so half a file is not valid for a moment, or not whole for a moment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol, Self

from holdgate.config.changes import Changes, in_one_line
from holdgate.core import validation
from holdgate.errors import HoldgateError, SettingsError
from holdgate.runtime.commands import PROGRAM
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from datetime import timedelta

    from holdgate.config.reading import SettingsReading
    from holdgate.runtime.guard import Guard

log = logging.getLogger("holdgate")

Mark = tuple[int, int, int] | None


class Watched(Protocol):
    """What is read again: `Settings`."""

    path: Path

    def read_again(self) -> SettingsReading: ...

    def take_up(self, reading: SettingsReading, guards: tuple[Guard, ...], actor: str) -> Changes: ...


class SettingsWatch:
    """Reads a settings file again while it is entered. Made by `Settings.watch`; entered once, on the guards' event loop."""

    def __init__(self, settings: Watched, guards: tuple[Guard, ...], every: float | timedelta, *, signals: bool | None, seen: Mark) -> None:
        if signals is not None and not isinstance(signals, bool):
            raise SettingsError(f"signals must be None, True or False, got {signals!r}: leave it out, or give False to keep SIGHUP")
        self._settings = settings
        self._guards = guards
        self._every = validation.seconds("every", every)
        self._signals = signals
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = asyncio.Event()
        self._actor = PROGRAM  # who has asked last
        self._seen = seen
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._take_signal()
        self._task = begin_later(self._look(), f"watch of {self._settings.path}")
        return self

    async def __aexit__(self, *_: object) -> None:
        # `==`, because a bound method is a new object each time it is looked up.
        if self._loop is not None and _can_signal() and signal.getsignal(signal.SIGHUP) == self._arrived:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self._loop = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def ask(self, actor: str = PROGRAM) -> None:
        """Read the file at the next step of the loop, whether it looks changed or not. `actor`: who wants that, for the audit log."""
        self._actor = actor
        self._asked.set()

    def _take_signal(self) -> None:
        if self._signals is False:
            return
        hindrance = _hindrance()
        if hindrance is None:
            signal.signal(signal.SIGHUP, self._arrived)
        elif self._signals:
            raise SettingsError(f"signals=True, but {hindrance}; leave signals out, and a change of the file is found all the same")

    def _arrived(self, _signum: int, _frame: FrameType | None) -> None:
        # This runs between two bytecodes of the main thread, in the middle of anything.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.ask, "SIGHUP")

    async def _look(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._every):
                    await self._asked.wait()
            except TimeoutError:
                pass
            asked = self._asked.is_set()
            self._asked.clear()
            mark = await asyncio.to_thread(mark_of, self._settings.path)
            if asked or mark != self._seen:
                self._seen = mark
                await self._read(self._actor if asked else "a change of the file")

    async def _read(self, actor: str) -> None:
        path = self._settings.path
        try:
            reading = await asyncio.to_thread(self._settings.read_again)
            found = self._settings.take_up(reading, self._guards, actor)
        except HoldgateError as error:
            log.warning("settings: %s is not valid and changes nothing: %s", path, "; ".join(str(error).splitlines()))
            return
        except Exception as error:  # noqa: BLE001 - a mistake of ours; the worker goes on by what it has
            log.error("settings: %s was not taken up, by a mistake of ours: %s", path, type(error).__name__)  # noqa: TRY400
            return
        if found.applied and not self._guards:  # else each guard's audit log has it, and its log
            log.info("settings: %s was read again: %s", path, in_one_line(found.applied))
        elif not found.applied:
            log.info("settings: %s was read again: nothing differs that a running worker takes up", path)
        if found.waiting:
            log.warning("settings: %s has what only a restart changes: %s", path, in_one_line(found.waiting))


def mark_of(path: Path) -> Mark:
    """Return what differs when a file was written or replaced, through links. None means that it cannot be looked at."""
    try:
        seen = os.stat(path)  # noqa: PTH116 - the same as Path.stat
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_ino, seen.st_size


def _can_signal() -> bool:
    return hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread()


def _hindrance() -> str | None:
    if not hasattr(signal, "SIGHUP"):
        return "this system has no SIGHUP"
    if threading.current_thread() is not threading.main_thread():
        return f"the watch is in thread {threading.current_thread().name!r} and Python delivers signals to the main thread only"
    handler = signal.getsignal(signal.SIGHUP)
    return None if handler is signal.SIG_DFL else f"SIGHUP already has a handler ({handler!r})"
