from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, GroupAuthorizationFailedError, IllegalStateError, KafkaError
from tests.brokers.kafka.fakes import FakeClient, ended, record, turns_until

from holdgate.brokers.commits import Commits
from holdgate.brokers.kafka.checks import TOO_LATE
from holdgate.brokers.kafka.deliveries import RECORDS
from holdgate.brokers.partitions import AssignedPartition, AssignedPartitions

FIRST, SECOND = TopicPartition("orders", 0), TopicPartition("orders", 1)
HOUR = 3600.0


class World:
    """Two partitions, and commits that nobody asks for by themselves."""

    def __init__(self, every: float = HOUR) -> None:
        self.client = FakeClient()
        self.partitions = AssignedPartitions(RECORDS)
        self.failures: list[BaseException] = []
        self.commits = Commits(self.client, self.partitions, every, self.failures.append, TOO_LATE)
        self.partitions.add([FIRST, SECOND])
        self.commits.resume()

    def of(self, tp: TopicPartition) -> AssignedPartition:
        found = self.partitions.get(tp)
        assert found is not None
        return found

    def deliver(self, tp: TopicPartition, *offsets: int) -> None:
        self.of(tp).delivered([record(offset) for offset in offsets])
        self.client.positions[tp] = offsets[-1] + 1

    def finish(self, tp: TopicPartition, *offsets: int) -> None:
        for offset in offsets:
            self.of(tp).inflight.finished(offset)


@pytest.fixture
async def world() -> Any:
    made = World()
    yield made
    made.client.answers.set()
    await made.commits.flush(1)
    made.commits.stop()


async def test_nothing_finished_is_nothing_to_say(world: World) -> None:
    """Deliveries alone commit nothing."""
    world.deliver(FIRST, 5, 6)
    assert await world.commits.flush(1)
    assert world.client.committed == []


async def test_the_oldest_unfinished_is_the_limit(world: World) -> None:
    """What is finished behind an unfinished one waits for it; offsets are never counted."""
    world.deliver(FIRST, 5, 9, 30)
    world.finish(FIRST, 5, 30)
    await world.commits.flush(1)
    assert world.client.committed == [{FIRST: 9}]


async def test_with_nothing_unfinished_the_position_is_committed(world: World) -> None:
    """It lies behind the gap at the end."""
    world.deliver(FIRST, 5)
    world.client.positions[FIRST] = 12
    world.finish(FIRST, 5)
    await world.commits.flush(1)
    assert world.client.committed == [{FIRST: 12}]


async def test_a_gap_without_a_record_is_committed_too(world: World) -> None:
    """A partition of aborted transactions delivers nothing, and its lag must end all the same."""
    world.client.positions[FIRST] = 3
    await world.commits.flush(1)
    world.client.positions[FIRST] = 8
    await world.commits.flush(1)
    assert world.client.committed == [{FIRST: 8}]


async def test_it_only_grows(world: World) -> None:
    """What is committed is not sent again, and a position that went back sends nothing."""
    world.deliver(FIRST, 5, 6)
    world.finish(FIRST, 5, 6)
    await world.commits.flush(1)
    world.client.positions[FIRST] = 2
    await world.commits.flush(1)
    assert world.client.committed == [{FIRST: 7}]


async def test_an_offset_below_zero_is_never_sent(world: World) -> None:
    """-1 would be accepted, and erase the group's offset."""
    world.client.reset_policy = "latest"
    world.client.positions[FIRST] = -1
    await world.commits.flush(1)
    assert world.client.committed == []


async def test_under_latest_the_beginning_is_committed(world: World) -> None:
    """A new group that begins at the end would begin at a later end after a restart, and skip what came during a hold."""
    world.client.reset_policy = "latest"
    world.client.positions[FIRST] = 500
    await world.commits.flush(1)
    assert world.client.committed == [{FIRST: 500}]


async def test_all_partitions_go_in_one_request(world: World) -> None:
    """One commit for all that is due."""
    for tp in (FIRST, SECOND):
        world.deliver(tp, 1)
        world.finish(tp, 1)
    await world.commits.flush(1)
    assert world.client.committed == [{FIRST: 2, SECOND: 2}]


async def test_one_is_in_flight(world: World) -> None:
    """While one is unanswered no second one is sent, since two may land in any order; the next carries what came since."""
    world.deliver(FIRST, 1, 2, 3)
    world.finish(FIRST, 1)
    world.client.answers.clear()
    assert not await world.commits.flush(0.01)
    world.finish(FIRST, 2, 3)
    assert not await world.commits.flush(0.01)
    assert world.client.committed == [{FIRST: 2}]
    world.client.answers.set()
    assert await world.commits.flush(1)
    assert world.client.committed == [{FIRST: 2}, {FIRST: 4}]


async def test_a_flush_that_is_cancelled_cancels_no_commit(world: World) -> None:
    """A cancelled commit may have been applied: nobody would know."""
    world.deliver(FIRST, 1)
    world.finish(FIRST, 1)
    world.client.answers.clear()
    flush = asyncio.create_task(world.commits.flush(HOUR))
    await turns_until(lambda: world.client.committed)
    flush.cancel()
    await asyncio.gather(flush, return_exceptions=True)
    world.client.answers.set()
    assert await world.commits.flush(1)
    assert world.of(FIRST).sent == 2
    assert len(world.client.committed) == 1


async def test_nothing_is_sent_during_a_rebalance(world: World) -> None:
    """Between revoked and assigned a commit throws the member out, or is accepted for what has moved away."""
    world.deliver(FIRST, 1)
    world.finish(FIRST, 1)
    world.commits.suspend()
    assert await world.commits.flush(1)
    assert world.client.committed == []


async def test_the_revoked_callback_commits(world: World) -> None:
    """Inside it a commit is accepted: what is finished of the revoked partitions goes, and nothing else."""
    for tp in (FIRST, SECOND):
        world.deliver(tp, 1)
        world.finish(tp, 1)
    world.commits.suspend()
    assert await world.commits.revoke([FIRST], 1)
    assert world.client.committed == [{FIRST: 2}]


async def test_a_commit_does_not_outlive_its_assignment(world: World) -> None:
    """Aiokafka would retry it with the next generation, and rewind what the new owner has committed."""
    world.deliver(FIRST, 1)
    world.finish(FIRST, 1)
    world.client.answers.clear()
    world.commits.suspend()
    assert not await world.commits.revoke([FIRST], 0.01)
    await asyncio.sleep(0)
    assert not world.commits._is_running()


async def test_a_revocation_that_turns_into_a_loss_commits_nothing_more(world: World) -> None:
    """Thrown out while an earlier commit is unanswered: what was to follow in the callback is not sent."""
    world.deliver(FIRST, 1, 2)
    world.finish(FIRST, 1)
    world.client.answers.clear()
    await world.commits.flush(0.01)
    world.finish(FIRST, 2)
    world.commits.suspend()
    revoking = asyncio.create_task(world.commits.revoke([FIRST], HOUR))
    await asyncio.sleep(0)
    world.partitions.drop([FIRST])
    world.client.answers.set()
    await ended(revoking)
    assert world.client.committed == [{FIRST: 2}]


async def test_a_stopped_consumer_commits_nothing_more(world: World) -> None:
    """Nobody would answer: a flush returns at once, with what is due still due, and so does one that waits for a commit under way."""
    world.deliver(FIRST, 1, 2)
    world.finish(FIRST, 1)
    world.client.answers.clear()
    await world.commits.flush(0.01)
    world.finish(FIRST, 2)
    async with asyncio.timeout(60):
        flushing = asyncio.create_task(world.commits.flush(HOUR))
        await asyncio.sleep(0)
        world.client.is_stopped = True
        assert await flushing is False
        world.client.answers.set()
        assert await world.commits.flush(HOUR) is False
    assert world.client.committed == [{FIRST: 2}]


async def test_a_dead_assignment_commits_nothing(world: World) -> None:
    """A late result finishes something that nobody commits from."""
    world.deliver(FIRST, 1)
    old = world.of(FIRST)
    world.partitions.add([FIRST])
    old.inflight.finished(1)
    await world.commits.flush(1)
    assert world.client.committed == []


@pytest.mark.parametrize("error", [CommitFailedError("gone"), IllegalStateError("not assigned")])
async def test_a_commit_that_comes_too_late_is_no_failure(world: World, error: KafkaError) -> None:
    """The callbacks tell the rest; the offsets stay due."""
    world.deliver(FIRST, 1)
    world.finish(FIRST, 1)
    world.client.commit_error = error
    assert not await world.commits.flush(1)
    assert world.failures == []
    world.client.commit_error = None
    assert await world.commits.flush(1)


async def test_other_errors_are_told(world: World) -> None:
    """The intake decides what ends it; the offsets stay due."""
    world.deliver(FIRST, 1)
    world.finish(FIRST, 1)
    world.client.commit_error = error = GroupAuthorizationFailedError("workers")
    assert not await world.commits.flush(1)
    assert world.failures[0] is error


async def test_they_go_out_by_themselves() -> None:
    """Every period, with what is finished by then."""
    world = World(every=0.001)
    world.deliver(FIRST, 1)
    world.finish(FIRST, 1)
    world.commits.start()
    await turns_until(lambda: world.client.committed)
    world.commits.stop()
    assert world.client.committed == [{FIRST: 2}]


async def test_a_hold_does_not_wait_for_the_period(world: World) -> None:
    """`soon` commits now."""
    world.deliver(FIRST, 1)
    world.finish(FIRST, 1)
    world.commits.start()
    world.commits.soon()
    await turns_until(lambda: world.client.committed)
    assert world.client.committed == [{FIRST: 2}]


@pytest.mark.parametrize("steps", range(6))
async def test_a_stop_ends_the_loop_in_whatever_step_it_comes(world: World, steps: int) -> None:
    """Also just after a hold has asked for a commit: Python 3.11 loses a cancellation there that meets `asyncio.wait_for`."""
    before = asyncio.all_tasks()
    world.commits.start()
    (loop,) = asyncio.all_tasks() - before
    for _ in range(5):  # it waits now
        await asyncio.sleep(0)
    world.commits.soon()
    for _ in range(steps):
        await asyncio.sleep(0)

    world.commits.stop()

    await turns_until(loop.done)
    assert loop.cancelled()


async def test_a_loop_that_dies_is_heard_of(world: World) -> None:
    """Without it nothing would be committed any more, in silence."""

    def die(tp: TopicPartition) -> int:
        raise ZeroDivisionError

    world.client.position = die
    world.commits.start()
    world.commits.soon()
    await turns_until(lambda: world.failures)
    assert [type(failure) for failure in world.failures] == [ZeroDivisionError]
    del world.client.position
