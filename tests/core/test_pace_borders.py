"""The pace at its borders: what is exactly as much as a rule names is not more than it."""

from __future__ import annotations

import math

import pytest

from holdgate.core.pace import FAR_OFF, LONG_SHUT, MARGIN, MORE, RAMPED, SAVED_UP, SPARE, LearnedPace, _share
from holdgate.core.sole_use import SoleUse


def at(base: float, rate: float | None = None, *, unsure: bool = False) -> LearnedPace:
    """A pace that was found at 0, and is that of a ramp by now if there is a `rate`."""
    pace = LearnedPace()
    pace._begin(0.0, base)
    pace._unsure, pace._is_first = unsure, False
    pace.rate = base if rate is None else rate
    pace._border = pace.rate
    return pace


def opened(pace: LearnedPace, now: float, let_in: int, shut_for: float = 0.25) -> float | None:
    """Open again, after so many calls that were let in and two that do not count. Returns the pace."""
    pace._started = let_in + 2
    pace.reopen(now, shut_for, now)
    return pace.rate


# -- what is idle, and what a ramp has cost -------------------------------------------------------------------------------------------


def test_a_call_that_is_one_interval_late_was_not_idle() -> None:
    """It may have come when the next one was due: an eighth of a second at eight a second."""
    pace = at(8.0)
    pace.start(0.125, 1, is_pressed=False)

    assert pace._idle == 0.0
    assert (pace.rate or 0.0) > 8.0


def test_a_fifth_without_demand_is_no_idle_measurement() -> None:
    """Two of ten seconds: the refusal counts, and costs a quarter."""
    pace = at(1.0)
    pace._idle = 2.0

    assert opened(pace, 10.0, 10) == 0.75


def test_a_refusal_on_the_way_into_a_ramp_is_not_the_ramps() -> None:
    """It is not paid for with more calls before the next one; the hair above that is."""
    pace = at(8.0, RAMPED * 8.0)
    pace.refuse(1)
    assert pace._cost == 0
    pace.rate = math.nextafter(RAMPED * 8.0, math.inf)
    pace.refuse(1)
    assert pace._cost == 1


def test_a_ramp_begins_after_its_rest_and_is_one() -> None:
    """At the end of the rest none has begun, and the next moment does not begin a second one."""
    pace = at(1.0)
    pace._rest, pace._age = 8.0, 7.875
    pace._climb(0.125)
    assert (pace._age, pace.experiments) == (8.0, 0)
    pace._climb(0.125)
    pace._climb(0.125)
    assert pace.experiments == 1


@pytest.mark.parametrize(("age", "in_ramp"), [(8.0, False), (8.125, True)])
def test_a_limit_of_its_own_is_asked_for_as_a_ramps_only_in_a_ramp(age: float, in_ramp: bool) -> None:
    """What was refused in the last moment before it was refused at the pace itself."""
    asked: list[bool] = []

    class Asked(SoleUse):
        def limit(self, pace: float, refused_at: float, let_in: float, *, in_ramp: bool) -> float | None:
            asked.append(in_ramp)
            return None

    pace = at(1.0)
    pace._sole_use = Asked()
    pace._rest, pace._age = 8.0, age
    opened(pace, 10.0, 8)

    assert asked == [in_ramp]


# -- what a refusal shows -------------------------------------------------------------------------------------------------------------


def test_a_refusal_at_the_border_of_a_ramp_is_yielded_for() -> None:
    """It is no answer to a ramp, which would cost a quarter of that."""
    assert opened(at(1.0, RAMPED * 1.0), 10.0, 9) == 0.75


def test_a_shut_in_which_ten_would_have_started_is_none_of_a_window() -> None:
    """Five seconds at two a second: what was let in is not taken as the answer, and a quarter is yielded."""
    pace = at(2.0)
    assert SPARE == 5.0 * 2.0

    assert opened(pace, 20.0, 38, shut_for=5.0) == 1.5


def test_a_pace_that_has_fallen_to_three_fifths_is_yielded_from() -> None:
    """It is gone to directly from below that."""
    let_in, base = next(
        (calls, base) for calls in range(10, 100) for base in _around(_measured(calls) / FAR_OFF) if _is_border(calls, base)
    )

    assert opened(at(base), 8.0, let_in) == base * (1 - _share(base))


def _measured(calls: int) -> float:
    return calls / 8 * MARGIN


def _is_border(calls: int, base: float) -> bool:
    return FAR_OFF * base == _measured(calls)


def _around(value: float) -> list[float]:
    """Return the floats next to this one, too: products are rounded."""
    return [value, math.nextafter(value, 0.0), math.nextafter(value, math.inf)]


def test_an_opening_without_a_refusal_that_counted_is_judged_all_the_same() -> None:
    """Its refusals were taken for chance: none of them has left the pace at which it came."""
    pace = LearnedPace()
    pace._begin(0.0, 1.0)
    pace._unsure = False
    pace.excuse(1)

    assert opened(pace, 10.0, 9) == 0.75


# -- long shuts -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shut_for", "open_for", "rate"),
    [(LONG_SHUT, 10.0, 8.0), (math.nextafter(LONG_SHUT, math.inf), 10.0, 4.0), (100.0, 100.0, 8.0), (100.0, 99.0, 4.0)],
)
def test_a_ban_is_longer_than_a_quota_and_than_what_came_before_it(shut_for: float, open_for: float, rate: float) -> None:
    """A minute and a half is none, and neither is what took as long to be used up. A ban costs a guess half of it."""
    pace = at(8.0, unsure=True)
    pace._say_nothing(200.0, shut_for, open_for)

    assert pace.rate == rate


def test_a_ban_at_the_border_of_a_ramp_was_for_the_pace() -> None:
    """It costs half of it; a ramp's own would cost the ramp."""
    pace = at(8.0, RAMPED * 8.0, unsure=True)
    pace._say_nothing(200.0, 100.0, 10.0)

    assert (pace.rate, pace._unsure) == (4.0, True)


@pytest.mark.parametrize(
    ("rate", "shut_for", "measured", "found"),
    [
        (RAMPED, 100.0, 0.1, 0.5),  # it is no ramp yet, so it goes back by half
        (2.0, 20.0, 0.1, 0.75),  # half of the shut was lost, which is not most of it
        (2.0, 21.0, 0.1, 2.0 / 1.4),
        (2.0, 5.0, MORE, MORE),  # a fifth more was let in, which a window may do
        (2.0, 5.0, 1.25, 2.0 / 1.4),
    ],
)
def test_a_long_shut_takes_a_ramp_back_unless_it_has_shown_more(rate: float, shut_for: float, measured: float, found: float) -> None:
    """At one call a second, of which ten are spare."""
    pace = at(1.0, rate)
    pace._pay(100.0, shut_for, rate, measured)

    assert pace.rate == pytest.approx(found, rel=1e-12)


# -- what a ramp shows ----------------------------------------------------------------------------------------------------------------


def test_twice_the_pace_is_an_answer_and_no_other_service() -> None:
    """From a hair above that on it is measured again."""
    pace = at(1.0, 2.0)
    pace._answer(100.0, 2.0, 0.9, 0.25)
    assert pace.base is not None
    pace._answer(200.0, math.nextafter(2.0 * pace._base, math.inf), 0.9, 0.25)
    assert pace.base is None


def test_two_ramps_that_came_as_far_as_a_burst_does_are_no_news() -> None:
    """Farther, and what is let in is measured."""
    near, far = at(1.0), at(1.0)
    for pace, reached in ((near, SAVED_UP), (far, 1.9)):
        for now in (100.0, 200.0):
            pace._answer(now, reached * pace._base, 0.9, 0.25)

    assert near.base is not None
    assert far.base is None


def test_a_ramp_shows_no_more_than_it_has_reached_but_for_a_step() -> None:
    """However much was let in: a burst had been saved up."""
    pace = at(1.0)
    pace._answer(100.0, 1.75, 10.0, 0.25)

    assert pace.rate == pytest.approx(1.75 / 1.4, rel=1e-12)
