"""How much waits in the brokers: asked for beside the work, and only while somebody wants to know.

Theory of operation. The first `read` of a guard begins a task for each of its runs, which asks the run's intake every `every` seconds. An
answer is kept, and `read` returns what is kept: it never waits. When nobody has read for a while, the tasks end, so that a worker without
metrics and without a status page asks its broker nothing.

A question is never cancelled to change anything: a channel call that is cancelled closes its channel. So the end of a run ends the task
between two questions, by an event, and the last question ends by itself when its intake closes. A broker that does not answer keeps one
question waiting, and never two.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from holdgate.flow.backlog import BacklogBook, SourceBacklog
from holdgate.ports import InGroup
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from holdgate.flow.message import Source
    from holdgate.flow.snapshot import Snapshot
    from holdgate.flow.totals import EngineTotals
    from holdgate.ports import Intake

log = logging.getLogger("holdgate")

# Questions of a run that nobody has read the answers of: after so many in a row nobody is interested any more. A scrape a minute still is.
_UNREAD = 24


class AskedRun(Protocol):
    """What is asked of a run."""

    intake: Intake[Any]
    name: str
    closed: bool
    opened: asyncio.Future[None]


class AskedGuard(Protocol):
    """What is asked of a guard."""

    @property
    def workers(self) -> Iterable[AskedRun]:
        """The runs that go on."""
        ...

    def snapshot(self) -> Snapshot:
        """Return what is held."""
        ...

    def totals(self) -> EngineTotals:
        """Return what has ended."""
        ...


class BacklogWatch:
    """Asks for the backlogs of one guard, at most once in `every` seconds for each run."""

    def __init__(self, guard: AskedGuard, every: float) -> None:
        self._guard = guard
        self._every = every
        self._books: dict[AskedRun, BacklogBook] = {}
        self._tasks: dict[AskedRun, asyncio.Task[None]] = {}
        self._unread: dict[AskedRun, int] = {}  # how many questions of each were not followed by a read
        self._closed = asyncio.Event()

    def read(self, snapshot: Snapshot) -> dict[Source, SourceBacklog]:
        """Return what is known of all sources, and see to it that it is kept up to date. Must be called on the guard's loop."""
        found: dict[Source, SourceBacklog] = {}
        for run in self._guard.workers:
            if run not in self._tasks and run.opened.done() and not self._closed.is_set():
                self._begin(run)
            if run in self._books:
                self._unread[run] = 0
                found |= self._books[run].read(snapshot)
        return found

    def close(self) -> None:
        """Ask no more. What is being asked ends by itself."""
        self._closed.set()

    def _begin(self, run: AskedRun) -> None:
        group = run.intake.group if isinstance(run.intake, InGroup) else ""
        self._books[run] = BacklogBook(group)
        task = self._tasks[run] = begin_later(self._watch(run), f"backlog of {run.name}")
        task.add_done_callback(lambda ended: self._ended(run, ended))

    def _ended(self, run: AskedRun, task: asyncio.Task[None]) -> None:
        del self._tasks[run], self._books[run], self._unread[run]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("the backlog of %s is not known any more: %s", run.name, type(error).__name__)

    async def _watch(self, run: AskedRun) -> None:
        while not (run.closed or self._closed.is_set() or self._unread[run] > _UNREAD):
            self._unread[run] += 1
            await self._ask(run)
            await sleep_unless(self._closed, self._every)

    async def _ask(self, run: AskedRun) -> None:
        try:
            found = await run.intake.backlog()
        except Exception as error:  # noqa: BLE001 - a broker that is away; what it is of use for goes on without it
            log.debug("the backlog of %s could not be found out: %s", run.name, type(error).__name__)
            return
        totals = self._guard.totals()
        self._books[run].note(found, self._guard.snapshot(), {name: each.ended for name, each in totals.names.items()})


async def sleep_unless(event: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
