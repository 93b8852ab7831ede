"""One circuit: what is admitted, what opens it, how a result is counted, and time."""

from __future__ import annotations

import pytest
from tests.core.driving import (
    FAILURE,
    FIRST_WAIT,
    IGNORED,
    NO_LIMIT,
    SUCCESS,
    acquire,
    call,
    calls,
    half_opened,
    is_refused,
    kinds,
    opened,
)

from holdgate.core import (
    Circuit,
    CircuitOpened,
    CircuitSettings,
    CountWindow,
    Outcome,
    Permit,
    Reason,
    Rejected,
    State,
    ThresholdExceeded,
    TimeWindow,
)
from holdgate.core.outcomes import VERDICTS
from holdgate.core.permits import LIVE
from holdgate.errors import SettingsError

SLOW_AFTER_ONE = CircuitSettings(slow_call_duration=1.0)


NO_RUN = CircuitSettings(consecutive_failures=None)


SLOW = CircuitSettings(slow_call_duration=1.0, slow_call_rate_threshold=0.5, minimum_calls=1)


def test_a_closed_circuit_admits_everything() -> None:
    """No limit of its own, and nothing is counted before the result."""
    circuit = Circuit("payments")
    permits = [acquire(circuit, 0.0) for _ in range(1000)]
    assert (circuit.limit, circuit.free_slots, circuit.next_deadline()) == (None, None, None)
    assert circuit.may_acquire(0.0)
    assert circuit.snapshot(0.0).in_flight == len(permits)


def test_a_permit_carries_its_generation_and_time() -> None:
    """They are the circuit's at the moment of issue."""
    circuit = half_opened()
    permit = acquire(circuit, 7.5)
    assert (permit.generation, permit.acquired_at, permit.weight) == (circuit.generation, 7.5, 1)
    permit = acquire(Circuit("payments"), 7.5, weight=3)
    assert (permit.generation, permit.acquired_at, permit.weight) == (0, 7.5, 3)


@pytest.mark.parametrize(
    ("settings", "outcomes", "state"),
    [
        (CircuitSettings(), "FFFF", State.CLOSED),
        (CircuitSettings(), "FFFFF", State.OPEN),
        (CircuitSettings(), "FFFFSFFFF", State.CLOSED),
        (CircuitSettings(), "FFFFSFFFFF", State.OPEN),
        (CircuitSettings(), "FFFFIIF", State.OPEN),
        (CircuitSettings(), "FFFFTTF", State.OPEN),
        (CircuitSettings(), "T" * 100, State.CLOSED),
        (CircuitSettings(), "T" * 100 + "FFFF", State.CLOSED),
        (CircuitSettings(), "FSFSFSFSF", State.CLOSED),
        (CircuitSettings(), "FSFSFSFSFS", State.OPEN),
        (CircuitSettings(), "SSSSSSFFFF", State.CLOSED),
        (NO_RUN, "FFFFFFFFF", State.CLOSED),
        (NO_RUN, "FFFFFFFFFI", State.CLOSED),
        (NO_RUN, "FFFFFFFFFS", State.OPEN),
        (CircuitSettings(window=CountWindow(4)), "FSFS", State.OPEN),
        (CircuitSettings(window=CountWindow(4)), "SSSFF", State.OPEN),
        (CircuitSettings(window=CountWindow(4)), "FSSSSFS", State.CLOSED),
        (CircuitSettings(failure_rate_threshold=0.3), "SSSSSSSFFF", State.OPEN),
        (CircuitSettings(failure_rate_threshold=0.31), "SSSSSSSFFF", State.CLOSED),
    ],
)
def test_what_opens_a_closed_circuit(settings: CircuitSettings, outcomes: str, state: State) -> None:
    """Rates at their threshold from the minimum on, failures in a row at theirs, judged on every result, never on IGNORED or THROTTLED."""
    circuit = Circuit("payments", settings, limits=NO_LIMIT)
    calls(circuit, outcomes, 0.0)
    assert circuit.state is state


def test_a_slow_success_may_open() -> None:
    """The slow call rate is judged on successes too, and tells its own reason."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    for now in range(5):
        call(circuit, SUCCESS, float(now), took=1.0)
    slow = [acquire(circuit, 5.0) for _ in range(5)]
    for permit in slow[:4]:
        circuit.record(permit, SUCCESS, 6.5)
    assert circuit.state is State.CLOSED
    circuit.record(slow[4], SUCCESS, 6.5)
    assert circuit.state is State.OPEN
    assert circuit.take_events() == (
        ThresholdExceeded("payments", 6.5, 0, Reason.SLOW_CALL_RATE, 0.5, 0.5),
        CircuitOpened("payments", 6.5, 1, Reason.SLOW_CALL_RATE, 10.0, 1, State.CLOSED, 6.5, asked=6.5),
    )


def test_a_given_duration_is_what_counts_as_slow() -> None:
    """It replaces the time since the acquire, both ways."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    circuit.record(acquire(circuit, 0.0), SUCCESS, 0.0, duration=1.5)
    circuit.record(acquire(circuit, 0.0), SUCCESS, 5.0, duration=0.5)
    circuit.record(acquire(circuit, 5.0), SUCCESS, 5.0, duration=0.2)
    circuit.record(acquire(circuit, 5.0), SUCCESS, 5.0, duration=2.0)
    assert circuit.snapshot(5.0).slow_calls == 2


def test_a_failure_is_never_lost_in_the_quick_way() -> None:
    """Good, quick calls before it do not hide a failure, a slow call or a weight."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    for _ in range(50):
        call(circuit, SUCCESS, 0.0, took=0.0)
    call(circuit, FAILURE, 0.0)
    call(circuit, SUCCESS, 0.0, took=2.0)
    snapshot = circuit.snapshot(2.0)
    assert (snapshot.calls, snapshot.failures, snapshot.slow_calls, snapshot.consecutive_failures) == (20, 1, 1, 0)


def test_a_good_result_is_judged_again_when_the_window_has_forgotten() -> None:
    """A hundred good calls beside nine failures are no rate; when the good ones have left, the next good result opens."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0), consecutive_failures=None))
    calls(circuit, "S" * 100, 0.0)
    calls(circuit, "F" * 9, 5.0)
    calls(circuit, "SS", 9.9)
    assert circuit.state is State.CLOSED
    calls(circuit, "S", 10.0)
    assert circuit.state is State.OPEN


def test_a_success_resets_failures_in_a_row_in_an_empty_window() -> None:
    """Also when the failures have left a time window, so that nothing bad is in it."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(1.0)))
    call(circuit, SUCCESS, 0.0, took=0.5)
    calls(circuit, "FFFF", 1.0)
    calls(circuit, "SFFFF", 50.0)
    assert (circuit.state, circuit.snapshot(50.0).consecutive_failures) == (State.CLOSED, 4)


def test_a_released_call_leaves_no_trace() -> None:
    """Neither window nor failures in a row."""
    circuit = Circuit("payments")
    calls(circuit, "FFFF", 0.0)
    circuit.release(acquire(circuit, 0.0), 1.0)
    snapshot = circuit.snapshot(1.0)
    assert (snapshot.calls, snapshot.consecutive_failures, snapshot.in_flight) == (4, 4, 0)


@pytest.mark.parametrize("outcome", Outcome)
def test_what_is_no_verdict_leaves_no_trace(outcome: Outcome) -> None:
    """Not even a slow call: its permit comes back, and no window has it."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    call(circuit, outcome, 0.0, took=5.0)
    assert (circuit.snapshot(5.0).calls, circuit.snapshot(5.0).in_flight) == (int(outcome in VERDICTS), 0)


@pytest.mark.parametrize(("retry_after", "until", "level"), [(7.0, 7.0, 1), (0.001, 0.001, 1), (1e6, 3600.0, 1), (float("inf"), 3600.0, 1)])
def test_a_failure_with_retry_after_opens_until_then(retry_after: float, until: float, level: int) -> None:
    """One failure is enough, clamped to retry_after_max; no rule was met, so there is no threshold event."""
    circuit = Circuit("payments")
    circuit.record(acquire(circuit, 0.0), FAILURE, 0.0, retry_after=retry_after)
    assert circuit.take_events() == (CircuitOpened("payments", 0.0, 1, Reason.RETRY_AFTER, until, level, State.CLOSED, 0.0),)
    assert circuit.snapshot(0.0).failures == 1


@pytest.mark.parametrize("retry_after", [None, 0.0, -5.0, float("nan")])
def test_a_senseless_retry_after_is_none(retry_after: float | None) -> None:
    """The failure counts as any other."""
    circuit = Circuit("payments")
    circuit.record(acquire(circuit, 0.0), FAILURE, 0.0, retry_after=retry_after)
    assert (circuit.state, circuit.snapshot(0.0).failures) == (State.CLOSED, 1)


@pytest.mark.parametrize("outcome", [SUCCESS, IGNORED])
def test_only_a_failure_heeds_retry_after(outcome: object) -> None:
    """A success with the header opens nothing."""
    for circuit in (Circuit("payments"), half_opened()):
        state = circuit.state
        circuit.record(acquire(circuit, 5.0), outcome, 5.0, retry_after=60.0)  # type: ignore[arg-type]
        assert circuit.state is state


@pytest.mark.parametrize("look", ["advance", "try_acquire"])
def test_calls_that_hang_open_without_a_result(look: str) -> None:
    """Ten calls over one second old trip the slow call rate, in advance and in try_acquire; nothing is written into the window."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    for _ in range(10):
        acquire(circuit, 0.0)
    getattr(circuit, look)(1.0)
    assert circuit.state is State.CLOSED
    getattr(circuit, look)(1.01)
    assert circuit.state is State.OPEN
    assert circuit.snapshot(1.01).calls == 0
    assert kinds(circuit.take_events()) == ["ThresholdExceeded", "CircuitOpened"]


def test_calls_that_hang_leave_an_open_circuit_behind_that_refuses() -> None:
    """The acquire that finds them is refused and counted, the next one too, and nothing of them is in flight any more."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    hanging = [acquire(circuit, 0.0) for _ in range(10)]
    refusal = Rejected(5.0, State.OPEN)
    assert (circuit.try_acquire(1.5), circuit.try_acquire(1.5)) == (refusal, refusal)
    assert (circuit.snapshot(1.5).rejected, circuit.snapshot(1.5).in_flight) == (2, 0)
    circuit.record(hanging[0], SUCCESS, 2.0)
    assert circuit.snapshot(2.0).late_results == 1


def test_a_peek_sees_calls_that_hang_and_opens_nothing() -> None:
    """It tells what try_acquire would say."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    for _ in range(10):
        acquire(circuit, 0.0)
    assert circuit.may_acquire(1.0)
    assert not circuit.may_acquire(1.01)
    assert circuit.state is State.CLOSED
    assert is_refused(circuit, 1.01)


def test_calls_that_hang_are_judged_beside_results() -> None:
    """(slow + overdue) / (calls + overdue): ten good calls need ten that hang."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    calls(circuit, "S" * 10, 0.0)
    for _ in range(9):
        acquire(circuit, 0.0)
    acquire(circuit, 0.5)
    circuit.advance(1.2)
    assert circuit.state is State.CLOSED
    circuit.advance(1.6)
    assert circuit.state is State.OPEN


def test_a_call_that_hung_counts_once_when_it_ends() -> None:
    """It leaves the overdue ones and becomes a slow result; released, it is gone."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    ended, released = acquire(circuit, 0.0), acquire(circuit, 0.0)
    circuit.advance(2.0)
    circuit.record(ended, SUCCESS, 3.0)
    circuit.release(released, 3.0)
    snapshot = circuit.snapshot(3.0)
    assert (snapshot.calls, snapshot.slow_calls, snapshot.in_flight, snapshot.settled_twice) == (1, 1, 0, 0)


def test_every_acquire_looks_while_a_call_hangs() -> None:
    """The good results beside nine that hang are pushed out by slow ones, and the next acquire opens."""
    circuit = Circuit("payments", CircuitSettings(slow_call_duration=1.0, window=CountWindow(10)))
    calls(circuit, "S" * 10, 0.0)
    for _ in range(9):
        acquire(circuit, 0.0)
    late = [acquire(circuit, 2.0) for _ in range(2)]
    assert circuit.state is State.CLOSED
    circuit.record(late[0], SUCCESS, 2.0, duration=5.0)
    assert circuit.state is State.CLOSED
    assert isinstance(circuit.try_acquire(2.0), Rejected)


def test_the_deadline_of_calls_in_flight() -> None:
    """A hair after the oldest becomes slow, then the next one; advance at the deadline always gets on."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    first, _ = acquire(circuit, 0.0), acquire(circuit, 0.5)
    deadline = circuit.next_deadline()
    assert deadline is not None
    assert 1.0 < deadline < 1.001
    circuit.advance(deadline)
    assert 1.5 < (circuit.next_deadline() or 0.0) < 1.501
    circuit.release(first, 1.2)
    circuit.advance(1.6)
    assert circuit.next_deadline() is None


def test_an_open_circuit_refuses_and_says_until_when() -> None:
    """Every refusal is counted; a peek is not."""
    circuit = opened()
    assert circuit.try_acquire(0.0) == Rejected(FIRST_WAIT, State.OPEN)
    assert circuit.try_acquire(3.49) == Rejected(FIRST_WAIT, State.OPEN)
    assert not circuit.may_acquire(3.49)
    assert (circuit.free_slots, circuit.limit, circuit.next_deadline()) == (0, 0, FIRST_WAIT)
    assert circuit.snapshot(3.49).rejected == 2


def test_the_wait_ends_at_its_time() -> None:
    """At `until`, with advance or with the first acquire, which is the probe."""
    circuit = opened()
    circuit.advance(3.499)
    assert circuit.state is State.OPEN
    circuit.advance(FIRST_WAIT)
    assert circuit.state is State.HALF_OPEN
    circuit = opened()
    assert isinstance(circuit.try_acquire(FIRST_WAIT), Permit)
    assert circuit.state is State.HALF_OPEN


def test_a_peek_at_the_end_of_the_wait_leaves_it_open() -> None:
    """It answers that the probe may go, and changes nothing."""
    circuit = opened()
    before = circuit.snapshot(FIRST_WAIT)
    assert circuit.may_acquire(FIRST_WAIT)
    assert circuit.snapshot(FIRST_WAIT) == before


def test_a_result_does_not_end_the_wait() -> None:
    """Late results let no time pass for an open circuit."""
    circuit = Circuit("payments")
    late = acquire(circuit, 0.0)
    calls(circuit, "FFFFF", 0.0)
    circuit.record(late, SUCCESS, 100.0)
    assert circuit.state is State.OPEN


def test_refusals_keep_no_memory() -> None:
    """One object answers them all until the wait changes."""
    circuit = opened()
    first = circuit.try_acquire(1.0)
    assert all(circuit.try_acquire(1.0) is first for _ in range(100))
    circuit.open_for(60.0, 1.0)
    assert circuit.try_acquire(1.0) == Rejected(61.0, State.OPEN)


def test_a_batch_is_one_result_in_the_window() -> None:
    """Ten messages in one call are one call."""
    circuit = Circuit("payments")
    circuit.record(acquire(circuit, 0.0, weight=10), FAILURE, 0.0)
    assert circuit.snapshot(0.0).calls == 1


@pytest.mark.parametrize("weight", [0, -1, 1.5])
@pytest.mark.parametrize("circuit", [Circuit("payments"), half_opened()], ids=["closed", "half-open"])
def test_a_weight_is_a_whole_number_from_one(circuit: Circuit, weight: int) -> None:
    """Anything else raises."""
    with pytest.raises(SettingsError, match="weight must be"):
        circuit.try_acquire(5.0, weight)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [("payments", None, "settings must be CircuitSettings, got None"), (7, CircuitSettings(), "name must be a str, got 7")],
)
def test_a_circuit_takes_a_name_and_settings(name: str, settings: CircuitSettings, told: str) -> None:
    """Anything else is refused where it is given, and not at the first call."""
    with pytest.raises(SettingsError, match=told):
        Circuit(name, settings)


def test_time_that_goes_back_is_the_last_one_seen() -> None:
    """For an acquire as for a result."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    permit = acquire(circuit, 10.0)
    assert acquire(circuit, 3.0).acquired_at == 10.0
    circuit.record(permit, SUCCESS, 20.0)
    assert acquire(circuit, 3.0).acquired_at == 20.0
    calls(circuit, "FFFFF", 0.0)
    assert circuit.next_deadline() == 20.0 + FIRST_WAIT
    early = Circuit("payments")
    acquire(early, 1.0)
    assert acquire(early, 0.5).acquired_at == 1.0
    call(early, SUCCESS, 10.0, took=-5.0)
    assert early.snapshot(0.0).calls == 1


def test_settled_twice_counts_once() -> None:
    """The second settlement does nothing and is counted, in every pair."""
    circuit = Circuit("payments")
    for second in (SUCCESS, FAILURE, IGNORED, None):
        for first in (SUCCESS, FAILURE, IGNORED, None):
            permit = acquire(circuit, 0.0)
            for outcome in (first, second):
                if outcome is None:
                    circuit.release(permit, 0.0)
                else:
                    circuit.record(permit, outcome, 0.0)
    snapshot = circuit.snapshot(0.0)
    assert (snapshot.settled_twice, snapshot.calls, snapshot.failures, snapshot.late_results) == (16, 8, 4, 0)


def test_a_late_result_is_counted_once() -> None:
    """The second settlement of a late permit is a second settlement."""
    circuit = Circuit("payments")
    permit = acquire(circuit, 0.0)
    circuit.reset(0.0)
    circuit.record(permit, SUCCESS, 0.0)
    circuit.record(permit, SUCCESS, 0.0)
    circuit.release(permit, 0.0)
    assert (circuit.snapshot(0.0).late_results, circuit.snapshot(0.0).settled_twice) == (1, 2)


def test_releasing_a_late_permit_is_nothing() -> None:
    """It carried no result."""
    circuit = Circuit("payments")
    permit = acquire(circuit, 0.0)
    circuit.reset(0.0)
    circuit.release(permit, 0.0)
    assert (circuit.snapshot(0.0).late_results, circuit.snapshot(0.0).settled_twice) == (0, 0)


def test_a_call_that_spans_a_rotation_of_buckets_counts() -> None:
    """Time alone changes no generation."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(1.0)))
    permit = acquire(circuit, 0.0)
    circuit.record(permit, FAILURE, 500.0)
    assert (circuit.snapshot(500.0).calls, circuit.snapshot(500.0).late_results) == (1, 0)


def test_a_permit_is_live_when_it_is_handed_out() -> None:
    """By the short way of the closed circuit, and by that of a half-open."""
    assert acquire(Circuit("payments"), 0.0).standing == LIVE
    assert acquire(half_opened(), FIRST_WAIT).standing == LIVE


def test_the_refusal_that_finds_calls_overdue_is_counted() -> None:
    """The acquire that opens the circuit is refused itself."""
    circuit = Circuit("payments", SLOW)
    circuit.open_for(5.0, 0.0)
    assert is_refused(circuit, 1.0)
    circuit.reset(2.0)
    acquire(circuit, 2.0)
    assert is_refused(circuit, 4.0)
    assert (circuit.state, circuit.rejected) == (State.OPEN, 2)


def test_a_good_result_at_the_end_of_a_bucket_is_in_the_next() -> None:
    """It leaves the window with that one."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0)))
    call(circuit, SUCCESS, 0.2, took=0.5)
    call(circuit, SUCCESS, 1.0)
    assert circuit.snapshot(10.0).calls == 1
    assert circuit.snapshot(11.0).calls == 0


def test_beside_a_call_that_hangs_time_matters_when_good_results_leave_the_window() -> None:
    """Earlier than the next call becomes slow."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0), slow_call_duration=1.0, minimum_calls=20))
    acquire(circuit, 0.0)
    call(circuit, SUCCESS, 1.2)
    circuit.advance(1.3)
    acquire(circuit, 1.5)
    assert circuit.next_deadline() == 2.0


def test_a_permit_is_not_renewed_at_the_end_of_a_bucket() -> None:
    """The result belongs to the next one, which is begun by recording it."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(20.0)))
    call(circuit, SUCCESS, 0.0, took=1.0)
    permit = acquire(circuit, 1.996)
    assert circuit.renew(permit, 2.0) is False
    assert circuit.renew(permit, 1.999) is True


def test_a_quick_call_counts_for_as_long_as_it_has_measured_itself() -> None:
    """A call form knows it better than the permit, which was held for longer."""
    circuit = Circuit("payments")
    for duration in (None, 0.001):
        permit = circuit.try_acquire(1.0)
        assert isinstance(permit, Permit)
        circuit.record(permit, Outcome.SUCCESS, 1.002, duration=duration)
    assert circuit.read_totals().succeeded.sum == pytest.approx(0.003)
