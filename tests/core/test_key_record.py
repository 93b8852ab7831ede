"""One key: its circuit, its gate, its pace, its width, its quota and its rate, in their short forms."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdgate.core import CircuitSettings, CountWindow, Limits, Outcome, RampSettings, State, TimeWindow, Told
from holdgate.core.key_record import RESOLUTION, RESULTS, WIDER_AFTER, KeyRecord, KeyRules, StartsInSpan

OK, FAILED, THROTTLED, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.THROTTLED, Outcome.IGNORED
STEADY = CircuitSettings(open_duration=5.0, open_jitter=0.0)


class Key:
    """A record and its clock; each call has a token of its own."""

    def __init__(self, settings: CircuitSettings = STEADY, limits: Limits | None = None) -> None:
        self.now = 0.0
        self.record = KeyRecord("a", KeyRules(settings, limits, lambda: 0.5), self.now)
        self.tokens = 0

    @property
    def free(self) -> int | None:
        return self.record.free(self.now)

    def start(self) -> object:
        self.tokens += 1
        return self.record.start(self.now, self.tokens)

    def call(self, outcome: Outcome, took: float = 0.1, **more: object) -> None:
        slot = self.record.start(self.now, self._token())
        self.now += took
        self.record.end(slot, outcome, self.now, took=took, **more)  # type: ignore[arg-type]

    def _token(self) -> int:
        self.tokens += 1
        return self.tokens

    def calls(self, outcome: Outcome, count: int) -> None:
        for _ in range(count):
            self.call(outcome)


# -- its circuit ----------------------------------------------------------------------------------------------------------------------


def test_five_failures_in_a_row_open_a_key_and_one_call_asks() -> None:
    """As for a whole dependency: nothing starts for the first wait, then one call, and no second beside it."""
    key = Key()
    key.calls(FAILED, 5)
    opened = key.now
    assert (key.record.state, key.free, key.record.is_held) == (State.OPEN, 0, True)
    assert key.record.next_at(key.now) == pytest.approx(opened + 5.0, abs=0.2)

    key.now = opened + 5.0
    assert (key.free, key.record.state, key.record.is_held) == (1, State.HALF_OPEN, True)
    key.record.start(key.now, 100)
    assert key.free == 0


def test_a_failed_probe_opens_again_and_a_good_one_begins_the_ramp() -> None:
    """The key is not held any more as soon as one call was good; it closes when the ramp is through."""
    key = Key()
    key.calls(FAILED, 5)
    key.now += 5.0
    assert key.free == 1
    key.call(FAILED)
    assert key.record.state is State.OPEN

    key.now += 5.0
    assert key.free == 1
    key.call(OK)
    assert (key.record.state, key.record.is_held, key.free) == (State.HALF_OPEN, False, 1)
    key.calls(OK, 3)
    assert key.free == 2
    key.calls(OK, 3 + 4 + 8 + 16)
    assert (key.record.state, key.free) == (State.CLOSED, None)


def test_a_ramp_halves_where_a_stage_is_bad_and_ends_where_nothing_is_left_to_halve() -> None:
    """One of three bad at a limit of four: two. Half of a stage bad at a limit of two: open."""
    key = Key()
    key.calls(FAILED, 5)
    key.now += 5.0
    assert key.free == 1
    key.calls(OK, 1 + 3 + 3)
    assert key.free == 4
    for outcome in (OK, OK, FAILED, OK):
        key.call(outcome)
    assert key.free == 2
    for outcome in (FAILED, OK, FAILED):
        key.call(outcome)
    assert key.record.state is State.OPEN


def test_three_failures_in_a_row_end_a_ramp_at_any_limit() -> None:
    """A fourth would only fail one more call."""
    key = Key()
    key.calls(FAILED, 5)
    key.now += 5.0
    assert key.free == 1
    key.calls(OK, 1 + 3 + 3)
    key.calls(FAILED, 3)
    assert key.record.state is State.OPEN


def test_half_of_the_last_results_open_it() -> None:
    """The rate rule of the settings, from the minimum of calls on."""
    key = Key()
    for _ in range(4):
        key.call(OK)
        key.call(FAILED)
    key.call(OK)
    assert key.record.state is State.CLOSED
    key.call(FAILED)
    assert key.record.state is State.OPEN


def test_a_key_is_judged_by_as_many_results_as_the_window_has_calls() -> None:
    """A window of time holds few calls of one key: there it is twenty."""
    assert Key(CircuitSettings(window=CountWindow(5))).record.rules.results == 5
    assert Key(CircuitSettings(window=TimeWindow(10))).record.rules.results == RESULTS
    assert Key(CircuitSettings(window=TimeWindow(10), minimum_calls=50)).record.rules.results == 50
    key = Key(CircuitSettings(window=CountWindow(3), consecutive_failures=None))
    key.calls(FAILED, 1)
    key.calls(OK, 3)
    assert key.record.seen_at(key.now) == (3, 0, 0)


def test_slow_calls_open_it_as_well() -> None:
    """Half of ten slower than the settings say."""
    key = Key(CircuitSettings(slow_call_duration=1.0))
    for _ in range(4):
        key.call(OK, 2.0)
        key.call(OK)
    key.call(OK, 2.0)
    assert key.record.state is State.CLOSED
    key.call(OK, 2.0)
    assert key.record.state is State.OPEN


def test_a_slow_probe_is_a_bad_one() -> None:
    """The key answers, and is not well."""
    key = Key(CircuitSettings(slow_call_duration=1.0, open_duration=5.0))
    key.calls(FAILED, 5)
    key.now += 6.0
    assert key.free == 1
    key.call(OK, 2.0)
    assert key.record.state is State.OPEN


def test_a_failure_with_retry_after_opens_for_that_time() -> None:
    """At once, whatever the window holds."""
    key = Key()
    key.call(FAILED, retry_after=40.0)
    assert key.record.next_at(key.now) == pytest.approx(key.now + 40.0)


def test_a_failure_that_asked_for_the_whole_opens_at_once() -> None:
    """So that another key asks next; a success that asked opens nothing."""
    key = Key()
    key.call(OK, is_alone=True)
    assert key.record.state is State.CLOSED
    key.call(FAILED, is_alone=True)
    assert key.record.state is State.OPEN


def test_a_result_of_an_older_generation_decides_nothing() -> None:
    """A call that hung while its key opened, waited and asked does not close it."""
    key = Key()
    late = key.record.start(key.now, 99)
    key.calls(FAILED, 5)
    key.now += 5.0
    assert key.free == 1
    key.record.end(late, OK, key.now, took=key.now)
    assert (key.record.state, key.record.is_held, key.record.in_flight) == (State.HALF_OPEN, True, 0)


def test_a_probe_that_never_ends_counts_as_failed_when_its_lease_is_over() -> None:
    """Otherwise its key would wait for ever."""
    key = Key(CircuitSettings(open_duration=5.0, permit_lease=30.0))
    key.calls(FAILED, 5)
    key.now += 6.0
    assert key.free == 1
    key.record.start(key.now, 99)
    assert key.record.next_at(key.now) == pytest.approx(key.now + 30.0)
    key.now += 30.0
    assert (key.free, key.record.state) == (0, State.OPEN)


def test_a_probe_without_a_verdict_makes_room_for_another() -> None:
    """Ignored, or taken back: neither opens nor closes."""
    key = Key()
    key.calls(FAILED, 5)
    key.now += 5.0
    assert key.free == 1
    key.call(IGNORED)
    assert key.free == 1
    key.record.give_back(key.record.start(key.now, 98))
    assert (key.free, key.record.state) == (1, State.HALF_OPEN)


def test_an_explicit_end_of_the_ramp_is_kept() -> None:
    """`ramp.full`; else sixteen."""
    key = Key(CircuitSettings(open_duration=5.0, open_jitter=0.0, ramp=RampSettings(full=2)))
    key.calls(FAILED, 5)
    key.now += 5.0
    assert key.free == 1
    key.calls(OK, 1 + 3 + 3)
    assert key.record.state is State.CLOSED


# -- its limits -----------------------------------------------------------------------------------------------------------------------


def test_a_refusal_shuts_the_gate_and_one_call_asks_after_retry_after() -> None:
    """The circuit hears nothing of it. Let in, it opens, and a pace is known."""
    key = Key()
    key.call(THROTTLED, 0.02, told=Told(retry_after=1.0))
    assert (key.record.state, key.record.is_held, key.free) == (State.CLOSED, True, 0)
    at = key.record.next_at(key.now)
    assert at is not None
    assert 1.0 <= at - key.now <= 1.1

    key.now = at
    assert key.free == 1
    key.call(OK, 0.02)
    assert (key.record.is_held, key.free, key.record.in_flight) == (False, 0, 0)
    key.now += 2.0
    assert key.free == 1


def test_an_asking_call_that_is_refused_waits_longer() -> None:
    """And a refusal of one that did not ask changes nothing."""
    key = Key()
    other, late = key.record.start(0.0, 50), key.record.start(0.0, 51)
    key.call(THROTTLED, 0.02)
    first = key.record.next_at(key.now)
    key.record.end(other, THROTTLED, key.now, took=0.02)
    assert key.record.next_at(key.now) == first
    assert first is not None
    waited = first - key.now
    key.now = first
    key.call(THROTTLED, 0.02)
    again = key.record.next_at(key.now)
    assert again is not None
    assert again - key.now > 1.5 * waited
    key.now = again
    key.call(OK, 0.02)
    key.record.end(late, THROTTLED, key.now, took=key.now)  # it began before the refusal: old news
    assert not key.record.is_held


def test_an_asking_call_that_is_silent_counts_as_let_in() -> None:
    """Refusals are quick; a call that takes a minute is none."""
    key = Key()
    key.call(THROTTLED, 0.02)
    at = key.record.next_at(key.now)
    assert at is not None
    key.now = at
    key.record.start(key.now, 99)
    assert key.free == 0
    key.now += 1.0
    assert (key.free, key.record.is_held) == (0, False)  # it is paced from now on
    key.now += 1.0
    assert key.free == 1


def test_a_refusal_of_a_call_that_began_unknown_counts_all_the_same() -> None:
    """The first refusal of a key is always one of those."""
    key = Key()
    key.record.end(None, THROTTLED, 1.0, took=0.02)
    assert (key.record.is_held, key.record.in_flight) == (True, 0)


def test_refused_twice_above_what_was_let_in_is_a_cap() -> None:
    """Three at a time are let in, the fourth is not: three from then on, and one more after a hundred good calls."""
    key = Key()
    key.now = 10.0
    for _ in range(2):
        while key.record.is_held or key.free == 0:
            key.now += 0.5
            if key.record.free(key.now) and key.record.is_held:
                key.call(OK, 0.02)
        slots = [key.record.start(key.now, 1000 + at) for at in range(4)]
        key.now += 0.5
        for slot in slots[:3]:
            key.record.end(slot, OK, key.now, took=0.5)
        key.record.end(slots[3], THROTTLED, key.now, took=0.5)
    assert (key.record.is_held, key.record.in_flight) == (False, 0)
    assert widest(key) == 3
    for _ in range(WIDER_AFTER):
        slots = [key.record.start(key.now, 1000 + at) for at in range(3)]
        key.now += 10.0
        for slot in slots:
            key.record.end(slot, OK, key.now, took=0.5)
    assert widest(key) == 4


def widest(key: Key) -> int:
    """How many it lets start at one moment of a long time, each a second after the other."""
    slots = []
    for at in range(10):
        key.now += 100.0
        if key.record.free(key.now) == 0:
            assert key.record.next_at(key.now) is None  # only a result makes room
            break
        slots.append(key.record.start(key.now, 2000 + at))
    for slot in slots:
        key.record.give_back(slot)
    return len(slots)


def test_what_an_answer_says_of_the_quota_is_kept_to() -> None:
    """Two left for ten seconds: two, and then none before it ends. An answer that says nothing changes nothing."""
    key = Key()
    key.call(OK, told=Told(retry_after=1.0))
    assert key.free is None
    key.call(OK, told=Told(remaining=2, reset=10.0))
    assert key.free == 1
    key.calls(OK, 1)
    key.now += 6.0
    key.calls(OK, 1)
    assert (key.free, key.record.next_at(key.now)) == (0, pytest.approx(11.2))
    key.call(OK, told=Told(remaining=100, reset=60.0))


def test_numbers_alone_limit_where_nothing_is_to_be_found_out() -> None:
    """A refusal moves nothing with adaptive=False."""
    key = Key(limits=Limits(concurrency=2, adaptive=False))
    assert key.free == 2
    key.call(THROTTLED, told=Told(retry_after=60.0))
    assert (key.free, key.record.is_held) == (2, False)
    slots = [key.record.start(key.now, at) for at in (50, 51)]
    assert (key.free, key.record.next_at(key.now)) == (0, None)
    key.record.end(slots[0], OK, key.now)
    assert key.free == 1


def test_a_rate_is_kept_and_says_when_it_has_room() -> None:
    """Three in any ten seconds; what was never made does not count."""
    key = Key(limits=Limits(rate=3, per=10, adaptive=False))
    for _ in range(3):
        key.record.start(key.now, 1)
        key.now += 1.0
    assert (key.free, key.record.next_at(key.now)) == (0, pytest.approx(10.0))
    key.record.give_back(key.record.start(key.now, 2))
    key.now = 10.0
    assert (key.free, key.record.next_at(key.now)) == (1, None)


def test_opening_leaves_it_to_the_circuit_when_to_ask() -> None:
    """A shut gate opens with it: two that both wait would ask twice."""
    key = Key()
    slots = [key.record.start(0.0, at) for at in range(50, 55)]
    key.record.end(None, THROTTLED, 0.1, took=0.1, told=Told(retry_after=600.0))
    for slot in slots:
        key.record.end(slot, FAILED, 0.2, took=0.2)
    assert key.record.state is State.OPEN
    assert key.record.next_at(0.2) == pytest.approx(5.0, abs=0.3)


def test_other_rules_begin_anew_and_count_what_is_in_flight() -> None:
    """An operator has reset it, or set other numbers."""
    key = Key()
    key.calls(FAILED, 5)
    slot = key.record.start(key.now, 9)
    key.record.begin_anew(KeyRules(STEADY, Limits(rate=2, per=10, concurrency=2), lambda: 0.5), key.now)
    assert (key.record.state, key.free, key.record.is_held) == (State.CLOSED, 1, False)
    key.record.end(slot, FAILED, key.now)
    assert (key.free, key.record.is_pinned) == (2, False)
    key.record.begin_anew(KeyRules(STEADY, None, lambda: 0.5), key.now)
    assert key.free is None


def test_it_stands_in_for_a_gate_where_votes_are_counted() -> None:
    """What flow/blame.py looks at."""
    record = Key().record
    record.successes, record.recoveries = 5, 2
    assert record.circuit is record
    assert (record.first_successes, record.settings, record.override, record.probed, record.good_probes) == (3, STEADY, None, False, 0)


# -- the rate, exactly ----------------------------------------------------------------------------------------------------------------


@given(
    rate=st.integers(1, 60),
    per=st.floats(0.5, 100.0),
    gaps=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=300),
)
def test_no_span_has_more_starts_than_the_rate(rate: int, per: float, gaps: list[float]) -> None:
    """Wherever the span begins; and a rate up to the resolution loses nothing to that, against a list of all times."""
    limits, starts, times, now = Limits(rate=rate, per=per, adaptive=False), StartsInSpan(), deque[float](), 0.0
    for gap in gaps:
        now += gap
        while times and times[0] + limits.per <= now:
            times.popleft()
        free = starts.free(limits, now)
        assert free <= rate - len(times)
        if rate <= RESOLUTION:
            assert free == rate - len(times)
        if free:
            starts.start(limits, now)
            times.append(now)
        else:
            assert starts.next_at(limits) > now
    assert len(starts) <= 2 * (RESOLUTION + 1)


def test_a_start_of_many_that_is_taken_back_is_not_counted() -> None:
    """Nor is one that is long forgotten."""
    limits, starts = Limits(rate=100, per=10, adaptive=False), StartsInSpan()
    starts.give_back()
    for _ in range(10):
        starts.start(limits, 1.0)
    starts.give_back()
    assert starts.free(limits, 1.0) == 91


# -- in worlds ------------------------------------------------------------------------------------------------------------------------


class Bucket:
    """Lets `rate` calls a second in, up to `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, burst, 0.0

    def __call__(self, now: float, running: int) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        lets = self.tokens >= 1
        self.tokens -= lets
        return lets


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("world", "best", "least", "most_wasted"),
    [
        (lambda: Bucket(10, 10), 10.0, 0.9, 0.03),
        (lambda: Bucket(2, 5), 2.0, 0.85, 0.05),
        (lambda: lambda _, running: running < 3, 30.0, 0.9, 0.03),
    ],
)
def test_a_limited_key_gets_most_of_its_limit_and_wastes_little(
    seed: int, world: object, best: float, least: float, most_wasted: float
) -> None:
    """Ten minutes of a key that always has messages, sixteen lanes, and calls of a tenth of a second."""
    rng = random.Random(seed)
    record = KeyRecord("a", KeyRules(CircuitSettings(), None, rng.random), 0.0)
    lets_in = world()  # type: ignore[operator]
    record.waiting = 1
    now, good, bad, token, running = 0.0, 0, 0, 0, 0
    ends: list[tuple[float, int, object, bool]] = []
    while now < 600.0:
        while len(ends) < 16 and record.free(now) != 0:
            token += 1
            is_in = lets_in(now, running)
            running += is_in
            ends.append((now + (0.1 if is_in else 0.02) * (0.9 + 0.2 * rng.random()), token, record.start(now, token), is_in))
        ends.sort(key=lambda end: end[:2])
        at = record.next_at(now)
        if ends and (at is None or len(ends) == 16 or ends[0][0] <= at):
            now, _, slot, is_in = ends.pop(0)
            running -= is_in
            good, bad = good + is_in, bad + (not is_in)
            record.end(slot, OK if is_in else THROTTLED, now, took=0.1 if is_in else 0.02)  # type: ignore[arg-type]
        else:
            assert at is not None
            now = at
    assert good / (600 * best) >= least
    assert bad / (good + bad) <= most_wasted
