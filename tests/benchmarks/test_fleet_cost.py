"""What the benchmark of a fleet's log says of its own noise."""

from __future__ import annotations

from benchmarks.fleet_cost import confident


def test_the_range_of_a_median_is_narrower_the_more_rounds_there_are() -> None:
    """By ranks: of a hundred rounds those from the 40th to the 59th, and of few nearly all."""
    assert confident([float(each) for each in range(100)]) == (49.5, 40.0, 59.0)
    assert confident([3.0, 1.0, 2.0, 4.0]) == (2.5, 1.0, 4.0)


def test_one_round_is_its_own_range() -> None:
    """Nothing is known of its noise."""
    assert confident([1.0]) == (1.0, 1.0, 1.0)
