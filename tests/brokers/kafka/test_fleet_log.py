"""The log of a fleet in a topic: what its clients, its topic and its clock may do to it. The conformance kit has the rest."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from holdgate.brokers.kafka import KafkaFleetLog, fleet_clients, fleet_log
from holdgate.errors import FleetLogError, SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.servers.kafka_address import KafkaAddress

PATIENCE = 60.0  # seconds, for what a loaded broker does
HOUR = 3600.0


@pytest.fixture
async def log_of(kafka: KafkaAddress) -> AsyncIterator[Callable[[str], KafkaFleetLog]]:
    """Make logs of topics, closed at the end."""
    made: list[KafkaFleetLog] = []

    def make(topic: str) -> KafkaFleetLog:
        made.append(KafkaFleetLog(bootstrap_servers=kafka.bootstrap, topic=topic))
        return made[-1]

    yield make
    for log in made:
        await log.close()


async def read(log: KafkaFleetLog, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found += [entry.data for entry in await log.read()]
    return found


async def store(kafka: KafkaAddress, topic: str, record: bytes, ago: float) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    await producer.send_and_wait(topic, record, timestamp_ms=int((time.time() - ago) * 1000))
    await producer.stop()


def test_an_unknown_option_is_refused() -> None:
    """An option that is none of a client's, or that the log itself sets, is a SettingsError with its name and all that may be given."""
    for name in ("acks", "group_id", "bootstrap"):
        with pytest.raises(SettingsError, match=rf"takes no {name}=.*sasl_mechanism"):
            KafkaFleetLog(bootstrap_servers="localhost:9092", **{name: "x"})


def test_its_place_is_the_topic_and_the_servers() -> None:
    """The place names the topic and all servers, however they were given, and no password."""
    servers = ["one:9092", "two:9092"]
    log = KafkaFleetLog(bootstrap_servers=servers, topic="agree", sasl_plain_username="me", sasl_plain_password="hidden")  # noqa: S106 - none
    assert log.place == "topic 'agree' at one:9092,two:9092"
    assert KafkaFleetLog(bootstrap_servers="one:9092").place == "topic 'holdgate-fleet' at one:9092"


async def test_nobody_answers() -> None:
    """An open without a broker raises FleetLogError with the place and what to check, and the log can be closed."""
    log = KafkaFleetLog(bootstrap_servers="127.0.0.1:1", topic="agree")
    with pytest.raises(FleetLogError, match=r"topic 'agree' at 127.0.0.1:1 .* no Kafka broker answers .* check bootstrap_servers"):
        await log.open()
    await log.close()


async def test_a_topic_of_several_partitions_is_refused(kafka: KafkaAddress, topic, log_of) -> None:
    """Both numbers are named: how many partitions the topic has, and how many it must have. One that gets more is refused later."""
    with pytest.raises(FleetLogError, match="has 3 partitions, and the log of a fleet must have 1"):
        await log_of(await topic(partitions=3)).open()

    name = await topic()
    log = log_of(name)
    await log.open()
    await log.append([b"before"])
    assert await read(log, 1) == [b"before"]
    await kafka.add_partitions(name, 2)
    await log._consumer._consumer._client.force_metadata_update()  # comes by itself within metadata_max_age_ms, or after an error
    for call in (log.read(), log.append([b"after"])):
        with pytest.raises(FleetLogError, match="has 2 partitions, and the log of a fleet must have 1"):
            await call


async def test_opening_twice_is_refused(topic, log_of) -> None:
    """The second open raises FleetLogError, and the log goes on; after a close it can be opened again."""
    log = log_of(await topic())
    await log.open()
    with pytest.raises(FleetLogError, match="is open already"):
        await log.open()
    await log.append([b"1"])
    assert await read(log, 1) == [b"1"]
    await log.close()
    await log.open()
    assert await read(log, 1) == [b"1"]


async def test_a_close_ends_an_open_under_way(topic, log_of) -> None:
    """An open that is overtaken by a close raises FleetLogError, and leaves no connection."""
    log = log_of(await topic())
    opening = asyncio.ensure_future(log.open())
    await asyncio.sleep(0)
    await log.close()
    with pytest.raises(FleetLogError, match="not open"):
        await opening
    assert log._consumer is None


async def test_a_cancelled_open_leaves_nothing(topic, log_of) -> None:
    """Cancelled at any moment, an open leaves a log that can be opened."""
    log = log_of(await topic())
    for after in range(12):
        opening = asyncio.ensure_future(log.open())
        await asyncio.sleep(after / 500)
        opening.cancel()
        await asyncio.wait((opening,))
        await log.close()
    await log.open()
    await log.append([b"1"])
    assert await read(log, 1) == [b"1"]


async def test_who_only_reads_makes_no_producer_and_no_group(kafka: KafkaAddress, topic, log_of) -> None:
    """A reader needs no permission to write, and no group of it is ever on the broker."""
    name = await topic()
    log = log_of(name)
    await log.open()
    await kafka.produce(name, [b"1"])
    assert await read(log, 1) == [b"1"]
    assert log._producer is None
    async with kafka.admin() as admin:
        groups = {group for group, *_ in await admin.list_consumer_groups()}
    assert not {group for group in groups if "fleet" in group}


async def test_a_slow_clock_finds_nothing_that_is_too_old(kafka: KafkaAddress, topic, log_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our clock is an hour slow, a newcomer still gets no more than the half minute before the last record."""
    name = await topic()
    await store(kafka, name, b"old", ago=120)
    await store(kafka, name, b"new", ago=0)
    monkeypatch.setattr(fleet_clients.time, "time", lambda real=time.time: real() - HOUR)
    log = log_of(name)
    await log.open()
    await log.append([b"next"])
    assert await read(log, 2) == [b"new", b"next"]


async def test_a_fast_clock_finds_less(kafka: KafkaAddress, topic, log_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our clock is an hour fast, a newcomer gets what comes, and nothing twice."""
    name = await topic()
    await store(kafka, name, b"new", ago=0)
    monkeypatch.setattr(fleet_clients.time, "time", lambda real=time.time: real() + HOUR)
    log = log_of(name)
    await log.open()
    await log.append([b"next"])
    assert await read(log, 1) == [b"next"]


async def test_a_topic_that_was_made_here_goes_by_the_brokers_clock(kafka: KafkaAddress, topic, log_of) -> None:
    """A record of a worker whose clock is an hour slow is new to a newcomer, because `create` makes a topic with the broker's times."""
    log = log_of(f"{await topic()}-made")
    try:
        await log.create()
        await store(kafka, log._topic, b"from an hour ago", ago=HOUR)
        await log.open()
        assert await read(log, 1) == [b"from an hour ago"]
    finally:
        await kafka.delete_topic(log._topic)


async def test_retention_that_has_passed_the_reader(kafka: KafkaAddress, topic, log_of) -> None:
    """A reader whose position was deleted goes on with the first record that exists."""
    name = await topic()
    log = log_of(name)
    await log.open()
    await log.append([b"%d" % number for number in range(10)])
    await kafka.delete_records(name, {0: 6})
    log._consumer.go_to(2)  # as if it had stood still for longer than the topic keeps records
    assert await read(log, 4) == [b"6", b"7", b"8", b"9"]


async def test_a_topic_that_only_looked_gone(topic, log_of) -> None:
    """A broker that has just started may not know the topic yet. When the last record is still there, reading goes on behind it."""
    log = log_of(await topic())
    await log.open()
    await log.append([b"1", b"2"])
    assert await read(log, 2) == [b"1", b"2"]
    log._was_gone = True
    await log.append([b"3"])
    assert await read(log, 1) == [b"3"]


async def test_a_topic_that_looked_gone_before_anything_was_read(topic, log_of) -> None:
    """Without a record that was read, reading goes on where it was to begin."""
    log = log_of(await topic())
    await log.open()
    log._was_gone = True
    await log.append([b"1"])
    assert await read(log, 1) == [b"1"]


async def test_another_topic_with_as_many_records(kafka: KafkaAddress, topic, log_of) -> None:
    """A topic that was made anew and has grown beyond our position is recognised by its records: all of them are read."""
    name = await topic()
    log = log_of(name)
    await log.open()
    await log.append([b"1", b"2"])
    assert await read(log, 2) == [b"1", b"2"]
    await kafka.delete_topic(name)
    with pytest.raises(FleetLogError, match=r"there is no topic .*holdgate fleet create kafka://"):
        async with asyncio.timeout(PATIENCE):
            await log.read()
    await kafka.create_topic(name)
    await kafka.produce(name, [b"a", b"b", b"c", b"d"])
    found: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < 4:
            try:
                found += [entry.data for entry in await log.read()]
            except FleetLogError:
                await asyncio.sleep(0.1)
    assert found == [b"a", b"b", b"c", b"d"]


async def test_a_client_whose_fetching_has_died_is_replaced(topic, log_of) -> None:
    """Aiokafka says nothing when its background task has ended. Reading goes on with another client, at the same place."""
    log = log_of(await topic())
    await log.open()
    await log.append([b"1"])
    assert await read(log, 1) == [b"1"]
    before = log._consumer
    before._consumer._fetcher._fetch_task.cancel()
    await log.append([b"2"])
    assert await read(log, 1) == [b"2"]
    assert log._consumer is not before


async def test_an_append_that_is_not_confirmed_is_given_up(topic, log_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time for it the append raises FleetLogError, its producer is gone, and the next append has another one."""
    log = log_of(await topic())
    await log.open()
    await log.append([b"1"])
    first = log._producer
    monkeypatch.setattr(fleet_log, "_SEND_WITHIN", 0.05)
    monkeypatch.setattr(first, "send", lambda records: asyncio.sleep(HOUR))
    with pytest.raises(FleetLogError, match="cannot be used to write: no Kafka broker answers"):
        await log.append([b"lost"])
    assert log._producer is None
    monkeypatch.setattr(fleet_log, "_SEND_WITHIN", PATIENCE)
    await log.append([b"2"])
    assert log._producer is not first
    assert await read(log, 2) == [b"1", b"2"]
