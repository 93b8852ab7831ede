"""What a rebalance asks of the intake, with a client that keeps what it is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Theirs
from tests.brokers.confluent.fakes import A, B, FakeClient, run

from holdgate.brokers.commits import Commits
from holdgate.brokers.confluent.client import CommitTooLate
from holdgate.brokers.confluent.deliveries import MESSAGES, TopicPartition
from holdgate.brokers.confluent.fetching import Taps
from holdgate.brokers.confluent.membership import Membership
from holdgate.brokers.partitions import AssignedPartitions
from holdgate.errors import IntakeError
from holdgate.flow.message import Partition
from holdgate.flow.plan import Plan, SourcePlan

if TYPE_CHECKING:
    from collections.abc import Collection

BOTH = [Theirs(*A), Theirs(*B)]


class Asker:
    """Knows where logs begin and end, if it answers."""

    def __init__(self) -> None:
        self.begins: dict[TopicPartition, int] | None = {A: 3, B: 4}
        self.ends: dict[TopicPartition, int] | None = {A: 30, B: 40}

    async def log_starts(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int] | None:
        return None if self.begins is None else {tp: self.begins[tp] for tp in tps}

    async def log_ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int] | None:
        return None if self.ends is None else {tp: self.ends[tp] for tp in tps}


class World:
    """A membership, and a guard that writes down what it is told and lets everything fetch."""

    def __init__(self, **settings: Any) -> None:
        self.client: Any = FakeClient(**settings)
        self.asker: Any = Asker()
        self.partitions = AssignedPartitions(MESSAGES)
        self.taps = Taps(self.client, 100, 10**6)
        self.client.position = self.taps.position
        self.failures: list[BaseException] = []
        self.commits = Commits(self.client, self.partitions, 3600, self.failures.append, (CommitTooLate,))
        self.events: list[tuple[str, list[int]]] = []
        self.in_revoked: Any = None
        self.membership = Membership(
            self.client, self.asker, self.partitions, self.taps, self.commits, changed=lambda: None, failed=self.failures.append
        )
        self.membership.guard = self  # type: ignore[assignment]

    def assigned(self, sources: Collection[Any]) -> Plan:
        self.events.append(("assigned", sorted(source.number for source in sources)))
        return Plan({Partition("orders", number): SourcePlan() for number in (0, 1)})

    async def revoked(self, sources: Collection[Any]) -> None:
        self.events.append(("revoked", sorted(source.number for source in sources)))
        if self.in_revoked is not None:
            await self.in_revoked()

    def lost(self, sources: Collection[Any]) -> None:
        self.events.append(("lost", sorted(source.number for source in sources)))

    def comes(self, first: int, count: int) -> list[Any]:
        """Deliver so many messages of A."""
        ((tp, found),) = self.taps.sort(run(first, count), events=False)
        partition = self.partitions.get(tp)
        assert partition is not None
        return list(partition.delivered(found))

    def told(self, what: str) -> list[Any]:
        return [fact for kind, fact in self.client.told if kind == what]


async def test_partitions_go_on_where_the_group_has_committed() -> None:
    """And the others where the log begins, by its number, so that lag is known at once."""
    world = World()
    world.client.offsets = {A: 17}
    await world.membership._on_assign(None, BOTH)
    assert world.told("assign") == [{A: 17, B: 4}]
    assert world.events == [("assigned", [0, 1])]
    assert (world.taps.position(A), world.taps.position(B)) == (17, 4)


@pytest.mark.parametrize(("policy", "known", "unknown"), [("earliest", 3, OFFSET_BEGINNING), ("latest", 30, OFFSET_END)])
async def test_without_an_answer_librdkafka_looks_it_up(policy: str, known: int, unknown: int) -> None:
    """At the end that the user has asked for."""
    world = World(**{"auto.offset.reset": policy})
    await world.membership._on_assign(None, BOTH[:1])
    world.asker.begins = world.asker.ends = None
    await world.membership._on_assign(None, BOTH[:1])
    assert world.told("assign") == [{A: known}, {A: unknown}]
    assert world.taps.position(A) is None


async def test_a_coordinator_that_does_not_answer_keeps_nobody_waiting() -> None:
    """Librdkafka asks again, and its own policy is the earliest."""
    world = World()
    world.client.commit_error = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    await world.membership._on_assign(None, BOTH)
    assert world.told("assign") == [{A: OFFSET_INVALID, B: OFFSET_INVALID}]
    assert world.events == [("assigned", [0, 1])]


async def test_with_the_policy_error_a_new_group_is_refused() -> None:
    """With the remedy."""
    world = World(**{"auto.offset.reset": "error"})
    await world.membership._on_assign(None, BOTH)
    (failure,) = world.failures
    assert str(failure).startswith("group 'workers' has no committed offset for orders[")
    assert world.events == []


async def test_what_is_finished_while_partitions_go_away_is_committed_at_once() -> None:
    """By a call that waits for its answer: no poll can bring it."""
    world = World()
    await world.membership._on_assign(None, BOTH)
    deliveries = world.comes(3, 4)

    async def finish() -> None:
        for delivery in deliveries[:2]:
            delivery.assigned.inflight.finished(delivery.position)

    world.in_revoked = finish
    await world.membership._on_revoke(None, BOTH)
    assert world.events[1:] == [("revoked", [0, 1])]
    assert world.told("commit directly") == [{A: 5}]
    assert world.told("give up") == [None]
    assert len(world.partitions) == 0
    assert world.taps.position(A) is None


async def test_those_that_stay_are_committed_afterwards() -> None:
    """A rebalance of the incremental kind takes one and leaves the other in place."""
    world = World()
    await world.membership._on_assign(None, BOTH)
    (delivery,) = world.comes(3, 1)
    await world.membership._on_revoke(None, BOTH[1:])
    assert delivery.assigned.alive
    delivery.assigned.inflight.finished(3)
    assert await world.commits.flush(5.0)
    assert world.told("commit") == [{A: 4}]


async def test_a_periodic_commit_does_not_begin_while_partitions_go_away() -> None:
    """It would wait for the poll, which waits for the callback, which would wait for the commit."""
    world = World()
    await world.membership._on_assign(None, BOTH)
    (delivery,) = world.comes(3, 1)

    async def finish_and_flush() -> None:
        delivery.assigned.inflight.finished(3)
        await world.commits.flush(5.0)
        assert world.told("commit") == []

    world.in_revoked = finish_and_flush
    await world.membership._on_revoke(None, BOTH)
    assert world.failures == []
    assert world.told("commit directly") == [{A: 4}]


async def test_what_is_lost_is_not_committed() -> None:
    """Others may have it already."""
    world = World()
    await world.membership._on_assign(None, BOTH)
    (delivery,) = world.comes(3, 1)
    delivery.assigned.inflight.finished(3)
    await world.membership._on_lost(None, BOTH)
    assert world.events[1:] == [("lost", [0, 1])]
    assert await world.commits.flush(5.0)
    assert world.told("commit") == world.told("commit directly") == []


async def test_after_the_end_a_callback_only_ends() -> None:
    """`close` has committed, and librdkafka calls back once more."""
    world = World()
    await world.membership._on_assign(None, BOTH)
    world.membership.retire()
    await world.membership._on_revoke(None, BOTH)
    await world.membership._on_lost(None, BOTH)
    await world.membership._on_assign(None, BOTH)
    assert world.events == [("assigned", [0, 1])]


async def test_what_a_guard_raises_ends_the_intake_and_not_the_poll() -> None:
    """Librdkafka would pass it on to whatever polls."""
    world = World()

    async def fail() -> None:
        raise ValueError("broken")

    await world.membership._on_assign(None, BOTH)
    world.in_revoked = fail
    await world.membership._on_revoke(None, BOTH)
    assert [str(failure) for failure in world.failures] == ["broken"]
    assert len(world.partitions) == 0


async def test_after_a_standstill_partitions_are_taken_again_when_the_group_takes_a_commit() -> None:
    """Where work goes on, and with fresh objects: late results settle nothing."""
    world = World()
    await world.membership._on_assign(None, BOTH)
    (delivery, _) = world.comes(3, 2)
    delivery.assigned.inflight.finished(3)
    world.membership.doubt()
    assert world.events[1:] == [("lost", [0, 1])]
    assert world.membership._asking is not None
    await world.membership._asking
    assert world.told("commit") == [{A: 4, B: 4}]
    assert world.events[2:] == [("assigned", [0, 1])]
    await world.taps.match()
    assert world.told("seek") == [(A, 4), (B, 4)]
    assert not delivery.assigned.alive


async def test_after_a_standstill_the_callbacks_know_better() -> None:
    """A group that has put the member out refuses the commit, and offsets from before are never used."""
    world = World()
    await world.membership._on_assign(None, BOTH)
    world.client.commit_error = CommitTooLate("gone")
    world.membership.doubt()
    assert world.membership._asking is not None
    await world.membership._asking
    assert world.events[1:] == [("lost", [0, 1])]
    world.client.commit_error = None
    await world.membership._on_lost(None, BOTH)
    await world.membership._on_assign(None, BOTH)
    assert world.events[2:] == [("assigned", [0, 1])]
    assert world.told("seek") == []


async def test_after_a_standstill_without_any_known_offset_nothing_is_asked() -> None:
    """A commit of nothing is refused each time: the worker would ask for ever, and read nothing."""
    world = World()
    world.asker.begins = None
    await world.membership._on_assign(None, BOTH)
    world.client.commit_error = KafkaException(KafkaError(KafkaError._NO_OFFSET))
    world.membership.doubt()
    assert world.membership._asking is not None
    async with asyncio.timeout(20):  # only a failing test waits so long
        await world.membership._asking
    assert world.told("commit") == []
    assert world.events == [("assigned", [0, 1]), ("lost", [0, 1]), ("assigned", [0, 1])]


async def test_what_librdkafka_does_not_take_over_ends_the_run() -> None:
    """Its error alone would end nothing, and the worker would look well and read nothing."""
    world = World()
    world.client.assign_error = KafkaException(KafkaError(KafkaError._STATE))
    await world.membership._on_assign(None, BOTH)
    (failure,) = world.failures
    assert isinstance(failure, IntakeError)
    assert str(failure).startswith("librdkafka has not taken over orders[0], orders[1]: ")
    assert world.events == []


async def test_a_users_listener_is_called_after_ours() -> None:
    """Plain or async; one that knows no loss is told of a revocation."""
    heard: list[Any] = []

    class Listener:
        async def on_partitions_assigned(self, assigned: Any) -> None:
            await asyncio.sleep(0)
            heard.append(("assigned", assigned, len(world.partitions)))

        def on_partitions_revoked(self, revoked: Any) -> None:
            heard.append(("revoked", revoked, len(world.partitions)))

    world = World()
    world.membership.chained = Listener()
    await world.membership._on_assign(None, BOTH)
    await world.membership._on_revoke(None, BOTH[:1])
    await world.membership._on_lost(None, BOTH[1:])
    assert heard == [("assigned", {A, B}, 2), ("revoked", {A}, 1), ("revoked", {B}, 0)]
