"""The pace: found, kept, yielded, and tried higher."""

from __future__ import annotations

import pytest

from holdgate.core.pace import LearnedPace


def _found(rate: float = 10.0) -> LearnedPace:
    """A pace that was measured: ten starts between two openings, and the two that do not count. The first opening comes after a burst."""
    pace = LearnedPace()
    for step in range(12):
        pace.start(step / rate, 1, is_pressed=True)
    pace.reopen(10 / rate, 0.2, 10 / rate)
    for step in range(11):
        pace.start((10 + step) / rate, 1, is_pressed=True)
    pace.reopen(20 / rate, 0.2, 20 / rate)
    return pace


def _run(pace: LearnedPace, now: float, seconds: float, *, is_pressed: bool = True) -> tuple[float, int]:
    """Start whenever it may. Returns when and how many."""
    end, starts = now + seconds, 0
    while now < end:
        assert pace.free(now)
        pace.start(now, 1, is_pressed=is_pressed)
        starts += 1
        now = max(now, pace.next_at())
    return now, starts


def _refuse(pace: LearnedPace, now: float) -> float:
    """A refusal, and an asking call that is let in a quarter of a second later."""
    pace.start(now, 1, is_pressed=True)
    pace.refuse(1)
    pace.start(now + 0.25, 1, is_pressed=True)
    pace.reopen(now + 0.3, 0.25, now + 0.25)
    return now + 0.3


def test_nothing_is_known_at_first() -> None:
    """Before anything was refused the pace limits nothing."""
    assert LearnedPace().free(0.0) is None


def test_what_was_let_in_between_two_openings_is_the_pace() -> None:
    """Ten in one second are ten a second, less the margin."""
    assert _found().rate == pytest.approx(10 * 0.998)


def test_a_start_is_due_one_interval_after_another() -> None:
    """Nothing starts before it is due, and what a late loop missed in a tenth of a second may be made up for."""
    pace = _found()
    now = pace.next_at()
    pace.start(now, 1, is_pressed=True)
    assert pace.free(now + 0.05) == 0
    assert pace.free(now + 0.15) == 1
    assert pace.free(now + 60.0) == 1 + int(0.1 * (pace.rate or 0))


def test_a_batch_is_due_as_long_as_its_messages() -> None:
    """After a batch of twenty nothing starts for two seconds."""
    pace = _found()
    now = pace.next_at()
    pace.start(now, 20, is_pressed=True)
    assert pace.next_at() - now == pytest.approx(20 / (pace.rate or 0), rel=0.1)


def test_few_calls_are_measured_on() -> None:
    """Three calls say little: the guess holds until the next opening, both times count, and a second of its rate is taken for a burst."""
    pace = LearnedPace()
    for at in (0.0, 0.1, 0.2, 0.3):
        pace.start(at, 1, is_pressed=True)
    pace.refuse(1)
    pace.reopen(1.0, 0.5, 1.0)
    assert pace.rate == pytest.approx(2 * 0.998)
    for step in range(20):
        pace.start(1.0 + step / 20, 1, is_pressed=True)
    pace.reopen(2.0, 0.2, 2.0)
    assert pace.rate == pytest.approx((24 - 2 - 1) / (2 + 1 - 0.2) * 0.998)


def test_a_first_short_shut_is_a_guess_at_the_interval() -> None:
    """Where nothing was counted, a shut of half a second means two a second."""
    pace = LearnedPace()
    pace.reopen(10.0, 0.5, 10.0)
    assert pace.rate == 2.0


def test_a_guess_that_is_too_low_is_left_within_seconds() -> None:
    """A service of far more than two a second is asked for ten times that before half a minute is over, and not after 200 calls."""
    pace = LearnedPace()
    pace.reopen(10.0, 0.5, 10.0)
    _run(pace, pace.next_at(), 20.0)
    assert pace.rate is not None
    assert pace.rate > 20.0


def test_an_outage_takes_a_guess_away_and_leaves_what_was_measured() -> None:
    """A minute in which nothing was let in is no pace of one a minute; ten a second before it are ten a second after it."""
    guessed = LearnedPace()
    guessed.reopen(10.0, 0.5, 10.0)
    guessed.interrupt(11.0)
    assert guessed.rate is None
    guessed.start(70.0, 1, is_pressed=True)
    guessed.reopen(71.0, 0.25, 71.0)
    assert guessed.rate == 4.0
    found = _found()
    found.interrupt(2.0)
    found.start(62.0, 1, is_pressed=True)
    assert found.rate == pytest.approx(10 * 0.998, rel=0.01)


def _bursts(pace: LearnedPace, now: float) -> list[float | None]:
    """Thirty let in, then a refusal, three times. Returns the pace after each."""
    rates: list[float | None] = []
    for _ in range(3):
        for step in range(30):
            pace.start(now + step / 100, 1, is_pressed=True)
        now = _refuse(pace, now + 1.0)
        rates.append(pace.rate)
    return rates


def test_a_quiet_time_before_an_outage_is_none_after_it() -> None:
    """Minutes without demand behind a guess, then the outage: what comes back is measured as by a pace that knows nothing."""
    quiet = LearnedPace()
    quiet.reopen(10.0, 0.5, 10.0)
    quiet.start(10.5, 1, is_pressed=True)
    quiet.start(500.0, 1, is_pressed=False)
    quiet.interrupt(501.0)
    assert _bursts(quiet, 600.0) == _bursts(LearnedPace(), 600.0)


def test_a_first_opening_before_an_outage_says_nothing_after_it() -> None:
    """The first time that only the asking call was let in is a guess, after an outage as well."""
    pace = LearnedPace()
    pace.start(0.0, 1, is_pressed=True)
    pace.start(0.1, 1, is_pressed=True)
    pace.refuse(1)
    pace.start(40.0, 1, is_pressed=True)
    pace.reopen(40.0, 39.9, 40.0)
    pace.interrupt(50.0)
    for each in (pace, fresh := LearnedPace()):
        each.start(100.0, 1, is_pressed=True)
        _refuse(each, 100.1)
    assert pace.rate == fresh.rate


def test_where_all_that_asked_was_refused_nothing_was_counted() -> None:
    """The limiter began with the first refusal: a minute in which only two calls asked is no pace of one a minute."""
    pace = LearnedPace()
    pace.refuse(1)
    pace.start(40.0, 1, is_pressed=True)
    pace.refuse(1)
    pace.start(70.0, 1, is_pressed=True)
    pace.reopen(70.0, 60.0, 70.0)
    assert pace.rate is None


def test_a_first_long_shut_is_no_guess() -> None:
    """A window's rest says nothing of its rate: it is counted from the opening on."""
    pace = LearnedPace()
    pace.reopen(100.0, 40.0, 100.0)
    assert pace.rate is None
    for step in range(600):
        pace.start(100 + step / 100, 1, is_pressed=True)
    pace.reopen(160.0, 54.0, 160.0)
    assert pace.rate == pytest.approx(10.0, rel=0.02)


def test_a_refusal_yields_a_quarter() -> None:
    """Under two calls a second a refusal takes a quarter."""
    pace = _found(1.5)
    now, _ = _run(pace, pace.next_at(), 10.0)
    before = pace.rate or 0
    _refuse(pace, now)
    assert pace.rate == pytest.approx(before * 0.75, rel=0.02)


def test_above_two_a_second_less_is_yielded() -> None:
    """At ten a second a refusal takes about a ninth."""
    pace = _found(10.0)
    now, _ = _run(pace, pace.next_at(), 5.0)
    before = pace.rate or 0
    _refuse(pace, now)
    assert before * 0.87 < (pace.rate or 0) < before * 0.9


def test_who_has_less_climbs_by_more() -> None:
    """In a minute the smaller of two paces gains more, as a share of what it has."""
    small, large = _found(1.0), _found(1.4)
    before = small.rate or 0, large.rate or 0
    _run(small, small.next_at(), 60.0)
    _run(large, large.next_at(), 60.0)
    assert (small.rate or 0) / before[0] > (large.rate or 0) / before[1] > 1


@pytest.mark.parametrize("less", [2.5, 4.0])
def test_trap_of_two_that_share_the_larger_stays_the_larger(less: float) -> None:
    """Who has eight calls a second regains what a refusal has cost in hardly less time than who has a third or a half of them."""
    seconds: list[float] = []
    for rate in (8.0, less):
        pace = _found(rate)
        before = pace.rate or 0
        _refuse(pace, _run(pace, pace.next_at(), 2.0)[0])
        now = began = pace.next_at()
        while pace._base < before:
            now, _ = _run(pace, now, 0.5)
        seconds.append(now - began)
    assert seconds[1] < 1.6 * seconds[0]


def test_two_refusals_close_together_are_one_event() -> None:
    """A bucket that is empty refuses more than once, and that is one yield."""
    pace = _found(10.0)
    now, _ = _run(pace, pace.next_at(), 5.0)
    now = _refuse(pace, now)
    before = pace.rate
    _refuse(pace, now)
    assert pace.rate == pytest.approx(before, rel=0.01)


def test_a_fallen_rate_is_met_directly() -> None:
    """From thirty a second to ten is not twenty yields: what was measured is far off, so go there, at most by half."""
    pace = _found(30.0)
    now, _ = _run(pace, pace.next_at(), 5.0)
    now = _refuse(pace, now)
    for step in range(10):
        pace.start(now + step, 1, is_pressed=True)
    before = pace.rate or 0
    _refuse(pace, now + 10)
    assert (pace.rate or 0) < before * 0.55


def test_a_ramp_comes_after_two_hundred_calls() -> None:
    """Nobody refused for so long, so it is tried whether far more is there."""
    pace = _found(10.0)
    before = pace.experiments
    now, _ = _run(pace, pace.next_at(), 18.0)
    assert pace.experiments == before
    now, _ = _run(pace, now, 8.0)
    assert pace.experiments == before + 1


def test_a_refused_ramp_costs_no_pace() -> None:
    """The ramp's own refusal is its answer, and nobody yields for it."""
    pace = _found(10.0)
    now, starts = pace.next_at(), 0
    while (pace.rate or 0) < 14:
        now, more = _run(pace, now, 0.5)
        starts += more
    _refuse(pace, now)
    assert 9 < (pace.rate or 0) < 12


def test_a_pace_that_doubled_is_measured_again() -> None:
    """The dependency is another than it was: the next opening says what it lets in."""
    pace = _found(10.0)
    now = pace.next_at()
    while (pace.rate or 0) < 40:
        now, _ = _run(pace, now, 0.25)
    now = _refuse(pace, now)
    for step in range(62):
        pace.start(now + step / 30, 1, is_pressed=True)
    pace.reopen(now + 2.05, 0.2, now + 2.05)
    assert pace.rate == pytest.approx(29, rel=0.03)


def test_idle_time_teaches_nothing() -> None:
    """An hour with a call a minute makes the pace neither lower nor higher, and a ramp does not begin in it."""
    pace = _found(10.0)
    before, tried, now = pace.rate, pace.experiments, pace.next_at()
    for minute in range(1, 61):
        pace.start(now + 60 * minute, 1, is_pressed=False)
    assert (pace.rate, pace.experiments) == (before, tried)
    _refuse(pace, now + 3661)
    assert pace.rate == pytest.approx(before, rel=0.01)


def test_a_ramp_ends_where_demand_does() -> None:
    """Who stops wanting more goes back to the proven pace."""
    pace = _found(10.0)
    now = pace.next_at()
    while (pace.rate or 0) < 14:
        now, _ = _run(pace, now, 0.5)
    pace.start(now + 5.0, 1, is_pressed=False)
    pace.start(now + 5.1, 1, is_pressed=True)
    assert (pace.rate or 0) < 12


def test_a_quota_says_nothing_of_the_pace() -> None:
    """After a shut of twenty minutes the proven pace is kept; and where none was proven, none is."""
    pace = _found(10.0)
    before = pace.rate
    pace.start(2000.0, 1, is_pressed=True)
    pace.reopen(2000.0, 1200.0, 2000.0)
    assert pace.rate == pytest.approx(before, rel=0.01)
    unknown = LearnedPace()
    unknown.start(0.0, 1, is_pressed=True)
    unknown.reopen(1200.0, 1200.0, 1200.0)
    assert unknown.rate is None


def test_no_lie_stops_a_worker_for_good() -> None:
    """A service that refuses for ever is still asked once an hour."""
    pace, now = _found(1.0), 10.0
    for _ in range(400):
        for step in range(4):
            pace.start(now + step * 20, 1, is_pressed=True)
        now = _refuse(pace, now + 80)
    assert (pace.rate or 0) >= 1 / 3600


def test_a_first_burst_is_no_rate() -> None:
    """What was let in from the first start on has a full bucket in it: a second of its rate. The next opening says what it is."""
    pace = LearnedPace()
    for step in range(22):
        pace.start(step / 20, 1, is_pressed=True)
    pace.reopen(1.0, 0.2, 1.0)
    assert pace.rate == pytest.approx(20 / (1 + 1 - 0.2) * 0.998)
    for step in range(31):
        pace.start(1.0 + step / 15, 1, is_pressed=True)
    pace.refuse(1)
    pace.reopen(4.0, 1.0, 4.0)
    assert pace.rate == pytest.approx((32 - 2 - 1) / 3 * 0.998)


def test_a_burst_that_the_shut_has_brought_back_counts() -> None:
    """Behind a Retry-After of a second the bucket is as full at the opening as at the start: what was let in is the rate."""
    pace = LearnedPace()
    for step in range(22):
        pace.start(step / 20, 1, is_pressed=True)
    pace.reopen(2.0, 1.0, 2.0)
    assert pace.rate == pytest.approx(20 / 2 * 0.998)


def test_the_asking_call_is_a_start_like_any_other() -> None:
    """A bucket without room for a burst has given its only token to the call that asked: the next one is due an interval after that."""
    pace = _found(10.0)
    now = pace.next_at()
    pace.start(now + 1.0, 1, is_pressed=True)
    pace.refuse(1)
    pace.start(now + 2.0, 1, is_pressed=True)
    pace.reopen(now + 2.08, 1.0, now + 2.0)
    assert pace.next_at() - (now + 2.0) == pytest.approx(1 / (pace.rate or 0))


def test_the_second_opening_for_one_call_is_a_pace() -> None:
    """One call in ten seconds: after the first opening nothing is known, and after a second one that shows a single call again it is."""
    pace = LearnedPace()
    pace.start(0.0, 1, is_pressed=True)
    for at in (0.1, 4.0, 11.0):
        pace.start(at, 1, is_pressed=True)
        pace.refuse(at < 10)
    pace.reopen(11.0, 10.9, 11.0)
    assert pace.rate is None
    for at in (11.1, 15.0, 21.0):
        pace.start(at, 1, is_pressed=True)
        pace.refuse(at < 20)
    pace.reopen(21.0, 9.9, 21.0)
    assert pace.rate == pytest.approx(0.1, rel=0.01)


def _refused_at(pace: LearnedPace, now: float, reached: float) -> float:
    """Run until a ramp has reached this pace, and refuse it."""
    now = max(now, pace.next_at())
    while (pace.rate or 0) < reached:
        now, _ = _run(pace, now, 0.1)
    return max(_refuse(pace, now), pace.next_at())


def test_a_ramp_that_came_far_has_used_up_a_burst() -> None:
    """It reached 1.8 times the pace, and that is no pace: before, the pace was raised by a third, and refused three times more."""
    pace = _found(10.0)
    before = pace.rate or 0
    _refused_at(pace, pace.next_at(), 18.0)
    assert 0.85 * before < (pace.rate or 0) < 1.06 * before


def test_two_ramps_that_came_far_are_looked_at() -> None:
    """Perhaps it was no burst: directly after the second one the pace climbs by large steps, and what is let in is the pace."""
    pace = _found(10.0)
    now = _refused_at(pace, pace.next_at(), 18.0)
    now = _refused_at(pace, now, 1.8 * pace._base)
    base = pace._base
    now, _ = _run(pace, now, 4.0)
    reached = pace.rate or 0
    assert reached > 18.0
    _refuse(pace, now)
    assert 1.2 * base < (pace.rate or 0) < reached


def test_what_a_ramp_has_used_up_is_left_out_after_it() -> None:
    """Five calls of a burst are gone: less is started until the next ramp, unless the shut was as long as they take."""
    short, long = _found(10.0), _found(10.0)
    for pace, shut in ((short, 0.25), (long, 2.0)):
        now = pace.next_at()
        while (pace.rate or 0) < 16:
            now, _ = _run(pace, now, 0.1)
        before = pace._base
        pace.start(now, 1, is_pressed=True)
        pace.refuse(1)
        pace.start(now + shut, 1, is_pressed=True)
        pace.reopen(now + shut + 0.05, shut, now + shut)
        assert (pace.rate or 0) < before
    assert (short.rate or 0) < 0.97 * (long.rate or 0)


def test_trap_who_ramps_most_keeps_most() -> None:
    """A ramp of half as much again may be what a bucket had saved up. What was let in counts, and a part of a yield is the price."""
    pace = _found(10.0)
    now = pace.next_at()
    while (pace.rate or 0) < 13:
        now, _ = _run(pace, now, 0.25)
    before = pace._base
    _refuse(pace, now)
    assert before * 0.9 < (pace.rate or 0) < before * 1.05


def test_the_smaller_a_pace_the_more_it_gains() -> None:
    """In absolute figures, too: of two that share, the shares come nearer even without a refusal."""
    gains = []
    for rate in (0.7, 1.0, 1.5):
        pace = _found(rate)
        before = pace.rate or 0
        _run(pace, pace.next_at(), 30.0)
        gains.append((pace.rate or 0) - before)
    assert gains[0] > gains[1] > gains[2] > 0


@pytest.mark.parametrize(("refused", "calls"), [(1, 200), (2, 200), (6, 600)])
def test_a_ramp_that_has_cost_more_is_followed_by_more_calls(refused: int, calls: int) -> None:
    """Where refusals come late or by chance, a ramp costs six and not one."""
    pace = _found(10.0)
    now = pace.next_at()
    while (pace.rate or 0) < 13:
        now, _ = _run(pace, now, 0.25)
    for _ in range(refused - 1):
        pace.excuse(1)
    now = _refuse(pace, now)
    before = pace.experiments
    now, starts = _run(pace, pace.next_at(), 0.1)
    while pace.experiments == before:
        now, more = _run(pace, now, 0.5)
        starts += more
    assert starts == pytest.approx(calls, rel=0.2)


def test_going_back_to_a_pace_looks_for_more() -> None:
    """No refusal has shown a limit there, so a ramp begins. A pace that is higher already stays."""
    pace = _found(10.0)
    pace.restore(3.0, 5.0)
    assert pace.rate == pytest.approx(10 * 0.998)
    pace.restore(3.0, 20.0)
    assert pace.rate == 20.0
    _run(pace, pace.next_at(), 4.0)
    assert (pace.rate or 0) > 30


def test_a_limit_that_nobody_shares_is_stayed_under() -> None:
    """Refused at the same pace three times, it stays a little under that, and does not climb before its next ramp."""
    pace = _found(1.0)
    for _ in range(3):
        now = pace.next_at()
        while (pace.rate or 0) < 1.2:
            now, _ = _run(pace, now, 0.5)
        _refuse(pace, now)
    stays = pace.rate or 0
    assert 1.1 < stays < 1.2
    _run(pace, pace.next_at(), 60.0)
    assert pace.rate == stays


@pytest.mark.parametrize("measured_again", [True, False])
def test_trap_a_machine_that_slept_has_measured_a_pace(measured_again: bool) -> None:
    """An hour without a start, although calls waited, is no time in which so little was let in."""
    pace = _found(10.0)
    pace._unsure = measured_again
    now, _ = _run(pace, pace.next_at(), 3.0)
    now, _ = _run(pace, now + 3600.0, 3.0)
    _refuse(pace, now)
    assert (pace.rate or 0) > 7


def test_who_waits_for_a_slow_pace_does_not_sleep() -> None:
    """One start in two minutes is what one call in two minutes looks like."""
    pace = _found(1 / 120)
    _run(pace, pace.next_at(), 1000.0)
    assert pace._idle == 0.0
