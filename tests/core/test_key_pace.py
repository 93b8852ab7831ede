"""The pace of one key: guessed, measured, yielded and climbed."""

from __future__ import annotations

import pytest

from holdgate.core.key_pace import CATCH_UP, OVERSHOT, SLOWEST, YIELD, KeyPace


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
