"""What one result means to the limiter: down, silence, chance, old news, and who goes alone."""

from __future__ import annotations

import pytest

from holdgate.core.limiter import CallInFlight, Limiter
from holdgate.core.limits import LimiterSnapshot, Limits
from holdgate.core.outcomes import Outcome, Told

SUCCESS, FAILURE, THROTTLED, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.THROTTLED, Outcome.IGNORED


def _limiter(limits: Limits | None = Limits()) -> Limiter:  # noqa: B008 - frozen
    return Limiter(limits, lambda: 0.5)


def _call(limiter: Limiter, began: float, took: float, outcome: Outcome = SUCCESS, told: Told | None = None) -> None:
    limiter.end(limiter.start(began), outcome, began, began + took, told=told)


def _wide(seconds: float = 0.5) -> Limiter:
    """Nine in flight: the tenth was too many. An answer takes half a second. All is calm at ten seconds."""
    limiter = _limiter(None)
    tokens = [limiter.start(0.0) for _ in range(10)]
    limiter.end(tokens.pop(), THROTTLED, 0.0, 0.02)
    for token in tokens:
        limiter.end(token, SUCCESS, 0.0, seconds)
    _call(limiter, 5.0, seconds)
    assert limiter.snapshot(10.0).width == 9
    return limiter


def _paced() -> Limiter:
    """The same, with a pace: it was refused at a level that was let in, twice."""
    limiter = _wide()
    for now in (10.0, 20.0):
        for _ in range(20):
            _call(limiter, now, 0.01)
        _call(limiter, now, 0.01, THROTTLED)
        asked = limiter.next_at(now + 0.02)
        assert asked is not None
        _call(limiter, asked, 0.01)
    assert limiter.snapshot(29.0).pace is not None
    return limiter


# -- numbers --------------------------------------------------------------------------------------------------------------------------


def test_a_new_limiter_has_seen_nothing() -> None:
    """And its calls are numbered from one."""
    limiter = _limiter()
    assert limiter.snapshot(0.0) == LimiterSnapshot(0, 1, None, None, 0, 0, 0, "free")
    assert not limiter.is_silence(100.0)
    assert [limiter.start(0.0) for _ in range(3)] == [1, 2, 3]
    assert CallInFlight(0.0, 1, 1).arm == 0


def test_what_was_let_in_and_what_was_not_is_counted_by_weight() -> None:
    """Failures and throttled calls were not."""
    limiter = _limiter(Limits(concurrency=9, adaptive=False))
    for outcome, weight in ((SUCCESS, 2), (IGNORED, 3), (FAILURE, 4), (THROTTLED, 5), (THROTTLED, 6)):
        limiter.end(limiter.start(0.0, weight), outcome, 0.0, 0.1)
    snapshot = limiter.snapshot(0.1)
    assert (snapshot.accepted, snapshot.refused, snapshot.width) == (5, 15, 9)


def test_what_holds_back_first_is_named() -> None:
    """A bulkhead is full, and the rate is used up as well: only a result makes room."""
    limiter = _limiter(Limits(rate=1, concurrency=1, adaptive=False))
    limiter.start(0.0)
    assert (limiter.snapshot(0.5).why, limiter.next_at(0.5)) == ("concurrency", None)


def test_a_batch_may_start_behind_a_pace_while_others_run() -> None:
    """By a pace that was found and by a quota that was named. By a width it may not."""
    named = _limiter(None)
    named.end(named.start(0.0), SUCCESS, 0.0, 0.1, told=Told(None, 200, 10.0))
    named.start(0.2)
    assert named.fits(0.5, 50)
    found = _paced()
    found.start(30.0)
    now = found.next_at(30.0)
    assert found.fits(30.0 if now is None else now, 50)
    wide = _wide()
    wide.start(10.0)
    assert not wide.fits(10.0, 50)


def test_a_batch_that_is_too_heavy_starts_where_one_may() -> None:
    """One slot is free, and nothing runs."""
    assert _limiter(Limits(concurrency=1, adaptive=False)).fits(0.0, 5)


# -- the cheap form -------------------------------------------------------------------------------------------------------------------


def test_a_call_that_was_not_counted_was_beside_those_that_were() -> None:
    """Three are in flight, and the one that is refused was the fourth: three it is."""
    limiter = _limiter(None)
    for _ in range(3):
        limiter.start(0.0)
    limiter.end(0, THROTTLED, 0.0, 0.02)
    assert limiter.snapshot(0.02).width == 3


def test_calls_before_the_first_refusal_show_no_pace() -> None:
    """Nothing was counted then, and so the first opening shows what it would have shown without them."""
    paces = []
    for calls in (0, 7):
        limiter = _limiter(None)
        for at in range(calls):
            _call(limiter, float(at), 0.1)
        _call(limiter, 10.0, 0.02, THROTTLED)
        asked = limiter.next_at(10.02)
        assert asked is not None
        _call(limiter, asked, 0.02)
        paces.append(limiter.snapshot(asked + 0.02).pace)
    assert paces[0] == paces[1] is not None


# -- latency and silence --------------------------------------------------------------------------------------------------------------


def test_a_silence_is_four_times_as_long_as_an_answer() -> None:
    """The mean of about the last 32. One of a night counts as ten minutes."""
    limiter = _limiter()
    _call(limiter, 0.0, 0.1)
    assert not limiter.is_silence(4 * 0.1)
    assert limiter.is_silence(0.41)
    _call(limiter, 1.0, 3.3)
    assert (limiter.is_silence(0.795), limiter.is_silence(0.805)) == (False, True)
    slept = _limiter()
    _call(slept, 0.0, 30_000.0)
    assert (slept.is_silence(2399.0), slept.is_silence(2401.0)) == (False, True)


def test_after_a_silence_one_call_goes_alone_until_it_ends() -> None:
    """However long that takes. A refusal is known within its patience, and then the next one may go."""
    silent = _wide()
    _call(silent, 10.0, 5.0, FAILURE)
    token = silent.start(15.0)
    assert (silent.free(100.0), silent.next_at(100.0), silent.snapshot(100.0).why) == (0, None, "throttled")
    silent.end(token, SUCCESS, 15.0, 100.1)
    assert silent.free(100.1) != 0
    refused = _wide()
    for _ in range(2):
        _call(refused, 10.0, 0.02, FAILURE)
    refused.start(11.0)
    at = refused.next_at(11.0)
    assert at is not None
    assert refused.free(at - 0.001) == 0
    assert refused.free(at) != 0


def test_a_silence_that_is_old_news_is_a_silence() -> None:
    """It began before the cap was found, and ends minutes later. Until the next result nothing more is sent into it."""
    limiter = _wide()
    old = limiter.start(10.0)
    tokens = [limiter.start(10.1) for _ in range(4)]
    limiter.end(tokens.pop(), THROTTLED, 10.1, 10.12)
    for token in tokens:
        limiter.give_back(token, 10.2)
    _call(limiter, 11.0, 0.5)
    assert limiter.free(12.0) != 0
    limiter.end(old, FAILURE, 10.0, 20.0)
    limiter.start(20.0)
    assert (limiter.free(100.0), limiter.snapshot(100.0).why) == (0, "throttled")


def test_who_was_in_flight_before_a_refusal_does_not_go_alone() -> None:
    """The first call runs for minutes. The one after the refusal may start beside it."""
    limiter = _limiter(None)
    limiter.start(0.0)
    _call(limiter, 0.0, 0.02, THROTTLED)
    assert limiter.free(0.03) != 0 or limiter.snapshot(0.03).why != "throttled"


@pytest.mark.parametrize(("seconds", "width"), [(0.4, 8), (1.0, 4), (1.5, 4)])
def test_failures_that_took_a_second_stood_in_a_queue(seconds: float, width: int) -> None:
    """Nobody has refused them. The first may be chance, and the second takes half of the width, not one."""
    limiter = _wide()
    tokens = [limiter.start(10.0) for _ in range(9)]
    for token in tokens[:2]:
        limiter.end(token, FAILURE, 10.0, 10.0 + seconds)
    assert limiter.snapshot(10.0 + seconds).width == width


def test_calls_that_were_throttled_slowly_stood_in_no_queue() -> None:
    """Somebody has said that they are too many. At a level that was let in that is a rate, and the width stays."""
    limiter = _wide()
    for _ in range(2):
        tokens = [limiter.start(10.0) for _ in range(9)]
        for token in tokens:
            limiter.end(token, SUCCESS, 10.0, 10.5)
    tokens = [limiter.start(11.0) for _ in range(9)]
    for token in tokens[:2]:
        limiter.end(token, THROTTLED, 11.0, 12.5)
    assert (limiter.snapshot(12.5).why, limiter.snapshot(12.5).width) == ("throttled", 9)


# -- down -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "why"), [(4, "free"), (5, "down")])
def test_five_failures_in_a_row_are_down(failures: int, why: str) -> None:
    """Also in the first second, of a limiter that has seen nothing else."""
    limiter = _limiter()
    for at in range(failures):
        _call(limiter, 0.1 + at / 100, 0.001, FAILURE)
    seen = limiter.snapshot(0.5).why
    assert seen == "down" if why == "down" else seen != "down"


@pytest.mark.parametrize(("seconds", "is_down"), [(0.19, False), (0.21, True)])
def test_they_must_last_for_two_usual_calls(seconds: float, is_down: bool) -> None:
    """A burst of failures in less than that is one event. An answer takes a tenth of a second."""
    limiter = _limiter()
    _call(limiter, 9.9, 0.1)
    for at in range(5):
        _call(limiter, 10.0 + seconds * (at + 1) / 5 - 0.01, 0.01, FAILURE)
    assert (limiter.snapshot(10.0 + seconds).why == "down") is is_down


def _down() -> Limiter:
    limiter = _wide(0.1)
    for at in range(5):
        _call(limiter, 10.0 + at, 0.01, FAILURE)
    assert limiter.snapshot(14.01).why == "down"
    return limiter


def test_any_call_that_began_since_ends_it() -> None:
    """One that has started without asking, in the moment in which the gate shut. It comes back from one in flight."""
    limiter = _down()
    limiter.start(14.01)
    other = limiter.start(14.01)
    limiter.end(other, SUCCESS, 14.01, 14.2)
    assert limiter.snapshot(14.2).why != "down"
    assert limiter.snapshot(14.2).width == 1


def test_failures_from_before_it_ended_are_old_news() -> None:
    """Two that began while it was down fail after another was let in: the width stays."""
    limiter = _down()
    tokens = [limiter.start(16.0 + at) for at in range(3)]
    limiter.end(tokens[0], SUCCESS, 16.0, 19.0)
    for token in tokens[1:]:
        limiter.end(token, FAILURE, 17.0, 19.1)
    for at in range(20):
        _call(limiter, 20.0 + at, 0.1)
    assert limiter.snapshot(40.0).width == 9


# -- the gate -------------------------------------------------------------------------------------------------------------------------


def test_an_asking_call_is_refused_for_as_long_as_the_service_says() -> None:
    """Only a throttled one says so. What a failure names is the circuit's."""
    waits = []
    for outcome in (THROTTLED, FAILURE):
        limiter = _limiter()
        _call(limiter, 0.0, 0.02, THROTTLED)
        asked = limiter.next_at(0.02)
        assert asked is not None
        _call(limiter, asked, 0.02, outcome, told=Told(50.0))
        at = limiter.next_at(asked + 0.02)
        assert at is not None
        waits.append(at - asked > 40)
    assert waits == [True, False]


@pytest.mark.parametrize(("seconds", "width"), [(9.5, 9), (10.3, 1)])
def test_after_ten_seconds_it_comes_back_one_by_one(seconds: float, width: int) -> None:
    """Who was away that long has cold caches."""
    limiter = _paced()
    now = limiter.next_at(30.0)
    now = 30.0 if now is None else now
    _call(limiter, now, 0.01, THROTTLED, told=Told(seconds))
    asked = limiter.next_at(now + 0.02)
    assert asked is not None
    _call(limiter, asked, 0.01)
    assert limiter.snapshot(asked + 0.01).width == width


def test_what_was_down_comes_back_one_by_one() -> None:
    """Also after three seconds, and also if a pace is known."""
    limiter = _paced()
    for at in range(5):
        _call(limiter, 40.0 + at, 0.01, FAILURE)
    assert limiter.snapshot(44.02).why == "down"
    asked = limiter.next_at(44.02)
    assert asked is not None
    _call(limiter, asked, 0.01)
    assert limiter.snapshot(asked + 0.01).width == 1


def test_a_pace_without_demand_does_not_climb() -> None:
    """One call had to wait, and the next came when it wanted, seconds later."""
    limiter = _paced()
    at = limiter.next_at(30.0)
    now = 30.0 if at is None else at
    limiter.start(now)
    assert limiter.free(now) == 0
    limiter.expect_more()
    at = limiter.next_at(now)
    assert at is not None
    limiter.start(at)
    before = limiter.snapshot(at).pace
    limiter.start(at + 20.0)
    assert limiter.snapshot(at + 20.0).pace == before


# -- levels ---------------------------------------------------------------------------------------------------------------------------


def test_a_call_that_was_refused_takes_nothing_from_those_before_it() -> None:
    """Two were in flight when the third failed by chance. Two were let in, and the second that is throttled later is a rate."""
    limiter = _wide()
    for at in range(12):
        _call(limiter, 6.0 + at / 4, 0.1)
    first, second, third = (limiter.start(10.0) for _ in range(3))
    limiter.end(third, FAILURE, 10.0, 10.02)
    for token in (first, second):
        limiter.end(token, SUCCESS, 10.0, 10.5)
    limiter.start(12.0)
    refused = limiter.start(12.0)
    limiter.end(refused, THROTTLED, 12.0, 12.02)
    assert (limiter.snapshot(12.02).width, limiter.snapshot(12.02).why) == (9, "throttled")


@pytest.mark.parametrize(("outcome", "width"), [(SUCCESS, 8), (IGNORED, 4)])
def test_a_call_that_says_nothing_of_a_width_is_waited_for(outcome: Outcome, width: int) -> None:
    """Eight calls make a round at four in flight. A message's own fault is an answer, and how long it took says nothing."""
    limiter, now = _limiter(), 0.0
    for _ in range(3):
        for token in [limiter.start(now) for _ in range(limiter.free(now) or 0)]:
            limiter.end(token, SUCCESS, now, now + 0.1)
        now += 1.0
    live = [(now, limiter.start(now)) for _ in range(4)]
    for _ in range(16):
        now += 0.1
        began, token = live.pop(0)
        limiter.end(token, outcome, began, now)
        live.append((now, limiter.start(now)))
    assert limiter.snapshot(now).width == width
