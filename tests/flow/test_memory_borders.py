"""A bound on memory at its borders: the exact byte, a bound of none, and the sum that is made anew."""

from __future__ import annotations

from math import inf

import pytest
from tests.flow.stage import Sized, partitions

from holdgate.flow.inbox import Weights
from holdgate.flow.memory import Memory
from holdgate.flow.policy import Needs
from holdgate.flow.state import Assignment, Run


def weighed(source: Assignment, size: int, count: int = 1) -> None:
    """Let so many bytes of it be in hand, unless they were before."""
    source.inbox.put([Sized(source.source, number, size) for number in range(count)])
    source.weights = Weights()
    source.weights.add(count, size * count)


def places(count: int) -> tuple[Run, list[Assignment]]:
    run = Run(Needs([]), order="none", concurrency=4, inbox=1_000_000)
    return run, [run.add(source, []) for source in partitions(count)]


def test_shares_are_those_of_the_sources_that_are_there() -> None:
    """With none there is one part, of which a source has a sixteenth at most."""
    assert Memory(1600).share == 100
    run, _ = places(32)
    assert Memory(1600, [run]).share == 50


def test_without_a_bound_no_source_has_a_share() -> None:
    """And there is nothing that could be too much."""
    memory = Memory(None)
    assert (memory.share, memory._corner, memory._limit, memory.is_due) == (0, 0, 0, False)


@pytest.mark.parametrize(("waiting", "enough"), [(332, False), (333, True)])
def test_a_batch_may_fill_the_part_of_its_source(waiting: int, enough: bool) -> None:
    """A third of a thousand bytes is 333: whole ones are compared."""
    run = Run(Needs([]), order="none", concurrency=4, inbox=1_000_000, batch=10)
    first, *_ = [run.add(source, []) for source in partitions(3)]
    memory = Memory(1000, [run])
    weights = first.weights = Weights()
    weights.add(1, waiting)
    first.inbox.waiting = 1

    assert memory.is_enough(first) is enough


@pytest.mark.parametrize(("came", "due"), [(750, False), (751, True)])
def test_the_sum_is_made_anew_when_an_eighth_has_come(came: int, due: bool) -> None:
    """Of three quarters of the bound: 750 of 6,000 bytes, and one more."""
    run, (first,) = places(1)
    memory = Memory(8000, [run])
    memory.came(first, came)

    assert memory.is_due is due


def test_what_has_come_is_counted_from_the_last_sum_on() -> None:
    """An eighth after it, and not one byte less."""
    run, (first,) = places(1)
    memory = Memory(8000, [run])
    memory.came(first, 751)
    memory.review(0.0)
    memory.came(first, 750)
    assert not memory.is_due
    memory.came(first, 1)
    assert memory.is_due


@pytest.mark.parametrize(("bound", "came", "due"), [(1001, 93, False), (1001, 94, True)])
def test_an_eighth_is_whole_bytes(bound: int, came: int, due: bool) -> None:
    """Three quarters of 1,001 bytes are 750, and an eighth of that 93."""
    run, (first,) = places(1)
    memory = Memory(bound, [run])
    memory.came(first, came)

    assert memory.is_due is due


@pytest.mark.parametrize(("held", "tight"), [(750, False), (751, True)])
def test_three_quarters_are_whole_bytes(held: int, tight: bool) -> None:
    """Of 1,001 bytes, with nothing big in hand."""
    run, (first,) = places(1)
    memory = Memory(1001, [run])
    weighed(first, held)
    first.weights.typical = 0
    memory.came(first, 1000)
    memory.review(0.0)

    assert (memory.held, memory.tight) == (held, tight)


@pytest.mark.parametrize(("held", "tight"), [(376, False), (377, True)])
def test_room_for_two_is_half_of_it_in_whole_bytes(held: int, tight: bool) -> None:
    """Half of 751 bytes are 375, which leaves 376."""
    run, (first,) = places(1)
    memory = Memory(1002, [run])
    weighed(first, held)
    memory.came(first, 1000)
    memory.review(0.0)

    assert (memory.held, memory.tight) == (held, tight)


@pytest.mark.parametrize(("held", "tight"), [(18, False), (19, True)])
def test_an_eighth_less_is_whole_bytes(held: int, tight: bool) -> None:
    """Three quarters of 29 bytes are 21, and seven eighths of that 18: with so many it is tight no longer."""
    run, (first,) = places(1)
    memory = Memory(29, [run])
    weighed(first, held)
    first.weights.typical = 0
    memory.tight = True
    memory.came(first, 3)
    memory.review(1.0)

    assert (memory.held, memory.tight) == (held, tight)


def test_how_many_sources_are_not_read_is_of_the_last_look() -> None:
    """None when there is room again, or when it was never tight."""
    run, (first, second) = places(2)
    memory = Memory(16_000, [run])
    run.bound_by(memory)
    memory.came(first, 2000)
    memory.review(0.0)
    assert memory.waiting == 0
    weighed(first, 20_000)
    second.weights.typical = 5000
    memory.came(first, 20_000)
    memory.review(0.0)
    assert (memory.tight, memory.waiting) == (True, 1)
    first.weights.clear()
    memory.review(1.0)

    assert (memory.tight, memory.waiting) == (False, 0)


@pytest.mark.parametrize(("count", "not_before"), [(100, 0.0), (101, 1e-5), (200, 1e-3)])
def test_from_a_hundred_sources_on_each_costs_a_moment_before_the_next_sum(count: int, not_before: float) -> None:
    """A hundred thousandth of a second for each: a look at one takes a tenth of that."""
    run, (first, *_) = places(count)
    memory = Memory(8000, [run])
    memory.came(first, 7000)
    assert memory._not_before == -inf
    memory.review(0.0)

    assert memory._not_before == pytest.approx(not_before)


@pytest.mark.parametrize(("size", "kept"), [(1000, False), (1001, True)])
def test_a_big_source_that_is_not_held_may_not_be_read_while_it_has_something(size: int, kept: bool) -> None:
    """Of a thousand bytes there are small ones in a corner of a bound of eight thousand: no more than that are they."""
    run, (first, second) = places(2)
    memory = Memory(16_000, [run])
    assert memory._corner == 1000
    weighed(first, 20_000)
    second.weights.typical = size
    second.weights.most = 0
    memory.came(first, 20_000)
    memory.review(0.0)

    assert memory.tight
    assert second.full is kept


@pytest.mark.parametrize(("most", "kept"), [(999, False), (1000, True)])
def test_a_small_source_may_fill_its_corner(most: int, kept: bool) -> None:
    """An eighth of its part of the bound, and then it waits, too."""
    run, (first, second) = places(2)
    memory = Memory(16_000, [run])
    weighed(first, 20_000)
    weighed(second, most)
    second.weights.typical = 1
    memory.came(first, 20_000)
    memory.review(0.0)

    assert memory.tight
    assert second.full is kept
