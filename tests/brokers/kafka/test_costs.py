"""What an outage costs a group without a guard: by the facts, and of a real group."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer

from holdgate.brokers.kafka.costs import Membership, Traffic, of_group, of_topic
from holdgate.brokers.kafka.examination import Diagnosis, examine

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

HOUR = 3600.0
TRAFFIC = Traffic("orders", came=3600, waiting=100, oldest_age=600.0, retention=math.inf)


def test_what_came_in_an_hour_comes_in_an_outage_of_an_hour() -> None:
    """It is lost by whoever gives up, and waits for whoever waits."""
    arrivals, kept = of_topic(TRAFFIC, HOUR)
    assert arrivals.startswith("3,600 records came in the last 1 hour")
    assert "gives up all: 3,600 records are lost" in arrivals
    assert kept == (
        "a consumer that waits has 100 + 3,600 = 3,700 records before it afterwards, the oldest 10 minutes + 1 hour = 70 minutes old. "
        "Records are kept without a limit of time, so none is deleted meanwhile"
    )


def test_retention_is_compared_with_the_oldest_record_after_the_outage() -> None:
    """Long enough, or how much is deleted."""
    assert of_topic(replace(TRAFFIC, retention=86400.0), HOUR)[1].endswith("kept for 1 day, so none is deleted meanwhile")
    assert of_topic(replace(TRAFFIC, retention=1800.0), HOUR)[1].endswith(
        "kept for 30 minutes: those of the first 40 minutes are deleted before anybody has processed them. Raise retention.ms"
    )


def test_a_quiet_topic_and_an_old_broker_are_said_as_such() -> None:
    """No number is made up."""
    assert of_topic(replace(TRAFFIC, came=0), HOUR)[0] == "no record came in the last 1 hour: an outage costs as much as comes in it"
    assert of_topic(replace(TRAFFIC, came=None), HOUR)[0].startswith("how many records come is not known")


def test_members_are_evicted_and_a_group_without_any_reads_nothing() -> None:
    """Each member after max.poll.interval; a group that may not be described says so."""
    evicted, committed = of_group(Membership("Stable", 3), HOUR)
    assert "3600 s / 300 s = 12 times for each of 3 members, 36 rebalances" in evicted
    assert "enable.auto.commit" in committed
    (nobody,) = of_group(Membership("Empty", 0), HOUR)
    assert nobody.startswith("it has no member now (state Empty), so nobody reads")
    (unknown,) = of_group(Membership("unknown", None), HOUR)
    assert unknown.startswith("its members cannot be seen")


async def test_a_real_group_with_a_member_and_without(kafka: KafkaAddress) -> None:
    """Arrivals by the records' times, what waits, members; first nobody, then one, then an empty group."""
    topic = await kafka.create_topic(f"costs-{uuid.uuid4().hex[:8]}", 2, config={"retention.ms": "604800000"})
    group = f"group-{uuid.uuid4().hex[:8]}"
    try:
        await kafka.produce(topic, [b"1", b"2", b"3"], partition=0)
        await kafka.produce(topic, [b"4"], partition=1)

        async def costs(now: float) -> str:
            found = await examine(kafka.bootstrap, group, [topic], {}, now, outage=HOUR)
            assert not any(each.refused for each in found if each.cost)
            return " ".join(f"{each.about}: {each.text}" for each in found if each.cost)

        before = await costs(time.time())
        assert f"{topic}: 4 records came in the last 1 hour" in before
        assert "a consumer that waits has 4 + 4 = 8 records before it afterwards" in before
        assert f"{group}: its members cannot be seen" in before
        assert f"{topic}: no record came in the last 1 hour" in await costs(time.time() + 2 * HOUR)

        consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            async with asyncio.timeout(60):
                while not consumer.assignment():
                    await asyncio.sleep(0.05)
            await consumer.seek_to_end()
            await consumer.commit({each: await consumer.position(each) for each in consumer.assignment()})
            assert f"{group}: a consumer that tries a record again" in (during := await costs(time.time()))
            assert "12 times for each of 1 member, 12 rebalances" in during
            assert "has 0 + 4 = 4 records before it afterwards" in during
        finally:
            await consumer.stop()
        assert f"{group}: it has no member now (state Empty)" in await costs(time.time())
    finally:
        await kafka.delete_topic(topic)


async def test_without_an_outage_there_are_no_costs(kafka: KafkaAddress) -> None:
    """The examination is as it was."""
    topic = await kafka.create_topic(f"costs-{uuid.uuid4().hex[:8]}", 1, config={"retention.ms": "604800000"})
    try:
        found = await examine(kafka.bootstrap, "nobody", [topic, "no-such-topic"], {}, time.time(), outage=HOUR)
        assert Diagnosis("no-such-topic", found[0].text, refused=True) == found[0]
        assert {each.about for each in found if each.cost} == {topic, "nobody"}
        assert not any(each.cost for each in await examine(kafka.bootstrap, "nobody", [topic], {}, time.time()))
    finally:
        await kafka.delete_topic(topic)
