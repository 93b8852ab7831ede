"""What is in flight of a partition that is read in batches: the same as of single deliveries, told by whole polls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.brokers.kafka.test_delivery import record

from holdgate.brokers.kafka.assignments import Column, Record, WholePolls
from holdgate.flow.inflight import InFlight


def poll(*offsets: int) -> list[Record]:
    return [record(offset, timestamp=100 + offset) for offset in offsets]


def view(inflight: InFlight) -> tuple[int | None, int]:
    return inflight.next_position, inflight.unfinished


def test_nothing_may_be_committed_before_the_first_poll() -> None:
    """A fresh assignment has no position of its own."""
    assert view(WholePolls()) == (None, 0)


def test_a_poll_finished_as_a_whole_is_never_looked_into() -> None:
    """Nothing is kept of its single records, and the next position is one past its last, gaps or not."""
    whole = WholePolls()
    first, second = poll(3, 10), poll(55, 56)
    whole.delivered_poll(first)
    whole.delivered_poll(second)
    assert view(whole) == (3, 4)
    whole.finished_records(first)
    assert (view(whole), len(whole._row)) == ((55, 2), 0)
    whole.finished_records(second)
    assert view(whole) == (57, 0)


def test_equal_records_in_another_list_are_looked_into() -> None:
    """Only the list itself is known to be the whole poll."""
    whole = WholePolls()
    records = poll(3, 10, 55)
    whole.delivered_poll(records)
    whole.finished_records(records[:2])
    assert view(whole) == (55, 1)


def test_a_poll_behind_an_unfinished_one_does_not_move_the_limit() -> None:
    """It is finished out of turn, and counted so."""
    whole = WholePolls()
    first, second = poll(1, 2), poll(3, 4)
    whole.delivered_poll(first)
    whole.delivered_poll(second)
    whole.finished_records(second)
    assert view(whole) == (1, 2)
    whole.finished_records(first)
    assert view(whole) == (5, 0)


@pytest.mark.parametrize("offsets", [(4, 5), (2, 9), (7, 7), (9, 8)])
def test_a_poll_that_does_not_follow_is_refused(offsets: tuple[int, ...]) -> None:
    """Somebody sought back, or it is no log's order: told, and nothing is noted."""
    whole = WholePolls()
    whole.delivered_poll(poll(3, 4))
    with pytest.raises(ValueError, match="not in increasing order after 4"):
        whole.delivered_poll(poll(*offsets))
    assert view(whole) == (3, 2)


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=5), min_size=1, max_size=5), st.data())
def test_it_agrees_with_the_row_of_single_positions(steps: list[list[int]], data: st.DataObject) -> None:
    """After every step of any history both tell the same limit and number."""
    whole, plain, offset = WholePolls(), InFlight(), -1
    polls: list[list[Record]] = []
    for gaps in steps:
        offsets = []
        for gap in gaps:
            offset += gap
            offsets.append(offset)
        polls.append(poll(*offsets))
        whole.delivered_poll(polls[-1])
        plain.delivered_many(offsets)
        for _ in range(data.draw(st.integers(0, 3))):
            records = data.draw(st.sampled_from(polls))
            kind = data.draw(st.sampled_from(["whole", "part", "one"]))
            if kind == "part":
                records = records[data.draw(st.integers(0, len(records) - 1)) :]
            if kind == "one":
                records = [data.draw(st.sampled_from(records))]
                whole.finished(records[0].offset)
            else:
                whole.finished_records(records)
            for each in records:
                plain.finished(each.offset)
            assert view(whole) == view(plain)


def test_a_column_reads_one_number_of_each_record() -> None:
    """By index and slice, from the records themselves."""
    column = Column(poll(4, 7, 9), "offset")
    assert (len(column), column[0], column[-1], column[1:], list(column)) == (3, 4, 9, [7, 9], [4, 7, 9])
