"""What retention deletes of a topic that is held is logged: a share group is not told of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from tests.brokers.share.bed import ORDERS, play

from holdgate.brokers.share import ShareIntake, retention
from holdgate.brokers.share.client import Admin
from holdgate.brokers.share.retention import ShareRetention
from holdgate.flow.message import Queue, Settlement
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.testing import run_virtual
from holdgate.testing.conformance import RecordingListener

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.brokers.share.bed import Bed
    from tests.brokers.share.groups import ShareGroups
    from tests.servers.kafka_address import KafkaAddress

WITHIN = 30.0
DELETED = "retention deleted at least"
A, B = ("orders", 0), ("orders", 1)


def test_what_is_deleted_in_a_hold_is_logged(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """With their number, once."""

    async def story() -> None:
        at = await bed.held()
        bed.broker.left["orders"] = 1
        await at.for_a_while(60)

    play(bed, story)
    assert caplog.text.count(DELETED) == caplog.text.count("orders: retention deleted at least 2 records of partition 0") == 1


def test_a_topic_that_is_read_is_not_looked_at(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """The group moves on with the next fetch: a question would come too late, or for nothing."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        await at.take(ORDERS, 1)
        bed.broker.left["orders"] = 0
        await at.for_a_while(10)

    play(bed, story)
    assert DELETED not in caplog.text


class Broker:
    """Says what waits and how long logs are, one answer after the other; the last one stays."""

    def __init__(self, waiting: Mapping[tuple[str, int], int], *sizes: Mapping[tuple[str, int], int]) -> None:
        self._waiting = waiting
        self._sizes = list(sizes)
        self.asked: list[Collection[tuple[str, int]]] = []

    async def waiting(self, topics: Collection[str]) -> Mapping[tuple[str, int], int]:
        return self._waiting

    async def sizes(self, places: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        self.asked.append(places)
        return self._sizes.pop(0) if len(self._sizes) > 1 else self._sizes[0]


def compared(broker: Broker, held: Collection[str] = ("orders",)) -> None:
    """Compare for two minutes."""
    failed: list[BaseException] = []

    async def story() -> None:
        watch = ShareRetention(broker, broker, lambda: held, failed.append)
        watch.start()
        await asyncio.sleep(120)
        watch.stop()

    run_virtual(story())
    assert failed == []


def test_each_deletion_is_logged_when_it_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """And a partition that lost nothing is not named."""
    compared(Broker({A: 50, B: 50}, {A: 90, B: 70}, {A: 40, B: 50}, {A: 40, B: 50}, {A: 10, B: 50}))
    assert [record.getMessage().split(" before")[0] for record in caplog.records if record.levelno == logging.WARNING] == [
        "orders: retention deleted at least 10 records of partition 0",
        "orders: retention deleted at least 40 records of partition 0",
    ]


def test_where_nobody_knows_what_waits_no_log_is_asked_for() -> None:
    """Without aiokafka, say."""
    broker = Broker({}, {A: 5})
    compared(broker)
    assert broker.asked == []


def test_without_a_hold_nothing_is_asked() -> None:
    """A worker that reads has no question more."""
    broker = Broker({A: 10}, {A: 5})
    compared(broker, held=())
    assert broker.asked == []


@pytest.mark.versions
async def test_a_real_broker_deletes_in_a_hold(
    share_kafka: KafkaAddress, groups: ShareGroups, share_topic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is accepted does not count; what waits is known from the first accept on."""
    monkeypatch.setattr(retention, "_EVERY", 0.3)
    topic, group = await share_topic(), await groups.create()
    held = Plan({Queue(topic): SourcePlan(fetch=False, reasons=("circuit:service",))}, 1_000)
    await share_kafka.produce(topic, [b"0"])
    intake = ShareIntake(groups.settings(group), topic)
    await intake.open(RecordingListener())
    try:
        async with asyncio.timeout(WITHIN):
            while not (deliveries := await intake.receive()):
                pass
            intake.settle(deliveries[0], Settlement.ACK)
            await intake.flush()
            intake.apply(held)
            await share_kafka.delete_records(topic, {0: 1})  # it is accepted
            await asyncio.sleep(1.5)
            assert DELETED not in caplog.text
            await share_kafka.produce(topic, [b"%d" % number for number in range(1, 8)])
            await share_kafka.delete_records(topic, {0: 5})
            while DELETED not in caplog.text:
                await intake.receive()
    finally:
        await intake.close()
    assert f"{topic}: {DELETED} 4 records of partition 0" in caplog.text


@pytest.mark.versions
async def test_the_size_of_a_log_is_the_brokers_word(share_kafka: KafkaAddress, groups: ShareGroups, share_topic) -> None:
    """What cannot be had is left out."""
    topic = await share_topic()
    await share_kafka.produce(topic, [b"0", b"1"])
    await share_kafka.delete_records(topic, {0: 1})
    assert await Admin(groups.settings("queue")).sizes([(topic, 0), (topic, 7)]) == {(topic, 0): 1}
