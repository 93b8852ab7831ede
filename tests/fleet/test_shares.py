"""Shares of the fleet's limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdgate.fleet.shares import LEAST_PART, REPORTERS, checksum, handed_over, in_order, parts_of, shares

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


@given(FULLS, FULLS, st.integers(0, 300), st.integers(0, 300))
def test_a_share_that_moves_is_nobodys_for_one_verdict(before: dict[str, int], after: dict[str, int], low: int, high: int) -> None:
    """Where one loses none gains, so that calls in flight and new ones are no more than before; with the next verdict all is well."""
    old, new = shares(low, before, 0), shares(high, after, 0)
    held = handed_over(old, new)
    if any(new.get(worker, 0) < share for worker, share in old.items()):
        assert all(share <= old.get(worker, 0) for worker, share in held.items())
    else:
        assert held == new
    assert handed_over(held, new) == new


def test_of_many_workers_with_a_share_some_report_and_not_always_the_same() -> None:
    """Of few all do, and who has no share has nothing to report; of many six, of two calls at least."""
    few = {f"{worker:012x}": worker % 2 for worker in range(10)}
    assert parts_of(5, few, 5, 1) == {worker: 1 for worker, share in few.items() if share}
    many = {f"{worker:012x}": 1 for worker in range(20)}
    assert list(parts_of(20, many, 20, 1).values()) == [LEAST_PART] * REPORTERS
    assert len({worker for stage in range(30) for worker in parts_of(20, many, 20, stage)}) == 20
    assert set(parts_of(80, dict.fromkeys(many, 4), 80, 1).values()) == {4}


def test_another_sharer_is_another_checksum() -> None:
    """Who takes part, and with how many calls, is told by the checksum."""
    assert len({checksum({}), checksum({"a": 1}), checksum({"a": 2}), checksum({"b": 1}), checksum({"a": 1, "b": 1})}) == 5


def test_the_parts_of_a_stage_are_enough_for_it() -> None:
    """If every sharer has done its part, the stage has all the results that it needs."""
    fulls = {f"{worker:012x}": 3 for worker in range(REPORTERS)}
    for limit in range(1, 19):
        need = max(3, limit)
        assert sum(parts_of(need, shares(limit, fulls, 0), limit, 0).values()) >= need
    assert parts_of(3, {}, 0, 0) == {}
