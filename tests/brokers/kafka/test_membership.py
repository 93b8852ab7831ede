from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from tests.brokers.kafka.drive import Drive
from tests.brokers.kafka.fakes import FakeClient, ended, record

from holdgate.brokers.commits import Commits
from holdgate.brokers.kafka.checks import TOO_LATE
from holdgate.brokers.kafka.deliveries import RECORDS
from holdgate.brokers.kafka.fetching import Pauses
from holdgate.brokers.kafka.membership import Membership, OwnedListener
from holdgate.brokers.partitions import AssignedPartitions

A = TopicPartition("orders", 0)
BOTH = frozenset({A, TopicPartition("orders", 1)})


class World:
    """A member with two partitions, and records of one of them in hand."""

    def __init__(self) -> None:
        self.client, self.partitions = FakeClient(), AssignedPartitions(RECORDS)
        self.failures: list[BaseException] = []
        self.pauses = Pauses(self.client, self.partitions)
        self.commits = Commits(self.client, self.partitions, 3600, self.failures.append, TOO_LATE)
        self.member = Membership(self.client, self.partitions, self.pauses, self.commits, changed=lambda: None, failed=self.failures.append)
        self.guard = Drive(None)
        self.member.guard = self.guard
        self.listener = OwnedListener(self.member, None, self.failures.append)
        self.client.assigned = BOTH
        self.member.take_over(BOTH)
        found = self.partitions.get(A)
        assert found is not None
        self.first = found
        self.first.delivered([record(1), record(2)])
        self.client.positions[A] = 3

    async def finish_one(self) -> None:
        self.first.inflight.finished(1)

    @property
    def told(self) -> list[str]:
        return [event for event, _ in self.guard.events]


@pytest.fixture
async def world() -> World:
    return World()


async def test_an_orderly_rebalance(world: World) -> None:
    """The guard ends what runs, then it is committed, then the assignments are dead."""
    world.guard.in_revoked = world.finish_one
    await world.listener.on_partitions_revoked(set(BOTH))
    assert world.told == ["assigned", "revoked"]
    assert world.client.committed == [{A: 2}]
    assert not world.first.alive
    assert not world.member.may_poll


async def test_an_eviction(world: World) -> None:
    """The generation is gone: others may own the partitions, so nothing is committed and the guard is told that they are lost."""
    world.first.inflight.finished(1)
    world.client.is_evicted = True
    await world.listener.on_partitions_revoked(set(BOTH))
    assert world.told == ["assigned", "lost"]
    assert world.client.committed == []


async def test_a_commit_that_an_eviction_overtakes(world: World) -> None:
    """Its retries end: with the next generation they would rewind what the new owner has committed."""
    world.first.inflight.finished(1)
    world.client.answers.clear()
    await world.commits.flush(0.01)
    world.client.is_evicted = True
    await world.listener.on_partitions_revoked(set(BOTH))
    await asyncio.sleep(0)
    assert not world.commits._is_running()


async def test_evictions_in_a_row_are_counted(world: World) -> None:
    """Thrown out three times, a member with an instance id is told of the other one that has it."""
    world.client.instance_id, world.client.is_evicted = "worker-1", True
    for _ in range(3):
        assert world.failures == []
        await world.listener.on_partitions_revoked(set())
    assert "group_instance_id='worker-1'" in str(world.failures[0])


async def test_an_eviction_while_work_ends(world: World) -> None:
    """Thrown out during the wait for the guard, nothing is committed either."""

    async def too_slow() -> None:
        world.first.inflight.finished(1)
        world.client.is_evicted = True

    world.guard.in_revoked = too_slow
    await world.listener.on_partitions_revoked(set(BOTH))
    assert world.client.committed == []
    assert world.told == ["assigned", "revoked", "lost"]


async def test_a_guard_that_never_returns_is_not_waited_for(world: World) -> None:
    """The group waits so long and no longer: what is finished by then is committed."""
    world.client.rebalance_timeout = 0.01
    world.first.inflight.finished(1)
    world.guard.in_revoked = asyncio.Event().wait
    await ended(asyncio.create_task(world.listener.on_partitions_revoked(set(BOTH))))
    assert world.client.committed == [{A: 2}]
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_a_guard_that_raises_is_heard_of_and_committed_for(world: World) -> None:
    """What is finished is finished, whatever the guard ran into."""

    async def fail() -> None:
        await world.finish_one()
        raise ZeroDivisionError

    world.guard.in_revoked = fail
    await world.listener.on_partitions_revoked(set(BOTH))
    assert [type(failure) for failure in world.failures] == [ZeroDivisionError]
    assert world.client.committed == [{A: 2}]


async def test_everything_is_paused_before_the_first_await(world: World) -> None:
    """The assigned callback has no await before the pauses: its first step leaves nothing open."""
    world.client.flags = frozenset()
    callback = world.listener.on_partitions_assigned(set(BOTH))
    with pytest.raises(StopIteration):
        callback.send(None)
    assert world.client.flags == BOTH


async def test_a_guard_that_fails_at_an_assignment_leaves_everything_paused(world: World) -> None:
    """Nothing may be handed out to a guard that has not said what it wants."""

    def fail(sources: Any) -> Any:
        raise ZeroDivisionError

    world.guard.assigned = fail
    world.client.flags = frozenset()
    await world.listener.on_partitions_assigned(set(BOTH))
    assert world.client.flags == BOTH
    assert [type(failure) for failure in world.failures] == [ZeroDivisionError]


async def test_a_change_without_a_callback_is_noticed(world: World) -> None:
    """Another assignment object, no callback: what was in hand is lost, and taken over anew."""
    world.client.token = object()
    world.member.verify()
    assert world.told == ["assigned", "lost", "assigned"]
    assert not world.first.alive
    world.member.verify()
    assert world.told == ["assigned", "lost", "assigned"]


async def test_during_a_rebalance_nothing_is_concluded(world: World) -> None:
    """The client's assignment is gone before the callback comes: that is no loss."""
    world.client.token, world.client.is_reassigning = object(), True
    world.member.verify()
    assert world.told == ["assigned"]


async def test_the_first_join_gives_nothing_back(world: World) -> None:
    """Aiokafka calls the revoked callback with nothing at the first join: nobody is told, nothing is committed."""
    await world.listener.on_partitions_revoked(set())
    assert world.told == ["assigned"]
    assert world.client.committed == []


async def test_retired_it_only_passes_on(world: World) -> None:
    """On a caller's consumer our listener stays subscribed after the end, as a way to the caller's own."""
    world.listener.retire()
    await world.listener.on_partitions_revoked(set(BOTH))
    await world.listener.on_partitions_assigned(set(BOTH))
    assert world.told == ["assigned"]
