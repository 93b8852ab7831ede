"""What waits in a source of a run with batches: joined up to the number, cut, given back, and kept in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.flow.stage import ORDERS, messages

from holdgate.flow.batch import AS_THEY_ARE, Batch, batches_of
from holdgate.flow.blame import FailureHistory
from holdgate.flow.inbox import BatchInbox


class Bench:
    """An inbox and the next position that will come in."""

    def __init__(self, most: int, span: int | None = None) -> None:
        self.inbox = BatchInbox(most, span)
        self.next = 0

    def put(self, *counts: int) -> None:
        chunks = []
        for count in counts:
            chunks.append(Batch(ORDERS, list(messages(ORDERS, count, self.next)), AS_THEY_ARE))
            self.next += count
        self.inbox.put(chunks)

    def take(self) -> Batch:
        batch = self.inbox.take()
        assert isinstance(batch, Batch)
        return batch


def positions(batch: Batch) -> list[int]:
    return [delivery.position for delivery in batch.items()]


def failed(piece: Batch) -> Batch:
    """As a piece of a batch that has been tried."""
    piece.attempt = 1
    piece.history = FailureHistory()
    return piece


def test_a_batch_is_what_is_in_hand_up_to_the_number() -> None:
    """It takes from several polls, and never waits for more."""
    bench = Bench(most=4)
    bench.put(3, 3)
    first = bench.take()
    bench.inbox.done(first)
    second = bench.take()
    assert (positions(first), positions(second)) == ([0, 1, 2, 3], [4, 5])
    assert (list(first.numbers), list(second.numbers)) == ([0, 1, 2, 3], [4, 5])
    assert bench.inbox.waiting == 0


def test_waiting_counts_messages() -> None:
    """Back-pressure is measured in messages, as without batches."""
    bench = Bench(most=2)
    bench.put(3, 2)
    assert bench.inbox.waiting == 5
    bench.take()
    assert bench.inbox.waiting == 3


def test_one_batch_at_a_time_keeps_the_order() -> None:
    """The next one may start when the one before it is done, and `done` says whether there is one."""
    bench = Bench(most=2)
    bench.put(3)
    batch = bench.take()
    assert bench.inbox.take() is None
    assert bench.inbox.done(batch)
    last = bench.take()
    assert not bench.inbox.done(last)
    assert bench.inbox.take() is None


def test_what_never_started_is_joined_again() -> None:
    """The rest of a batch that was cut before its first start makes full batches with what came after it."""
    bench = Bench(most=4)
    bench.put(6)
    batch = bench.take()
    bench.inbox.put_back(batch.cut(1))
    assert bench.inbox.waiting == 5
    bench.inbox.done(batch)
    following = bench.take()
    assert (positions(following), list(following.numbers)) == ([1, 2, 3, 4], [1, 2, 3, 4])


def test_a_piece_of_a_failed_batch_is_not_joined() -> None:
    """The message at fault may be in it: what came later has nothing to do with that."""
    bench = Bench(most=4)
    bench.put(6)
    batch = bench.take()
    bench.inbox.put_back(failed(batch).piece([2, 3]))
    bench.inbox.done(batch)
    piece = bench.take()
    assert positions(piece) == [2, 3]
    bench.inbox.done(piece)
    assert positions(bench.take()) == [4, 5]


def test_what_was_interrupted_and_cut_keeps_its_attempts() -> None:
    """It has been started before: joined with fresh messages it would forget that."""
    bench = Bench(most=4)
    bench.put(5)
    batch = bench.take()
    batch.attempt = 1
    bench.inbox.put_back(batch.cut(2))
    bench.inbox.done(batch)
    again = bench.take()
    assert (positions(again), again.attempt) == ([2, 3], 1)


def test_pieces_come_in_their_order() -> None:
    """What is given back last comes first: it is the older one, cut from the front piece."""
    bench = Bench(most=4)
    bench.put(4)
    batch = failed(bench.take())
    bench.inbox.put_back(batch.piece([2, 3]))
    bench.inbox.put_back(batch.piece([1]))
    bench.inbox.done(batch)
    first = bench.take()
    bench.inbox.done(first)
    assert (positions(first), positions(bench.take())) == ([1], [2, 3])


def test_with_a_span_several_may_start() -> None:
    """Without an order to keep, any number of lanes takes its batch, as far as the span past the oldest unfinished message goes."""
    bench = Bench(most=2, span=4)
    bench.put(8)
    first, second = bench.take(), bench.take()
    assert bench.inbox.take() is None
    assert not bench.inbox.done(second)
    assert bench.inbox.done(first)
    assert positions(bench.take()) == [4, 5]


def test_with_a_span_a_rest_comes_before_everything_newer() -> None:
    """It holds the oldest unfinished message: the span would never move past it."""
    bench = Bench(most=2, span=2)
    bench.put(4)
    batch = bench.take()
    bench.inbox.put_back(batch.cut(1))
    rest = bench.take()
    assert positions(rest) == [1]
    bench.inbox.done(batch)
    assert bench.inbox.done(rest)
    assert positions(bench.take()) == [2, 3]


def test_with_a_span_a_batch_of_one_is_done_as_its_message() -> None:
    """Whoever settles it has the message in its stead."""
    bench = Bench(most=1, span=1)
    bench.put(2)
    assert bench.inbox.done(bench.take().single())
    assert positions(bench.take()) == [1]


def test_a_divided_batch_is_done_with_its_last_part() -> None:
    """Nothing behind it starts while one of its parts is on its way."""
    bench = Bench(most=2)
    bench.put(3)
    batch = bench.take()
    bench.inbox.divided(2)
    assert not bench.inbox.done(batch.piece([0]))
    assert bench.inbox.done(batch.piece([1]))


def test_what_is_no_batch_is_not_taken_in() -> None:
    """An intake that makes batches gives nothing else."""
    inbox = BatchInbox(most=2)
    inbox.put(messages(ORDERS, 2))

    assert (inbox.waiting, inbox.take()) == (0, None)


def test_in_order_a_failure_lets_nothing_start_before_its_piece() -> None:
    """The batch is still out; one of a single message too."""
    for most in (1, 2):
        bench = Bench(most=most)
        bench.put(4)
        batch = bench.take()
        assert bench.inbox.failed(batch if most > 1 else batch.single()) is False


def test_with_a_span_a_failure_lets_witnesses_start() -> None:
    """The last 64 places of the span are kept for them, so that evidence does not run dry. Only the oldest one's failure counts."""
    bench = Bench(most=64, span=128)
    bench.put(64, 64, 64)
    first = bench.take()
    assert bench.inbox.take() is None
    assert bench.inbox.failed(first) is True
    witnesses = bench.take()
    assert positions(witnesses)[0] == 64
    assert bench.inbox.failed(witnesses) is False


def test_with_a_span_a_message_that_failed_alone_counts_too() -> None:
    """What is left of a batch that was searched."""
    bench = Bench(most=1, span=128)
    bench.put(65)
    first = bench.take()
    while bench.inbox.take() is not None:
        pass
    assert bench.inbox.failed(first.single()) is True


def test_clearing_forgets_what_has_not_started() -> None:
    """Pieces too: whoever has the source next gets them again."""
    bench = Bench(most=2)
    bench.put(4)
    batch = bench.take()
    bench.inbox.put_back(failed(batch).piece([1]))
    bench.inbox.clear()
    assert bench.inbox.waiting == 0
    assert not bench.inbox.done(batch)
    assert bench.inbox.take() is None


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 7), st.data())
def test_no_message_is_lost_or_overtaken(chunks: list[int], most: int, data: st.DataObject) -> None:
    """Whatever is put, cut, divided and given back: with one batch at a time every message comes once, in order, in batches not above
    the number."""
    bench = Bench(most)
    bench.put(*chunks)
    seen: list[int] = []
    while (batch := bench.inbox.take()) is not None:
        assert isinstance(batch, Batch)
        assert len(batch) <= most
        if len(batch) > 1 and data.draw(st.booleans()):
            if data.draw(st.booleans()):
                failed(batch)
            bench.inbox.put_back(batch.cut(data.draw(st.integers(1, len(batch) - 1))))
        seen += positions(batch)
        assert list(batch.numbers) == positions(batch)
        assert bench.inbox.waiting == sum(chunks) - len(seen)
        bench.inbox.done(batch)
    assert seen == list(range(sum(chunks)))


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


def test_the_oldest_is_counted_in_messages() -> None:
    """In the order of the source: as many as were finished, batch by batch."""
    bench = Bench(most=2)
    assert (bench.inbox.oldest, bench.inbox.ended) == (0, ())
    bench.put(5)
    for oldest in (2, 4, 5):
        bench.inbox.done(bench.take())
        assert bench.inbox.oldest == oldest
    assert bench.inbox.ended == ()


def test_with_a_span_what_is_finished_past_the_oldest_is_known() -> None:
    """The second batch has ended before the first."""
    bench = Bench(most=2, span=100)
    bench.put(4)
    first, second = bench.take(), bench.take()
    bench.inbox.done(second)
    assert (bench.inbox.oldest, set(bench.inbox.ended)) == (0, {2, 3})
    bench.inbox.done(first)
    assert (bench.inbox.oldest, set(bench.inbox.ended)) == (4, set())
