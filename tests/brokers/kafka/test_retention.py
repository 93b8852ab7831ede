from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition
from tests.brokers.kafka.fakes import FakeClient, turns_until

from holdgate.brokers import retention
from holdgate.brokers.kafka import KafkaIntake, RecordsLost
from holdgate.brokers.kafka.deliveries import RECORDS
from holdgate.brokers.kafka.fetching import Pauses
from holdgate.brokers.partitions import AssignedPartitions
from holdgate.brokers.retention import Retention
from holdgate.flow.message import Partition
from holdgate.flow.plan import Plan, SourcePlan

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

TP = TopicPartition("orders", 0)


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [str(number).encode() for number in range(first, first + count)]


@pytest.mark.parametrize("policy", ["earliest", "latest", "none"])
async def test_deleted_while_held(kafka: KafkaAddress, topic, consumer, driven, policy: str) -> None:
    """Whatever the reset policy: the loss is announced with its range, and everything that still exists is delivered."""
    name = await topic()
    await kafka.produce(name, numbered(10), partition=0)
    losses: list[RecordsLost] = []
    ours = consumer(auto_offset_reset=policy)
    await kafka.commit(ours._group_id, name, {0: 0})
    intake = KafkaIntake(ours, topics=[name], allow_latest=True, on_records_lost=losses.append)
    async with driven(intake, held=[Partition(name, 0)]) as at:
        await at.until(lambda: len(at.owned) == 1)
        await at.until(lambda: intake._client.position(TopicPartition(name, 0)) == 0)
        await kafka.delete_records(name, {0: 6})
        at.admit()
        await at.take(4)
        assert at.bodies() == numbered(4, first=6)
        assert losses == [RecordsLost(Partition(name, 0), 0, 5)]


async def test_deleted_while_not_held(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """Under "none" a fetch that is out of range raises in the poll: the loss is announced, reading goes on, and no poll is miscounted."""
    name = await topic()
    await kafka.produce(name, numbered(3), partition=0)
    losses: list[RecordsLost] = []
    ours = consumer(auto_offset_reset="none")
    await kafka.commit(ours._group_id, name, {0: 0})
    async with driven(KafkaIntake(ours, topics=[name], on_records_lost=losses.append)) as at:
        await at.take(3)
        # What a long pause of the process would do: the place is passed while nobody looks.
        ours.pause(TopicPartition(name, 0))
        await at.until(lambda: not ours._fetcher._in_flight)  # the fetch under way may still bring what comes now
        await kafka.produce(name, numbered(5, first=3), partition=0)
        await kafka.delete_records(name, {0: 6})
        ours.resume(TopicPartition(name, 0))
        await at.take(5)
        assert at.bodies()[3:] == numbered(2, first=6)
        assert losses == [RecordsLost(Partition(name, 0), 3, 5)]
        assert ours._subscription._fetch_count == at.intake._client._polls


async def test_deleted_before_it_was_assigned(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """A committed offset that no longer exists is a loss too, though nothing was held in this process."""
    name = await topic()
    await kafka.produce(name, numbered(5), partition=0)
    await kafka.commit(group, name, {0: 1})
    await kafka.delete_records(name, {0: 3})
    losses: list[RecordsLost] = []
    async with driven(KafkaIntake(consumer(), topics=[name], on_records_lost=losses.append)) as at:
        await at.take(2)
        assert at.bodies() == numbered(2, first=3)
    assert losses == [RecordsLost(Partition(name, 0), 1, 2)]


async def test_what_is_in_hand_is_not_lost(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """Records that were read before they were deleted are still processed and committed; only what was not read is lost."""
    name = await topic()
    await kafka.produce(name, numbered(4), partition=0)
    losses: list[RecordsLost] = []
    async with driven(KafkaIntake(consumer(), topics=[name], on_records_lost=losses.append)) as at:
        await at.take(4)
        at.hold()
        await kafka.produce(name, numbered(4, first=4), partition=0)
        await kafka.delete_records(name, {0: 6})
        at.admit()
        await at.take(6)
        at.ack(at.received)
    assert losses == [RecordsLost(Partition(name, 0), 4, 5)]
    assert await kafka.committed(group, name) == {0: 8}


async def test_a_callback_that_raises_ends_nothing(kafka: KafkaAddress, topic, consumer, group, driven, *, caplog) -> None:
    """on_records_lost is the user's: the type of what it raises is logged, never its text, and delivery goes on."""

    def complain(loss: RecordsLost) -> None:
        raise RuntimeError("amqp://somebody:secret@webhook")

    name = await topic()
    await kafka.produce(name, numbered(3), partition=0)
    await kafka.commit(group, name, {0: 0})
    await kafka.delete_records(name, {0: 2})
    async with driven(KafkaIntake(consumer(), topics=[name], on_records_lost=complain)) as at:
        await at.take(1)
    assert "on_records_lost raised RuntimeError" in caplog.text
    assert "secret" not in caplog.text


class FakeSideConsumer:
    def __init__(self) -> None:
        self.starts: dict[TopicPartition, int] | None = {TP: 0}
        self.ends: dict[TopicPartition, int] | None = None

    async def log_starts(self, tps) -> dict[TopicPartition, int] | None:
        return None if self.starts is None else {tp: self.starts[tp] for tp in tps}

    async def log_ends(self, tps) -> dict[TopicPartition, int] | None:
        return None if self.ends is None else {tp: self.ends[tp] for tp in tps}


class World:
    def __init__(self) -> None:
        self.client, self.side = FakeClient(), FakeSideConsumer()
        self.partitions = AssignedPartitions(RECORDS)
        self.pauses = Pauses(self.client, self.partitions)
        self.released = 0
        self.losses: list[RecordsLost] = []
        self.anew: list[tuple[TopicPartition, int]] = []
        self.failures: list[BaseException] = []
        self.watch = Retention(
            self.client,
            self.partitions,
            self.pauses,
            self.side,
            lost=self.losses.append,
            anew=lambda tp, start: self.anew.append((tp, start)),
            released=self._release,
            failed=self.failures.append,
        )
        self.partitions.add([TP])
        self.client.positions[TP] = 100
        self.pauses.take_over(Plan({Partition("orders", 0): SourcePlan()}))

    def _release(self) -> None:
        self.released += 1
        self.pauses.match()


async def test_a_warning_before_retention_passes(caplog) -> None:
    """The log's start moved by 40 and is 30 before the first unfinished offset: the next move of that size would pass it."""
    world = World()
    for start in (30, 70):
        world.side.starts = {TP: start}
        await world.watch.check([TP])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "30 before the first unfinished one" in caplog.text


async def test_no_warning_while_retention_is_far(caplog) -> None:
    """A start that moves by 10 and is 80 away is no reason to wake somebody."""
    world = World()
    for start in (10, 20):
        world.side.starts = {TP: start}
        await world.watch.check([TP])
    assert caplog.records == []


async def test_a_position_not_known_is_not_compared() -> None:
    """Right after an assignment there is no position yet: the partition stays paused until there is one."""
    world = World()
    world.client.positions.clear()
    world.watch._free(await world.watch.check([TP]))
    assert (world.released, world.client.flags) == (0, {TP})
    world.client.positions[TP] = 0
    world.watch._free(await world.watch.check([TP]))
    assert (world.released, world.client.flags) == (1, frozenset())


async def test_a_broker_that_does_not_answer_delays_a_resume_only_for_a_while(monkeypatch) -> None:
    """Without an answer the partition is fetched from after a bound: the watch must not become an outage of its own."""
    world = World()
    world.side.starts = None
    world.watch._free(await world.watch.check([TP]))
    assert world.client.flags == {TP}
    monkeypatch.setattr(retention, "_GIVE_UP_AFTER", 0.0)
    world.watch._free(await world.watch.check([TP]))
    assert (world.released, world.client.flags) == (1, frozenset())


async def test_an_assignment_that_ended_meanwhile_is_left_alone() -> None:
    """The answer is about a place that is not ours any more: no seek, no announcement."""
    world = World()

    async def answer(tps) -> dict[TopicPartition, int]:
        world.partitions.drop([TP])
        return {TP: 500}

    world.side.log_starts = answer
    assert await world.watch.check([TP]) == frozenset()
    assert (world.client.positions[TP], world.losses) == (100, [])


async def test_a_held_source_is_compared_and_stays_paused() -> None:
    """While held it is compared every few seconds, and again before it is resumed."""
    world = World()
    world.watch._free(await world.watch.check([TP]))
    world.pauses.store(Plan({Partition("orders", 0): SourcePlan(fetch=False, reasons=("circuit:payments",))}))
    world.pauses.match()
    world.watch._free(await world.watch.check(world.pauses.unchecked))
    assert (world.client.flags, world.pauses.unchecked) == ({TP}, {TP})
    world.pauses.store(Plan({Partition("orders", 0): SourcePlan()}))
    world.pauses.match()
    assert world.client.flags == {TP}
    world.watch._free(await world.watch.check(world.pauses.unchecked))
    assert world.client.flags == frozenset()


async def test_a_watch_that_dies_is_heard_of() -> None:
    """If the task died in silence, partitions would stay paused for ever."""
    world = World()

    async def die(tps):
        raise ZeroDivisionError

    world.side.log_starts = die
    world.watch.start()
    world.watch.soon()
    await turns_until(lambda: world.failures)
    assert [type(failure) for failure in world.failures] == [ZeroDivisionError]


async def test_a_log_that_ends_before_the_position_is_another_one(monkeypatch, caplog) -> None:
    """Its topic was made anew in a hold. Once it has grown past the position, what it has before that would be skipped silently."""
    monkeypatch.setattr(retention, "_SURE_AFTER", 0.0)
    world = World()
    world.side.starts, world.side.ends = {TP: 3}, {TP: 12}
    world.watch._free(await world.watch.check([TP]))
    assert world.anew == [(TP, 3)]
    assert (world.released, world.losses) == (1, [])
    assert "orders[0]: the log ends at offset 12, before 100" in caplog.text


async def test_one_look_is_not_enough(monkeypatch) -> None:
    """To begin a log anew by mistake would repeat all of it, so it must end before the position for a second."""
    now = 50.0
    world = World()
    monkeypatch.setattr(retention, "_now", lambda: now)
    world.side.ends = {TP: 12}
    assert await world.watch.check([TP]) == frozenset()
    now = 50.9
    assert await world.watch.check([TP]) == frozenset()
    world.side.ends = {TP: 100}
    now = 51.1
    assert await world.watch.check([TP]) == {TP}
    world.side.ends = {TP: 12}
    assert await world.watch.check([TP]) == frozenset()
    world.client.positions[TP] = 99
    now = 52.2
    assert await world.watch.check([TP]) == frozenset()
    assert world.anew == []
    now = 53.3
    assert await world.watch.check([TP]) == {TP}
    assert world.anew == [(TP, 0)]


async def test_a_short_log_that_is_not_asked_for_any_more_is_forgotten() -> None:
    """The broker did not answer for long, and it is fetched from. To look for it on would be twenty looks a second for ever."""
    world = World()
    world.side.ends = {TP: 12}
    await world.watch.check([TP])
    assert len(world.watch._short) == 1
    await world.watch.check([])
    assert not world.watch._short


async def test_an_end_that_is_not_known_keeps_nothing_back() -> None:
    """The start alone is compared then."""
    world = World()
    world.side.ends = None
    assert await world.watch.check([TP]) == {TP}
    assert world.anew == []


@pytest.mark.parametrize("policy", ["earliest", "latest", "none"])
async def test_made_anew_while_held(kafka: KafkaAddress, consumer, group, driven, monkeypatch, *, policy: str) -> None:
    """All of the new topic is delivered, though it has grown past where the old one stood, and nothing of the old one is committed."""
    name = await kafka.create_topic(f"anew-{uuid.uuid4().hex[:8]}")
    try:
        await kafka.produce(name, numbered(10), partition=0)
        ours = consumer(auto_offset_reset=policy)
        await kafka.commit(group, name, {0: 0})
        intake = KafkaIntake(ours, topics=[name], allow_latest=True)
        async with driven(intake) as at:
            await at.take(10)
            at.hold()
            await at.until(lambda: not ours._fetcher._in_flight)  # the fetch under way would tell aiokafka that the topic is gone
            monkeypatch.setattr(retention, "_EVERY", 0.1)
            intake._retention.soon()
            await kafka.delete_topic(name)
            await kafka.create_topic(name)
            await at.until(lambda: at.count("lost") == 1)
            await kafka.produce(name, numbered(15, first=100), partition=0)
            at.ack(at.received[:10])
            at.admit()
            await at.take(25)
            assert at.bodies()[10:] == numbered(15, first=100)
            await at.until(lambda: intake._partitions.get(TopicPartition(name, 0)).sent == 0)
            assert await kafka.committed(group, name) == {0: 0}  # where it begins, too: one of the old topic may have come late
    finally:
        await kafka.delete_topic(name)


async def test_made_anew_while_not_held(kafka: KafkaAddress, consumer, group, driven) -> None:
    """The new topic is read within seconds: by itself aiokafka notices that the old one is gone, and no new one for five minutes."""
    name = await kafka.create_topic(f"anew-{uuid.uuid4().hex[:8]}")
    try:
        await kafka.produce(name, numbered(10), partition=0)
        await kafka.commit(group, name, {0: 0})
        async with driven(KafkaIntake(consumer(), topics=[name])) as at:
            await at.take(10)
            await kafka.delete_topic(name)
            await kafka.create_topic(name)
            await kafka.produce(name, numbered(5, first=100), partition=0)
            await at.take(15)
            assert at.bodies()[10:] == numbered(5, first=100)
    finally:
        await kafka.delete_topic(name)
