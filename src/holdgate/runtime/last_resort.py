"""The end of a process that SIGTERM asked to end, whatever its threads do.

A drain has its time limit, and so has everything that the guard waits for. Three things can keep the process all the same. A handler blocks
the event loop: then the guard cannot even learn of the signal. A handler swallows its cancellation: `asyncio.run` waits for its task. And a
thread that `asyncio.to_thread` has started, or user code: `asyncio.run` waits for the threads of the loop's pool, and the interpreter for
all that are no daemons. (Those of plain handlers are daemons: threads.py.)

So the signal starts a thread of ours, which watches. It ends the process by `os._exit` in three cases, and only in these:
1. `drain_timeout` is over, the guard was not left, and the loop does not answer;
2. `drain_timeout` is over, the guard was left, a handler goes on though it was cancelled, and the program has had a moment to end;
3. `drain_timeout` is over, the program has ended, and the interpreter only waits for threads.
A program that goes on after its guard, for whatever reason, is none of these: it is left alone. So is every process whose SIGTERM belongs
to somebody else, such as a web server or a test runner: nothing is watched there.

What a hard end costs: no `finally`, no `atexit`. The log and the standard streams are flushed before. No message is lost by it. In the
second and third case the guard has given everything back before; in the first, what was not committed comes again.

What is ugly: the one sign of the third case is the stack of the main thread, whose outermost frame belongs to `threading` then. And a
signal handler may run in the middle of anything, also of `threading`'s own code with its locks held. So it starts our thread by `_thread`,
which has none.
"""

from __future__ import annotations

import _thread
import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import sleep
from types import FrameType

from holdgate.runtime.clock import SystemClock

log = logging.getLogger("holdgate")

# Handlers were cut off and code of theirs still ran: BSD's EX_TEMPFAIL, "try again later", which is what becomes of their messages. Neither
# Python nor a shell uses it, and 128 + 15 would say that the signal has killed the process.
CUT_OFF = 75

# A loop that works answers within milliseconds. It is asked twice, since a process that stood still needs a moment (seconds).
_ANSWERS_WITHIN = 1.0
# What has ended unwinds within a fraction of that, user code that closes its clients included (seconds).
_ENDS_WITHIN = 2.0
# Threads that are about to end do so in that time, and their program ends by itself (seconds).
_JOINS_WITHIN = 0.5
# A log handler may hang as well, on a full pipe for one (seconds).
_SAYS_WITHIN = 1.0
_LOOKS_EVERY = 0.1

# More would only be a longer line: the offsets that follow say the same.
_NAMES_AT_MOST = 20


class LastResort:
    """Ends a process that was asked to end, where it does not end by itself.

    `drain_timeout` is in seconds. `in_hand` returns the places of the messages whose handlers run; it is called in another thread.
    """

    def __init__(self, drain_timeout: float, in_hand: Callable[[], Sequence[str]]) -> None:
        self._drain_timeout = drain_timeout
        self._in_hand = in_hand
        self._now = SystemClock.now  # not that of the guard: a virtual clock says nothing of a real process
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = threading.Event()
        self._ending = threading.Event()
        self._said = threading.Event()
        self._cut_off: list[str] = []  # where the messages stand whose handlers did not end in time
        self._in_threads = False  # whether one of these handlers goes on in a thread
        self._unended: list[Callable[[], bool]] = []  # for each that went on although it was cancelled: whether it still does
        self._asked_at: float | None = None
        self._is_alone = False  # one thread watches and ends the process

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch, because the process was asked to end. May be called in a signal handler, once."""
        self._asked_at = self._now()
        self._loop = loop
        with suppress(RuntimeError):  # no thread can be made: the drain has its time limit all the same, and nobody watches it
            _thread.start_new_thread(self._start, ())

    @property
    def drain_for(self) -> float:
        """The seconds that a drain may take which begins now. They count from the signal: a handler may have blocked the loop since."""
        passed = 0.0 if self._asked_at is None else self._now() - self._asked_at
        return max(0.0, self._drain_timeout - passed)

    def was_cut_off(self, places: Sequence[str], *, in_threads: bool, unended: Sequence[Callable[[], bool]]) -> None:
        """Note whose handlers a run has cut off: of which messages, and whether some of those go on in threads, or though they were
        cancelled. Each of `unended` returns whether it still does; it is called in another thread."""
        self._cut_off += places
        self._in_threads = self._in_threads or in_threads
        self._unended += unended

    @property
    def is_kept_by_handlers(self) -> bool:
        """Whether a handler that was cut off may have gone on."""
        return self._in_threads or bool(self._unended)

    def left(self) -> None:
        """Note that the guard was left: everything that it owes the broker is done."""
        self._left.set()

    def _start(self) -> None:
        # Both now: at the interpreter's end no thread can be started any more.
        try:
            threading.Thread(target=self._end_process, name="holdgate-exit", daemon=True).start()
            threading.Thread(target=self._watch, name="holdgate-last-resort", daemon=True).start()
        except RuntimeError:  # that end has come already, on a busy machine: this thread does both, and a log that hangs keeps it
            self._is_alone = True
            self._watch()

    def _watch(self) -> None:
        asked = self._asked_at or 0.0
        until = asked + self._drain_timeout
        self._left.wait(self._drain_timeout)
        while not self._left.is_set():
            if not (self._answers() or self._answers()):
                self._end(asked, "a handler blocks the event loop", self._in_hand())
                return
            self._left.wait(_LOOKS_EVERY)
        left = self._now()
        over_since: float | None = None
        while True:
            now = self._now()
            over_since = (over_since or now) if _is_over() else None
            if over_since is not None and now >= max(until, over_since + _JOINS_WITHIN):
                self._end(asked, f"threads still run ({_threads()})", self._cut_off)
            elif over_since is None and now >= max(until, left + _ENDS_WITHIN) and any(goes_on() for goes_on in self._unended):
                self._end(asked, "handlers go on although they were cancelled", self._cut_off)
            sleep(_LOOKS_EVERY)

    def _answers(self) -> bool:
        """Return whether the event loop does its work. One that is closed has nothing to do, and the guard counts as left."""
        answered = threading.Event()
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(answered.set)
        except RuntimeError:
            self._left.set()
            return True
        return answered.wait(_ANSWERS_WITHIN)

    def _end(self, asked: float, why: str, places: Sequence[str]) -> None:
        """Say so, flush, and end the process. A log that hangs delays the end and does not prevent it."""
        self._ending.set()
        messages = f" Not settled, so these come again: {name_some(places)}." if places else ""
        log.error(
            "ending the process with exit code %d, %.1f s after SIGTERM (drain_timeout=%g): %s.%s",
            CUT_OFF,
            self._now() - asked,
            self._drain_timeout,
            why,
            messages,
        )
        with suppress(Exception):
            logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        self._said.set()
        if self._is_alone:
            os._exit(CUT_OFF)
        threading.Event().wait()  # the other thread ends the process

    def _end_process(self) -> None:
        self._ending.wait()
        self._said.wait(_SAYS_WITHIN)
        os._exit(CUT_OFF)


def name_some(places: Sequence[str]) -> str:
    """Return these places in one line, the first twenty of them."""
    more = len(places) - _NAMES_AT_MOST
    return ", ".join(places[:_NAMES_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _is_over() -> bool:
    """Return whether the program has ended, and the interpreter waits for its threads."""
    frames: Callable[[], Mapping[int, FrameType]] = vars(sys)["_current_frames"]  # documented, in spite of its name
    frame: FrameType | None = frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == threading.__name__


def _threads() -> str:
    main = threading.main_thread()
    return name_some([thread.name for thread in threading.enumerate() if thread is not main and not thread.daemon])
