"""Batches: what the handler is given, and what becomes of a batch that is cut or divided."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import ORDERS, Message, gate, messages, place_of

from holdgate.flow.batch import AS_THEY_ARE, Batch, BatchItems, batches_of, messages_in
from holdgate.flow.blame import FailureHistory
from holdgate.flow.message import HandlerRequest, Partition

OTHER = Partition("orders", 1)


class Lazy:
    """An origin that counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def deliveries(self, messages: list[Any]) -> list[Message]:
        self.asked += 1
        return [Message(ORDERS, number) for number in messages]


def batch_of(count: int, first: int = 0) -> Batch:
    """A batch that has been started once, as its inbox gives it."""
    batch = Batch(ORDERS, list(messages(ORDERS, count, first)), AS_THEY_ARE)
    batch.numbers = range(first, first + count)
    batch.attempt = 1
    return batch


def positions(batch: Batch) -> list[int]:
    return [delivery.position for delivery in batch.items()]


def test_the_handler_gets_a_sequence_of_deliveries() -> None:
    """Length, index, slice and loop, in the order of the source."""
    items = batch_of(3).items()
    assert (len(items), items[0].position, items[-1].position) == (3, 0, 2)
    assert [delivery.position for delivery in items] == [0, 1, 2]
    assert [delivery.position for delivery in items[1:]] == [1, 2]


def test_no_delivery_is_made_before_somebody_looks() -> None:
    """The number is known without, and a second look makes nothing again: each delivery is the same object every time."""
    origin = Lazy()
    items: BatchItems[int] = BatchItems([7, 8], origin, 1)
    assert (len(items), origin.asked, list(items.made)) == (2, 0, [])
    assert items[1] is items[1]
    assert origin.asked == 1
    assert list(items.made) == list(items)


def test_each_delivery_knows_the_attempt_of_its_batch() -> None:
    """All of a batch are started together."""
    batch = batch_of(2)
    batch.attempt = 3
    assert [delivery.attempt for delivery in batch.items()] == [3, 3]


def test_what_stands_in_logs_tells_no_payload() -> None:
    """A batch is named by its first place, and what the handler has by its number."""
    batch = batch_of(2, first=5)
    assert repr(batch) == "<Batch orders[0]@5 attempt=1>"
    assert repr(batch.items()) == "<2 deliveries, attempt=1>"


def test_a_cut_keeps_the_beginning() -> None:
    """The rest comes as another batch, with its numbers; nothing is lost between the two."""
    batch = batch_of(5)
    rest = batch.cut(2)
    assert (positions(batch), list(batch.numbers)) == ([0, 1], [0, 1])
    assert (positions(rest), list(rest.numbers), rest.attempt) == ([2, 3, 4], [2, 3, 4], 1)
    assert rest.history is None


def test_a_piece_inherits_the_vote_and_no_charge() -> None:
    """It belongs to the same place and has voted; whose fault it was is not known."""
    payments = gate()
    batch = batch_of(4)
    batch.assignment = place_of(payments)
    batch.history = FailureHistory()
    batch.history.votes_again(payments)
    batch.history.charged, batch.history.backoffs, batch.history.extra = 2, 3, (payments,)
    piece = batch.piece([1, 3])
    assert (positions(piece), list(piece.numbers), piece.assignment) == ([1, 3], [1, 3], batch.assignment)
    assert (piece.history.charged, piece.history.blames, piece.history.backoffs, piece.history.extra) == (0, {}, 3, (payments,))
    payments.successes += 1
    assert not piece.history.votes_again(payments)


def test_a_success_of_one_piece_speaks_to_the_others() -> None:
    """Votes are copies: what one piece puts down as its own success is somebody else's for the next."""
    payments, history = gate(), FailureHistory()
    history.votes_again(payments)
    first, second = history.of_a_piece(), history.of_a_piece()
    payments.successes += 1
    first.succeeded(payments)
    assert not second.votes_again(payments)


def test_an_heir_knows_when_its_batch_failed() -> None:
    """A dead letter tells of the first failure, which was that of the whole batch."""
    history = FailureHistory()
    history.failed("OSError", 3.0)
    history.failed("ValueError", 5.0)
    own = history.of_a_piece()
    assert (own.failures, own.first_failed_at, own.last_failed_at, own.error) == (2, 3.0, 5.0, "ValueError")


def test_a_batch_of_one_becomes_its_message() -> None:
    """What is settled by itself is the client's own delivery, with everything that the engine knows of the batch."""
    batch = batch_of(1, first=4)
    batch.assignment, batch.permits, batch.history = place_of(), ("permit",), FailureHistory()
    single = batch.single()
    assert single is batch.message[0]
    assert (single.assignment, single.serial, single.attempt) == (batch.assignment, 4, 1)
    assert (single.permits, single.history) == (("permit",), batch.history)
    assert batch.permits is None


def test_what_comes_in_is_put_together_by_source() -> None:
    """Neighbours of one source make a batch; the order stays."""
    came = [*messages(ORDERS, 2), *messages(OTHER, 1), *messages(ORDERS, 1, first=2)]
    batches = batches_of(came)
    assert [(batch.source, [one.position for one in batch.message]) for batch in batches] == [(ORDERS, [0, 1]), (OTHER, [0]), (ORDERS, [2])]


def test_what_comes_in_as_batches_stays_as_it_is() -> None:
    """An intake that makes them knows better; and nothing makes none."""
    batches = [batch_of(2)]
    assert batches_of(batches) is batches
    assert list(batches_of([])) == []


@pytest.mark.parametrize(("delivery", "count"), [(Message(ORDERS, 0), 1), (batch_of(3), 3)])
def test_a_batch_stands_for_its_messages(delivery: Any, count: int) -> None:
    """Any other delivery stands for itself."""
    assert messages_in(delivery) == count


def test_a_single_delivery_is_a_batch_of_one() -> None:
    """The very one, for a handler of batches."""
    (one,) = messages(ORDERS, 1)
    alone = BatchItems.of(one)
    assert (len(alone), list(alone), alone.made) == (1, [one], [one])


def test_a_fresh_batch_has_no_numbers() -> None:
    """Its inbox gives them."""
    assert Batch(ORDERS, [], AS_THEY_ARE).numbers == ()


def test_a_batch_is_no_delivery_and_says_so() -> None:
    """A handler that was written for one message asks it for a body."""
    items: Any = BatchItems.of(Message(ORDERS, 0))
    with pytest.raises(AttributeError, match="a batch has no attribute 'body': it is a sequence, so loop over it"):
        _ = items.body


def test_what_the_handler_asked_for_is_told_by_index() -> None:
    """Nothing for those of which it said nothing."""
    items: BatchItems[Any] = BatchItems(messages(ORDERS, 3), AS_THEY_ARE, attempt=1)
    items[1].reject("no such customer")
    items[2].retry(after=2.0)

    assert items.requests() == {1: HandlerRequest(reason="no such customer"), 2: HandlerRequest(after=2.0)}


def test_a_handler_that_looked_at_nothing_asked_for_nothing() -> None:
    """No delivery is made to find that out."""
    items: BatchItems[Any] = BatchItems(messages(ORDERS, 3), AS_THEY_ARE, attempt=1)

    assert (items.requests(), items.made) == ({}, ())


def test_an_empty_batch_is_a_delivery_all_the_same() -> None:
    """Whoever asks whether there is a delivery means the batch, and not its length."""
    assert Batch(ORDERS, [], AS_THEY_ARE)
