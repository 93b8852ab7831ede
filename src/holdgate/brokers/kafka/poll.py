"""Polling: never cancelled, never all partitions by accident, and never deaf to a resume.

What happens when `more()` is called: a poll that does not wait takes what aiokafka has buffered, and that is the way of nearly every
record. Only when there is nothing does a waiting poll start, as a task of its own. `more()` then waits for it, or for `wake()`: a poll
that waits for other partitions does not notice that one was resumed, and a hot partition next to idle ones would stand still for the
rest of the wait each time its inbox had been full. The waiting poll is left alone, it ends by itself; until then it is asked for again
only for partitions it does not name.

A position moves in the step in which a poll hands out its records. `take` is called in that same step, so that no commit can run between
a position that has moved and records that nobody knows of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiokafka import TopicPartition

from holdgate.brokers.kafka.client import NOWHERE, Client
from holdgate.brokers.kafka.delivery import Record
from holdgate.tasks import begin_later

# Names are searched one after the other by aiokafka, for each buffered partition: with very many, throwing away the buffers of paused
# partitions and fetching them again (98 ms, once per resume) costs less than 64 x 64 comparisons in every poll.
_NAMES_AT_MOST = 64


class Poll:
    """The polls of one consumer. `timeout` is what one waits for in seconds, `most` the records that one hands out."""

    def __init__(self, client: Client, take: Callable[[dict[TopicPartition, list[Record]]], None], timeout: float, most: int) -> None:
        self._client = client
        self._take = take
        self._timeout = timeout
        self._most = most
        self._names: tuple[TopicPartition, ...] = (NOWHERE,)
        self._waiting: dict[asyncio.Task[None], frozenset[TopicPartition]] = {}
        self._wake: asyncio.Future[None] | None = None

    def name(self, assigned: frozenset[TopicPartition], paused: frozenset[TopicPartition]) -> None:
        """Poll these from now on: the assigned ones that are not paused."""
        active = assigned - paused
        if not active:
            self._names = (NOWHERE,)
        elif len(active) == len(assigned) or len(active) > _NAMES_AT_MOST:
            self._names = ()
        else:
            self._names = tuple(active)

    def wake(self) -> None:
        """There may be something to poll for that the waiting poll does not name."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def more(self, *, now: bool) -> bool:
        """Poll once: without waiting if `now`, then at most `timeout`. Returns whether records were taken without waiting.

        Raises what a poll raised.
        """
        if now and await self._once(self._names, 0):
            return True
        if not self._covered():
            names = self._names
            task = begin_later(self._wait(names), "kafka poll")
            self._waiting[task] = frozenset(names)
        self._wake = asyncio.get_running_loop().create_future()
        await asyncio.wait((*self._waiting, self._wake), timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        self._reap()
        return False

    async def end(self, within: float) -> bool:
        """Wait until no poll is under way, at most `within` seconds; returns whether none is."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=within)
        return not any(not task.done() for task in self._waiting)

    async def abandon(self) -> None:
        """End what is left when the consumer has stopped; a poll of a consumer that lives on ends by itself."""
        if self._client.is_stopped:
            for task in self._waiting:
                task.cancel()
            await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _once(self, names: tuple[TopicPartition, ...], timeout: float) -> bool:
        records = await self._client.getmany(names, timeout, self._most)
        if records:
            self._take(records)
        return bool(records)

    async def _wait(self, names: tuple[TopicPartition, ...]) -> None:
        await self._once(names, self._timeout)

    def _covered(self) -> bool:
        """Whether a poll under way would notice records of every partition polled for."""
        wanted = self._names
        return any(not named or (wanted and named.issuperset(wanted)) for named in self._waiting.values())

    def _reap(self) -> None:
        done = [task for task in self._waiting if task.done()]
        for task in done:
            del self._waiting[task]
        for task in done:
            task.result()
