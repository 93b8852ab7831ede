"""The wire between a guard and the log of its fleet: what reads it, what writes it, and what to make of it when it fails.

Theory of operation. A log is on a server, and may hang at any call for as long as it likes. So nothing of the guard waits for it. One task
reads, another one writes, and each call of the log is a task of its own with a time limit here: a call that does not come back is
cancelled, as the port allows, and left behind if it does not end even then. What is to be written is put into a queue by a turn, and what
was read is handed over between two steps of the loop.

    read fails      it is read again after a pause, which grows. The log itself sees to its connection
    append fails    what was to be written is dropped, and so is what came meanwhile: it was about a moment that is over. The fleet's rules
                    say it again if it still matters
    both            have one line, with the remedy that the log gives, and one when all is well again

A log that answers nothing and raises nothing needs no look here: who reads its own records knows how long none has come back
(fleet/member.py), and goes by its own rules.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from holdgate.errors import FleetLogError
from holdgate.ports import FleetLog, LogEntry
from holdgate.runtime.wording import kind_of
from holdgate.tasks import GIVE_UP_WITHIN, begin_later

T = TypeVar("T")

log = logging.getLogger("holdgate")

# To connect takes a few round trips, and a broker that elects a leader needs some seconds.
_OPEN_WITHIN = 10.0
# A record that needs longer is late for everything that it could be about: by then the fleet goes by its own rules.
_APPEND_WITHIN = 6.0
# A read waits for what comes next, and in a quiet fleet of one that is half a minute. Asked anew, a client that has lost its wait finds it.
_READ_WITHIN = 60.0
# Between two tries: soon enough for a log that restarts, and no burden for one that is down for the night (seconds).
_PAUSE_FIRST, _PAUSE_MOST = 0.5, 15.0
# Records that wait for the wire at most. A worker writes ten a second at most, and they wait for six seconds.
_QUEUE_AT_MOST = 256


class _NoAnswer(TimeoutError):
    """A call has not come back within our own time limit. One that the log itself raises is another matter."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """Records that are to be appended together. `confirmed` is done when the log has them. None means that nobody waits for that."""

    records: Sequence[bytes]
    confirmed: asyncio.Future[None] | None = None

    def failed(self, error: FleetLogError) -> None:
        if self.confirmed is not None and not self.confirmed.done():
            self.confirmed.set_exception(error)

    def arrived(self) -> None:
        if self.confirmed is not None and not self.confirmed.done():
            self.confirmed.set_result(None)


class Pauses:
    """The pauses between tries, each twice as long as the one before, spread by `draw`."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._next = _PAUSE_FIRST

    def worked(self) -> None:
        """Begin with the shortest again."""
        self._next = _PAUSE_FIRST

    async def wait(self) -> None:
        """Wait for the next try."""
        pause, self._next = self._next, min(_PAUSE_MOST, 2 * self._next)
        await asyncio.sleep(pause * (0.5 + self._draw()))


class Wire:
    """Reads and writes one log in tasks of its own.

    - `heard`: gets what was read, in its order.
    - `state`: gets whether the log works, each time that it has answered or failed.
    - `draw`: spreads the pauses.
    """

    def __init__(
        self, fleet_log: FleetLog, heard: Callable[[Sequence[LogEntry]], object], state: Callable[[bool], object], draw: Callable[[], float]
    ) -> None:
        self._log = fleet_log
        self._heard = heard
        self._state = state
        self._draw = draw
        self._queue: list[_Letter] = []
        self._waits = asyncio.Event()  # something is in the queue
        self._is_open = False
        self._failing: dict[str, None] = {}  # what does not work now: "opened", "read", "written"
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Open the log, now. Raises FleetLogError."""
        await self._limited(self._log.open(), _OPEN_WITHIN)
        self._is_open = True

    def start(self) -> None:
        """Read and write from now on. A log that is not open yet is opened first, again and again."""
        self._tasks.append(begin_later(self._main(), "fleet"))

    def send(self, records: Sequence[bytes]) -> None:
        """Append these as soon as the log takes them. Never waits."""
        self._put(_Letter(records))

    async def confirm(self, records: Sequence[bytes]) -> None:
        """Append these, and return when the log has them. Raises FleetLogError."""
        letter = _Letter(records, asyncio.get_running_loop().create_future())
        self._put(letter)
        if letter.confirmed is not None:
            await self._limited(_result_of(letter.confirmed), _APPEND_WITHIN)

    async def close(self) -> None:
        """End, within a second, whatever the log does. What is still to be written gets a part of that."""
        with suppress(Exception):  # a goodbye that does not arrive is a silence, which others notice, too
            await self._flush()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GIVE_UP_WITHIN)
        with suppress(Exception):  # it has nothing more to say, and nobody to say it to
            await self._limited(self._log.close(), GIVE_UP_WITHIN)

    async def _flush(self) -> None:
        if not self._is_open or self._failing or not self._queue:
            return
        letters, self._queue = self._queue, []
        await self._limited(self._log.append([record for letter in letters for record in letter.records]), GIVE_UP_WITHIN)

    def _put(self, letter: _Letter) -> None:
        self._queue.append(letter)
        if len(self._queue) > _QUEUE_AT_MOST:
            self._queue.pop(0).failed(FleetLogError("the log of the fleet takes nothing now"))
        self._waits.set()

    # -- the tasks --------------------------------------------------------------------------------------------------------------------

    async def _main(self) -> None:
        pauses = Pauses(self._draw)
        while not self._is_open:
            try:
                await self.open()
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on without
                self._failed("opened", error)
                self._drop(error)
                await pauses.wait()
        self._worked("opened")
        self._tasks.append(begin_later(self._read(), "fleet's reader"))
        self._tasks.append(begin_later(self._write(), "fleet's writer"))

    async def _read(self) -> None:
        pauses = Pauses(self._draw)
        while True:
            try:
                entries = await self._limited(self._log.read(), _READ_WITHIN)
            except _NoAnswer:
                continue  # nobody has said anything
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on without
                self._failed("read", error)
                await pauses.wait()
                continue
            pauses.worked()
            self._worked("read")
            self._heard(entries)

    async def _write(self) -> None:
        pauses = Pauses(self._draw)
        while True:
            await self._waits.wait()
            self._waits.clear()
            letters, self._queue = self._queue, []
            if not letters:
                continue
            try:
                await self._limited(self._log.append([record for letter in letters for record in letter.records]), _APPEND_WITHIN)
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on without
                self._failed("written", error)
                self._drop(error, letters)
                await pauses.wait()
                self._drop(error)
                continue
            pauses.worked()
            self._worked("written")
            for letter in letters:
                letter.arrived()

    def _drop(self, error: Exception, letters: Sequence[_Letter] = ()) -> None:
        """Forget these and what waits: it would be late."""
        waiting, self._queue = self._queue, []
        for letter in (*letters, *waiting):
            letter.failed(error if isinstance(error, FleetLogError) else FleetLogError(f"the log of the fleet: {self._words(error)}"))

    async def _limited(self, call: Coroutine[Any, Any, T], seconds: float) -> T:
        """Return what a call of the log returns. Raises TimeoutError after so many seconds, and leaves a call behind that does not end."""
        task = begin_later(call, "call of the fleet's log")
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_forget)
        if not task.done():
            raise _NoAnswer(f"no answer within {seconds:g} s")
        if task.cancelled():
            raise FleetLogError("the log of the fleet has given up a call")
        return task.result()

    # -- what is written --------------------------------------------------------------------------------------------------------------

    def _failed(self, what: str, error: Exception) -> None:
        if not self._failing:
            log.warning(
                "the fleet's log (%s) cannot be %s: %s. This worker goes by its own rules meanwhile",
                self._log.place,
                what,
                self._words(error),
            )
        self._failing[what] = None
        self._state(not self._failing)

    def _worked(self, what: str) -> None:
        if what in self._failing:
            del self._failing[what]
            if not self._failing:
                log.info("the fleet's log (%s) can be used again", self._log.place)
        self._state(not self._failing)

    @staticmethod
    def _words(error: Exception) -> str:
        return str(error) if isinstance(error, FleetLogError | TimeoutError) else kind_of(error)


async def _result_of(future: asyncio.Future[None]) -> None:
    await future


def _forget(ended: asyncio.Task[Any]) -> None:
    if not ended.cancelled():
        ended.exception()
