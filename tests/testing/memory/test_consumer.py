"""Consumer: positions, pauses and the reset policy."""

from __future__ import annotations

import pytest

from holdgate.flow.message import Partition
from holdgate.testing.memory.models import Broker, Consumer

P0, P1 = Partition("orders", 0), Partition("orders", 1)
GROUP = "workers"


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    broker.create_topic("orders", 2)
    for number in range(3):
        broker.produce("orders", b"%d" % number, 0.0, partition=0)
    broker.produce("orders", b"3", 0.0, partition=1)
    return broker


@pytest.fixture
def consumer(broker: Broker) -> Consumer:
    consumer = broker.consumer(GROUP)
    consumer.assign([P0, P1])
    return consumer


def polled(consumer: Consumer, limit: int = 100) -> dict[Partition, list[int]]:
    return {partition: [message.position for message in messages] for partition, messages in consumer.poll(limit)}


def test_a_poll_reads_each_partition_from_its_position(consumer: Consumer) -> None:
    """At most the limit of each, and the next poll goes on there."""
    assert (polled(consumer, 2), polled(consumer, 2), polled(consumer, 2)) == ({P0: [0, 1], P1: [0]}, {P0: [2]}, {})


def test_nothing_is_read_without_an_assignment(broker: Broker) -> None:
    """A consumer that has not been given anything."""
    assert polled(broker.consumer(GROUP)) == {}


def test_it_begins_at_the_committed_offset(broker: Broker) -> None:
    """What is committed does not come again."""
    broker.group(GROUP).committed[P0] = 2
    consumer = broker.consumer(GROUP)
    consumer.assign([P0])

    assert polled(consumer) == {P0: [2]}


@pytest.mark.parametrize(("reset", "position"), [("earliest", 0), ("latest", 3)])
def test_without_a_commit_the_reset_policy_decides(broker: Broker, reset: str, position: int) -> None:
    """From the log's start, or only what comes from now on."""
    consumer = broker.consumer(GROUP, reset)  # type: ignore[arg-type]
    consumer.assign([P0])

    assert consumer.position(P0) == position


@pytest.mark.parametrize(("reset", "read"), [("earliest", {P0: [2]}), ("latest", {})])
def test_a_position_before_the_log_start_is_reset(broker: Broker, reset: str, read: dict[Partition, list[int]]) -> None:
    """Retention has passed it: latest skips even what still exists."""
    broker.group(GROUP).committed[P0] = 0
    consumer = broker.consumer(GROUP, reset)  # type: ignore[arg-type]
    consumer.assign([P0])
    broker.log(P0).trim(2)

    assert polled(consumer) == read


def test_a_position_at_the_log_start_is_not_reset(broker: Broker) -> None:
    """Nothing was lost: it goes on there whatever the policy."""
    broker.group(GROUP).committed[P0] = 2
    consumer = broker.consumer(GROUP, "latest")
    consumer.assign([P0])
    broker.log(P0).trim(2)

    assert polled(consumer) == {P0: [2]}


def test_a_paused_partition_is_left_alone(consumer: Consumer) -> None:
    """The other one is read, and after resume it goes on where it was."""
    consumer.pause(P0)
    paused = (polled(consumer), set(consumer.paused), set(consumer.assigned))
    consumer.resume(P0)

    assert paused == ({P1: [0]}, {P0}, {P0, P1})
    assert polled(consumer) == {P0: [0, 1, 2]}


def test_an_assignment_forgets_pauses(consumer: Consumer) -> None:
    """Also for a partition that stays: who holds must pause again."""
    consumer.pause(P0)
    consumer.assign([P0])

    assert (set(consumer.paused), polled(consumer)) == (set(), {P0: [0, 1, 2]})


def test_a_partition_that_is_not_in_the_next_assignment_is_gone(consumer: Consumer) -> None:
    """The eager protocol: the next assignment is all there is."""
    consumer.assign([P1])

    assert set(consumer.assigned) == {P1}


def test_having_given_back_it_reads_nothing(consumer: Consumer) -> None:
    """And it has no pauses left over for the next time."""
    consumer.pause(P0)
    consumer.unassign()

    assert (polled(consumer), set(consumer.assigned), set(consumer.paused)) == ({}, set(), set())


def test_after_a_seek_messages_come_again(consumer: Consumer) -> None:
    """From the offset on that was sought."""
    consumer.poll(100)
    consumer.seek(P0, 1)

    assert polled(consumer) == {P0: [1, 2]}


def test_read_to_the_end_the_position_is_behind_the_gap(broker: Broker, consumer: Consumer) -> None:
    """Only there is the lag zero; in the middle it is behind the last message read."""
    broker.log(P0).skip(5)
    consumer.poll(2)
    middle = consumer.position(P0)
    consumer.poll(2)

    assert (middle, consumer.position(P0)) == (2, 8)


def test_the_ledger_tells_what_was_assigned_delivered_and_taken_away(broker: Broker) -> None:
    """With the position it began at, each message, and the position it had reached."""
    consumer = broker.consumer(GROUP)
    consumer.assign([P1])
    consumer.poll(100)
    consumer.unassign()
    consumer.assign([P1])
    consumer.unassign(lost=True)

    assert [entry for entry in broker.ledger if entry.source == P1][1:] == [
        ("assigned", P1, 0),
        ("delivered", P1, 0),
        ("revoked", P1, 1),
        ("assigned", P1, 0),
        ("lost", P1, 0),
    ]


def test_a_poll_may_be_bounded_in_bytes(broker: Broker) -> None:
    """As many as fit, the next poll goes on behind them, and one message always passes."""
    broker.produce("orders", b"x" * 100, 0.0, partition=1)
    consumer = broker.consumer(GROUP)
    consumer.assign([P0, P1])
    polls = [[[message.position for message in messages] for _, messages in consumer.poll(100, 2)] for _ in range(3)]

    assert polls == [[[0, 1], [0]], [[2], [1]], []]
