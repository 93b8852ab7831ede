"""Batches without an order: their span, and its witnesses."""

from __future__ import annotations

from tests.flow.stage import ORDERS, messages

from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.inbox import BatchInbox


def filled(most: int, count: int, span: int) -> BatchInbox:
    inbox = BatchInbox(most, span)
    inbox.put(batches_of(messages(ORDERS, count)))
    return inbox


def take_all(inbox: BatchInbox) -> list[Batch]:
    taken: list[Batch] = []
    while (batch := inbox.take()) is not None:
        assert isinstance(batch, Batch)
        taken.append(batch)
    return taken


def test_what_is_taken_as_a_whole_leaves_nothing() -> None:
    """No empty batch comes after it."""
    assert [len(batch) for batch in take_all(filled(4, 4, 1000))] == [4]


def test_the_oldest_batch_that_fails_lets_witnesses_start() -> None:
    """Told by its first message, wherever that stands: one batch of eight more."""
    inbox = filled(8, 200, 128)
    first, *others = take_all(inbox)
    assert len(others) == 7
    inbox.done(first)
    (moved,) = take_all(inbox)
    assert moved.numbers[0] == 64
    inbox.failed(others[0])
    assert [batch.numbers[0] for batch in take_all(inbox)] == [72]
