from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from tests.brokers.kafka.drive import PATIENCE

from holdgate.brokers.kafka import KafkaIntake
from holdgate.errors import AlreadySettled, IntakeError, SettingsError
from holdgate.flow.message import Partition, Settlement

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [str(number).encode() for number in range(first, first + count)]


async def test_a_hold_survives_members_that_come_and_go(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """Over five joins and five leaves of another member, none of the 200 records of a held topic is handed out."""
    name = await topic(partitions=4)
    sources = [Partition(name, number) for number in range(4)]
    for number in range(4):
        await kafka.produce(name, numbered(50), partition=number)
    async with driven(KafkaIntake(consumer(), topics=[name]), held=sources) as at:
        await at.until(lambda: len(at.owned) == 4)
        for _ in range(5):
            other = consumer(name)
            await at.beside(other.start())
            await at.until(lambda: len(at.owned) == 2)
            await at.beside(other.stop())
            await at.until(lambda: len(at.owned) == 4)
        assert at.received == []
        assert at.count("revoked") >= 10
        at.admit()
        await at.take(200)


async def test_a_hold_longer_than_max_poll_interval_costs_no_membership(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """With everything held for three times max_poll_interval_ms, the group sees no rebalance, and the hold ends where it began."""
    name = await topic(partitions=2)
    await kafka.produce(name, numbered(10), partition=0)
    made = consumer(max_poll_interval_ms=1000)
    async with driven(KafkaIntake(made, topics=[name]), held=[Partition(name, 0), Partition(name, 1)]) as at:
        await at.until(lambda: len(at.owned) == 2)
        generation = made._coordinator.generation
        await at.for_seconds(3.0)
        assert made._coordinator.generation == generation
        assert [event for event, _ in at.events] == ["assigned"]
        at.admit()
        await at.take(10)
        assert at.bodies() == numbered(10)


async def test_gaps_of_transactions_leave_no_lag(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """Aborted transactions and markers are offsets nobody gets; with everything finished the commit stands behind the last of them."""
    name = await topic()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"of-{name}")
    await producer.start()
    for value, keep in ((b"0", True), (b"gone", False), (b"1", True), (b"gone too", False)):
        await producer.begin_transaction()
        await producer.send_and_wait(name, value, partition=0)
        await (producer.commit_transaction() if keep else producer.abort_transaction())
    await producer.stop()
    async with driven(KafkaIntake(consumer(isolation_level="read_committed"), topics=[name])) as at:
        await at.take(2)
        assert [delivery.position for delivery in at.received] == [0, 4]
        at.ack(at.received[:1])
        await at.intake.flush()
        assert await kafka.committed(group, name) == {0: 4}  # never counted: the place of the oldest unfinished one
        at.ack(at.received[1:])
        await at.until(lambda: at.intake._client.position(TopicPartition(name, 0)) == 8)
        await at.intake.flush()
        assert await kafka.committed(group, name) == {0: 8}
        assert (await at.intake.backlog())[Partition(name, 0)].messages == 0


async def test_gaps_of_compaction_are_passed(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """Where compaction took records away, the watermark goes from one that exists to the next."""
    config = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "100"}
    name = await topic(config=config)
    for key, values in ((b"a", numbered(20)), (b"b", [b"kept"])):
        await kafka.produce(name, values, key=key, partition=0)
    await asyncio.sleep(0.2)
    await kafka.produce(name, [b"roll"], key=b"c", partition=0)  # closes the segment before it, which may be cleaned then
    async with asyncio.timeout(60):
        while len(records := await kafka.read(name)) > 3:
            await asyncio.sleep(0.2)
    offsets = [record.offset for record in records]
    assert offsets == [19, 20, 21]
    async with driven(KafkaIntake(consumer(), topics=[name])) as at:
        await at.take(3)
        assert [delivery.position for delivery in at.received] == offsets
        at.ack([at.received[0], at.received[2]])
        await at.intake.flush()
        assert await kafka.committed(group, name) == {0: 20}


async def test_what_is_finished_is_committed_before_it_is_given_away(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """What ends while the partitions are revoked is committed inside the callback, with no commit due for an hour."""
    name = await topic(partitions=2)
    for number in range(2):
        await kafka.produce(name, numbered(5), partition=number)
    async with driven(KafkaIntake(consumer(), topics=[name], commit_every=3600)) as at:
        await at.take(10)

        async def finish() -> None:
            at.ack([delivery for delivery in at.received if delivery.position < 3])

        at.in_revoked = finish
        at.hold()
        other = consumer(name)
        await at.beside(other.start())
        assert await kafka.committed(group, name) == {0: 3, 1: 3}


async def test_a_late_result_of_an_earlier_assignment_is_ignored(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """A record settled after its partition went away and came back commits nothing, also when nobody else committed meanwhile."""
    name = await topic(partitions=2)
    await kafka.produce(name, numbered(5), partition=0)
    async with driven(KafkaIntake(consumer(), topics=[name])) as at:
        late = list(await at.take(5))
        at.hold()
        other = consumer(name)
        await at.beside(other.start())
        await at.beside(other.stop())
        await at.until(lambda: len(at.owned) == 2)
        at.ack(late)
        await at.intake.flush()
        assert await kafka.committed(group, name) == {}


async def test_a_hold_commits_what_is_finished(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """A hold does not wait for the next period: what is finished when it begins is committed then."""
    name = await topic()
    await kafka.produce(name, numbered(3), partition=0)
    async with driven(KafkaIntake(consumer(), topics=[name], commit_every=3600)) as at:
        at.ack((await at.take(3))[:2])
        at.hold()
        committed: dict[int, int] = {}
        async with asyncio.timeout(60):
            while not committed:
                await at.poll()
                committed = await kafka.committed(group, name)
        assert committed == {0: 2}


async def test_commits_go_out_by_themselves(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """What is settled is committed after `commit_every`, without a flush."""
    name = await topic()
    await kafka.produce(name, numbered(3), partition=0)
    async with driven(KafkaIntake(consumer(), topics=[name], commit_every=0.05)) as at:
        at.ack(await at.take(3))
        async with asyncio.timeout(60):
            while await kafka.committed(group, name) != {0: 3}:
                await at.poll()


async def test_a_started_consumer_is_taken_over_and_handed_back(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """What the application took and did not commit comes again; afterwards it polls on at the first record not finished."""
    name = await topic()
    await kafka.produce(name, numbered(6), partition=0)
    theirs = consumer(name)
    await theirs.start()
    assert (await theirs.getone()).value == b"0"
    async with driven(KafkaIntake(theirs)) as at:
        await at.take(6)
        assert at.bodies() == numbered(6)
        at.ack(at.received[:3])
        at.hold()
    assert not theirs._closed
    assert theirs.paused() == set()
    assert (await asyncio.wait_for(theirs.getone(), 30)).value == b"3"
    await theirs.commit()  # theirs again
    assert await kafka.committed(group, name) == {0: 4}


async def test_rebalances_after_the_end_are_the_callers(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """A consumer that was handed back is rebalanced without us: the guard hears nothing, and nothing is paused."""
    name = await topic(partitions=2)
    theirs = consumer(name)
    await theirs.start()
    async with driven(KafkaIntake(theirs)) as at:
        await at.until(lambda: len(at.owned) == 2)
    heard = list(at.events)
    other = consumer(name)
    joining = asyncio.create_task(other.start())
    async with asyncio.timeout(PATIENCE):
        # Joined, it may have a generation of its own alone, and ours all the partitions still.
        while not joining.done() or len(theirs.assignment()) != 1:
            await theirs.getmany(timeout_ms=100)
    await kafka.produce(name, [b"after"], partition=next(iter(theirs.assignment())).partition)
    assert (await asyncio.wait_for(theirs.getone(), 30)).value == b"after"
    assert at.events == heard


async def test_an_unstarted_consumer_is_stopped_at_the_end(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """The intake starts it, and stops it; the group has no member left."""
    name = await topic()
    ours = consumer()
    async with driven(KafkaIntake(ours, topics=[name])) as at:
        await at.until(lambda: len(at.owned) == 1)
    assert ours._closed
    with pytest.raises(SettingsError, match="was stopped"):
        KafkaIntake(ours, topics=[name])


async def test_partitions_assigned_by_hand(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """With assign() there is no rebalance: the named partitions are ours at once, held ones silent, and finished ones committed."""
    name = await topic(partitions=3)
    for number in range(3):
        await kafka.produce(name, numbered(3), partition=number)
    ours = consumer()
    ours.assign([TopicPartition(name, 0), TopicPartition(name, 2)])
    intake = KafkaIntake(ours)
    assert intake.names == (name,)
    async with driven(intake, held=[Partition(name, 2)]) as at:
        assert at.owned == {Partition(name, 0), Partition(name, 2)}
        at.ack(await at.take(3))
        await at.for_seconds(0.5)
        assert {delivery.source for delivery in at.received} == {Partition(name, 0)}
        await at.intake.flush()
    assert await kafka.committed(group, name) == {0: 3}


async def test_partitions_assigned_by_hand_again(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """A second assign() is noticed: what was in hand is lost, the new partitions are assigned, and what is held stays so."""
    name = await topic(partitions=2)
    for number in range(2):
        await kafka.produce(name, numbered(3), partition=number)
    ours = consumer()
    ours.assign([TopicPartition(name, 0)])
    async with driven(KafkaIntake(ours), held=[Partition(name, 1)]) as at:
        await at.take(3)
        ours.assign([TopicPartition(name, 1)])
        await at.until(lambda: at.owned == {Partition(name, 1)})
        await at.for_seconds(0.5)
        assert at.leaked == []
        assert [event for event, _ in at.events] == ["assigned", "lost", "assigned"]


async def test_a_topic_that_appears_under_a_pattern(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """A new topic joins under the pattern; what was finished of the old one is committed before, and comes no second time."""
    first = await topic()
    await kafka.produce(first, numbered(4), partition=0)
    stem = first.rsplit("-", 3)[0]
    intake = KafkaIntake(consumer(metadata_max_age_ms=500), pattern=f"{stem}.*", commit_every=3600)
    assert intake.names is None
    async with driven(intake) as at:
        at.ack(await at.take(4))
        second = await topic()
        await kafka.produce(second, [b"new"], partition=0)
        await at.take(5)
        await at.for_seconds(0.5)
        assert at.bodies() == [*numbered(4), b"new"]
        assert await kafka.committed(group, first) == {0: 4}


async def test_commit_by_the_application_is_refused(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """consumer.commit() would commit what is not processed: AlreadySettled, with the remedy, and nothing is committed."""
    name = await topic()
    await kafka.produce(name, numbered(2), partition=0)
    ours = consumer()
    async with driven(KafkaIntake(ours, topics=[name])) as at:
        await at.take(2)
        with pytest.raises(AlreadySettled, match="remove the call"):
            await ours.commit()
        with pytest.raises(AlreadySettled):
            await ours.commit({TopicPartition(name, 0): 2})
        with pytest.raises(AlreadySettled, match="remove the call"):  # the run ends with it: a handler would be tried for ever
            await at.poll()
    assert await kafka.committed(group, name) == {}


async def test_what_the_application_paused_stays_paused(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """A hold and its end resume only what the hold paused."""
    name = await topic(partitions=2)
    for number in range(2):
        await kafka.produce(name, numbered(2), partition=number)
    ours = consumer()
    async with driven(KafkaIntake(ours, topics=[name])) as at:
        await at.take(4)
        ours.pause(TopicPartition(name, 1))
        at.hold()
        await at.for_seconds(0.3)
        at.admit()
        for number in range(2):
            await kafka.produce(name, [b"after"], partition=number)
        await at.take(5)
        await at.for_seconds(0.5)
        assert ours.paused() == {TopicPartition(name, 1)}
        assert at.bodies()[4:] == [b"after"]


async def test_a_pause_that_somebody_undid_is_made_again(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """The plan is asserted again and again: a resume by the application of what is held does not last."""
    name = await topic()
    ours = consumer()
    async with driven(KafkaIntake(ours, topics=[name]), held=[Partition(name, 0)]) as at:
        await at.until(lambda: len(at.owned) == 1)
        ours.resume(TopicPartition(name, 0))
        await at.until(lambda: ours.paused() == {TopicPartition(name, 0)})
        await kafka.produce(name, numbered(3), partition=0)
        await at.for_seconds(0.5)
        assert at.received == []


async def test_a_seek_by_the_application_begins_anew(kafka: KafkaAddress, topic, consumer, group, driven) -> None:
    """Sought back, the partition is lost and assigned again, what comes is delivered, and the watermark follows it."""
    name = await topic()
    await kafka.produce(name, numbered(5), partition=0)
    ours = consumer()
    async with driven(KafkaIntake(ours, topics=[name])) as at:
        at.ack(await at.take(5))
        await at.intake.flush()
        ours.seek(TopicPartition(name, 0), 2)
        await at.take(8)
        assert at.bodies()[5:] == numbered(3, first=2)
        assert [event for event, _ in at.events][-2:] == ["lost", "assigned"]
        at.ack(at.received[5:6])
        await at.intake.flush()
        assert await kafka.committed(group, name) == {0: 3}


async def test_a_record_cannot_be_rejected(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """Kafka has no dead letter exchange: REJECT is an error that names the remedy."""
    name = await topic()
    await kafka.produce(name, numbered(1), partition=0)
    async with driven(KafkaIntake(consumer(), topics=[name])) as at:
        (delivery,) = await at.take(1)
        with pytest.raises(IntakeError, match="dead_letters"):
            at.intake.settle(delivery, Settlement.REJECT)


async def test_the_backlog_tells_the_age_of_the_oldest(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """The oldest unfinished record's own timestamp counts, not the first that its poll gave."""
    name = await topic()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    now = int(time.time())
    for age in (3000, 2000, 1000):
        await producer.send_and_wait(name, b"x", partition=0, timestamp_ms=(now - age) * 1000)
    await producer.stop()
    async with driven(KafkaIntake(consumer(), topics=[name])) as at:
        deliveries = await at.take(3)
        begun = time.monotonic()
        before = (await at.intake.backlog())[Partition(name, 0)]
        at.ack(deliveries[:2])
        after = (await at.intake.backlog())[Partition(name, 0)]
        between = time.monotonic() - begun
        assert (before.messages, after.messages) == (3, 1)
        assert before.oldest_age is not None
        assert after.oldest_age is not None
        # The third is that much younger, and has grown older meanwhile.
        assert -1 <= 2000 - (before.oldest_age - after.oldest_age) <= between + 1


async def test_a_partition_that_is_added_is_taken_over(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """More partitions mean a rebalance; the hold of the old one survives it, the new one delivers."""
    name = await topic(partitions=1)
    await kafka.produce(name, numbered(3), partition=0)
    async with driven(KafkaIntake(consumer(metadata_max_age_ms=500), topics=[name]), held=[Partition(name, 0)]) as at:
        await at.until(lambda: len(at.owned) == 1)
        await kafka.add_partitions(name, 2)
        await at.until(lambda: len(at.owned) == 2)
        await kafka.produce(name, [b"new"], partition=1)
        await at.take(1)
        assert at.bodies() == [b"new"]


async def test_a_topic_that_is_deleted_ends_the_intake(kafka: KafkaAddress, consumer, group, driven) -> None:
    """Its partitions go away with a rebalance like any other; that they will not come back is told by name, not by silence."""
    name = await kafka.create_topic(f"deleted-{group}")
    async with driven(KafkaIntake(consumer(metadata_max_age_ms=500), topics=[name])) as at:
        await at.until(lambda: len(at.owned) == 1)
        await kafka.delete_topic(name)
        with pytest.raises(IntakeError, match=f"no topic '{name}'"):
            await at.until(lambda: False)


async def test_a_member_without_a_partition_goes_on(topic, consumer, driven) -> None:
    """Nothing of a topic is ours because another member has it: that is no reason to end."""
    name = await topic()
    async with driven(KafkaIntake(consumer(), topics=[name])) as first, driven(KafkaIntake(consumer(), topics=[name])) as second:
        await first.beside(second.for_seconds(2.0))
        await first.beside(second.until(lambda: len(first.owned) + len(second.owned) == 1))


async def test_a_commit_wrapped_by_somebody_is_put_back(topic, consumer, driven) -> None:
    """A tracing library may have wrapped this one consumer's commit: it is back after the close."""
    name = await topic()
    ours = consumer()
    wrapped = ours.commit
    ours.commit = wrapped
    async with driven(KafkaIntake(ours, topics=[name])):
        assert ours.commit is not wrapped
    assert ours.commit is wrapped
