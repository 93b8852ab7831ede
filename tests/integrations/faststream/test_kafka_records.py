"""What a Kafka subscriber's station keeps of its records, with a consumer that is none: no broker is asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("faststream", reason="faststream is not installed: pip install 'holdgate[faststream]'")

from aiokafka import ConsumerRecord, TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from holdgate import Dependency
from holdgate.integrations.faststream import FastStreamGuard
from holdgate.integrations.faststream.middleware import Held

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TP = TopicPartition("orders", 0)


class Consumer:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.paused: list[TopicPartition] = []
        self.sought: list[int] = []

    def assignment(self) -> set[TopicPartition]:
        return {TP}

    def pause(self, *tps: TopicPartition) -> None:
        self.paused += tps

    def resume(self, *tps: TopicPartition) -> None:
        for tp in tps:
            self.paused.remove(tp)

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.sought.append(offset)

    async def commit(self, _: Any) -> None: ...


class Stand:
    """A station, and FastStream's part in the way of a record."""

    def __init__(self, station: Any, consumer: Consumer) -> None:
        self.station = station
        self.consumer = consumer

    def begin(self, offset: int) -> Any:
        """Bring a record; what is returned is its middleware, which is over when `end` was called with it."""
        record: Any = ConsumerRecord("orders", 0, offset, 0, 0, None, b"1", 0, 0, 1, ())
        visit = SimpleNamespace(lane=None, delivery=None, message=SimpleNamespace(raw_message=record, committed=None))
        self.station.consume(visit, lambda _: None, visit.message)
        return visit

    def end(self, visit: Any, error: Exception | None = None) -> None:
        self.station.ended(visit, visit.message, error)


@asynccontextmanager
async def stand() -> AsyncIterator[Stand]:
    broker = KafkaBroker("localhost:1", logger=None)
    guarded = FastStreamGuard(broker, needs=[Dependency("payments")])

    @broker.subscriber("orders", group_id="test", ack_policy=AckPolicy.MANUAL)
    async def handle(_: int) -> None: ...

    (subscriber,) = broker.subscribers
    consumer: Any = Consumer()
    subscriber.consumer = consumer
    async with guarded:
        yield Stand(guarded._stations[subscriber], consumer)


async def test_the_records_of_a_partition_share_one_delivery_while_they_succeed() -> None:
    """Each has its own position and its first attempt. Nothing of the one before is kept: it may be large."""
    async with stand() as it:
        first = it.begin(7)
        delivery = first.lane.delivery
        assert (delivery.position, delivery.attempt) == (7, 1)
        it.end(first)
        assert delivery.record is None
        second = it.begin(8)
        assert second.lane.delivery is delivery
        assert (delivery.position, delivery.attempt) == (8, 1)
        it.end(second)
        assert it.station._offsets._next == {it.consumer: {TP: 9}}


async def test_a_record_that_failed_keeps_its_delivery() -> None:
    """The engine tries it again, so the record that comes meanwhile, after a rebalance say, has another one."""
    async with stand() as it:
        it.end(it.begin(7))
        failing = it.begin(8)
        delivery = failing.lane.delivery
        it.end(failing, ConnectionError())
        assert it.consumer.paused == [TP]
        assert it.consumer.sought == [8]
        assert delivery.position == 8
        with pytest.raises(Held):
            it.begin(8)
        assert delivery.position == 8
        other = it.begin(9)
        assert other.lane.delivery is not delivery
        it.end(other)
        assert it.station._offsets._next == {it.consumer: {TP: 10}}


async def test_a_record_that_its_handler_has_nacked_keeps_its_delivery() -> None:
    """It has asked for another try, and its end is no plain one."""
    async with stand() as it:
        it.end(it.begin(7))
        visit = it.begin(8)
        delivery = visit.lane.delivery
        delivery.retry()
        it.end(visit)
        assert it.consumer.sought == [8]
        assert it.station._offsets._next == {it.consumer: {TP: 8}}
        assert delivery.position == 8
