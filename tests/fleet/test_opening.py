"""When the failures of several workers are one outage."""

from __future__ import annotations

from math import comb, inf

import pytest

from holdgate.core import CircuitSettings
from holdgate.fleet.opening import JUST_NOW, MARK_LASTS, MOST, OPENING_LASTS, BadMark, failures_needed, is_hunch, is_outage

SETTINGS = CircuitSettings()


def marks(count: int, run: int = 1, *, opened: bool = False, at: float = 0.0) -> dict[str, BadMark]:
    return {f"{worker:012x}": BadMark(run, opened, at) for worker in range(count)}


def test_most_workers_that_have_just_failed_are_an_outage() -> None:
    """Of twenty workers fifteen with a failure each are one; fourteen have too few failures, and thirteen are too few workers."""
    assert is_outage(marks(15), 20, 2, SETTINGS, 0.0)
    assert not is_outage(marks(14), 20, 2, SETTINGS, 0.0)
    assert is_outage(marks(14, 2), 20, 2, SETTINGS, 0.0)
    assert not is_outage(marks(13, 9), 20, 2, SETTINGS, 0.0)


def test_one_worker_is_never_an_outage() -> None:
    """However often one worker has failed, it does not open for others, not even for a fleet of one."""
    assert not is_outage(marks(1, 1000, opened=True), 1, 2, SETTINGS, 0.0)


def test_a_larger_quorum_needs_more_workers() -> None:
    """With a quorum of four, three of three are not enough."""
    assert is_outage(marks(3, 20), 3, 3, SETTINGS, 0.0)
    assert not is_outage(marks(3, 20), 3, 4, SETTINGS, 0.0)


def test_circuits_that_open_together_are_an_outage() -> None:
    """Half of the workers, as `failure_rate_threshold` says, whose circuits have opened within two seconds are one."""
    assert is_outage(marks(10, 5, opened=True), 20, 2, SETTINGS, OPENING_LASTS)
    assert not is_outage(marks(9, 5, opened=True), 20, 2, SETTINGS, OPENING_LASTS)
    assert not is_outage(marks(10, 5, opened=True), 20, 2, CircuitSettings(failure_rate_threshold=0.6), OPENING_LASTS)


def test_a_circuit_that_opened_earlier_says_nothing_of_now() -> None:
    """Circuits that have been open for longer than two seconds count for nothing where the others may be well."""
    assert not is_outage(marks(17, 5, opened=True), 20, 2, SETTINGS, OPENING_LASTS + 0.1)


def test_nearly_all_workers_that_are_bad_are_an_outage_however_they_became_so() -> None:
    """Eighteen of twenty whose circuits have opened or whose last call has failed, one after the other within ten seconds."""
    opened, failed = marks(9, 5, opened=True), {f"{worker:012x}": BadMark(1, False, 8.0) for worker in range(100, 109)}
    assert is_outage({**opened, **failed}, 20, 2, SETTINGS, MARK_LASTS)
    assert not is_outage({**opened, **failed}, 21, 2, SETTINGS, MARK_LASTS)
    assert not is_outage({**opened, **failed}, 20, 2, SETTINGS, MARK_LASTS + 0.1)
    assert not is_outage(marks(2, 2, opened=True), 2, 2, SETTINGS, OPENING_LASTS + 0.1)  # with too few failures


def test_an_opening_before_somebody_was_good_says_nothing_of_now() -> None:
    """Whatever the number of circuits, and however short a time ago they opened."""
    assert not is_outage(marks(20, 5, opened=True, at=-inf), 20, 2, SETTINGS, 0.0)


def test_an_old_failure_says_nothing_of_now() -> None:
    """A worker that has called nobody for ten seconds since its failure does not count."""
    assert is_outage(marks(20), 20, 2, SETTINGS, MARK_LASTS)
    assert not is_outage(marks(20), 20, 2, SETTINGS, MARK_LASTS + 0.1)


def test_few_workers_need_more_failures_each() -> None:
    """Two workers need five failures each, and five of them three; without a rule of a row, the least number of calls of a rate counts."""
    assert failures_needed(2, SETTINGS) == 10
    assert failures_needed(5, SETTINGS) == 15
    assert failures_needed(20, SETTINGS) == 15
    assert failures_needed(2, CircuitSettings(consecutive_failures=None, minimum_calls=8)) == 16


def test_one_in_five_that_have_just_failed_are_a_hunch() -> None:
    """Of twenty workers four; three are not, nor are four of which one failed a moment before, nor when somebody is good again."""
    assert is_hunch(marks(4), 20, 2, SETTINGS, JUST_NOW, good_at=-inf)
    assert not is_hunch(marks(3), 20, 2, SETTINGS, JUST_NOW, good_at=-inf)
    assert not is_hunch({**marks(4), "0" * 12: BadMark(1, False, -0.01)}, 20, 2, SETTINGS, JUST_NOW, good_at=-inf)
    assert not is_hunch(marks(4), 20, 2, SETTINGS, JUST_NOW, good_at=0.01)
    assert is_hunch(marks(4), 20, 2, SETTINGS, JUST_NOW + 0.01, good_at=0.0) is False  # they are no news by then
    assert is_hunch(marks(4, at=0.02), 20, 2, SETTINGS, JUST_NOW + 0.01, good_at=0.0)
    assert not is_hunch(marks(4), 20, 5, SETTINGS, 0.0, good_at=-inf)


def test_where_workers_are_few_there_are_no_hunches() -> None:
    """Fourteen workers need fifteen failures, so each must go on failing until they have them."""
    assert is_hunch(marks(14), 15, 2, SETTINGS, 0.0, good_at=-inf)
    assert not is_hunch(marks(14), 14, 2, SETTINGS, 0.0, good_at=-inf)


def test_after_a_hunch_nearly_all_must_have_failed() -> None:
    """Eighteen of twenty, or fourteen with as many failures as otherwise make an outage twice."""
    assert is_outage(marks(18), 20, 2, SETTINGS, 0.0, hunched=True)
    assert not is_outage(marks(17), 20, 2, SETTINGS, 0.0, hunched=True)
    assert not is_outage(marks(14, 2), 20, 2, SETTINGS, 0.0, hunched=True)
    assert is_outage(marks(15, 2), 20, 2, SETTINGS, 0.0, hunched=True)


@pytest.mark.parametrize(("rate", "once_in"), [(0.3, 3000), (0.2, 500_000)])
def test_bad_luck_is_rarely_taken_for_an_outage(rate: float, once_in: int) -> None:
    """That so many of twenty workers have failed last by chance, if each call fails with this rate, is as rare as the module says."""
    needed = round(MOST * 20)
    chance = sum(comb(20, bad) * rate**bad * (1 - rate) ** (20 - bad) for bad in range(needed, 21))
    assert chance < 1 / once_in
