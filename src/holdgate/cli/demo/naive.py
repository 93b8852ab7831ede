"""The side without holdgate: the loop that most workers run today.

Take a batch, handle it concurrently, retry a failure a few times with a growing pause, write what still fails to the dead letter topic so
that the worker can go on, commit. Nothing in it is wrong line by line; together the lines turn an outage into calls that cannot succeed and
good messages in a dead letter topic.
"""

from __future__ import annotations

import asyncio

from holdgate.cli.demo.frame import Status
from holdgate.cli.demo.ledger import RECENT
from holdgate.cli.demo.scenario import CONCURRENCY
from holdgate.cli.demo.service import ServiceError
from holdgate.cli.demo.timeline import Mark
from holdgate.cli.demo.venue import Feed, Record
from holdgate.cli.demo.work import Work

ATTEMPTS = 3  # the first and two retries: the usual number
BACKOFF = 0.2  # seconds before the first retry, doubled for the second
# How long a batch may take to end when the demo is over: three attempts that time out, and their pauses.
STOP_TIMEOUT = 3.0


class NaiveSide:
    """A bare consumer loop around `work`."""

    def __init__(self, feed: Feed, work: Work) -> None:
        self.work = work
        self._feed = feed
        self._stopping = False
        self._failed = 0
        self._failed_at = -RECENT
        self._task: asyncio.Task[None] | None = None

    @property
    def rebalances(self) -> int:
        """How often the group handed out its partitions again."""
        return self._feed.rebalances

    def status(self) -> Status:
        """Whether its calls got through lately; it holds nothing."""
        payments = self.work.payments
        failed = payments.wasted + payments.overrun
        now = self.work.clock.now()
        if failed > self._failed:
            self._failed, self._failed_at = failed, now
        if now - self._failed_at < RECENT:
            return Status("FAILING CALLS", "■", "bad")
        return Status("CALLING", "□", "good")

    def marks(self) -> list[Mark]:
        """None: there is no circuit whose states could be shown."""
        return []

    async def start(self) -> None:
        """Join the group and begin; returns when messages can flow."""
        await self._feed.open()
        self._task = asyncio.create_task(self._run(), name="naive side")

    async def wait(self) -> None:
        """Return when the loop has ended; raises what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """End the loop after the batch that is running, and leave the group. Idempotent."""
        self._stopping = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_TIMEOUT)
            self._task.cancel()
            # What ended it early is raised by `wait`; here it must not keep the client from leaving the group.
            await asyncio.gather(self._task, return_exceptions=True)
        await self._feed.close()

    async def _run(self) -> None:
        while not self._stopping:
            batch = await self._feed.take(CONCURRENCY)
            if batch:
                await asyncio.gather(*map(self._process, batch))
                await self._feed.commit()

    async def _process(self, record: Record) -> None:
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(BACKOFF * 2 ** (attempt - 1))
            try:
                await self.work.handle(record.kind, record.number)
                return
            except ServiceError:
                continue
        await self._feed.bury(record)
        self.work.ledger.bury(record.number)
