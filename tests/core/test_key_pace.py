"""The pace of one key: guessed, measured, yielded and climbed."""

from __future__ import annotations

from math import nextafter

import pytest

from holdgate.core.key_pace import CATCH_UP, FAR_OFF, OVERSHOT, SLOWEST, YIELD, KeyPace


def begun(count: int, *, over: float = 10.0, shut_for: float = 1.0) -> KeyPace:
    """A pace whose gate has opened for the first time, after so many calls in so many seconds."""
    pace = KeyPace(0.0)
    for _ in range(count):
        pace.start(over / 2, is_pressed=True)
    pace.reopen(over, shut_for, over)
    return pace


def test_nothing_is_paced_before_the_first_opening() -> None:
    """Any number may start."""
    assert KeyPace(0.0).free(5.0) is None


def test_what_was_let_in_over_its_time_is_the_first_pace() -> None:
    """Without the call that asked."""
    assert begun(21).rate == pytest.approx(2.0, rel=0.02)


def test_a_short_shut_is_a_guess_where_nothing_was_counted() -> None:
    """And never more than ten a second."""
    assert begun(1, shut_for=0.5).rate == pytest.approx(2.0)
    assert begun(1, shut_for=0.001).rate == pytest.approx(1 / CATCH_UP)


def test_a_longer_shut_guesses_nothing_and_the_count_goes_on() -> None:
    """With the second opening there is one call to count; a shut of hours is a quota, and no pace."""
    pace = begun(1, shut_for=5.0)
    assert pace.rate is None
    pace.start(15.0, is_pressed=True)
    pace.reopen(20.0, 5.0, 20.0)
    assert pace.rate == pytest.approx(0.05, rel=0.05)
    assert begun(21, shut_for=3600.0).rate is None


def test_the_call_that_asked_is_a_start_like_any_other() -> None:
    """The next one comes an interval after it, and what an event loop has missed is made up for a little."""
    pace = begun(21)
    assert (pace.free(10.0), pace.next_at()) == (0, pytest.approx(10.5, abs=0.01))
    assert pace.free(10.6) == 1
    assert begun(1001).free(20.0) == 1 + int(CATCH_UP * 99)


def test_a_guess_climbs_until_it_is_refused_and_is_measured_then() -> None:
    """First it comes down a little, and the next refusal measures it."""
    pace = begun(21)
    first = pace.rate
    assert first is not None
    for at in range(20):
        pace.start(11.0 + at / 2, is_pressed=True)
    climbed = pace.rate
    assert climbed is not None
    assert climbed > 1.2 * first
    pace.refuse()
    pace.reopen(22.0, 1.0, 22.0)
    assert pace.rate == pytest.approx(climbed * OVERSHOT)
    for at in range(30):
        pace.start(23.0 + at / 3, is_pressed=True)
    pace.refuse()
    pace.reopen(34.0, 1.0, 34.0)
    assert pace.rate == pytest.approx(29 / 12, rel=0.05)


def measured(rate: float = 2.0) -> KeyPace:
    """A pace that was measured, at about this rate."""
    pace = begun(int(10 * rate) + 1)
    pace.refuse()
    pace.reopen(11.0, 1.0, 11.0)
    for at in range(int(10 * rate)):
        pace.start(11.0 + at / rate, is_pressed=True)
    pace.reopen(21.0, 1.0, 21.0)
    return pace


def test_a_measured_pace_yields_and_climbs_again() -> None:
    """A tenth for a refusal; time without demand teaches nothing."""
    pace = measured()
    before = pace.rate
    assert before is not None
    for at in range(19):
        pace.start(21.5 + at / 2, is_pressed=False)
    assert pace.rate == before
    pace.reopen(31.0, 1.0, 31.0)
    assert pace.rate == pytest.approx(before * (1 - YIELD))
    pace.start(32.0, is_pressed=True)
    assert before * (1 - YIELD) < pace.rate < before


def test_a_limit_that_has_fallen_far_is_measured_anew() -> None:
    """Two calls in twenty seconds, where two a second were let in."""
    pace = measured()
    pace.start(30.0, is_pressed=True)
    pace.start(35.0, is_pressed=True)
    pace.reopen(41.0, 1.0, 41.0)
    assert pace.rate == pytest.approx(0.1, rel=0.1)


def test_no_pace_is_slower_than_one_an_hour() -> None:
    """A service that refuses everything for ever must not stop a key for good."""
    pace = measured()
    for turn in range(200):
        pace.reopen(30.0 + turn, 0.5, 30.0 + turn)
    assert pace.rate == SLOWEST


def test_an_outage_takes_away_what_was_guessed_and_keeps_what_was_measured() -> None:
    """What was measured beside it is no pace."""
    pace = measured()
    before = pace.rate
    pace.interrupt(100.0)
    assert pace.rate == before
    guess = begun(21)
    guess.interrupt(100.0)
    assert (guess.rate, guess.free(100.0)) == (None, None)


def test_an_opening_at_the_same_moment_judges_nothing() -> None:
    """There is no time to divide by."""
    pace = KeyPace(5.0)
    pace.reopen(5.0, 0.0, 5.0)
    assert pace.rate is None


# -- number by number: a change of one is a change of the law -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "rates"),
    [(3, (0.198, 0.31888098, 0.63877881)), (5, (0.396, 0.63776196, 1.2795913)), (21, (1.98, 2.48, 3.5048)), (101, (9.9, 10.4, 11.504))],
)
def test_a_guess_climbs_steeply(calls: int, rates: tuple[float, ...]) -> None:
    """By a tenth in a second, and with each call at most. A wait of a quarter of an hour is no more than ten calls."""
    assert _climbed(begun(calls)) == pytest.approx(rates, rel=1e-6)


@pytest.mark.parametrize(
    ("rate", "rates"),
    [
        (0.2, (0.198, 0.20921177, 0.23017671)),
        (0.5, (0.495, 0.52545586, 0.57827755)),
        (2.0, (1.98, 2.0100684, 2.046044)),
        (10.0, (9.9, 9.9238143, 9.9412614)),
    ],
)
def test_a_measured_pace_climbs_by_its_root(rate: float, rates: tuple[float, ...]) -> None:
    """And never by more than a tenth in ten calls."""
    assert _climbed(measured(rate)) == pytest.approx(rates, rel=1e-6)


def _climbed(pace: KeyPace) -> tuple[float, ...]:
    """The rate, that after five calls, and that after one more which has waited for long."""
    rates = [pace.rate]
    for _ in range(5):
        pace.start(pace.next_at(), is_pressed=True)
    rates.append(pace.rate)
    pace.start(pace.next_at() + 1000, is_pressed=True)
    return tuple(rate for rate in (*rates, pace.rate) if rate is not None)


def test_a_start_is_due_in_its_moment() -> None:
    """Not a moment later. What an event loop was late is made up for, but not more than a tenth of a second of it."""
    pace = measured()
    assert pace.free(pace.next_at()) == 1
    late = pace.next_at() + 5.0
    pace.start(late, is_pressed=True)
    assert pace.next_at() - late == pytest.approx(0.39597344, rel=1e-6)


def test_time_without_demand_is_no_time_that_was_counted() -> None:
    """Twenty calls in ten seconds, and twenty seconds between them in which nobody wanted one."""
    pace = measured()
    for _ in range(10):
        pace.start(pace.next_at(), is_pressed=True)
    pace.start(pace.next_at() + 20, is_pressed=False)
    for _ in range(10):
        pace.start(pace.next_at(), is_pressed=True)
    now = pace.next_at()
    pace.reopen(now, 0.5, now)
    assert pace.rate == pytest.approx(1.8557481, rel=1e-6)


@pytest.mark.parametrize(("let_in", "rate"), [(0, 1.5147), (1, 0.198), (2, 0.396)])
def test_a_guess_that_was_refused_is_measured_by_one_call(let_in: int, rate: float) -> None:
    """Where none was let in, a tenth is yielded."""
    pace = begun(21)
    pace.refuse()
    pace.reopen(11.0, 1.0, 11.0)
    for at in range(let_in):
        pace.start(12.0 + at, is_pressed=True)
    pace.reopen(16.0, 1.0, 16.0)
    assert pace.rate == pytest.approx(rate, rel=1e-6)


def test_a_refusal_is_one_call_less() -> None:
    """Eight started in ten seconds and one of them was refused."""
    pace = begun(21)
    pace.refuse()
    pace.reopen(12.0, 1.0, 12.0)
    for at in range(8):
        pace.start(12.0 + at, is_pressed=True)
    pace.refuse()
    pace.reopen(22.0, 1.0, 22.0)
    assert pace.rate == pytest.approx(0.693, rel=1e-6)


@pytest.mark.parametrize(("seconds", "calls", "rate"), [(90.0, 21, 1.98), (90.5, 21, None), (2.0, 1, 0.5), (2.1, 1, None)])
def test_which_shuts_show_a_pace(seconds: float, calls: int, rate: float | None) -> None:
    """A minute and a half is the longest that calls are counted over, and two seconds the longest that is an interval."""
    assert begun(calls, shut_for=seconds).rate == (None if rate is None else pytest.approx(rate))


def test_after_an_outage_the_count_begins_anew() -> None:
    """Also what was a guess, which climbs until it is refused once more; and what was measured is compared with what came since."""
    guess = begun(21)
    guess.interrupt(100.0)
    for at in range(11):
        guess.start(100.0 + at / 2, is_pressed=True)
    guess.reopen(105.0, 1.0, 105.0)
    assert guess.rate == pytest.approx(1.98)
    for _ in range(5):
        guess.start(guess.next_at(), is_pressed=True)
    now = guess.next_at()
    guess.refuse()
    guess.reopen(now, 1.0, now)
    assert guess.rate == pytest.approx(2.108, rel=1e-6)
    known = measured()
    known.interrupt(100.0)
    for at in range(9):
        known.start(100.0 + at / 2, is_pressed=True)
    assert known.rate == pytest.approx(2.00823, rel=1e-6)
    known.reopen(110.0, 1.0, 110.0)
    assert known.rate == pytest.approx(0.792, rel=1e-6)


def test_a_pace_that_was_let_in_by_three_fifths_is_yielded_from() -> None:
    """Below that it is measured anew."""
    for measured, rate in ((FAR_OFF * 8.0, 8.0 * (1 - YIELD)), (nextafter(FAR_OFF * 8.0, 0.0), nextafter(FAR_OFF * 8.0, 0.0))):
        pace = KeyPace(0.0)
        pace.rate, pace._is_guess, pace._is_sure = 8.0, False, True
        pace._judge(5, measured, 1.0)
        assert pace.rate == rate
