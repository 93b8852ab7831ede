"""The limiter: what a result means for gate, pace and width, and what never happens."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdgate.core.limiter import LEASE, Limiter
from holdgate.core.limits import Limits
from holdgate.core.outcomes import Outcome, Told

from .limited_world import Service, play

SUCCESS, FAILURE, THROTTLED, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.THROTTLED, Outcome.IGNORED


def _limiter(limits: Limits | None = Limits()) -> Limiter:  # noqa: B008 - frozen
    return Limiter(limits, random.Random(1).random)


# -- numbers that a user gave ---------------------------------------------------------------------------------------------------------


def test_a_bulkhead_lets_no_more_in_than_its_number() -> None:
    """The fifth of four waits for a result, and time alone frees nothing."""
    limiter = _limiter(Limits(concurrency=4, adaptive=False))
    tokens = [limiter.start(0.0) for _ in range(4)]
    assert (limiter.free(1.0), limiter.next_at(1.0), limiter.snapshot(1.0).why) == (0, None, "concurrency")
    limiter.end(tokens[0], FAILURE, 0.0, 1.0)
    assert limiter.free(1.0) == 1


def test_a_static_rate_is_exact() -> None:
    """Ten in a second, whatever comes back."""
    limiter = _limiter(Limits(rate=10, adaptive=False))
    for _ in range(10):
        limiter.end(limiter.start(5.0), THROTTLED, 5.0, 5.0)
    snapshot = limiter.snapshot(5.5)
    assert (limiter.free(5.5), limiter.next_at(5.5), snapshot.why, snapshot.pace) == (0, 6.0, "rate", 10)


def test_what_never_reached_the_dependency_is_given_back() -> None:
    """Its place and its share of the rate are free again."""
    limiter = _limiter(Limits(rate=1, concurrency=1, adaptive=False))
    token = limiter.start(0.0)
    assert limiter.free(0.0) == 0
    limiter.give_back(token, 0.0)
    assert limiter.free(0.0) == 1
    limiter.give_back(token, 0.0)
    assert limiter.in_flight == 0


def test_a_heavy_batch_starts_when_nothing_else_is_in_flight() -> None:
    """A batch over the limit would wait for ever otherwise."""
    limiter = _limiter(Limits(concurrency=4, adaptive=False))
    assert limiter.fits(0.0, 50)
    token = limiter.start(0.0)
    assert limiter.fits(0.0, 3)
    assert not limiter.fits(0.0, 50)
    limiter.end(token, SUCCESS, 0.0, 1.0)
    limiter.start(1.0, 50)
    assert (limiter.free(1.0), limiter.in_flight) == (0, 50)


def test_a_lost_call_is_taken_back_after_its_lease() -> None:
    """A call that never ends keeps no place for ever, and its late end changes nothing."""
    limiter = _limiter(Limits(concurrency=1, adaptive=False))
    token = limiter.start(0.0)
    assert limiter.free(LEASE - 1) == 0
    assert limiter.free(LEASE) == 1
    limiter.end(token, SUCCESS, 0.0, LEASE + 1)
    assert limiter.in_flight == 0


def test_a_clock_that_was_set_back_stands_still() -> None:
    """Nothing starts before its time, and no duration is negative."""
    limiter = _limiter(Limits(rate=1, adaptive=False))
    limiter.end(limiter.start(100.0), SUCCESS, 100.0, 50.0)
    assert limiter.free(50.0) == 0
    assert limiter.free(101.0) == 1


# -- the cheap form -------------------------------------------------------------------------------------------------------------------


def test_the_cheap_form_limits_nothing_until_it_is_throttled() -> None:
    """Successes and failures change nothing; the first throttled answer does."""
    limiter = _limiter(None)
    assert (limiter.active, limiter.free(0.0), limiter.next_at(0.0)) == (False, None, None)
    assert limiter.fits(0.0, 1000)
    limiter.end(limiter.start(0.0), FAILURE, 0.0, 0.1)
    limiter.end(0, SUCCESS, 0.0, 0.1)
    limiter.expect_more()
    assert not limiter.active
    limiter.end(0, THROTTLED, 0.1, 0.2)
    assert (limiter.active, limiter.free(0.2), limiter.snapshot(0.2).why) == (True, 0, "throttled")


def test_a_quota_that_is_named_needs_no_refusal() -> None:
    """An answer that says what is left begins the pace, and nothing else is limited."""
    limiter = _limiter(None)
    limiter.end(limiter.start(0.0), SUCCESS, 0.0, 0.1, told=Told(None, 20, 10.0))
    assert limiter.active
    limiter.start(0.2)
    snapshot = limiter.snapshot(0.2)
    assert (limiter.free(0.2), snapshot.width, snapshot.pace, snapshot.why) == (0, None, 2.0, "pace")
    assert limiter.next_at(0.2) == pytest.approx(0.6)


# -- what a result means --------------------------------------------------------------------------------------------------------------


def _shut() -> Limiter:
    limiter = _limiter()
    limiter.end(limiter.start(0.0), THROTTLED, 0.0, 0.02, told=Told(2.0))
    return limiter


def test_one_call_asks_after_retry_after_and_opens_the_gate() -> None:
    """Nothing starts before, one does then, and its success lets the others in."""
    limiter = _shut()
    at = limiter.next_at(0.1)
    assert at is not None
    assert at >= 2.02
    assert limiter.free(at) == 1
    token = limiter.start(at)
    assert limiter.free(at) == 0
    limiter.end(token, SUCCESS, at, at + 0.01)
    assert limiter.free(at + 60) == 1


def test_a_probe_may_start_while_another_call_asks() -> None:
    """Who starts without asking for leave does not become the asking call while there is one."""
    limiter = _shut()
    limiter.start(5.0)
    probe = limiter.start(5.01)
    limiter.end(probe, SUCCESS, 5.01, 5.02)
    assert limiter.snapshot(5.02).why == "throttled"


def test_an_outage_leaves_the_asking_to_the_circuit() -> None:
    """The gate opens when the circuit does; without learning nothing changes."""
    limiter = _shut()
    limiter.interrupt(0.5)
    assert limiter.snapshot(0.5).why != "throttled"
    limiter.interrupt(0.6)
    assert limiter.free(0.6) != 0
    fixed = Limiter(Limits(concurrency=1, adaptive=False), lambda: 0.5)
    fixed.start(0.0)
    fixed.interrupt(1.0)
    assert fixed.free(1.0) == 0


def test_a_refused_ask_waits_on() -> None:
    """The gate stays shut."""
    limiter = _shut()
    limiter.end(limiter.start(5.0), THROTTLED, 5.0, 5.02)
    assert limiter.snapshot(5.03).why == "throttled"


def test_a_silent_ask_counts_as_let_in() -> None:
    """Refusals take 20 ms, and an answer may take minutes: nobody waits for it."""
    limiter = _shut()
    limiter.start(5.0)
    assert limiter.next_at(5.0) == pytest.approx(5.08)
    assert limiter.free(5.05) == 0
    limiter.free(5.09)
    assert limiter.snapshot(5.09).why != "throttled"


def test_results_from_before_the_gate_shut_do_not_open_it() -> None:
    """What is let in late began when it was still allowed."""
    limiter = _limiter()
    for token in (limiter.start(0.0), limiter.start(0.0)):
        limiter.end(token, SUCCESS, 0.0, 0.1)
    old, refused = limiter.start(0.1), limiter.start(0.1)
    limiter.end(refused, THROTTLED, 0.1, 0.12)
    limiter.end(old, SUCCESS, 0.1, 0.2)
    assert limiter.snapshot(0.2).why == "throttled"


def test_what_is_the_messages_own_fault_counts_as_let_in() -> None:
    """A 404 was an answer."""
    limiter = _shut()
    token = limiter.start(5.0)
    limiter.end(token, IGNORED, 5.0, 5.01)
    assert limiter.snapshot(5.01).why != "throttled"
    limiter.end(limiter.start(20.0), IGNORED, 20.0, 20.1)
    assert limiter.snapshot(20.1).accepted == 2


def test_trap_a_night_in_the_middle_of_a_call_is_its_latency() -> None:
    """A machine slept while a call was in flight. Five failures that take longer than two calls of the others are down nevertheless."""
    limiter, now = _limiter(), 0.0
    for _ in range(3):
        limiter.end(limiter.start(now), SUCCESS, now, now + 0.1)
        now += 1.0
    limiter.end(limiter.start(now), SUCCESS, now, now + 30_000.0)
    assert limiter.is_silence(100.0)


def test_no_answer_five_times_is_down() -> None:
    """The gate shuts, asks seldom, and a success opens it."""
    limiter, service = _limiter(), Service(servers=16, is_silent=lambda now: 30 <= now < 100)
    assert play(limiter, service, 30.0).refused == 0
    played = play(limiter, service, 90.0, since=30.0)
    assert limiter.snapshot(90.0).why == "down"
    assert len(played.starts) < 60
    play(limiter, service, 140.0, since=90.0)
    assert limiter.snapshot(140.0).why != "down"


# -- worlds ---------------------------------------------------------------------------------------------------------------------------


def test_a_rate_is_used_up_with_little_waste() -> None:
    """1,200 messages at ten a second and no Retry-After: in 126 seconds, with one percent refused."""
    played = play(_limiter(), Service(rate=10, burst=10), 126.0)
    assert len(played.good) >= 1200
    assert played.refused <= 12


def test_a_cap_is_found_and_left_alone() -> None:
    """Eight at once, and each refusal above that was paid for."""
    played = play(_limiter(), Service(cap=8), 120.0)
    assert len(played.good) > 0.95 * 80 * 120
    assert played.refused <= 0.01 * len(played.good)


def test_a_rate_without_room_for_a_burst_is_no_cap() -> None:
    """Of two calls that start together one is refused, however few are in flight. With one in flight it would be 600."""
    played = play(_limiter(), Service(rate=10, burst=1, seconds=lambda _call: 1.0), 600.0)
    assert len(played.good) > 1000
    assert played.refused < 20


def test_a_try_of_a_wall_falls_between_the_other_starts() -> None:
    """One is in flight for a second, so the second one starts in the middle of it, and time alone lets it."""
    limiter = _limiter()
    limiter.end(limiter.start(0.0), SUCCESS, 0.0, 1.0)
    first, second = limiter.start(1.0), limiter.start(1.0)
    limiter.end(second, THROTTLED, 1.0, 1.02)
    limiter.end(first, SUCCESS, 1.0, 2.0)
    now, at = 2.0, None
    while (at is None or at < now + 0.1) and now < 100.0:  # sooner than that: the call goes alone after a refusal
        limiter.expect_more()
        token = limiter.start(now)
        assert limiter.free(now) == 0
        at = limiter.next_at(now)
        if at is None or at < now + 0.1:
            now += 1.0
            limiter.end(token, SUCCESS, now - 1.0, now)
    assert at == pytest.approx(now + 0.5, abs=0.01)
    assert limiter.snapshot(now).why == "width"
    assert limiter.free(at) == 1


def test_a_cap_that_rises_is_used() -> None:
    """The wall of yesterday does not hold tomorrow."""
    limiter, service = _limiter(), Service(cap=4)
    play(limiter, service, 60.0)
    service.cap = 12
    play(limiter, service, 120.0, since=60.0)
    assert (limiter.snapshot(120.0).width or 0) >= 11


def test_a_cap_that_falls_costs_a_few_refusals() -> None:
    """From 20 to 5 that fail: the width follows, and not one for each slot is refused."""
    limiter, service = _limiter(), Service(cap=20, refusal=FAILURE)
    play(limiter, service, 60.0)
    service.cap = 5
    played = play(limiter, service, 70.0, since=60.0)
    assert played.refused < 40
    assert (limiter.snapshot(70.0).width or 0) <= 6


@pytest.mark.parametrize("seconds", [lambda call: 0.1 + 0.002 * random.Random(call).random(), lambda call: 0.4 if call % 5 == 0 else 0.025])
def test_the_knee_of_a_queue_is_found_without_a_refusal(seconds: Callable[[int], float]) -> None:
    """Sixteen servers are kept busy by not many more in flight, whatever the calls are like."""
    played = play(_limiter(), Service(servers=16, seconds=seconds), 120.0)
    assert len(played.good) > 0.93 * 160 * 120
    widths = play(limiter := _limiter(), Service(servers=16, seconds=seconds), 240.0)
    assert widths.refused == 0
    assert 12 <= (limiter.snapshot(240.0).width or 0) <= 32


def test_calls_that_go_round_in_step_keep_all_servers_busy() -> None:
    """Each takes as long as the others to the digit, so a comparison of widths measures the step. More are in flight than needed."""
    played = play(limiter := _limiter(), Service(servers=16, seconds=lambda _call: 0.1), 240.0)
    assert len(played.good) > 0.93 * 160 * 240
    assert played.refused == 0
    assert 12 <= (limiter.snapshot(240.0).width or 0) <= 40


def test_more_servers_are_noticed() -> None:
    """Six servers became 18: within a minute they have work."""
    limiter, service = _limiter(), Service(servers=6, seconds=lambda call: 0.08 + 0.01 * (call % 5))
    play(limiter, service, 60.0)
    service.servers = 18
    played = play(limiter, service, 120.0, since=60.0)
    assert sum(now > 110 for now in played.good) > 0.9 * 180 * 10


def test_the_users_number_is_the_most() -> None:
    """A bulkhead that also learns never lets more in than its number."""
    played = play(_limiter(Limits(concurrency=6)), Service(servers=16), 60.0)
    assert played.widest == 6


def test_headers_replace_learning() -> None:
    """A window of 100 in ten seconds that says what is left: nothing is refused."""
    limiter = _limiter()

    def told(now: float) -> Told:
        used = service.calls - service_at.setdefault(now // 10, service.calls - 1)
        return Told(None, max(0, 100 - used), 10 - now % 10)

    service_at: dict[float, int] = {}
    service = Service(told=told)
    played = play(limiter, service, 60.0)
    assert played.refused == 0
    assert 560 <= len(played.good) <= 640


def test_a_day_with_little_to_do_changes_nothing() -> None:
    """A pace is not learned down from idleness, and nothing is tried without demand."""
    limiter, service = _limiter(), Service(rate=10, burst=10)
    play(limiter, service, 60.0)
    before = limiter.snapshot(60.0)
    play(limiter, service, 3660.0, since=60.0, works=lambda now: now % 20 < 0.5)
    after = limiter.snapshot(3660.0)
    assert after.pace == pytest.approx(before.pace, rel=0.15)
    assert after.experiments <= before.experiments + 1


def test_refused_for_ever_is_bounded() -> None:
    """A service that lets nothing in is asked less than once a minute, and is asked."""
    played = play(_limiter(), Service(rate=0, burst=0), 7200.0)
    assert 40 < len(played.starts) < 120


# -- what never happens ---------------------------------------------------------------------------------------------------------------

_OUTCOMES = st.sampled_from([SUCCESS, SUCCESS, SUCCESS, FAILURE, THROTTLED, IGNORED])
_SECONDS = st.one_of(st.floats(-1e12, 1e12), st.sampled_from([float("nan"), float("inf"), -float("inf")]))
_TOLD = st.one_of(
    st.none(), st.builds(Told, st.one_of(st.none(), _SECONDS), st.one_of(st.none(), st.integers()), st.one_of(st.none(), _SECONDS))
)
_STEP = st.tuples(st.floats(-1.0, 100.0), st.sampled_from(["start", "end", "back", "press"]), _OUTCOMES, st.integers(1, 9), _TOLD)
_LIMITS = st.one_of(
    st.none(),
    st.builds(
        Limits, concurrency=st.one_of(st.none(), st.integers(1, 9)), rate=st.one_of(st.none(), st.integers(1, 9)), per=st.floats(0.1, 9)
    ),
)


@settings(max_examples=50)
@given(limits=_LIMITS, steps=st.lists(_STEP, max_size=40), seed=st.integers(0, 9))
def test_it_is_never_negative_never_over_and_never_stuck(
    limits: Limits | None, steps: list[tuple[float, str, Outcome, int, Told | None]], seed: int
) -> None:
    """Whatever answers say and clocks do: free is from 0, no user's number is passed, and time or a result always lets it go on."""
    limiter, now = Limiter(limits, random.Random(seed).random), 0.0
    live: list[tuple[int, float, int]] = []
    for step, act, outcome, weight, told in steps:
        now += step
        if act == "start" and limiter.fits(now, weight):
            live.append((limiter.start(now, weight), now, weight))
        elif act == "end" and live:
            token, began, of = live.pop(weight % len(live))
            limiter.end(token, outcome, began, now, of, told)
        elif act == "back" and live:
            limiter.give_back(live.pop()[0], now)
        elif act == "press":
            limiter.expect_more()
        free, at = limiter.free(now), limiter.next_at(now)
        assert free is None or free >= 0
        assert limiter.in_flight == sum(each[2] for each in live)
        assert free != 0 or live or at is not None
        assert at is None or at < now + 100_000
        most = None if limits is None else limits.concurrency
        assert most is None or limiter.in_flight <= max(most, max((each[2] for each in live), default=0))
        assert limiter.snapshot(now).in_flight == limiter.in_flight


def test_a_batch_of_fifty_starts_behind_a_pace() -> None:
    """A pace frees one slot at a time: a batch takes it, and the next one waits for as long as its messages would."""
    limiter = _limiter(None)
    limiter.end(limiter.start(0.0), SUCCESS, 0.0, 0.1, told=Told(None, 200, 10.0))
    assert limiter.fits(0.2, 50)
    limiter.start(0.2, 50)
    assert not limiter.fits(1.0, 50)
    assert limiter.next_at(1.0) == pytest.approx(0.1 + 50 / 20, abs=0.05)


# -- refusals by chance ---------------------------------------------------------------------------------------------------------------


def _suspicious(limits: Limits | None = Limits()) -> tuple[Limiter, float]:  # noqa: B008 - frozen
    """A limiter, and the moment of a refusal after which one call is to ask immediately. Its pace is known, and it is not open."""
    limiter, now = _limiter(limits), 0.0
    for _ in range(100):
        for _ in range(30):
            now = max(now + 0.05, limiter.next_at(now) or 0.0)
            limiter.free(now)
            limiter.end(limiter.start(now), SUCCESS, now, now + 0.04)
        now = max(now + 0.05, limiter.next_at(now) or 0.0)
        limiter.free(now)
        limiter.end(limiter.start(now), THROTTLED, now, now + 0.02)
        now += 0.02
        if limiter.free(now):
            return limiter, now
    raise AssertionError("nothing was tested")


def test_after_some_refusals_one_call_asks_immediately() -> None:
    """Whether a refusal was by chance is seen only by a call right after it. It is refused, so the next one waits."""
    limiter, now = _suspicious()
    assert limiter.free(now) == 1
    token = limiter.start(now)
    assert limiter.free(now) == 0
    assert limiter.next_at(now) == pytest.approx(now + 4 * 0.02)
    limiter.end(token, THROTTLED, now, now + 0.02)
    assert limiter.free(now + 0.02) == 0
    assert (limiter.next_at(now + 0.02) or 0.0) > now + 0.2


def test_a_test_without_demand_is_none() -> None:
    """The gate is shut as after each refusal, and a call asks when it would have."""
    limiter, now = _suspicious()
    assert limiter.free(now + 0.03) == 0
    assert (limiter.next_at(now + 0.03) or 0.0) > now + 0.03


def test_a_call_of_a_test_that_was_never_made_does_not_count() -> None:
    """Nobody knows what its answer would have been; it is not taken for a silence."""
    limiter, now = _suspicious()
    limiter.give_back(limiter.start(now), now)
    assert limiter.free(now) == 1
    assert limiter.free(now + 0.1) == 0


def test_a_call_of_a_test_that_is_silent_counts_as_let_in() -> None:
    """Refusals are quick, and answers may take seconds."""
    limiter, now = _suspicious()
    limiter.start(now)
    assert limiter.free(now + 0.07) == 0
    later = limiter.next_at(now + 0.07) or 0.0
    assert limiter.snapshot(later).why != "throttled"


def test_an_outage_ends_a_test() -> None:
    """The circuit decides from then on when to ask."""
    limiter, now = _suspicious()
    limiter.interrupt(now)
    token = limiter.start(now)
    limiter.end(token, SUCCESS, now, now + 0.04)
    assert limiter.snapshot(now + 0.1).why != "throttled"


def test_calls_that_ask_together_keep_within_a_number_that_somebody_has_set() -> None:
    """With three at a time, the test of four is one of three."""
    limiter, service = _limiter(Limits(concurrency=3)), Service(servers=3, by_chance=13)
    played = play(limiter, service, 120.0)
    assert played.widest <= 3
    assert len(played.good) > 0.5 * 30 * 120


def test_a_quota_is_told_when_its_call_began() -> None:
    """A call that began after two were said to be left is told of nineteen: another window, although the last one seems to go on."""
    limiter = Limiter(Limits(), lambda: 0.5)
    for began, ended, left in ((0.0, 0.25, 2), (0.5, 0.75, 19)):
        limiter.end(limiter.start(began), Outcome.SUCCESS, began, ended, told=Told(None, left, 1.0))
    assert limiter.snapshot(0.75).pace == 19.0
