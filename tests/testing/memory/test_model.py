"""Broker: names, where messages go, and what waits."""

from __future__ import annotations

import pytest

from holdgate.flow.message import Partition, Queue
from holdgate.testing.memory.models import Broker, QueueSettings

NOW = 1.0
GROUP = "workers"
ORDERS = tuple(Partition("orders", number) for number in range(3))


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    broker.create_topic("orders", 3)
    broker.create_queue("mails")
    return broker


def test_messages_without_a_key_go_round(broker: Broker) -> None:
    """Each partition gets its turn."""
    places = [broker.produce("orders", b"", NOW)[0] for _ in range(4)]

    assert places == [ORDERS[0], ORDERS[1], ORDERS[2], ORDERS[0]]


def test_equal_keys_stay_together(broker: Broker) -> None:
    """One key, one partition; many keys, all of them."""
    one = {broker.produce("orders", b"", NOW, key=b"same")[0] for _ in range(5)}
    many = {broker.produce("orders", b"", NOW, key=b"%d" % number)[0] for number in range(50)}

    assert (len(one), many) == (1, set(ORDERS))


def test_a_partition_may_be_named(broker: Broker) -> None:
    """It wins over the key."""
    place, message = broker.produce("orders", b"body", NOW, key=b"key", headers={"h": 1}, partition=2)

    assert (place, message.position, message.key, message.headers) == (ORDERS[2], 0, b"key", {"h": 1})


def test_a_queue_takes_messages_without_a_key(broker: Broker) -> None:
    """It has none, so that whoever orders by key must say how."""
    place, message = broker.produce("mails", b"body", NOW, key=b"key", headers={"h": 1})

    assert (place, message.body, message.key, message.headers, message.timestamp) == (Queue("mails"), b"body", None, {"h": 1}, NOW)


def test_what_is_produced_is_in_the_ledger(broker: Broker) -> None:
    """With its source and place."""
    broker.produce("orders", b"", NOW)
    broker.produce("mails", b"", NOW)
    broker.produce("mails", b"", NOW)

    assert list(broker.ledger) == [("produced", ORDERS[0], 0), ("produced", Queue("mails"), 0), ("produced", Queue("mails"), 1)]


def test_an_unknown_name_is_an_error_that_says_what_to_call(broker: Broker) -> None:
    """Nothing is made by the way: a typing mistake would go unseen."""
    with pytest.raises(LookupError, match="create_topic or create_queue"):
        broker.produce("nowhere", b"", NOW)
    with pytest.raises(LookupError, match=r"no partition orders\[3\]"):
        broker.produce("orders", b"", NOW, partition=3)


@pytest.mark.parametrize("name", ["orders", "mails"])
def test_a_name_is_taken_once(broker: Broker, name: str) -> None:
    """By a topic or a queue."""
    with pytest.raises(ValueError, match="exists already"):
        broker.create_topic(name)
    with pytest.raises(ValueError, match="exists already"):
        broker.create_queue(name)


def test_a_topic_has_a_partition_at_least(broker: Broker) -> None:
    """None at all could hold nothing."""
    with pytest.raises(ValueError, match="cannot have 0 partitions"):
        broker.create_topic("empty", 0)


def test_a_dead_letter_queue_comes_first(broker: Broker) -> None:
    """Named but missing, the dead would be dropped unseen."""
    with pytest.raises(ValueError, match="'grave', which does not exist"):
        broker.create_queue("letters", QueueSettings(dead_letters="grave"))


@pytest.mark.parametrize("name", ["orders", "mails"])
def test_a_deleted_name_is_unknown(broker: Broker, name: str) -> None:
    """And free to be used again."""
    broker.delete(name)
    with pytest.raises(LookupError):
        broker.produce(name, b"", NOW)
    with pytest.raises(LookupError):
        broker.delete(name)
    broker.create_queue(name)


def test_a_group_is_the_same_at_every_mention(broker: Broker) -> None:
    """The rebalance timeout is the first mention's."""
    group = broker.group(GROUP, 3.0)

    assert broker.group(GROUP, 9.0) is group
    assert group.rebalance_timeout == 3.0


def test_a_partition_waits_from_the_commit_on(broker: Broker) -> None:
    """For each group from its own; without one from the log's start."""
    for _ in range(3):
        broker.produce("orders", b"", NOW, partition=0)
    broker.group(GROUP).committed[ORDERS[0]] = 2
    broker.log(ORDERS[0]).trim(1)

    assert [message.position for message in broker.waiting(ORDERS[0], GROUP)] == [2]
    assert [message.position for message in broker.waiting(ORDERS[0], "others")] == [1, 2]


def test_a_queue_waits_with_what_is_out(broker: Broker) -> None:
    """Unacked is not settled."""
    broker.produce("mails", b"", NOW)
    broker.queues["mails"].open(1).take()

    assert len(broker.waiting(Queue("mails"))) == 1


def test_a_new_partition_is_dealt_at_the_next_assignment(broker: Broker) -> None:
    """Groups look at the topics anew each time."""
    group = broker.group(GROUP)
    group.join("a", ["fresh"], NOW)
    broker.create_topic("fresh")
    group.rebalance(NOW)
    group.rejoin("a")

    assert group.assignment("a") == (Partition("fresh", 0),)
