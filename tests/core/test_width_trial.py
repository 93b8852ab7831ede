"""A trial of widths, and what it says."""

from __future__ import annotations

from math import log2

import pytest

from holdgate.core.width_trial import Trial, gain, mean_gain


def test_a_call_belongs_to_an_arm_if_it_fills_its_width() -> None:
    """A call at another level belongs to none, and neither does one while calls from before the arm are in flight."""
    trial = Trial((2, 3), 2)
    assert (trial.width, trial.calls) == (2, 4)
    assert trial.start(1.0, 1, oldest=0.0) == 0
    assert trial.start(1.0, 2, oldest=0.0) == 0
    assert trial.start(1.5, 3, oldest=1.2) == 0
    assert trial.start(1.5, 2, oldest=1.2) == 1
    assert trial.start(1.5, 2, oldest=1.5) == 1
    assert trial.width == 3
    assert trial.start(2.0, 3, oldest=2.0) == 2
    assert trial.start(2.0, 3, oldest=2.0) == 2
    assert trial.width == 3
    assert trial.start(2.0, 3, oldest=2.0) == 0
    for arm, took in ((2, 0.2), (1, 0.1), (1, 0.3)):
        trial.end(arm, took)
    assert not trial.is_over
    trial.drop(2)
    assert trial.is_over
    assert trial.arms == [[0.1, 0.3], [0.2]]


def test_trap_a_call_outlives_its_trial() -> None:
    """A trial was broken off, and the next one began. What the calls of the first bring back belongs to no arm of the second."""
    before = Trial((17, 23, 23, 17), 1)
    after = Trial((8,), 2, before.next_first)
    after.end(1, 9.0)
    after.end(4, 9.0)
    after.drop(2)
    after.end(0, 9.0)
    assert after.start(1.0, 8, oldest=1.0) == 5
    after.end(5, 0.1)
    assert after.arms == [[0.1]]
    assert not after.is_over
    after.drop(5)
    assert after.is_over
    assert after.next_first == 6


def test_a_trial_without_demand_becomes_stale() -> None:
    """A width that is never full is not tried for ever."""
    trial = Trial((5,), 2)
    for _ in range(21):
        assert not trial.is_stale
        trial.start(0.0, 1, oldest=0.0)
    assert trial.is_stale


def test_a_trial_with_a_lost_call_becomes_stale() -> None:
    """A call that never ends keeps the next arm from beginning, and not for ever."""
    trial = Trial((2, 3), 1)
    for _ in range(17):
        assert not trial.is_stale
        trial.start(1.0, 2, oldest=0.0)
    assert trial.is_stale


def test_trap_slow_calls_between_the_arms_end_the_trial() -> None:
    """Each arm waits for the slow calls of the one before it, while a dozen quick ones go by: that is no lost call."""
    trial = Trial((2, 3, 3, 2), 1)
    for arm, width in enumerate(trial.widths, 1):
        for _ in range(12):
            assert trial.start(float(arm), width, oldest=0.0) == 0
        assert trial.start(float(arm), width, oldest=float(arm)) == arm
        assert not trial.is_stale


def test_demand_once_in_a_while_is_demand() -> None:
    """Each call that fills the width begins the count of those that do not anew."""
    trial = Trial((5,), 20)
    for _ in range(3):
        for _ in range(20):
            trial.start(0.0, 1, oldest=0.0)
        assert not trial.is_stale
        trial.start(0.0, 5, oldest=0.0)
    for _ in range(21):
        assert not trial.is_stale
        trial.start(0.0, 1, oldest=0.0)
    assert trial.is_stale


@pytest.mark.parametrize("level", [5, 1])
def test_a_trial_that_waits_for_a_lost_call_becomes_stale(level: int) -> None:
    """Its last arm is full, and sixteen times as many calls began since. Whether they fill the width says nothing then."""
    trial = Trial((5,), 2)
    for _ in range(2):
        trial.start(1.0, 5, oldest=1.0)
    for _ in range(33):
        assert not trial.is_stale
        trial.start(1.0, level, oldest=1.0)
    assert trial.is_stale


def test_a_trial_that_is_filled_by_old_calls_alone_becomes_stale() -> None:
    """Every second one leaves it unfilled, and the others began while one from before the arm was in flight."""
    trial = Trial((2, 3), 1)
    for _ in range(8):
        trial.start(1.0, 1, oldest=0.0)
        trial.start(1.0, 2, oldest=0.0)
        assert not trial.is_stale
    trial.start(1.0, 1, oldest=0.0)
    assert trial.is_stale


def test_an_arm_that_no_trial_has_had_yet_says_nothing() -> None:
    """The number after the last one is of the next trial."""
    trial = Trial((2, 3), 1)
    trial.end(3, 0.1)
    trial.drop(3)
    assert trial.arms == [[], []]


def test_the_shift_is_the_median_of_nine_deciles() -> None:
    """Between two calls it is what lies between them. The calls of a decile have become slower by that decile, so the fifth one counts."""
    narrow = [float(each) for each in range(11)]
    wide = [4.0 * each for each in range(6)]
    assert gain(narrow, wide, 2.0) == pytest.approx(0.0)
    assert gain([1.0], [0.0, 4.0], 2.0) == pytest.approx(0.0)
    assert gain(narrow, [each + each**2 / 10 for each in narrow], 2.0) == pytest.approx(1 - log2(1 + 2.5 / 5.0))


@pytest.mark.parametrize("judge", [gain, mean_gain])
def test_the_same_latency_is_all_gain_and_a_longer_one_none(judge: object) -> None:
    """Twice as many that take as long are twice as much done, and twice as many that take twice as long are nothing."""
    assert callable(judge)
    assert judge([1.0] * 20, [1.0] * 20, 2.0) == 1.0
    assert judge([1.0] * 20, [2.0] * 20, 2.0) == pytest.approx(0.0)
    assert judge([0.0], [0.0], 2.0) == 1.0


def test_few_slow_calls_do_not_hide_a_queue() -> None:
    """One call in five takes two seconds, and they fell unevenly: the shift of all others shows the queue, which the means do not."""
    narrow = [0.01] * 75 + [2.0] * 25
    wide = [0.21] * 85 + [2.2] * 15
    assert gain(narrow, wide, 1.4) < 0.1
    assert mean_gain(narrow, wide, 1.4) > 0.9
