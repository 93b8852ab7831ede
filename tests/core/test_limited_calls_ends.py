"""The ends of limited calls: which are counted, once, and what the limiter hears of them."""

from __future__ import annotations

import pytest
from tests.core.driving import SUCCESS, acquire

from holdgate.core import Circuit, LimiterSnapshot, Limits, Outcome, Override, Permit, Rejected, State
from holdgate.core.limited_calls import LimitedCalls
from holdgate.core.limiter import Limiter
from holdgate.core.outcomes import Told
from holdgate.core.permits import SETTLED, issue

TWO = Limits(concurrency=2, adaptive=False)
THROTTLED, IGNORED = Outcome.THROTTLED, Outcome.IGNORED


def _seen(circuit: Circuit, now: float) -> LimiterSnapshot:
    seen = circuit.snapshot(now).limits
    assert seen is not None
    return seen


# -- how limiting begins --------------------------------------------------------------------------------------------------------------


def test_limiting_begins_with_the_first_throttled_answer() -> None:
    """What went before is not counted, and the gate shuts for as long as the service has said."""
    circuit = Circuit("payments")
    for _ in range(3):
        circuit.record(acquire(circuit, 0.0), SUCCESS, 0.1)
    circuit.record(acquire(circuit, 0.1), THROTTLED, 0.2, told=Told(7.0))
    seen = _seen(circuit, 0.2)
    assert (seen.accepted, seen.refused, seen.why) == (0, 1, "throttled")
    assert seen.next_at is not None
    assert seen.next_at >= 7.2


def test_limiting_begins_with_the_first_quota_that_is_named() -> None:
    """Nothing need be refused for that."""
    circuit = Circuit("payments")
    circuit.record(acquire(circuit, 0.0), SUCCESS, 0.1, told=Told(None, 20, 10.0))
    assert _seen(circuit, 0.1).pace == 2.0


def test_who_ends_a_call_learns_whether_that_begins_the_limiting() -> None:
    """Only of the one that does, because the circuit must give up its short way then."""
    limits = LimitedCalls(None, lambda: 0.0)
    assert not limits.end(issue(0, 0.0, 1), SUCCESS, 0.1, None)
    assert limits.end(issue(0, 0.0, 1), THROTTLED, 0.2, None)
    assert not limits.end(issue(0, 0.0, 1), THROTTLED, 0.3, None)
    held = issue(0, 0.0, 2)
    held.standing = SETTLED
    assert not limits.end(held, SUCCESS, 0.3, None)
    named = LimitedCalls(None, lambda: 0.0)
    assert named.end(issue(0, 0.0, 1), SUCCESS, 0.1, Told(None, 20, 10.0))


@pytest.mark.parametrize("is_replaced", [False, True])
def test_jitter_is_drawn_from_the_circuit(is_replaced: bool) -> None:
    """Those that were refused together ask apart, also after the limits were replaced."""
    circuit = Circuit("payments", limits=None if is_replaced else Limits(), draw=lambda: 1.0)
    if is_replaced:
        circuit.set_limits(Limits(), 0.0)
    circuit.record(acquire(circuit, 0.0), THROTTLED, 0.0)
    assert _seen(circuit, 0.0).next_at == pytest.approx(0.275)


def test_without_limits_nothing_is_remembered_of_earlier_ones() -> None:
    """Limiting begins anew, with the next throttled answer."""
    circuit = Circuit("payments", limits=TWO)
    circuit.set_limits(None, 0.0)
    assert circuit.snapshot(0.0).limits is None
    circuit.record(acquire(circuit, 0.0), SUCCESS, 0.1)
    circuit.record(acquire(circuit, 0.1), THROTTLED, 0.2)
    assert _seen(circuit, 0.2).accepted == 0


# -- each call once -------------------------------------------------------------------------------------------------------------------


def test_trap_a_call_from_before_the_limiter_frees_anothers_place() -> None:
    """It has no token, and the second call after it has the number two."""
    circuit = Circuit("payments")
    before = [acquire(circuit, 0.0) for _ in range(2)]
    circuit.record(acquire(circuit, 0.0), SUCCESS, 0.1, told=Told(None, 100, 1.0))
    now = 10.0
    for _ in range(3):
        acquire(circuit, now)
        now += 1.0
    circuit.record(before[0], SUCCESS, now)
    circuit.record(before[1], THROTTLED, now)
    assert _seen(circuit, now).in_flight == 3


def test_a_result_that_is_given_twice_is_counted_once() -> None:
    """And under DISABLED none is."""
    circuit = Circuit("payments", limits=TWO)
    permit = acquire(circuit, 0.0)
    circuit.record(permit, SUCCESS, 0.1)
    circuit.record(permit, SUCCESS, 0.1)
    assert _seen(circuit, 0.1).accepted == 1
    other = acquire(circuit, 0.1)
    circuit.disable(0.2)
    circuit.record(other, SUCCESS, 0.2)
    assert _seen(circuit, 0.2).accepted == 1


def test_the_first_call_of_a_handler_is_the_call_of_its_message() -> None:
    """The end of the handler is none, and nothing is kept of calls that have ended."""
    circuit = Circuit("payments", limits=TWO)
    held, limits = acquire(circuit, 0.0), circuit.limits
    assert limits.slot(held, 0.0, State.CLOSED) is held
    second = limits.slot(held, 0.0, State.CLOSED)
    assert isinstance(second, Permit)
    assert (second.generation, second.acquired_at) == (held.generation, 0.0)
    limits.slot_ended(held, SUCCESS, 0.1, None)
    limits.slot_ended(second, None, 0.1, None)
    assert not limits.end(held, SUCCESS, 0.2, None)
    assert _seen(circuit, 0.2).accepted == 2
    assert not limits._called
    assert not limits._tokens


def test_a_handler_that_is_cut_keeps_nothing() -> None:
    """Its call was begun, and nobody knows how it ended."""
    circuit = Circuit("payments", limits=TWO)
    held = acquire(circuit, 0.0)
    circuit.limits.slot(held, 0.0, State.CLOSED)
    circuit.release(held, 0.1)
    assert not circuit.limits._called
    assert not circuit.limits._tokens


def test_a_call_of_a_handler_that_is_throttled_shuts_the_gate() -> None:
    """For as long as the service has said. The handler itself may succeed."""
    circuit = Circuit("payments", limits=Limits())
    held = acquire(circuit, 0.0)
    circuit.limits.slot(held, 0.0, State.CLOSED)
    circuit.limits.slot_ended(held, THROTTLED, 0.1, Told(7.0))
    seen = _seen(circuit, 0.1)
    assert seen.refused == 1
    assert seen.next_at is not None
    assert seen.next_at >= 7.1


def test_a_message_from_before_the_limiter_has_no_slot_for_its_call() -> None:
    """Its permit was not counted, so the call starts by itself, or is refused with the state of the circuit."""
    circuit = Circuit("payments")
    held = acquire(circuit, 0.0)
    circuit.record(acquire(circuit, 0.0), THROTTLED, 0.1)
    refused = circuit.limits.slot(held, 0.1, State.CLOSED)
    assert isinstance(refused, Rejected)
    assert (refused.state, refused.is_limited) == (State.CLOSED, True)
    assert circuit.limits.slot(held, 10.0, State.CLOSED) is not held


# -- what is asked before a call ------------------------------------------------------------------------------------------------------


def test_what_is_not_active_limits_nothing() -> None:
    """Without limits, and under an override: who asks gets the circuit's own number, a slot, and no time."""
    unlimited = LimitedCalls(None, lambda: 0.0)
    assert (unlimited.within(3, 0.0), unlimited.within(None, 0.0), unlimited.has_slot(0.0), unlimited.next_at(0.0)) == (3, None, True, None)
    circuit = Circuit("payments", limits=Limits(rate=1, adaptive=False))
    circuit.observe(0.0)
    acquire(circuit, 0.0)
    limits = circuit.limits
    assert (limits.within(3, 0.0), limits.has_slot(0.0), limits.next_at(0.0)) == (3, True, None)


def test_a_timer_is_never_set_for_now() -> None:
    """A slot that is free in a ten-millionth of a second is waited for a little longer, so that it is surely there."""
    circuit = Circuit("payments", limits=Limits(rate=1, adaptive=False))
    circuit.record(acquire(circuit, 5.0), SUCCESS, 5.0)
    now = 6.0 - 1e-7
    at = circuit.limits.next_at(now)
    assert at is not None
    assert at == pytest.approx(now + 1e-6, abs=1e-9)


def test_a_batch_that_is_heavier_than_the_limit_starts_when_nothing_runs() -> None:
    """Unless a call in a handler waits, which comes first."""
    limits = Circuit("payments", limits=TWO).limits
    assert limits.refusal(0.0, 5, State.CLOSED) is None
    limits.waiting = 1
    assert isinstance(limits.refusal(0.0, 5, State.CLOSED), Rejected)


@pytest.mark.parametrize(("asks", "experiments"), [(True, 1), (False, 0)])
def test_who_was_refused_has_shown_that_the_limit_bounds(asks: bool, experiments: int) -> None:
    """Only then is it tried whether the cap still stands."""
    circuit = Circuit("payments", limits=Limits())
    now = 0.0
    for width in (1, 2):
        for permit in [acquire(circuit, now) for _ in range(width)]:
            circuit.record(permit, SUCCESS, now)
        now += 1.0
    permits = [acquire(circuit, now) for _ in range(3)]
    circuit.record(permits.pop(), THROTTLED, now + 0.02)
    for permit in permits:
        circuit.record(permit, SUCCESS, now + 0.1)
    now += 1.0
    circuit.record(acquire(circuit, now), SUCCESS, now + 0.1)  # alone, after a refusal
    now += 1.0
    permits = [acquire(circuit, now) for _ in range(2)]
    assert circuit.free_slots == 0
    if asks:
        assert isinstance(circuit.try_acquire(now), Rejected)
    circuit.record(permits.pop(), SUCCESS, now + 0.1)
    acquire(circuit, now + 0.1)
    assert _seen(circuit, now + 0.1).experiments == experiments


# -- what was found -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pace", "width", "share", "is_found"),
    [
        (10.0, 8, 1.0, False),
        (9.9, 8, 1.0, True),
        (10.0, 7, 1.0, True),
        (11.0, 9, 1.0, False),
        (None, None, 1.0, False),
        (None, 7, 1.0, True),
        (9.9, None, 1.0, True),
        (5.0, 4, 0.5, False),  # this worker's own part
        (4.9, 4, 0.5, True),
        (5.0, 3, 0.5, True),
    ],
)
def test_found_is_what_is_lower_than_what_was_set(pace: float | None, width: int | None, share: float, is_found: bool) -> None:
    """A hundred in ten seconds are ten a second; eight may be in flight."""
    limits = LimitedCalls(Limits(rate=100, per=10.0, concurrency=8), lambda: 0.0)
    limits.set_share(share, 0.0)
    assert (limits.found_in(LimiterSnapshot(0, width, pace, None, 0, 0, 0, "pace")) != (None, None)) is is_found


def test_without_numbers_all_is_found() -> None:
    """And nothing is where nothing is known."""
    limits = LimitedCalls(Limits(), lambda: 0.0)
    assert limits.found_in(LimiterSnapshot(0, None, 5.0, None, 0, 0, 0, "pace")) == (5.0, None)
    unlimited = LimitedCalls(None, lambda: 0.0)
    unlimited.set_share(0.5, 0.0)
    assert unlimited.found_in(LimiterSnapshot(0, None, 5.0, None, 0, 0, 0, "pace")) == (5.0, None)
    assert limits.found_in(LimiterSnapshot(0, None, None, None, 0, 0, 0, "free")) == (None, None)
    assert LimitedCalls(TWO, lambda: 0.0).found_in(LimiterSnapshot(0, 1, 5.0, None, 0, 0, 0, "pace")) == (None, None)


@pytest.mark.parametrize(("limits", "is_silence"), [(None, False), (Limits(), True), (Limits(concurrency=9, adaptive=False), False)])
def test_a_silence_is_known_where_latencies_are(limits: Limits | None, is_silence: bool) -> None:
    """Four times as long as an answer takes, and only by a limiter that learns."""
    circuit = Circuit("payments", limits=limits)
    circuit.record(acquire(circuit, 0.0), SUCCESS, 0.1)
    assert circuit.limits.is_silence(1.0) is is_silence
    circuit.observe(0.2)
    assert not circuit.limits.is_silence(1.0)


def test_a_share_is_told_to_what_else_has_numbers() -> None:
    """With the time, which the keys of a dependency need."""
    limits = Circuit("payments").limits
    seen: list[tuple[float, float]] = []
    limits.shared = lambda share, now: seen.append((share, now))
    limits.set_share(0.5, 3.0)
    assert seen == [(0.5, 3.0)]


# -- what is not limited --------------------------------------------------------------------------------------------------------------


def test_numbers_that_a_user_gave_limit_from_the_beginning() -> None:
    """Before anybody lays an override over the circuit."""
    calls = LimitedCalls(Limits(concurrency=2, adaptive=False), lambda: 0.5)
    assert (calls.active, calls.counts, calls.free(0.0)) == (True, True, 2)


def test_a_call_that_nothing_limits_wants_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An override lets all of them through: that more would come is no news for the limiter."""
    wanted: list[bool] = []
    monkeypatch.setattr(Limiter, "expect_more", lambda _: wanted.append(True))
    calls = LimitedCalls(Limits(concurrency=2, adaptive=False), lambda: 0.5)
    calls.overridden(Override.DISABLED, 0.0)
    calls.expect_more()
    assert wanted == []
    calls.overridden(None, 1.0)
    calls.expect_more()
    assert wanted == [True]


def test_a_call_that_was_never_counted_is_not_taken_off_while_it_is_observed() -> None:
    """It began before anybody looked, and was never made: the others are in flight all the same."""
    calls = LimitedCalls(Limits(concurrency=2, adaptive=False), lambda: 0.5)
    calls.overridden(Override.METRICS_ONLY, 0.0)
    counted, unknown = issue(0, 0.0, 1), issue(0, 0.0, 1)
    calls.start(counted, 0.0)
    calls.give_back(unknown, 1.0)
    seen = calls.snapshot(1.0)
    assert seen is not None
    assert seen.in_flight == 1


def test_calls_that_are_observed_are_ended_with_what_they_say() -> None:
    """Their outcome, their weight and what the answer says of a quota; a call whose end is known already says nothing again."""
    calls = LimitedCalls(None, lambda: 0.5)
    calls.overridden(Override.METRICS_ONLY, 0.0)
    assert calls.is_observed
    permit = issue(0, 0.0, 1)
    calls.start(permit, 0.0)
    assert calls.snapshot(0.0) is None
    permit.standing = SETTLED
    assert calls.end(permit, Outcome.SUCCESS, 1.0, Told(None, 20, 10.0)) is False
    assert calls.snapshot(1.0) is None

    known = issue(0, 1.0, 1)
    calls.start(known, 1.0)
    assert calls.end(known, Outcome.SUCCESS, 2.0, Told(None, 20, 10.0)) is True
    seen = calls.snapshot(2.0)
    assert seen is not None
    assert (seen.pace, seen.accepted) == (2.0, 1)
    calls.overridden(None, 3.0)
    assert not calls.is_observed


@pytest.mark.parametrize("limits", [Limits(concurrency=1, adaptive=False), Limits(rate=1, per=60.0, adaptive=False)])
def test_under_an_override_nothing_is_asked_of_a_limiter_that_is_full(limits: Limits) -> None:
    """It goes on when the override is over. Until then there is a slot for each call, and no time is waited for."""
    calls = LimitedCalls(limits, lambda: 0.5)
    calls.start(issue(0, 0.0, 1), 0.0)
    assert not calls.has_slot(1.0)
    calls.overridden(Override.DISABLED, 1.0)
    assert (calls.has_slot(1.0), calls.next_at(1.0), calls.free(1.0)) == (True, None, None)
    calls.overridden(None, 2.0)
    assert not calls.has_slot(2.0)


def test_calls_that_are_observed_start_at_their_time() -> None:
    """A quota that the service has named counts them from then on."""
    calls = LimitedCalls(None, lambda: 0.5)
    calls.overridden(Override.METRICS_ONLY, 0.0)
    assert calls.end(issue(0, 0.0, 1), SUCCESS, 5.0, Told(None, 20, 10.0))
    calls.start(issue(0, 5.0, 3), 5.0)
    seen = calls.snapshot(5.0)
    assert seen is not None
    assert (seen.in_flight, seen.pace) == (3, 2.0)


def test_a_call_that_is_observed_and_was_never_made_is_in_flight_no_longer() -> None:
    """With the weight that it had."""
    calls = LimitedCalls(TWO, lambda: 0.5)
    calls.overridden(Override.METRICS_ONLY, 0.0)
    made, unmade = issue(0, 0.0, 1), issue(0, 0.0, 2)
    for permit in (made, unmade):
        calls.start(permit, 0.0)
    calls.give_back(unmade, 1.0)
    seen = calls.snapshot(1.0)
    assert seen is not None
    assert seen.in_flight == 1


def test_the_end_of_a_handler_whose_call_was_observed_is_no_news() -> None:
    """The call has ended by then: nothing begins with it, and nothing is kept."""
    calls = LimitedCalls(TWO, lambda: 0.5)
    calls.overridden(Override.METRICS_ONLY, 0.0)
    held = issue(0, 0.0, 1)
    calls.start(held, 0.0)
    assert calls.slot(held, 0.0, State.CLOSED) is held
    calls.slot_ended(held, SUCCESS, 0.1, None)
    assert calls.end(held, SUCCESS, 0.2, None) is False
    seen = calls.snapshot(0.2)
    assert seen is not None
    assert (seen.accepted, seen.in_flight) == (1, 0)
    assert not calls._called
    assert not calls._tokens


def test_a_handler_that_is_cut_after_its_call_gives_no_call_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limiter has counted that call to its end."""
    given: list[int] = []
    monkeypatch.setattr(Limiter, "give_back", lambda _, token, now: given.append(token))
    calls = LimitedCalls(TWO, lambda: 0.5)
    cut, unmade = issue(0, 0.0, 1), issue(0, 0.0, 1)
    calls.start(cut, 0.0)
    calls.slot(cut, 0.0, State.CLOSED)
    calls.slot_ended(cut, SUCCESS, 0.1, None)
    calls.give_back(cut, 0.2)
    assert given == []
    calls.start(unmade, 0.2)
    calls.give_back(unmade, 0.3)
    assert len(given) == 1


def test_other_limits_end_no_observing() -> None:
    """An operator ends it."""
    calls = LimitedCalls(None, lambda: 0.5)
    calls.overridden(Override.METRICS_ONLY, 0.0)
    calls.replace(TWO, [], 1.0)
    assert calls.is_observed
    seen = calls.snapshot(1.0)
    assert seen is not None
    assert seen.width == 2
