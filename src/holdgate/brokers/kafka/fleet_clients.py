"""The consumer and the producer of a fleet's log, as `KafkaFleetLog` uses them: typed views, and all of aiokafka's private names for it.

Each object is one client from its start to its stop. None is started twice: after an error that a client does not get over, the log makes
another one.

What is ugly, and why:

- aiokafka lets a broker with `auto.create.topics.enable` make every topic that metadata are asked of, and asks for ever after a topic was
  deleted. So a log that somebody deleted would come back with seven days of retention and the broker's number of partitions. The protocol
  has a flag against it, which aiokafka's request knows and its client does not set (`_ask_without_creating`).
- A client whose `start` is cancelled while it asks its first broker leaves a connection open that nobody knows. So that part is a task of
  its own, which its stop waits for. It ends by itself, by the client's time limits.
- A producer that is stopped flushes first, and one with `enable_idempotence` never gives a record up. While its broker is away, `stop`
  waits for ever. `LogProducer.abandon` ends it without a flush.
- A client that is closed closes the connections that it has. Work that it has left behind may be about to make another one, which nobody
  would ever close (`_Ended`).
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, __version__
from aiokafka import client as aiokafka_client

from holdgate.ports import LOOK_BACK
from holdgate.tasks import begin_later

# From aiokafka 0.13 on a request for metadata has the flag that forbids to make a topic.
_CAN_FORBID = tuple(map(int, __version__.split(".")[:2])) >= (0, 13)

# Milliseconds for which one poll waits in this process. It only says how late a close, or a topic that is gone, is noticed.
_POLL_MS = 250
# Bytes of one fetch: some hundred records of the largest size, and all that is kept in memory before it is read.
_FETCH = 256 * 1024
# Bytes of one batch: all that a worker appends in one step is one batch, which the log has as a whole or not at all.
_BATCH = 64 * 1024
# Seconds for the first part of a start: it connects, asks for versions and asks for brokers, and five seconds end each of them.
_FIRST_PART_WITHIN = 20.0
# Seconds for the producer's task to end: milliseconds where its connections are closed.
_SENDER_WITHIN = 1.0
# Records of one poll: a newcomer gets its first half minute in a few steps, and the loop is not blocked meanwhile.
_AT_ONCE = 500


class LogConsumer:
    """Reads the only partition of a topic, without a group. `settings` are those of both clients."""

    def __init__(self, topic: str, settings: Mapping[str, Any]) -> None:
        self._topic = topic
        self._tp = TopicPartition(topic, 0)
        self._consumer: Any = AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a position that is gone must be seen: the log was made anew, or retention was faster
            max_partition_fetch_bytes=_FETCH,
            fetch_max_bytes=_FETCH,
            **settings,
        )
        self._starting: asyncio.Task[None] | None = None
        _ask_without_creating(self._consumer._client)

    async def start(self) -> None:
        """Connect. Raises KafkaError, or OSError."""
        self._starting = begin_later(self._consumer.start(), "kafka fleet start")
        await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """Disconnect. It has no group to leave."""
        if self._starting is not None:
            await asyncio.wait((self._starting,))
        _let_nothing_in(self._consumer._client)
        await self._consumer.stop()

    async def partitions_now(self) -> frozenset[int]:
        """Return the numbers of the topic's partitions, by a list of all topics: that creates none. Empty means that there is no topic."""
        cluster = await self._consumer._client.fetch_all_metadata()
        return frozenset(cluster.partitions_for_topic(self._topic) or ())

    def partitions_known(self) -> frozenset[int]:
        """Return them as the client knows them. It asks the broker again after every error. Empty means that the topic is gone."""
        return frozenset(self._consumer.partitions_for_topic(self._topic) or ())

    @property
    def has_died(self) -> bool:
        """Whether aiokafka's fetch task has ended by an error. Then every poll is empty, and nothing raises."""
        fetcher = self._consumer._fetcher
        return fetcher is not None and fetcher._fetch_task.done()

    def go_to(self, position: int) -> None:
        """Read from this position on. In one step: an assigned partition without a position would be an error of the next poll."""
        if self._tp not in self._consumer.assignment():
            self._consumer.assign([self._tp])
        self._consumer.seek(self._tp, position)

    async def find_beginning(self) -> int:
        """Return the position of the first record that the log has."""
        starts: dict[TopicPartition, int] = await self._consumer.beginning_offsets([self._tp])
        return starts[self._tp]

    async def find_end(self) -> int:
        """Return the position of the next record."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets([self._tp])
        return ends[self._tp]

    async def find_look_back(self) -> int:
        """Return the position of the first record of the last `LOOK_BACK` seconds; without one, that of the next record.

        The topic's times are the broker's (fleet_topic.py), and the search is by our clock. A clock that is slow would find more, so
        nothing counts that is older than `LOOK_BACK` before the last record. A clock that is fast finds less.
        """
        end = await self.find_end()
        since = max(time.time(), await self._time_of_last(end)) - LOOK_BACK
        found = (await self._consumer.offsets_for_times({self._tp: int(since * 1000)}))[self._tp]
        # What came after the first question is found by the second one.
        return end if found is None else int(found.offset)

    async def poll(self) -> Sequence[Any]:
        """Return the next records, or none after a quarter of a second. Raises KafkaError. Must not be cancelled."""
        found: dict[TopicPartition, list[Any]] = await self._consumer.getmany(self._tp, timeout_ms=_POLL_MS, max_records=_AT_ONCE)
        return found.get(self._tp, [])

    async def _time_of_last(self, end: int) -> float:
        """Return the Unix second of the last record. 0 means that there is none."""
        if await self.find_beginning() >= end:
            return 0.0
        self.go_to(end - 1)
        return max((record.timestamp / 1000 for record in await self.poll()), default=0.0)


class LogProducer:
    """Writes to the only partition of a topic. `settings` are those of both clients.

    It is idempotent: a batch that aiokafka sends again after a lost answer is in the log once.
    """

    def __init__(self, topic: str, settings: Mapping[str, Any]) -> None:
        self._topic = topic
        self._producer: Any = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            linger_ms=0,  # an append is one batch already
            max_batch_size=_BATCH,
            **settings,
        )
        self._starting: asyncio.Task[None] | None = None
        _ask_without_creating(self._producer.client)

    async def start(self) -> None:
        """Connect, and get an id of the broker. Raises KafkaError, or OSError."""
        self._starting = begin_later(self._producer.start(), "kafka fleet start")
        await asyncio.shield(self._starting)

    async def send(self, records: Sequence[bytes]) -> None:
        """Return when all replicas have these records, in this order. Raises KafkaError."""
        left = list(records)
        while left:
            batch = self._producer.create_batch()
            while left and batch.append(timestamp=None, key=None, value=left[0]) is not None:
                left.pop(0)
            # A batch whose future is cancelled is one that aiokafka's sender stumbles over.
            await asyncio.shield(await self._producer.send_batch(batch, self._topic, partition=0))

    async def abandon(self) -> None:
        """End without a flush. What is under way may still arrive."""
        producer = self._producer
        producer._closed = True
        await self._end_start()
        for connection in list(producer.client._conns.values()):
            connection.close()
        sending = producer._sender.sender_task
        if sending is not None:
            # The first cancellation lets it wait for requests that are under way, and these may wait for metadata.
            for _ in range(2):
                sending.cancel()
                await asyncio.wait((sending,), timeout=_SENDER_WITHIN)
        _let_nothing_in(producer.client)
        await producer.client.close()

    async def _end_start(self) -> None:
        """End a start that is under way. Behind its first part it asks for an id, without a broker for ever."""
        if self._starting is None:
            return
        if self._producer.client._sync_task is None:  # it is the last thing of that part
            await asyncio.wait((self._starting,), timeout=_FIRST_PART_WITHIN)
        self._starting.cancel()
        await asyncio.wait((self._starting,))


class _Ended(dict[Any, Any]):
    """The connections of a client that has ended: one that comes later is closed immediately, and its user finds it closed."""

    def __setitem__(self, key: Any, connection: Any) -> None:
        super().__setitem__(key, connection)
        connection.close()


def _let_nothing_in(client: Any) -> None:
    client._conns = _Ended(client._conns)


def _ask_without_creating(client: Any) -> None:
    """Let this client's requests for metadata create no topic.

    Its own method is called with another request class. A version that builds the request in another way creates as before.
    """
    if _CAN_FORBID:
        module: Any = aiokafka_client
        theirs = module.AIOKafkaClient._metadata_update
        named = {**theirs.__globals__, "MetadataRequest": partial(module.MetadataRequest, allow_auto_topic_creation=False)}
        client._metadata_update = MethodType(FunctionType(theirs.__code__, named, argdefs=theirs.__defaults__), client)
