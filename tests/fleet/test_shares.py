"""Shares of the fleet's limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdgate.fleet.shares import checksum, in_order, part_of, shares

FULLS = st.dictionaries(st.text("0123456789abcdef", min_size=12, max_size=12), st.integers(1, 64), min_size=1, max_size=30)


@given(FULLS, st.integers(0, 3000), st.integers(0, 50))
def test_shares_add_up_to_the_limit(fulls: dict[str, int], limit: int, turn: int) -> None:
    """The shares are the limit together, or all that the workers can do, and nobody has more than it can do."""
    given_out = shares(limit, fulls, turn)
    assert sum(given_out.values()) == min(limit, sum(fulls.values()))
    assert all(0 <= share <= fulls[worker] for worker, share in given_out.items())


@given(FULLS, st.integers(0, 300), st.integers(0, 50))
def test_shares_do_not_depend_on_the_order_of_reading(fulls: dict[str, int], limit: int, turn: int) -> None:
    """Two workers that have read of the same sharers in another order compute the same."""
    other = dict(reversed(fulls.items()))
    assert shares(limit, other, turn) == shares(limit, fulls, turn)
    assert checksum(other) == checksum(fulls)


@given(st.integers(2, 30), st.integers(1, 200), st.integers(0, 50))
def test_a_larger_limit_takes_nothing_from_anybody(size: int, limit: int, turn: int) -> None:
    """Where all can do the same, whoever has begun goes on when the limit rises."""
    fulls = {f"{worker:012x}": 16 for worker in range(size)}
    before, after = shares(limit, fulls, turn), shares(limit + 1, fulls, turn)
    assert all(after[worker] >= before[worker] for worker in fulls)


def test_the_next_turn_begins_with_others() -> None:
    """Over some turns the first share goes to several workers."""
    fulls = {f"{worker:012x}": 4 for worker in range(10)}
    assert len({in_order(fulls, turn)[0] for turn in range(20)}) > 5


def test_another_sharer_is_another_checksum() -> None:
    """Who takes part, and with how many calls, is told by the checksum."""
    assert len({checksum({}), checksum({"a": 1}), checksum({"a": 2}), checksum({"b": 1}), checksum({"a": 1, "b": 1})}) == 5


def test_the_parts_of_a_stage_are_enough_for_it() -> None:
    """If every sharer has done its part, the stage has all the results that it needs."""
    fulls = {f"{worker:012x}": 3 for worker in range(7)}
    for limit in range(1, 22):
        need = max(3, limit)
        assert sum(part_of(need, share, limit) for share in shares(limit, fulls, 0).values()) >= need
    assert part_of(3, 0, 0) == 0
