"""The pace after a shut that was longer than any token takes: windows, bans, quotas."""

from __future__ import annotations

import pytest

from holdgate.core.pace import DEAR, LONG_SHUT, PAID, SHORT_OF, LearnedPace


def _found(rate: float = 10.0) -> LearnedPace:
    """A pace that was measured twice."""
    pace = LearnedPace()
    for step in range(12):
        pace.start(step / rate, 1, is_pressed=True)
    pace.reopen(10 / rate, 0.2, 10 / rate)
    for step in range(11):
        pace.start((10 + step) / rate, 1, is_pressed=True)
    pace.reopen(20 / rate, 0.2, 20 / rate)
    return pace


def _run(pace: LearnedPace, now: float, seconds: float) -> float:
    """Start whenever it may, under pressure."""
    end = now + seconds
    while now < end:
        pace.start(now, 1, is_pressed=True)
        now = max(now, pace.next_at())
    return now


def _shut(pace: LearnedPace, now: float, seconds: float) -> float:
    """A refusal, and an asking call that is let in after so many seconds."""
    pace.start(now, 1, is_pressed=True)
    pace.refuse(1)
    now += seconds
    pace.start(now, 1, is_pressed=True)
    pace.reopen(now, seconds, now)
    return now


def _rate(pace: LearnedPace) -> float:
    assert pace.rate is not None
    return pace.rate


def test_a_ban_of_half_a_minute_costs_half_of_the_pace() -> None:
    """It is dear, and what was wrong by a little would be banned again."""
    pace = _found()
    now = _run(pace, pace.next_at(), 10.0)
    before = _rate(pace)
    _shut(pace, now, DEAR / 2 + 5)
    assert _rate(pace) == pytest.approx(before / 2, rel=0.02)


def test_a_shorter_one_costs_less() -> None:
    """Twelve seconds are a fifth of a minute, less the calls that a burst is."""
    pace = _found()
    now = _run(pace, pace.next_at(), 10.0)
    before = _rate(pace)
    _shut(pace, now, 12.0)
    assert _rate(pace) == pytest.approx(before * (1 - (12 - 1) / DEAR), rel=0.02)


def test_what_was_dear_is_not_risked_again_soon() -> None:
    """The next ramp comes after twenty times as long, and the climb is as slow."""
    pace = _found()
    now = _shut(pace, _run(pace, pace.next_at(), 10.0), 30.0)
    before, tried = _rate(pace), pace.experiments
    now = _run(pace, now, 300.0)
    assert pace.experiments == tried
    assert before * 1.1 < _rate(pace) < before * 1.5
    while pace.experiments == tried:
        now = _run(pace, now, 1.0)
    assert now > 0.9 * PAID * 30.0


def test_after_a_short_shut_nothing_was_dear() -> None:
    """The next refusal with a quarter of a second gives the usual ramp back."""
    pace = _found()
    now = _shut(pace, _run(pace, pace.next_at(), 10.0), 30.0)
    now = _shut(pace, _run(pace, now, 10.0), 0.25)
    tried = pace.experiments
    while pace.experiments == tried:
        now = _run(pace, now, 1.0)
    assert now < 150.0


def test_a_ramp_that_was_banned_goes_back_to_what_it_had_reached() -> None:
    """Less what a burst may have hidden. Twice the pace was accepted, and a ban of half a minute is no measure."""
    pace = _found()
    now = pace.next_at()
    while _rate(pace) < 20.0:
        now = _run(pace, now, 0.2)
    border = _rate(pace)
    _shut(pace, now, 60.0)
    assert _rate(pace) == pytest.approx(border / SHORT_OF, rel=0.05)


def test_a_window_that_a_ramp_has_used_up_early_shows_no_faster_service() -> None:
    """Its rest of half a minute is what the ramp has taken in advance. What was let in over all of it is the answer."""
    pace = _found()
    now = began = pace.next_at()
    starts = 0
    while _rate(pace) < 100.0:
        pace.start(now, 1, is_pressed=True)
        starts += 1
        now = max(now, pace.next_at())
    rest = began + starts / 10.0 - now
    assert rest > 5.0
    _shut(pace, now, rest)
    assert _rate(pace) == pytest.approx(10.0, rel=0.12)


def test_a_guess_that_a_window_may_be_is_tried_soon() -> None:
    """Twenty calls and then half a minute of refusals: a window, or a ban. The ramp comes after as long, and not after 200 calls."""
    pace = LearnedPace()
    for step in range(21):
        pace.start(step / 100, 1, is_pressed=True)
    now = _shut(pace, 0.3, 30.0)
    assert _rate(pace) < 1.0
    now = _run(pace, now, 28.0)
    assert pace.experiments == 0
    _run(pace, now, 6.0)
    assert pace.experiments == 1


def test_a_long_ban_before_anything_is_known_leaves_half_of_what_was_let_in() -> None:
    """Twenty calls in a fifth of a second were too many, and the next try is half as quick; then a quarter."""
    pace = LearnedPace()
    for step in range(20):
        pace.start(step / 100, 1, is_pressed=True)
    now = _shut(pace, 0.2, LONG_SHUT + 10)
    assert _rate(pace) == pytest.approx(50.0, rel=0.1)
    before = _rate(pace)
    for step in range(10):
        pace.start(now + step / 50, 1, is_pressed=True)
    _shut(pace, now + 0.2, LONG_SHUT + 10)
    assert _rate(pace) == pytest.approx(before / 2, rel=0.05)


def test_where_nothing_was_let_in_a_long_shut_says_nothing() -> None:
    """A worker that starts behind a quota knows no pace."""
    pace = LearnedPace()
    pace.start(0.0, 1, is_pressed=True)
    _shut(pace, 0.1, LONG_SHUT + 10)
    assert pace.rate is None


@pytest.mark.parametrize(("count", "seconds"), [(5, 0.2), (40, 400.0)])
def test_few_calls_or_a_quota_before_anything_is_known_show_no_pace(count: int, seconds: float) -> None:
    """Five calls are no measure of quickness, and what took longer to be used up than to come back is no ban."""
    pace = LearnedPace()
    for step in range(count):
        pace.start(step * seconds / count, 1, is_pressed=True)
    _shut(pace, seconds, LONG_SHUT + 10)
    assert pace.rate is None


def test_a_quota_keeps_the_pace_and_a_ban_soon_after_it_does_not() -> None:
    """Once it is used up is no reason. Used up again in a quarter of one it was no quota."""
    pace = _found()
    now = _run(pace, pace.next_at(), 10.0)
    before = _rate(pace)
    now = _shut(pace, now, 1200.0)
    assert _rate(pace) == pytest.approx(before, rel=0.02)
    now = _run(pace, now, 15.0)
    _shut(pace, now, 1200.0)
    assert _rate(pace) == pytest.approx(before / 2, rel=0.2)


def test_a_ban_in_a_ramp_of_a_guess_makes_the_guess_the_pace() -> None:
    """What lies under the ramp was accepted for long, so it is not halved again."""
    pace = LearnedPace()
    for step in range(20):
        pace.start(step / 10, 1, is_pressed=True)
    now = _shut(pace, 2.0, LONG_SHUT + 10)
    under = _rate(pace)
    while _rate(pace) < 2 * under:
        now = _run(pace, now, 0.5)
    now = _shut(pace, now, LONG_SHUT + 10)
    assert under * 0.95 < _rate(pace) < under * 1.5
    tried = pace.experiments
    _run(pace, now, 300.0)
    assert pace.experiments == tried


def test_a_pace_goes_back_from_where_it_has_fallen_for_nothing() -> None:
    """And has a new time to rest before its next ramp."""
    pace = _found()
    pace.restore(50.0, 25.0)
    assert (pace.rate, pace.base) == (25.0, 25.0)


def test_a_guess_is_no_base() -> None:
    """Nothing has fallen from it."""
    pace = LearnedPace()
    assert pace.base is None
    pace.reopen(10.0, 0.5, 10.0)
    assert (pace.rate, pace.base) == (2.0, None)


def test_what_was_refused_by_chance_was_not_let_in() -> None:
    """It counts as no start, and is no refusal."""
    pace, other = _found(), _found()
    now = pace.next_at()
    for step in range(40):
        pace.start(now + step, 1, is_pressed=True)
        other.start(now + step, 1, is_pressed=True)
        pace.start(now + step, 1, is_pressed=True)
        pace.excuse(1)
    for each in (pace, other):
        _shut(each, now + 40, 0.25)
    assert pace.rate == pytest.approx(_rate(other), rel=0.02)
