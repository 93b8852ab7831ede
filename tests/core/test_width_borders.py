"""The width at its borders, whatever the numbers of its rules are."""

from __future__ import annotations

import math

import pytest

from holdgate.core import width as module
from holdgate.core.experiments import Budget
from holdgate.core.width import (
    ABOVE,
    ENOUGH,
    ENOUGH_FOR_MEANS,
    FAULTY,
    FOR_A_CAP,
    GAIN,
    HALF,
    LITTLE,
    STRONG,
    TOO_GOOD,
    UNSURE,
    Width,
)
from holdgate.core.width_trial import Trial


def _sought(level: int = 8) -> Width:
    """One that has just begun at this level."""
    width = Width(Budget(), None, is_sought=False)
    width.seek(level)
    return width


def _width(level: int = 8) -> Width:
    """One that is sought, at this level, and grows no more."""
    width = _sought(level)
    width._growing = False
    return width


def _lifted() -> Width:
    """One of which two more than its width are tried, against a wall."""
    width = _width()
    width._wall, width._lift, width._lift_step = 9, 2, 2
    return width


def _judged(width: Width, *gains: float, monkeypatch: pytest.MonkeyPatch) -> Width:
    """Judge a trial that has shown these gains: of its halves, and of both together."""
    shown = iter(gains)
    monkeypatch.setattr(module, "gain", lambda *_: next(shown))
    trial = Trial((8, 10, 10, 8), 4, 1)
    trial.arms = [[0.1] * 4 for _ in range(4)]
    width._conclude(trial)
    return width


def test_nobody_goes_alone_before_a_failure_that_was_no_chance() -> None:
    """Nor after a call that was let in, nor when the width goes back to what it was."""
    width = _sought()
    assert width.is_careful is False
    width.is_careful = True
    width.accept(1, 0, 0.1)
    assert width.is_careful is False
    width.is_careful = True
    width.restore()
    assert width.is_careful is False


def test_a_number_without_end_is_a_billion() -> None:
    """Nobody has as many calls in flight, and a float without end has no int."""
    width = _sought(2 * 10**9)

    assert width.current == 10**9


@pytest.mark.parametrize(("faults", "lifted"), [(FAULTY, True), (math.nextafter(FAULTY, 0.0), False)])
def test_a_lift_is_excused_for_one_failure_where_failures_are_known(faults: float, lifted: bool) -> None:
    """From as many on as are known; before that the first one ends it."""
    width = _lifted()
    width._faults = faults
    width.refuse(9, 0, is_throttled=False)

    assert width.current == (10 if lifted else 8)


@pytest.mark.parametrize(("faults", "cut"), [(FAULTY, False), (math.nextafter(FAULTY, 0.0), True)])
def test_a_second_failure_is_chance_where_failures_are_known(faults: float, cut: bool) -> None:
    """With little evidence for a cap."""
    width = _width()
    width._streak, width._clean, width._faults, width._evidence = 1, 0, faults, -10.0
    width.refuse(5, 0, is_throttled=False)

    assert (width.current != 8) is cut


def test_enough_evidence_is_a_cap_and_no_chance() -> None:
    """Exactly as much is enough."""
    before = next(each for each in (ENOUGH - FOR_A_CAP, math.nextafter(ENOUGH - FOR_A_CAP, 0.0)) if each + FOR_A_CAP == ENOUGH)
    for evidence, cut in ((before, True), (before - 1e-9, False)):
        width = _width()
        width._streak, width._clean, width._faults, width._evidence = 1, 0, 2 * FAULTY, evidence
        width.refuse(5, 0, is_throttled=False)
        assert (width.current != 8) is cut


@pytest.mark.parametrize(("faults", "regain"), [(FAULTY, 8), (math.nextafter(FAULTY, 0.0), 0)])
def test_a_cut_that_may_have_been_chance_is_gone_back_on_where_failures_are_known(faults: float, regain: int) -> None:
    """To the width before it."""
    width = _width()
    width._faults = faults
    width._cut(5, 0, is_slow=False)

    assert width._regain == regain


def test_a_refusal_at_the_wall_is_no_news() -> None:
    """What grows towards it goes on."""
    width = _width(5)
    width._wall, width._growing, width.passed = 8, True, 3
    width.lower(8)
    assert (width._growing, width._wall, width.current) == (True, 8, 5)
    width.lower(7)
    assert (width._growing, width._wall, width.current) == (False, 7, 5)


@pytest.mark.parametrize(("gained", "stays"), [(GAIN, False), (math.nextafter(GAIN, 0.0), True)])
def test_a_gain_that_is_just_enough_is_one(gained: float, stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less of it, and the narrow width is taken."""
    taken: list[float] = []
    monkeypatch.setattr(Width, "_widen", lambda _, _narrow, _wide, share, _latencies: taken.append(share))
    _judged(_width(), gained, gained, gained, monkeypatch=monkeypatch)

    assert (taken == []) is stays


@pytest.mark.parametrize(("first", "again"), [(UNSURE, False), (math.nextafter(UNSURE, math.inf), True)])
def test_halves_of_a_trial_that_differ_by_just_as_much_agree(first: float, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By more, and a longer trial is made."""
    width = _judged(_width(), first, 0.0, max(GAIN, 0.5), monkeypatch=monkeypatch)

    assert (width._longer > 1) is again


@pytest.mark.parametrize(("gained", "strong"), [(STRONG, True), (math.nextafter(STRONG, 0.0), False)])
def test_a_strong_gain_takes_the_wide_width(gained: float, strong: bool) -> None:
    """Where no wall is near."""
    width = _width()
    width._widen(8, 10, gained, [])

    assert width._is_strong is strong
    assert width.current == 10 or not strong


@pytest.mark.parametrize(("gained", "wider"), [(HALF, True), (math.nextafter(HALF, 0.0), False)])
def test_half_of_a_gain_takes_a_part_of_the_way(gained: float, wider: bool) -> None:
    """Less is left alone."""
    width = _width()
    width._wall = 11
    width._widen(8, 10, gained, [])

    assert ((width.current or 0) > 8) is wider


def _round(width: Width, gained: float, in_mean: float, monkeypatch: pytest.MonkeyPatch) -> Width:
    """Judge the round of growing at 16, after one at 8, by these gains."""
    monkeypatch.setattr(module, "gain", lambda *_: gained)
    monkeypatch.setattr(module, "mean_gain", lambda *_: in_mean)
    width._growing = True
    width._last_round = [0.1] * ENOUGH_FOR_MEANS, 8
    width._conclude_round([0.1] * ENOUGH_FOR_MEANS)
    return width


@pytest.mark.parametrize(
    ("gained", "in_mean", "grows"),
    [
        (HALF, 1.0, True),
        (math.nextafter(HALF, 0.0), 1.0, False),
        (1.0, LITTLE, True),
        (1.0, math.nextafter(LITTLE, -1.0), False),
    ],
)
def test_a_round_that_gains_just_enough_is_followed_by_another(
    gained: float, in_mean: float, grows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the middle of its calls and by their mean."""
    assert _round(_width(16), gained, in_mean, monkeypatch)._growing is grows


def test_growing_ends_between_what_was_and_what_is() -> None:
    """At a quarter of the gain, a quarter of the way, as factors go."""
    with pytest.MonkeyPatch.context() as patch:
        width = _round(_width(16), 0.25, 1.0, patch)

    assert width.current == math.ceil(8 * 2**0.25 * ABOVE)


@pytest.mark.parametrize(("half", "believed"), [(TOO_GOOD, True), (math.nextafter(TOO_GOOD, math.inf), False)])
def test_halves_that_are_too_good_to_be_true_are_tried_again(half: float, believed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both show the same, and more than there can be."""
    taken: list[float] = []
    monkeypatch.setattr(Width, "_widen", lambda _, _narrow, _wide, share, _latencies: taken.append(share))
    width = _judged(_width(), half, half, 1.5, monkeypatch=monkeypatch)

    assert taken == ([1.0] if believed else [])  # and what both show together counts as all of it, never more
    assert (width._longer > 1) is not believed


def test_there_is_room_for_none_where_more_are_in_flight_than_may_be() -> None:
    """The width has been cut under them."""
    assert [_sought(8).room(in_flight) for in_flight in (6, 8, 11)] == [2, 0, 0]


@pytest.mark.parametrize(("before", "regain"), [(16, 16), (15, 0)])
def test_a_width_that_was_cut_to_a_quarter_is_regained(before: int, regain: int) -> None:
    """Four of sixteen are left, and that is a quarter. Of fifteen it is more."""
    width = _width()
    width._before = before
    width._cut(5, 0, is_slow=False)

    assert (width._width, width._regain) == (4, regain)


def test_what_is_regained_is_grown_to_without_a_round() -> None:
    """It was known before the cut. At the end nothing is measured, nothing is left to regain, and it grows no more."""
    width = _width(6)
    width._growing, width._grow_to, width._regain = True, 8, 8
    width.accept(6, 0, 0.1)
    width.accept(7, 0, 0.1)

    assert (width._width, width._regain, width._growing, width._trial) == (8, 0, False, None)


@pytest.mark.parametrize(("gained", "has_cost"), [(STRONG, False), (math.nextafter(STRONG, 0.0), True)])
def test_a_trial_that_is_strong_has_cost_nothing(gained: float, has_cost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the narrow arms have lost the wide ones have made up for."""
    width = _width()
    work = width._budget._work
    _judged(width, gained, gained, gained, monkeypatch=monkeypatch)

    assert (width._budget._work < work) is has_cost
