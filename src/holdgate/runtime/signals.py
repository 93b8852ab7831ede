"""SIGTERM as a request to drain.

Ctrl-C needs nothing from us. `asyncio.run` turns the first SIGINT into a cancellation of the main task, and cancelling a run *is*
drain. The second SIGINT raises KeyboardInterrupt, which stops immediately. SIGTERM has no such owner, and its default kills the process
with deliveries in hand. So the guard takes SIGTERM, but only in the main thread, and only while the handler is the default.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import cast

from holdgate.errors import SettingsError


class Termination:
    """Takes SIGTERM and turns the first one into a call of `drain` on the running loop.

    `signals` None means that SIGTERM is taken where that harms nobody, and left alone elsewhere. False means never. True means that `take`
    raises SettingsError where SIGTERM cannot be taken. Any other value raises SettingsError immediately. Later SIGTERMs do nothing more,
    because drain has its own time limit: a supervisor that repeats itself, or signals a whole group of processes, hurries nobody. Not
    reentrant. `take` must run on the loop. `watch` gets the loop when the signal arrives, in the signal handler itself: the loop may be
    blocked.
    """

    __slots__ = ("_drain", "_loop", "_signals", "_watch", "asked")

    def __init__(
        self, drain: Callable[[], None], signals: bool | None = None, *, watch: Callable[[asyncio.AbstractEventLoop], None] | None = None
    ) -> None:
        if signals is not None and not isinstance(cast("object", signals), bool):
            raise SettingsError(
                f"signals must be None, True or False, got {signals!r}: leave it out, or give False to keep SIGTERM for yourself"
            )
        self._drain = drain
        self._watch = watch
        self._signals = signals  # None by default: inside a web server, a notebook or a thread the signal belongs to other code
        self._loop: asyncio.AbstractEventLoop | None = None
        self.asked = False  # whether SIGTERM has come while it was ours

    @property
    def taken(self) -> bool:
        """Whether SIGTERM is ours now."""
        return self._loop is not None

    def take(self) -> bool:
        """Take SIGTERM if that is allowed and possible, and return whether it was. Raises SettingsError if not, with `signals=True`."""
        if self._signals is False:
            return False
        hindrance = _hindrance()
        if hindrance is None:
            self._loop = asyncio.get_running_loop()
            signal.signal(signal.SIGTERM, self._arrived)
        elif self._signals:
            raise SettingsError(f"signals=True, but {hindrance}; leave signals out and call `await guard.stop()` from your own handler")
        return self.taken

    def restore(self) -> None:
        """Give SIGTERM back to the default, unless other code has replaced our handler meanwhile. Idempotent."""
        if self._loop is None:
            return
        self._loop = None
        # `==`, because a bound method is a new object each time it is looked up.
        if signal.getsignal(signal.SIGTERM) == self._arrived:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _arrived(self, _signum: int, _frame: FrameType | None) -> None:
        # This runs between two bytecodes of the main thread, in the middle of anything: only what takes no lock of Python's is allowed.
        if self._loop is not None and not self.asked:
            self.asked = True
            if self._watch is not None:
                self._watch(self._loop)
            self._loop.call_soon_threadsafe(self._drain)


def _hindrance() -> str | None:
    if threading.current_thread() is not threading.main_thread():
        return f"the guard runs in thread {threading.current_thread().name!r} and Python delivers signals to the main thread only"
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not signal.SIG_DFL:
        return f"SIGTERM already has a handler ({handler!r})"
    return None
