"""What `receive` does with what polls gave, without a broker: the moments are too short to be met with one."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from tests.brokers.kafka.fakes import FakeClient, ended, record, turns_until

from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.kafka.fetching import Poller
from holdgate.errors import IntakeError
from holdgate.flow.message import Partition
from holdgate.flow.plan import Plan, SourcePlan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
MOST = 4


@pytest.fixture
async def unopened() -> AsyncIterator[KafkaIntake]:
    """An intake that was never opened, with two partitions nevertheless."""
    consumer = AIOKafkaConsumer(group_id="workers", enable_auto_commit=False, auto_offset_reset="earliest")
    made = KafkaIntake(consumer, topics=["orders"], inbox=MOST, poll_timeout=100)
    made._partitions.add([A, B])
    yield made
    await made.close()


async def test_two_polls_at_once_fill_two_receives(unopened: KafkaIntake) -> None:
    """Each gives at most what one poll may, and nothing is lost or out of order."""
    unopened._take({A: [record(offset) for offset in range(6)]})
    assert [[delivery.position for delivery in await unopened.receive()] for _ in range(2)] == [[0, 1, 2, 3], [4, 5]]


async def test_what_was_taken_away_meanwhile_is_not_handed_out(unopened: KafkaIntake) -> None:
    """Between a poll and the receive a partition may go: its records are not ours any more, those of the other one are."""
    unopened._take({A: [record(0)], B: [record(7)]})
    unopened._partitions.drop([A])
    assert [delivery.position for delivery in await unopened.receive()] == [7]


@pytest.mark.parametrize(("assigned", "place"), [({A}, 5), (set(), 9)])
async def test_records_of_a_late_poll_are_put_back(unopened: KafkaIntake, assigned: set[TopicPartition], place: int) -> None:
    """A poll that ends after we let go has moved the position: it goes back, if the client still has the partition."""
    unopened._partitions.drop([A])
    client = FakeClient()
    client.assigned, client.positions = frozenset(assigned), {A: 9}
    real, unopened._client = unopened._client, client
    unopened._take({A: [record(5), record(8)]})
    unopened._client = real
    assert client.positions == {A: place}
    assert unopened._ready.deliveries == []


async def test_a_poll_that_raises_at_once_is_no_hot_loop(unopened: KafkaIntake) -> None:
    """An error that may pass is waited out for a poll's time, not asked for again at once."""
    polls = 0

    async def fail(**_: Any) -> bool:
        nonlocal polls
        polls += 1
        raise KafkaConnectionError("reset")

    unopened._poller.poll = fail
    receiving = asyncio.create_task(unopened.receive())
    await turns_until(lambda: polls)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not receiving.done()
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)


async def test_a_full_buffer_lets_the_others_run(unopened: KafkaIntake) -> None:
    """A poll that never waits must not keep the handlers from running: every receive gives the loop a turn."""

    async def full(**_: Any) -> bool:
        return True

    unopened._poller.poll = full
    turned: list[bool] = []
    asyncio.get_running_loop().call_soon(turned.append, True)
    await unopened.receive()
    assert turned == [True]


async def test_a_flush_ends_a_receive_that_waits(unopened: KafkaIntake) -> None:
    """It is the end of a run, which does not wait for a long poll; the poll itself goes on and ends by itself."""
    client = FakeClient()
    unopened._poller = Poller(client, unopened._take, timeout=3600, most=MOST)
    receiving = asyncio.create_task(unopened.receive())
    await turns_until(lambda: client.polls)
    await unopened.flush()
    assert list(await ended(receiving)) == []
    client.poll_ends.set()


async def test_a_partition_that_gave_much_fetches_nothing_before_the_next_plan(unopened: KafkaIntake) -> None:
    """The client would ask for the next megabytes a step later, before the guard could say that there is no room for them."""

    async def nothing(**_: Any) -> bool:
        return False

    client = FakeClient()
    client.assigned = frozenset({A, B})
    unopened.bound(64 * 1024 * 1024)
    unopened._next_look = math.inf
    unopened._poller.poll = nothing
    real, unopened._pauses._client = unopened._client, client
    unopened._client = client
    unopened._membership.is_rebalancing = False
    unopened._pauses.store(Plan({Partition("orders", 0): SourcePlan(), Partition("orders", 1): SourcePlan()}))

    unopened._take({A: [record(0, value=b"x" * 1024 * 1024)], B: [record(0)]})
    assert client.flags == {A}
    await unopened.receive()
    assert client.flags == {A}
    await unopened.receive()

    unopened._client = unopened._pauses._client = real
    assert client.flags == frozenset()
    assert client.limits[-1] == (8 * 1024 * 1024, 8 * 1024 * 1024)


async def test_a_question_for_topics_that_gets_no_answer_is_asked_again(unopened: KafkaIntake, monkeypatch) -> None:
    """It is asked once for each assignment: a worker without a partition would wait for ever for a topic that was deleted meanwhile."""
    monkeypatch.setattr("holdgate.brokers.kafka.intake._ASK_AGAIN_AFTER", 0.0)
    answers: list[frozenset[str] | None] = [None, None, frozenset()]

    async def topics() -> frozenset[str] | None:
        return answers.pop(0)

    monkeypatch.setattr(unopened._side, "topics", topics)
    unopened._partitions.drop([A, B])
    unopened._look_for_deleted_topics()
    assert unopened._looking is not None
    await turns_until(lambda: unopened._fault)
    with pytest.raises(IntakeError, match="no topic 'orders'"):
        await unopened.receive()


async def test_a_question_for_topics_ends_with_the_intake(unopened: KafkaIntake) -> None:
    """A broker that is away would be asked for ever."""
    unopened._partitions.drop([A, B])
    unopened._look_for_deleted_topics()
    assert unopened._looking is not None
    await unopened.close()
    await turns_until(unopened._looking.done)
    assert unopened._looking.cancelled()
