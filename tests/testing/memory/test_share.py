"""The model of a share group: locks, counted deliveries, the limit, and the two answers that surprise."""

from __future__ import annotations

from holdgate.testing.memory.message import Message
from holdgate.testing.memory.share import ShareGroup, ShareSettings, ShareState

LOCK = 15.0
LIMIT = 3


def group(count: int = 3, buried: list[Message] | None = None) -> ShareGroup:
    made = ShareGroup("orders", ShareSettings(LOCK, LIMIT), bury=(buried if buried is not None else []).append)
    for number in range(count):
        made.publish(b"%d" % number, 0.0)
    return made


def offsets(records) -> list[int]:
    return [record.message.position for record in records]


def test_a_record_is_locked_for_one_member() -> None:
    """What one has acquired, another one does not get, until it is accepted or comes back."""
    shared = group()

    assert offsets(shared.acquire("a", 2, 0.0)) == [0, 1]
    assert offsets(shared.acquire("b", 5, 0.0)) == [2]
    assert shared.next_deadline() == LOCK


def test_an_accept_within_the_lock_ends_it() -> None:
    """The record is neither waiting nor delivered again."""
    shared = group(1)
    shared.acquire("a", 1, 0.0)

    assert shared.accept("a", [0], LOCK - 0.1) == ()
    assert shared.waiting() == []
    assert shared.acquire("a", 1, 100.0) == []
    assert shared.next_deadline() is None


def test_a_release_uses_a_delivery_up() -> None:
    """It comes again, before newer records, with one delivery more."""
    shared = group()
    shared.acquire("a", 2, 0.0)
    shared.accept("a", [1], 1.0)

    assert shared.release("a", [0], 1.0) == ()

    taken = shared.acquire("a", 5, 1.0)
    assert [(record.message.position, record.deliveries) for record in taken] == [(0, 2), (2, 1)]


def test_a_lapsed_lock_is_a_delivery_like_a_release() -> None:
    """Nobody has to do anything for it; a late accept is refused while the record is to be had again."""
    shared = group(1)
    shared.acquire("a", 1, 0.0)

    assert shared.accept("a", [0], LOCK) == (0,)
    assert shared.record(0).state is ShareState.AVAILABLE
    assert shared.acquire("b", 1, LOCK)[0].deliveries == 2
    assert shared.release("a", [0], LOCK) == (0,)


def test_a_member_that_leaves_gives_back_what_it_has() -> None:
    """And that is counted, too; what others have is not touched."""
    shared = group(2)
    shared.acquire("a", 1, 0.0)
    shared.acquire("b", 1, 0.0)

    shared.leave("a", 1.0)

    assert [record.state for record in shared.waiting()] == [ShareState.AVAILABLE, ShareState.ACQUIRED]


def test_after_the_limit_a_record_is_archived_and_nobody_gets_it() -> None:
    """Its copy goes to the dead letters, if there are any."""
    buried: list[Message] = []
    shared = group(1, buried)
    for number in range(LIMIT):
        shared.acquire("a", 1, number * LOCK)

    shared.expire(LIMIT * LOCK)

    assert shared.record(0).state is ShareState.ARCHIVED
    assert shared.acquire("a", 1, 100.0) == []
    assert [message.position for message in buried] == [0]


def test_a_late_accept_after_the_last_delivery_is_a_success() -> None:
    """As Kafka answers it, though the record is archived: an answer alone proves nothing."""
    shared = group(1)
    for number in range(LIMIT):
        shared.acquire("a", 1, number * LOCK)

    assert shared.accept("a", [0], LIMIT * LOCK) == ()
    assert shared.record(0).state is ShareState.ARCHIVED


def test_an_accept_of_what_another_member_has_finished_is_a_success() -> None:
    """As Kafka answers it to a consumer that hands out a record whose lock has ended."""
    shared = group(1)
    shared.acquire("a", 1, 0.0)
    shared.acquire("b", 1, LOCK)
    shared.accept("b", [0], LOCK)

    assert shared.accept("a", [0], LOCK) == ()
