"""MessageQueue and Channel: prefetch, order of what comes back, counts and limits."""

from __future__ import annotations

import pytest

from holdgate.flow.message import Queue
from holdgate.testing.memory.models import Broker, Channel, MessageQueue, QueueSettings

MAILS = Queue("mails")


def queue_of(count: int, settings: QueueSettings | None = None, broker: Broker | None = None) -> MessageQueue:
    """A queue with the bodies 0, 1, 2 and so on."""
    broker = broker or Broker()
    broker.create_queue("mails", settings)
    for number in range(count):
        broker.produce("mails", b"%d" % number, float(number))
    return broker.queues["mails"]


def bodies(channel: Channel) -> list[bytes | None]:
    """What the channel gets now."""
    return [queued.message.body for _, queued in channel.take()]


def test_a_channel_gets_as_much_as_its_prefetch() -> None:
    """In order, tagged from 1; the rest stays ready."""
    queue = queue_of(3)
    taken = queue.open(2).take()

    assert [(tag, queued.message.body, queued.redelivered, queued.delivery_count) for tag, queued in taken] == [
        (1, b"0", False, 0),
        (2, b"1", False, 0),
    ]
    assert (queue.ready, queue.unacked) == (1, 2)


def test_an_ack_makes_room() -> None:
    """One for one, under the next tag."""
    queue = queue_of(4)
    channel = queue.open(2)
    channel.take()
    full = channel.take()
    channel.ack(1)

    assert (full, [tag for tag, _ in channel.take()]) == ([], [3])


def test_two_channels_share_the_queue() -> None:
    """What is unacked on one is not for the other."""
    queue = queue_of(3)
    first, second = queue.open(2), queue.open(2)

    assert (bodies(first), bodies(second)) == ([b"0", b"1"], [b"2"])


def test_with_a_single_active_consumer_the_oldest_channel_gets_all() -> None:
    """The next one takes over when it closes."""
    queue = queue_of(2, QueueSettings(single_active=True))
    first, second = queue.open(1), queue.open(9)
    waiting = (queue.is_active(first), queue.is_active(second), bodies(second))
    first.close()

    assert waiting == (True, False, [])
    assert bodies(second) == [b"0", b"1"]


@pytest.mark.parametrize(("returns_to", "order"), [("front", [b"0", b"1", b"2", b"3"]), ("back", [b"2", b"3", b"0", b"1"])])
def test_nacked_messages_come_again_where_the_queue_puts_them(returns_to: str, order: list[bytes]) -> None:
    """In front in the order of the nacks, or at the back: order is lost there."""
    queue = queue_of(4, QueueSettings(returns_to=returns_to))  # type: ignore[arg-type]
    channel = queue.open(2)
    channel.take()
    channel.give_back()

    assert bodies(queue.open(9)) == order


def test_a_closed_channel_puts_its_messages_in_front_in_their_order() -> None:
    """On every kind of queue, marked as redelivered and counted."""
    queue = queue_of(3, QueueSettings(returns_to="back", nack_counts=False))
    channel = queue.open(2)
    channel.take()
    channel.close()
    again = queue.open(9).take()

    assert [(queued.message.body, queued.redelivered, queued.delivery_count) for _, queued in again] == [
        (b"0", True, 1),
        (b"1", True, 1),
        (b"2", False, 0),
    ]


@pytest.mark.parametrize(("nack_counts", "count"), [(True, 1), (False, 0)])
def test_a_nack_counts_or_does_not(nack_counts: bool, count: int) -> None:
    """Up to 4.2 it does, from 4.3 on it does not."""
    queue = queue_of(1, QueueSettings(nack_counts=nack_counts))
    channel = queue.open(1)
    channel.take()
    channel.nack(1)

    assert [queued.delivery_count for _, queued in channel.take()] == [count]


def test_over_the_delivery_limit_a_message_is_dead() -> None:
    """With a limit of 2 it comes twice more, and then no more."""
    queue = queue_of(1, QueueSettings(delivery_limit=2))
    channel = queue.open(1)
    counts = []
    while taken := channel.take():
        counts += [queued.delivery_count for _, queued in taken]
        channel.nack(taken[0][0])

    assert (counts, queue.ready) == ([0, 1, 2], 0)


def test_the_dead_and_the_rejected_go_to_the_dead_letter_queue() -> None:
    """With their body, headers and time."""
    broker = Broker()
    broker.create_queue("dead")
    queue = queue_of(2, QueueSettings(delivery_limit=0, dead_letters="dead"), broker)
    channel = queue.open(2)
    channel.take()
    channel.nack(1, requeue=False)
    channel.nack(2)

    assert [(message.body, message.timestamp) for message in broker.queues["dead"].waiting()] == [(b"0", 0.0), (b"1", 1.0)]


def test_without_a_dead_letter_queue_they_are_gone() -> None:
    """Dropped, as the broker does; and also when that queue was deleted meanwhile."""
    broker = Broker()
    broker.create_queue("dead")
    queue = queue_of(1, QueueSettings(dead_letters="dead"), broker)
    broker.delete("dead")
    channel = queue.open(2)
    channel.take()
    channel.nack(1, requeue=False)

    assert (queue.ready, queue.unacked, channel.take()) == (0, 0, [])


@pytest.mark.parametrize("tag", [1, 9])
def test_a_tag_that_is_settled_or_unknown_is_an_error(tag: int) -> None:
    """A broker closes the channel for it."""
    channel = queue_of(2).open(2)
    channel.take()
    channel.ack(1)

    with pytest.raises(KeyError):
        channel.ack(tag)
    with pytest.raises(KeyError):
        channel.nack(tag)


def test_a_cancelled_channel_gets_no_more_and_keeps_what_it_has() -> None:
    """What is unacked can still be settled."""
    queue = queue_of(3)
    channel = queue.open(2)
    channel.take()
    channel.cancel()
    channel.ack(1)

    assert (channel.take(), list(channel.unacked), queue.ready) == ([], [2], 1)


def test_giving_back_is_the_end_of_consuming() -> None:
    """Otherwise it would get at once what it gave back."""
    queue = queue_of(2)
    channel = queue.open(2)
    channel.take()
    channel.give_back()

    assert (channel.take(), queue.ready, channel.is_open) == ([], 2, True)


def test_a_channel_closes_once() -> None:
    """Closed again, nothing comes back a second time, and it gets nothing more."""
    queue = queue_of(1)
    channel = queue.open(1)
    channel.take()
    channel.close()
    channel.close()

    assert (queue.ready, queue.unacked, channel.is_open, channel.take()) == (1, 0, False, [])


def test_nothing_can_be_settled_on_a_closed_channel() -> None:
    """Its messages are in the queue again, and somebody else's."""
    channel = queue_of(1).open(1)
    channel.take()
    channel.close()

    with pytest.raises(KeyError):
        channel.ack(1)


def test_what_waits_is_what_one_new_consumer_would_get() -> None:
    """Returned first, then what is out, then what was never delivered."""
    queue = queue_of(4)
    channel = queue.open(3)
    channel.take()
    channel.cancel()
    channel.nack(2)
    waiting = [message.body for message in queue.waiting()]
    channel.close()

    assert waiting == bodies(queue.open(9)) == [b"1", b"0", b"2", b"3"]


def test_the_ledger_tells_the_fate_of_each_message() -> None:
    """By its number in the queue, which no redelivery changes."""
    broker = Broker()
    queue = queue_of(3, QueueSettings(delivery_limit=0, nack_counts=False), broker)
    channel = queue.open(3)
    channel.take()
    channel.ack(1)
    channel.nack(2)
    channel.nack(3, requeue=False)
    channel.take()
    channel.close()

    assert list(broker.ledger)[3:] == [
        ("delivered", MAILS, 0),
        ("delivered", MAILS, 1),
        ("delivered", MAILS, 2),
        ("acked", MAILS, 0),
        ("requeued", MAILS, 1),
        ("rejected", MAILS, 2),
        ("delivered", MAILS, 1),
        ("dead", MAILS, 1),
    ]
