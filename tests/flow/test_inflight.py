"""InFlight: how far a source may be committed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.stage import ORDERS, messages

from holdgate.flow.inbox import SourceInbox, Weights
from holdgate.flow.inflight import EMPTY, InFlight

POSITIONS_WITH_GAPS = (3, 10, 55, 56)


def in_flight(*positions: int) -> InFlight:
    row = InFlight()
    row.delivered_many(positions)
    return row


def test_nothing_may_be_committed_before_the_first_delivery() -> None:
    """A fresh assignment has no position of its own: committing one would overwrite the group's."""
    row = InFlight()

    assert (row.next_position, row.unfinished, row.span()) == (None, 0, 0)


def test_the_oldest_unfinished_position_is_the_limit() -> None:
    """Delivered work alone moves nothing past its first position."""
    assert in_flight(*POSITIONS_WITH_GAPS).next_position == 3


def test_finishing_in_order_moves_to_the_next_position_that_exists() -> None:
    """Between 10 and 55 there is nothing: the limit is 55, and not 11."""
    row = in_flight(*POSITIONS_WITH_GAPS)
    row.finished(3)
    row.finished(10)

    assert (row.next_position, row.unfinished, row.span()) == (55, 2, 2)


def test_the_limit_is_one_past_the_newest_when_nothing_is_unfinished() -> None:
    """All done: the next position is the one after the newest delivery."""
    row = in_flight(*POSITIONS_WITH_GAPS)
    for position in POSITIONS_WITH_GAPS:
        row.finished(position)

    assert (row.next_position, row.unfinished, row.span()) == (57, 0, 0)


def test_position_zero_counts_as_delivered() -> None:
    """The first offset of a partition is 0, and it is not the same as nothing."""
    row = InFlight()
    row.delivered(0)
    unfinished = row.next_position
    row.finished(0)

    assert (unfinished, row.next_position) == (0, 1)


def test_a_finish_out_of_turn_does_not_move_the_limit() -> None:
    """Later work is done, the oldest is not: the limit stays, and the span still counts the done places."""
    row = in_flight(*POSITIONS_WITH_GAPS)
    row.finished(55)
    row.finished(56)

    assert (row.next_position, row.unfinished, row.span()) == (3, 2, 4)


def test_the_oldest_finish_takes_along_what_was_done_out_of_turn() -> None:
    """The limit jumps over the finished places to the next unfinished one."""
    row = in_flight(*POSITIONS_WITH_GAPS)
    row.finished(10)
    row.finished(55)
    row.finished(3)

    assert (row.next_position, row.unfinished, row.span()) == (56, 1, 1)


def test_deliveries_after_a_finish_out_of_turn_are_unfinished_too() -> None:
    """Whoever arrives while the row has done places in it is counted, one by one or many at a time."""
    row = in_flight(1, 2)
    row.finished(2)
    row.delivered(3)
    row.delivered_many((4, 5))
    row.finished(1)

    assert (row.next_position, row.unfinished, row.span()) == (3, 3, 3)


@pytest.mark.parametrize("stranger", [0, 7, 57, 3, 10])
def test_an_unknown_or_finished_position_changes_nothing(stranger: int) -> None:
    """Before the row, in a gap, past the newest, or done already: ignored."""
    row = in_flight(*POSITIONS_WITH_GAPS)
    row.finished(3)
    row.finished(10)
    row.finished(stranger)

    assert (row.next_position, row.unfinished, row.span()) == (55, 2, 2)


def test_a_position_finished_twice_out_of_turn_is_counted_once() -> None:
    """A duplicate would otherwise make the number of unfinished deliveries too small."""
    row = in_flight(1, 2, 3)
    row.finished(2)
    row.finished(2)

    assert row.unfinished == 2


def test_a_finish_on_an_empty_row_changes_nothing() -> None:
    """A late result after everything is done."""
    row = in_flight(1)
    row.finished(1)
    row.finished(1)

    assert (row.next_position, row.unfinished) == (2, 0)


def test_the_row_works_on_after_it_was_empty() -> None:
    """Emptied after a finish out of turn, it takes the next deliveries as a fresh one would, and keeps its limit."""
    row = in_flight(1, 2)
    row.finished(2)
    row.finished(1)
    row.delivered(9)

    assert (row.next_position, row.unfinished, row.span()) == (9, 1, 1)


@pytest.mark.parametrize("position", [56, 55, 0, -1])
def test_a_delivery_that_does_not_come_after_the_newest_is_refused(position: int) -> None:
    """Out of order is a mistake of the caller; nothing changes."""
    row = in_flight(*POSITIONS_WITH_GAPS)

    with pytest.raises(ValueError, match=f"position {position} does not come after 56"):
        row.delivered(position)
    assert (row.next_position, row.unfinished, row.span()) == (3, 4, 4)


def test_positions_begin_at_zero() -> None:
    """Kafka takes a commit of -1 and erases the group's offset with it."""
    with pytest.raises(ValueError, match="position -1"):
        InFlight().delivered(-1)


@pytest.mark.parametrize("positions", [(56, 57), (57, 57), (57, 60, 58)])
def test_a_bulk_delivery_out_of_order_is_refused_as_a_whole(positions: tuple[int, ...]) -> None:
    """All or none: the good ones among them are not taken either."""
    row = in_flight(*POSITIONS_WITH_GAPS)

    with pytest.raises(ValueError, match=f"from {positions[0]} are not in increasing order after 56"):
        row.delivered_many(positions)
    assert (row.next_position, row.unfinished, row.span()) == (3, 4, 4)


def test_an_empty_bulk_delivery_is_nothing() -> None:
    """A poll that gave nothing."""
    row = InFlight()
    row.delivered_many(())

    assert row.next_position is None


@pytest.mark.parametrize(
    ("together", "left"),
    [
        pytest.param((3, 10, 55, 56), (57, 0, 0), id="the whole row"),
        pytest.param((3, 10), (55, 2, 2), id="its beginning"),
        pytest.param((10, 55), (3, 2, 4), id="its middle"),
        pytest.param((3, 56), (10, 2, 3), id="its ends"),
        pytest.param((), (3, 4, 4), id="nothing"),
    ],
)
def test_what_was_delivered_together_may_be_finished_together(together: tuple[int, ...], left: tuple[int, int, int]) -> None:
    """One step for many leaves what one step for each would: the next position, the unfinished and the span."""
    row = in_flight(*POSITIONS_WITH_GAPS)
    row.finished_many(together)

    assert (row.next_position, row.unfinished, row.span()) == left


def test_more_than_the_row_has_can_be_finished_together() -> None:
    """Some were finished one by one before: the rest goes, and nothing else."""
    row = in_flight(*POSITIONS_WITH_GAPS)
    row.finished(3)
    row.finished(10)
    row.finished_many((10, 55))

    assert (row.next_position, row.unfinished, row.span()) == (56, 1, 1)


class NaiveInFlight:
    """The same by brute force: every position ever delivered, and every one that is finished."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.done: set[int] = set()

    def left(self) -> list[int]:
        return [position for position in self.order if position not in self.done]

    def view(self) -> tuple[int | None, int, int]:
        left = self.left()
        if left:
            return left[0], len(left), len(self.order) - self.order.index(left[0])
        return (self.order[-1] + 1 if self.order else None), 0, 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("delivered"), st.integers(1, 4)),
        st.tuples(st.just("many"), st.lists(st.integers(1, 4), max_size=5)),
        st.tuples(st.just("oldest"), st.just(0)),
        st.tuples(st.just("together"), st.tuples(st.integers(0, 3), st.integers(0, 5))),
        st.tuples(st.just("any"), st.integers(0, 60)),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_it_agrees_with_the_naive_model(steps: list[tuple[str, int | list[int] | tuple[int, int]]]) -> None:
    """After every step of any history both tell the same limit, number and span."""
    row, naive, newest = InFlight(), NaiveInFlight(), -1
    for kind, argument in steps:
        if kind in ("delivered", "many"):
            positions = []
            for step in argument if isinstance(argument, list) else [argument]:
                newest += step
                positions.append(newest)
            row.delivered_many(positions) if kind == "many" else row.delivered(positions[0])
            naive.order.extend(positions)
        elif isinstance(argument, tuple):
            start, count = argument
            together = naive.order[start : start + count] if start else naive.left()[:count]
            row.finished_many(together)
            naive.done.update(together)
        else:
            assert isinstance(argument, int)
            position = (naive.left() or [argument])[0] if kind == "oldest" else argument
            row.finished(position)
            naive.done.update({position} & set(naive.order))
        assert (row.next_position, row.unfinished, row.span()) == naive.view()


def test_a_run_with_a_hole_is_no_beginning_of_the_row() -> None:
    """It ends where the row's beginning of the same length would, but for one place."""
    row = InFlight()
    row.delivered_many((10, 55, 56, 57))
    row.finished_many((10, 56, 57))

    assert (row.next_position, row.unfinished) == (55, 1)


def test_one_may_be_finished_as_a_run() -> None:
    """Alone in the row, and before others."""
    row = InFlight()
    row.delivered(10)
    row.finished_many((10,))
    assert (row.next_position, row.unfinished) == (11, 0)
    row.delivered_many((11, 12))
    row.finished_many((11,))

    assert (row.next_position, row.unfinished) == (12, 1)


def test_a_source_that_has_nothing_keeps_no_deque() -> None:
    """Before its first message, and again when all is worked off: one empty deque stands for all, and nothing ever gets into it."""
    inflight, inbox, weights = InFlight(), SourceInbox(), Weights()
    for _ in range(2):
        assert inflight._row is inbox._queue is weights._polls is EMPTY
        inflight.delivered(2 if inflight.next_position is None else 9)
        inbox.put(messages(ORDERS, 2))
        weights.add(2, 100)
        assert (inflight.unfinished, inbox.waiting, weights.newest(2)) == (1, 2, 100)
        taken = inbox.take()
        assert taken is not None
        assert inbox.done(taken)
        assert inbox.take() is not None
        assert inbox.pass_on() is None
        inflight.finished(inflight.next_position or 0)
        assert inflight.next_position in (3, 10)
        assert weights.settle(inbox.oldest, ()) == 0
    inbox.put(messages(ORDERS, 1))
    inbox.clear()
    assert inbox._queue is EMPTY
    assert not EMPTY


def test_positions_without_a_gap_may_come_as_a_range() -> None:
    """Nothing is compared then but its first with what came before."""
    inflight = InFlight()
    inflight.delivered_many(range(3, 6))
    inflight.finished(3)
    assert (inflight.next_position, inflight.unfinished) == (4, 2)
    with pytest.raises(ValueError, match="increasing"):
        inflight.delivered_many(range(5, 8))
    assert (inflight.next_position, inflight.unfinished) == (4, 2)
