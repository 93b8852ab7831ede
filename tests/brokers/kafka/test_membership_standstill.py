from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition
from tests.brokers.kafka.fakes import turns_until
from tests.brokers.kafka.test_membership import BOTH, A, World

from holdgate.brokers.kafka import KafkaIntake, membership
from holdgate.flow.message import Partition

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress


class DoubtfulWorld(World):
    """A member that the group answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: asyncio.Queue[bool] = asyncio.Queue()
        self.client.is_member = self.answers.get
        self.sought: list[tuple[TopicPartition, int]] = []
        self.client.seek = lambda tp, offset: self.sought.append((tp, offset))


@pytest.fixture
async def world(monkeypatch) -> DoubtfulWorld:
    monkeypatch.setattr(membership, "_ASK_AGAIN_AFTER", 0.0)
    return DoubtfulWorld()


async def test_everything_is_given_up_at_once(world: DoubtfulWorld) -> None:
    """In the very step: the guard hears that all is lost, and nothing is committed."""
    world.first.inflight.finished(1)
    world.member.doubt()
    assert world.told == ["assigned", "lost"]
    assert not await world.commits.flush(0.0) or world.client.committed == []
    assert not world.member.may_poll
    world.member.stop()


async def test_a_member_that_is_still_known_goes_on_where_it_was(world: DoubtfulWorld) -> None:
    """What was in hand comes again, from the oldest that is not finished; the positions of the client lie behind it."""
    world.first.inflight.finished(1)
    world.member.doubt()
    world.answers.put_nowait(True)
    await turns_until(lambda: world.told == ["assigned", "lost", "assigned"])
    assert world.sought == [(A, 2)]
    assert world.member.may_poll
    assert world.partitions.tps() == BOTH


async def test_a_group_that_does_not_answer_is_asked_again(world: DoubtfulWorld) -> None:
    """Nothing is taken up on a guess."""
    world.member.doubt()
    world.answers.put_nowait(False)
    await turns_until(world.answers.empty)
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.told == ["assigned", "lost"]
    world.answers.put_nowait(True)
    await turns_until(lambda: world.told[-1] == "assigned")


@pytest.mark.parametrize("how", ["evicted", "assigned anew", "reassigning"])
async def test_the_callbacks_have_the_last_word(world: DoubtfulWorld, how: str) -> None:
    """A heartbeat that was answered before the rebalance proves nothing about the partitions after it."""
    world.member.doubt()
    await asyncio.sleep(0)  # the question is on its way
    world.client.is_evicted = how == "evicted"
    world.client.is_reassigning = how == "reassigning"
    if how == "assigned anew":
        world.client.token = object()
    world.answers.put_nowait(True)
    await turns_until(world.answers.empty)
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.told == ["assigned", "lost"]
    world.member.stop()


async def test_a_new_assignment_ends_the_doubt_for_good(world: DoubtfulWorld) -> None:
    """Evicted, and back in the group before it is asked again: the old places would rewind what others have committed meanwhile."""
    world.member.doubt()
    world.answers.put_nowait(False)
    await turns_until(world.answers.empty)
    world.client.token = object()
    world.member.take_over(BOTH)
    world.answers.put_nowait(True)
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.sought == []
    assert world.told == ["assigned", "lost", "assigned"]


async def test_there_is_nothing_to_doubt_during_a_rebalance(world: DoubtfulWorld) -> None:
    """What is given back already is the callbacks' affair."""
    world.member.begin_rebalance()
    world.member.doubt()
    assert world.told == ["assigned"]


@pytest.mark.parametrize(
    ("session", "heartbeat", "expected"), [(10_000, 3_000, 7.0), (10_000, 9_000, 5.0)], ids=["usual", "hardly any heartbeat"]
)
async def test_how_long_it_takes(consumer, session: int, heartbeat: int, expected: float) -> None:
    """An interval before the session's end, because the last heartbeat may have been that old; but never less than half a session."""
    intake = KafkaIntake(consumer("orders", bootstrap_servers="127.0.0.1:1", session_timeout_ms=session, heartbeat_interval_ms=heartbeat))
    assert intake.evicted_after == expected


async def test_partitions_assigned_by_hand_are_nobody_elses(consumer) -> None:
    """Without a group nobody is evicted."""
    by_hand = consumer(bootstrap_servers="127.0.0.1:1")
    by_hand.assign([A])
    assert KafkaIntake(by_hand).evicted_after == math.inf


async def test_a_doubt_that_was_unfounded(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """On a real broker that still knows us: assigned anew without a rebalance, and what was not finished comes again, once."""
    name = await topic()
    await kafka.produce(name, [b"1", b"2", b"3"], partition=0)
    intake = KafkaIntake(consumer(), topics=[name])
    async with driven(intake) as at:
        first, *_ = await at.take(3)
        at.ack([first])
        intake.stood_still()
        assert at.events[-1] == ("lost", (str(Partition(name, 0)),))
        at.received.clear()
        await at.take(2)
        assert at.bodies() == [b"2", b"3"]
        assert (at.count("assigned"), at.count("revoked")) == (2, 0)
