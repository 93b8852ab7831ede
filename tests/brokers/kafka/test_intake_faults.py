from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import AdminClient
from tests.brokers.kafka.conftest import QUICK
from tests.brokers.kafka.drive import PATIENCE, Drive, drive

from holdgate.brokers.kafka import KafkaIntake, intake
from holdgate.brokers.kafka import membership as opening
from holdgate.flow.message import Partition

if TYPE_CHECKING:
    from tests.servers.kafka import KafkaServer
    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.proxy import Proxy


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [str(number).encode() for number in range(first, first + count)]


async def test_the_broker_restarts_during_a_hold(fresh_kafka: KafkaServer) -> None:
    """Killed and started again while everything is held: no rebalance, nothing handed out, nothing lost, and commits go on."""
    name = await fresh_kafka.create_topic("orders", 2)
    for number in range(2):
        await fresh_kafka.produce(name, numbered(10), partition=number)
    ours = AIOKafkaConsumer(bootstrap_servers=fresh_kafka.bootstrap, group_id="workers", **QUICK)
    async with drive(KafkaIntake(ours, topics=[name], inbox=4)) as at:
        await at.take(4)
        at.hold()
        await at.for_seconds(0.3)
        taken = len(at.received)
        fresh_kafka.kill()
        assert await fresh_kafka.count_brokers() == 0
        await at.for_seconds(1.0)
        await at.beside(fresh_kafka.start())
        await at.for_seconds(1.0)
        assert len(at.received) == taken
        assert [event for event, _ in at.events] == ["assigned"]
        at.admit()
        await at.take(20)
        at.ack(at.received)
        assert sorted((delivery.source.number, delivery.position) for delivery in at.received) == [
            (p, o) for p in (0, 1) for o in range(10)
        ]
        await at.intake.flush()
        assert await fresh_kafka.committed("workers", name) == {0: 10, 1: 10}


async def test_the_coordinator_and_leader_is_killed_during_a_hold(kafka_cluster: KafkaServer) -> None:
    """One of three brokers is killed, the one that leads partition and group: the hold outlives it, and nothing is lost or repeated."""
    name = await kafka_cluster.create_topic("orders", 1)
    await kafka_cluster.produce(name, numbered(10), partition=0)
    settings = {**QUICK, "request_timeout_ms": 5000}
    ours = AIOKafkaConsumer(bootstrap_servers=kafka_cluster.bootstrap, group_id="workers", **settings)
    async with drive(KafkaIntake(ours, topics=[name], inbox=4)) as at:
        at.ack(await at.take(4))
        await at.intake.flush()
        at.hold()
        coordinator = ours._coordinator.coordinator_id
        kafka_cluster.brokers[coordinator - 1].kill()
        await at.intake._poller.end(PATIENCE)
        await at.poll()  # what a poll had taken before the hold, on a slow machine, is handed out once
        taken = len(at.received)
        await at.for_seconds(2.0)
        assert len(at.received) == taken
        at.admit()
        await at.take(10)
        at.ack(at.received)
        await at.beside(at.intake.flush())
        assert at.bodies() == numbered(10)
        assert await kafka_cluster.committed("workers", name) == {0: 10}


def block_until_evicted(kafka: KafkaAddress, group: str) -> None:
    """Keep the event loop from everything until the broker has given the group's only member up."""
    admin, give_up = AdminClient({"bootstrap.servers": kafka.bootstrap}), time.monotonic() + PATIENCE
    while admin.describe_consumer_groups([group])[group].result().members:
        assert time.monotonic() < give_up
        time.sleep(0.05)


async def test_an_eviction_is_a_loss(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """A loop blocked beyond the session timeout costs the membership: sources are lost, nothing is committed, the hold comes back."""
    name = await topic()
    await kafka.produce(name, numbered(5), partition=0)
    ours = consumer(session_timeout_ms=3000, heartbeat_interval_ms=300)
    async with driven(KafkaIntake(ours, topics=[name], commit_every=3600)) as at:
        late = list(await at.take(5))
        at.ack(late[:3])
        at.hold()
        at.received.clear()
        at.events.clear()
        at.in_revoked = None
        block_until_evicted(kafka, group)  # the blocked loop is what is tested
        at.intake._commits._wanted.clear()
        await at.until(lambda: at.count("assigned") == 1)
        assert [event for event, _ in at.events] == ["lost", "assigned"]
        at.ack(late[3:])
        await at.intake.flush()
        await at.for_seconds(0.5)
        assert at.received == []
        assert await kafka.committed(group, name) == {}
        at.admit()
        await at.take(5)


async def test_a_flush_is_bounded(own_kafka: KafkaServer, kafka_proxy: Proxy, group, monkeypatch) -> None:
    """With the broker silent a flush returns after its bound, the commit is not cancelled, and goes out when the broker is back."""
    monkeypatch.setattr(intake, "_FLUSH_WITHIN", 0.3)
    name = await own_kafka.create_topic(f"flush-{group}")
    await own_kafka.produce(name, numbered(3), partition=0)
    ours = AIOKafkaConsumer(bootstrap_servers=kafka_proxy.address, group_id=group, **QUICK)
    async with drive(KafkaIntake(ours, topics=[name], commit_every=3600)) as at:
        at.ack(await at.take(3))
        kafka_proxy.cut()
        await at.intake.flush()
        assert at.intake._commits._is_running()
        kafka_proxy.heal()
        async with asyncio.timeout(60):
            while await own_kafka.committed(group, name) != {0: 3}:
                await at.poll()
    await own_kafka.delete_topic(name)


async def test_a_close_is_bounded(own_kafka: KafkaServer, kafka_proxy: Proxy, group, monkeypatch) -> None:
    """With the broker silent a close returns after its bounds, for a rebalance in the middle of it as well."""
    monkeypatch.setattr(intake, "_FLUSH_WITHIN", 0.3)
    monkeypatch.setattr(opening, "_STOP_WITHIN", 0.3)
    name = await own_kafka.create_topic(f"close-{group}")
    await own_kafka.produce(name, numbered(3), partition=0)
    ours = AIOKafkaConsumer(bootstrap_servers=kafka_proxy.address, group_id=group, **QUICK)
    at = Drive(KafkaIntake(ours, topics=[name], commit_every=3600))
    await at.intake.open(at)
    at.ack(await at.take(3))
    kafka_proxy.cut()
    async with asyncio.timeout(PATIENCE):
        await at.intake.close()
    kafka_proxy.heal()
    while [task for task in asyncio.all_tasks() if task.get_name() == "holdgate kafka stop"]:
        await asyncio.sleep(0.1)
    await own_kafka.delete_topic(name)


async def test_connections_that_are_reset_cost_nothing(own_kafka: KafkaServer, kafka_proxy: Proxy, group) -> None:
    """Every connection reset, twice: the same deliveries come once, and the group sees no rebalance."""
    name = await own_kafka.create_topic(f"reset-{group}", 2)
    ours = AIOKafkaConsumer(bootstrap_servers=kafka_proxy.address, group_id=group, **QUICK)
    async with drive(KafkaIntake(ours, topics=[name]), held=[Partition(name, 1)]) as at:
        await at.until(lambda: len(at.owned) == 2)
        for turn in range(2):
            kafka_proxy.reset()
            for number in range(2):
                await own_kafka.produce(name, numbered(5, first=5 * turn), partition=number)
            await at.take(5 * (turn + 1))
        assert at.bodies() == numbered(10)
        assert at.leaked == []
        assert [event for event, _ in at.events] == ["assigned"]
    await own_kafka.delete_topic(name)


@pytest.mark.parametrize("asked_before", [False, True])
async def test_backlog_of_a_silent_broker_is_unknown(
    own_kafka: KafkaServer, kafka_proxy: Proxy, group, monkeypatch, asked_before: bool
) -> None:
    """Asked while the broker does not answer, the backlog is None after a bound, for the first time or again; later it is a number."""
    monkeypatch.setattr("holdgate.brokers.kafka.client._ANSWER_WITHIN", 0.3)
    name = await own_kafka.create_topic(f"backlog-{asked_before}-{group}")
    await own_kafka.produce(name, numbered(3), partition=0)
    ours = AIOKafkaConsumer(bootstrap_servers=kafka_proxy.address, group_id=group, **QUICK)
    async with drive(KafkaIntake(ours, topics=[name])) as at:
        await at.take(3)
        while asked_before and (await at.intake.backlog())[Partition(name, 0)].messages != 3:
            await at.poll()
        kafka_proxy.cut()
        assert (await at.intake.backlog())[Partition(name, 0)].messages is None
        kafka_proxy.heal()
        while (await at.intake.backlog())[Partition(name, 0)].messages != 3:
            await at.poll()
    await own_kafka.delete_topic(name)
