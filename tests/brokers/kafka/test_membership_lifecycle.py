from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from tests.brokers.kafka.drive import PATIENCE, Drive, drive

from holdgate.brokers.kafka import KafkaIntake, intake
from holdgate.brokers.kafka import membership as opening
from holdgate.errors import AlreadySettled, IntakeError

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress


class Heard(ConsumerRebalanceListener):
    """A user's own listener; its callbacks are plain functions or coroutines."""

    def __init__(self, raises: bool = False) -> None:
        self.calls: list[tuple[str, int]] = []
        self.raises = raises

    def on_partitions_revoked(self, revoked) -> None:
        self.calls.append(("revoked", len(revoked)))

    async def on_partitions_assigned(self, assigned) -> None:
        await asyncio.sleep(0)
        self.calls.append(("assigned", len(assigned)))
        if self.raises:
            raise RuntimeError("the user's")


async def test_a_topic_that_does_not_exist(consumer) -> None:
    """The text names topic, broker and remedy; nothing was subscribed, and the consumer is closed."""
    ours = consumer()
    with pytest.raises(IntakeError, match=r"no topic 'missing', 'nowhere' at 127.0.0.1:\d+: create it"):
        await KafkaIntake(ours, topics=["nowhere", "missing"]).open(Drive(None))
    assert ours.subscription() == set()
    assert ours._closed


async def test_a_broker_that_is_not_there() -> None:
    """A refused connection is an error at once, which names the address."""
    with socket.socket() as nobody:  # bound meanwhile, so that nobody else listens there
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        ours = AIOKafkaConsumer(bootstrap_servers=address, group_id="g", enable_auto_commit=False, auto_offset_reset="earliest")
        with pytest.raises(IntakeError, match=rf"no Kafka broker can be reached at {address} \(KafkaConnectionError"):
            await KafkaIntake(ours, topics=["orders"]).open(Drive(None))


async def test_a_broker_that_never_answers(monkeypatch) -> None:
    """A connection that nobody serves ends after a bound, and leaves nothing open."""
    monkeypatch.setattr(intake, "_CONNECT_WITHIN", 0.2)
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda reader, writer: connections.append(writer), "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    ours = AIOKafkaConsumer(bootstrap_servers=address, group_id="g", enable_auto_commit=False, auto_offset_reset="earliest")
    with pytest.raises(IntakeError, match=r"no Kafka broker answers at .* within 0.2 s"):
        await KafkaIntake(ours, topics=["orders"]).open(Drive(None))
    server.close()
    for connection in connections:
        connection.close()
        await connection.wait_closed()


async def test_a_group_that_gives_no_assignment(kafka: KafkaAddress, topic, consumer, monkeypatch) -> None:
    """A join that does not end is an error after a bound; the consumer is stopped and in no group."""
    monkeypatch.setattr(opening, "_START_WITHIN", 0.5)
    name = await topic()
    slow = consumer(name, rebalance_timeout_ms=20_000, heartbeat_interval_ms=20_000)  # hears of the rebalance long after the bound
    await slow.start()
    ours = consumer()
    with pytest.raises(IntakeError, match=r"gave no assignment within 0.5 s"):
        await KafkaIntake(ours, topics=[name]).open(Drive(None))
    assert ours._closed


async def test_a_second_guard_on_the_same_consumer(kafka: KafkaAddress, topic, consumer) -> None:
    """Refused, and its close does not touch the consumer that the first one owns."""
    name = await topic()
    ours = consumer(name)
    second = KafkaIntake(ours)
    async with drive(KafkaIntake(ours)) as at:
        with pytest.raises(IntakeError, match="a consumer of its own"):
            await second.open(Drive(None))
        await second.close()
        await kafka.produce(name, [b"1"], partition=0)
        await at.take(1)
        with pytest.raises(AlreadySettled):
            await ours.commit()
        with pytest.raises(IntakeError, match="a consumer of its own"):
            await KafkaIntake(ours).open(Drive(None))


async def test_a_second_intake_with_topics_on_an_owned_consumer(topic, consumer) -> None:
    """It is said whose the consumer is, and not that it has a subscription: leaving the topics out would help nobody."""
    name = await topic()
    ours = consumer()
    async with drive(KafkaIntake(ours, topics=[name])) as at:
        with pytest.raises(IntakeError, match="another intake owns this consumer"):
            KafkaIntake(ours, topics=[name])
        await at.poll()
        assert not ours._closed


async def test_a_consumer_that_is_stopped_by_somebody_else_ends_the_intake_at_once(
    kafka: KafkaAddress, topic, consumer, monkeypatch
) -> None:
    """The error says what to call first, and the end waits for no commit that nobody will answer: here that would take an hour."""
    monkeypatch.setattr(intake, "_FLUSH_WITHIN", 3600.0)
    name = await topic()
    await kafka.produce(name, [b"1", b"2"], partition=0)
    ours = consumer()
    async with asyncio.timeout(PATIENCE), drive(KafkaIntake(ours, topics=[name], commit_every=3600.0)) as at:
        at.ack(await at.take(2))
        await ours.stop()
        with pytest.raises(IntakeError, match=r"stopped while a guard uses it, .*: call guard.stop\(\) first"):
            await at.until(lambda: False)
        await at.intake.flush()


async def test_an_intake_is_opened_once(topic, consumer) -> None:
    """Closed is closed."""
    name = await topic()
    ours = KafkaIntake(consumer(name))
    async with drive(ours):
        pass
    with pytest.raises(IntakeError, match="closed"):
        await ours.open(Drive(None))


async def test_closing_without_opening_stops_an_unstarted_consumer(consumer) -> None:
    """What nobody started is ours to stop, so that nothing warns of an unclosed consumer."""
    ours = consumer()
    closing = KafkaIntake(ours, topics=["orders"])
    await closing.close()
    await closing.close()
    assert ours._closed


async def test_closing_without_opening_leaves_a_started_consumer(kafka: KafkaAddress, topic, consumer) -> None:
    """A started one is its caller's."""
    name = await topic()
    theirs = consumer(name)
    await theirs.start()
    await KafkaIntake(theirs).close()
    await kafka.produce(name, [b"1"], partition=0)
    assert (await theirs.getone()).value == b"1"


async def test_a_cancelled_close_goes_on(kafka: KafkaAddress, topic, consumer, group) -> None:
    """Cancelled in the middle, it still commits and leaves the group; the next close waits for that."""
    name = await topic()
    await kafka.produce(name, [b"1"], partition=0)
    ours = consumer()
    at = Drive(KafkaIntake(ours, topics=[name], commit_every=3600))
    await at.intake.open(at)
    at.ack(await at.take(1))
    closing = asyncio.create_task(at.intake.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await at.intake.close()
    assert ours._closed
    assert await kafka.committed(group, name) == {0: 1}
    async with drive(KafkaIntake(consumer(), topics=[name])) as after:
        await after.until(lambda: len(after.owned) == 1)


async def test_a_cancelled_open_leaves_no_member(kafka: KafkaAddress, topic, consumer) -> None:
    """Cancelled while it joins, the consumer is stopped: another member gets the partitions without waiting for a session timeout."""
    name = await topic()
    holder = consumer(name, rebalance_timeout_ms=20_000)
    await holder.start()
    ours = consumer()
    opened = asyncio.create_task(KafkaIntake(ours, topics=[name]).open(Drive(None)))
    while ours._coordinator is None:
        await asyncio.sleep(0.01)
    opened.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opened
    assert ours._closed
    assert ours._coordinator.generation == -1


async def test_the_users_listener_is_chained(topic, consumer, driven) -> None:
    """A listener given to the intake hears every rebalance, after ours."""
    name = await topic(partitions=2)
    heard = Heard()
    async with driven(KafkaIntake(consumer(), topics=[name], listener=heard)) as at:
        await at.until(lambda: len(at.owned) == 2)
        other = consumer(name)
        await at.beside(other.start())
        await at.until(lambda: len(at.owned) == 1 and len(heard.calls) == 4)
        assert heard.calls == [("revoked", 0), ("assigned", 2), ("revoked", 2), ("assigned", 1)]


async def test_the_listener_it_was_subscribed_with_is_kept(topic, consumer, driven) -> None:
    """A consumer that came with a listener keeps it, without being asked to name it."""
    name = await topic(partitions=2)
    heard = Heard()
    theirs = consumer()
    theirs.subscribe([name], listener=heard)
    async with driven(KafkaIntake(theirs)) as at:
        await at.until(lambda: len(at.owned) == 2)
    assert heard.calls == [("revoked", 0), ("assigned", 2)]


async def test_a_listener_that_raises_ends_nothing(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """What the user's listener raises is the client's to log, as without us."""
    name = await topic()
    await kafka.produce(name, [b"1"], partition=0)
    async with driven(KafkaIntake(consumer(), topics=[name], listener=Heard(raises=True))) as at:
        await at.take(1)


async def test_a_guard_that_fails_in_a_callback_is_heard_of(kafka: KafkaAddress, topic, consumer) -> None:
    """The client swallows what callbacks raise: the next receive raises it, and nothing is handed out meanwhile."""

    class Failing(Drive):
        def assigned(self, sources):
            raise ZeroDivisionError

    name = await topic()
    await kafka.produce(name, [b"1"], partition=0)
    ours = consumer()
    at = Failing(KafkaIntake(ours, topics=[name]))
    await at.intake.open(at)
    with pytest.raises(ZeroDivisionError):
        await at.intake.receive()
    assert ours.paused() == {TopicPartition(name, 0)}
    await at.intake.close()


async def test_subscribed_again_by_the_application(topic, consumer, driven) -> None:
    """Without our listener a rebalance would go unheard: receive says what to do instead."""
    name = await topic()
    ours = consumer()
    async with driven(KafkaIntake(ours, topics=[name])) as at:
        await at.until(lambda: len(at.owned) == 1)
        ours.subscribe([name])
        with pytest.raises(IntakeError, match=r"consumer.subscribe\(\) was called"):
            await at.until(lambda: False)


async def test_stopped_by_the_application(topic, consumer, driven) -> None:
    """A consumer stopped behind our back delivers nothing: receive says so instead of waiting for ever."""
    name = await topic()
    ours = consumer()
    async with driven(KafkaIntake(ours, topics=[name])) as at:
        await at.until(lambda: len(at.owned) == 1)
        await ours.stop()
        with pytest.raises(IntakeError, match=r"guard.stop\(\) first"):
            await at.until(lambda: False)


async def test_a_dead_fetch_task_is_an_error(topic, consumer, driven) -> None:
    """When aiokafka's fetch task has ended polls are empty for ever and nothing raises: receive does."""
    name = await topic()
    ours = consumer()
    async with driven(KafkaIntake(ours, topics=[name])) as at:
        await at.until(lambda: len(at.owned) == 1)
        ours._fetcher._fetch_task.cancel()
        with pytest.raises(IntakeError, match="fetch task has died"):
            await at.until(lambda: False)


async def test_two_members_with_one_instance_id(topic, consumer, driven) -> None:
    """They throw each other out: the one that is thrown out says which id, and what to do."""
    name = await topic()
    async with driven(KafkaIntake(consumer(group_instance_id="worker-1"), topics=[name])) as at:
        await at.until(lambda: len(at.owned) == 1)
        other = consumer(name, group_instance_id="worker-1")
        starting = asyncio.create_task(other.start())
        with pytest.raises(IntakeError, match="group_instance_id='worker-1'"):
            await at.until(lambda: False)
        await starting
