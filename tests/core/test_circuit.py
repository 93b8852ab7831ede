"""Calls, results, time and limits of a circuit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.driving import (
    FAILURE,
    FIRST_WAIT,
    IGNORED,
    SUCCESS,
    acquire,
    call,
    calls,
    half_opened,
    is_refused,
    kinds,
    opened,
    ramping,
    with_ramp,
)

from holdgate.core import (
    Circuit,
    CircuitClosed,
    CircuitOpened,
    CircuitSettings,
    CountWindow,
    LeaseExpired,
    LeaseTooShort,
    LimitChanged,
    Permit,
    RampSettings,
    Reason,
    Rejected,
    State,
    ThresholdExceeded,
    TimeWindow,
)
from holdgate.errors import SettingsError

SLOW_AFTER_ONE = CircuitSettings(slow_call_duration=1.0)
NO_RUN = CircuitSettings(consecutive_failures=None)


# -- CLOSED ------------------------------------------------------------------------------------------------------------------------


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
    """Rates at their threshold from the minimum on, failures in a row at theirs, judged on every result and never on IGNORED."""
    circuit = Circuit("payments", settings)
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
        CircuitOpened("payments", 6.5, 1, Reason.SLOW_CALL_RATE, 11.5, 1, State.CLOSED),
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


def test_an_ignored_call_leaves_no_trace() -> None:
    """Not even a slow one."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    call(circuit, IGNORED, 0.0, took=5.0)
    assert (circuit.snapshot(5.0).calls, circuit.snapshot(5.0).in_flight) == (0, 0)


@pytest.mark.parametrize(("retry_after", "until", "level"), [(7.0, 7.0, 1), (0.001, 0.001, 1), (1e6, 3600.0, 1), (float("inf"), 3600.0, 1)])
def test_a_failure_with_retry_after_opens_until_then(retry_after: float, until: float, level: int) -> None:
    """One failure is enough, clamped to retry_after_max; no rule was met, so there is no threshold event."""
    circuit = Circuit("payments")
    circuit.record(acquire(circuit, 0.0), FAILURE, 0.0, retry_after=retry_after)
    assert circuit.take_events() == (CircuitOpened("payments", 0.0, 1, Reason.RETRY_AFTER, until, level, State.CLOSED),)
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


# -- Calls in flight that are slow already ------------------------------------------------------------------------------------------


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
    refusal = Rejected(6.5, State.OPEN)
    assert (circuit.try_acquire(1.5), circuit.try_acquire(1.5)) == (refusal, refusal)
    assert (circuit.snapshot(1.5).rejected, circuit.snapshot(1.5).in_flight) == (2, 0)
    circuit.record(hanging[0], SUCCESS, 2.0)
    assert circuit.snapshot(2.0).late_results == 1


def test_an_observed_circuit_goes_on_telling_of_calls_that_hang() -> None:
    """Its acquires look too, each time."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    circuit.observe(0.0)
    circuit.advance(0.0)
    for _ in range(10):
        acquire(circuit, 0.0)
    circuit.take_events()
    acquire(circuit, 1.5)
    assert kinds(circuit.take_events()) == ["ThresholdExceeded"]


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


# -- OPEN --------------------------------------------------------------------------------------------------------------------------


def test_an_open_circuit_refuses_and_says_until_when() -> None:
    """Every refusal is counted; a peek is not."""
    circuit = opened()
    assert circuit.try_acquire(0.0) == Rejected(FIRST_WAIT, State.OPEN)
    assert circuit.try_acquire(4.99) == Rejected(FIRST_WAIT, State.OPEN)
    assert not circuit.may_acquire(4.99)
    assert (circuit.free_slots, circuit.limit, circuit.next_deadline()) == (0, 0, FIRST_WAIT)
    assert circuit.snapshot(4.99).rejected == 2


def test_the_wait_ends_at_its_time() -> None:
    """At `until`, with advance or with the first acquire, which is the probe."""
    circuit = opened()
    circuit.advance(4.999)
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


# -- HALF_OPEN ---------------------------------------------------------------------------------------------------------------------


def test_a_probe_goes_alone() -> None:
    """Everybody else is refused, without a time to come back."""
    circuit = half_opened()
    assert (circuit.limit, circuit.free_slots) == (1, 1)
    assert circuit.may_acquire(5.0)
    acquire(circuit, 5.0)
    assert circuit.try_acquire(5.0) == Rejected(None, State.HALF_OPEN)
    assert not circuit.may_acquire(5.0)
    assert (circuit.free_slots, circuit.snapshot(5.0).rejected) == (0, 1)


@pytest.mark.parametrize("give_back", ["release", "ignore"])
def test_a_probe_without_a_verdict_makes_room_for_another(give_back: str) -> None:
    """The next acquire is admitted at once, as often as it happens."""
    circuit = half_opened()
    for _ in range(5):
        probe = acquire(circuit, 6.0)
        if give_back == "release":
            circuit.release(probe, 6.0)
        else:
            circuit.record(probe, IGNORED, 20.0, duration=100.0)
        assert (circuit.state, circuit.limit, circuit.free_slots) == (State.HALF_OPEN, 1, 1)
    assert circuit.take_events() == ()


def test_a_good_probe_starts_the_ramp() -> None:
    """With the limit `initial`; a limit that changes is told."""
    circuit = half_opened(with_ramp(initial=4))
    call(circuit, SUCCESS, 5.0)
    assert (circuit.limit, circuit.take_events()) == (4, (LimitChanged("payments", 5.0, 2, 1, 4),))
    circuit = half_opened()
    call(circuit, SUCCESS, 5.0)
    assert (circuit.limit, circuit.take_events()) == (1, ())


def test_the_whole_ramp_takes_thirty_five_calls() -> None:
    """1 + 3 + 3 + 4 + 8 + 16, then it closes with an empty window and the level it had."""
    circuit = half_opened()
    calls(circuit, "S" * 34, 6.0)
    assert circuit.state is State.HALF_OPEN
    calls(circuit, "S", 6.0)
    snapshot = circuit.snapshot(6.0)
    assert (snapshot.state, snapshot.calls, snapshot.level, snapshot.limit) == (State.CLOSED, 0, 1, None)
    assert [(event.previous, event.limit) for event in circuit.take_events() if isinstance(event, LimitChanged)] == [
        (1, 2),
        (2, 4),
        (4, 8),
        (8, 16),
    ]


def test_exactly_the_limit_is_in_flight() -> None:
    """A hundred waiting calls find one slot, and then in each round exactly the limit."""
    circuit = half_opened()
    seen: list[int] = []
    while circuit.state is State.HALF_OPEN:
        limit = circuit.limit
        admitted = [permit for permit in (circuit.try_acquire(6.0) for _ in range(100)) if isinstance(permit, Permit)]
        assert len(admitted) == limit
        seen.append(len(admitted))
        for permit in admitted:
            circuit.record(permit, SUCCESS, 6.0)
    assert seen == [1, 1, 1, 1, 2, 2, 4, 8, 16]


def test_a_failed_probe_opens_one_level_up() -> None:
    """Ten seconds instead of five."""
    circuit = half_opened()
    call(circuit, FAILURE, 5.0)
    assert (circuit.state, circuit.next_deadline(), circuit.snapshot(5.0).level) == (State.OPEN, 15.0, 2)


def test_a_slow_probe_opens() -> None:
    """By the time since the acquire, or by the duration it is given."""
    for took, duration in ((1.01, None), (0.0, 1.01)):
        circuit = half_opened(SLOW_AFTER_ONE)
        circuit.record(acquire(circuit, 5.0), SUCCESS, 5.0 + took, duration=duration)
        assert circuit.state is State.OPEN
    circuit = half_opened(SLOW_AFTER_ONE)
    circuit.record(acquire(circuit, 5.0), SUCCESS, 7.0, duration=0.5)
    assert circuit.state is State.HALF_OPEN


def test_retry_after_in_half_open_wins_over_the_ramp() -> None:
    """One failure opens until the server's time, one level up, whatever the stage says."""
    circuit = ramping(16)
    circuit.record(acquire(circuit, 6.0), FAILURE, 6.0, retry_after=2.0)
    assert circuit.take_events() == (CircuitOpened("payments", 6.0, 3, Reason.RETRY_AFTER, 8.0, 2, State.HALF_OPEN),)


def test_a_cut_is_told() -> None:
    """Limit 4 with a bad stage is 2."""
    circuit = ramping(4)
    calls(circuit, "SFSS", 6.0)
    assert (circuit.limit, circuit.take_events()) == (2, (LimitChanged("payments", 6.0, 2, 4, 2),))


def test_a_batch_needs_room_for_its_weight() -> None:
    """The limit counts weight, the stage counts one result."""
    circuit = ramping(4)
    batch = acquire(circuit, 6.0, weight=3)
    assert circuit.free_slots == 1
    assert is_refused(circuit, 6.0, weight=2)
    acquire(circuit, 6.0)
    assert circuit.free_slots == 0
    circuit.record(batch, SUCCESS, 6.0)
    assert circuit.free_slots == 3
    assert is_refused(circuit, 6.0, weight=5)
    assert circuit._half_open is not None
    assert circuit._half_open.ramp.results == 1


def test_a_batch_is_one_result_in_the_window() -> None:
    """Ten messages in one call are one call."""
    circuit = Circuit("payments")
    circuit.record(acquire(circuit, 0.0, weight=10), FAILURE, 0.0)
    assert circuit.snapshot(0.0).calls == 1


@pytest.mark.parametrize("weight", [0, -1, 1.5])
@pytest.mark.parametrize("circuit", [Circuit("payments"), half_opened()], ids=["closed", "half-open"])
def test_a_weight_is_a_whole_number_from_one(circuit: Circuit, weight: int) -> None:
    """Anything else raises."""
    with pytest.raises(SettingsError, match="weight="):
        circuit.try_acquire(5.0, weight)


def test_an_expired_lease_of_the_probe_opens() -> None:
    """A lost probe is a failure; its events come in the order of cause."""
    circuit = half_opened()
    acquire(circuit, 6.0)
    assert circuit.next_deadline() == 306.0
    circuit.advance(305.9)
    assert circuit.take_events() == ()
    circuit.advance(306.0)
    assert circuit.take_events() == (
        LeaseExpired("payments", 306.0, 2, 6.0, 300.0),
        ThresholdExceeded("payments", 306.0, 2, Reason.PERMIT_LEASE, 1, 1),
        CircuitOpened("payments", 306.0, 3, Reason.PERMIT_LEASE, 316.0, 2, State.HALF_OPEN),
    )


@pytest.mark.parametrize("look", ["advance", "try_acquire", "may_acquire"])
def test_whoever_looks_ends_a_lease(look: str) -> None:
    """A lost probe cannot hold the circuit for anybody."""
    circuit = half_opened()
    acquire(circuit, 6.0)
    assert not isinstance(getattr(circuit, look)(400.0), Permit)
    assert circuit.state is State.OPEN


def test_a_peek_may_close() -> None:
    """An old good stage at the full rate ends by time, and then the answer is that of a closed circuit."""
    circuit = ramping(2, full=2)
    calls(circuit, "S", 6.0)
    assert circuit.may_acquire(50.0)
    assert circuit.state is State.CLOSED


def test_a_lease_is_twice_the_longest_success_if_that_is_longer() -> None:
    """Calls that are known to take 200 s and end well are not taken back after 300."""
    circuit = Circuit("payments")
    call(circuit, SUCCESS, 0.0, took=200.0)
    call(circuit, SUCCESS, 200.0, took=1.0)
    calls(circuit, "FFFFF", 210.0)
    acquire(circuit, 215.0)
    assert circuit.next_deadline() == 615.0


def test_successes_of_half_open_and_failures_do_not_stretch_the_lease() -> None:
    """Only what succeeded while CLOSED counts."""
    circuit = Circuit("payments")
    call(circuit, FAILURE, 0.0, took=1000.0)
    calls(circuit, "FFFF", 1000.0)
    call(circuit, SUCCESS, 1005.0, took=299.0)
    circuit.release(acquire(circuit, 1304.0), 1304.0)
    acquire(circuit, 1304.0)
    assert circuit.next_deadline() == 1604.0


def test_a_result_after_the_lease_comes_too_late_even_if_nobody_looked() -> None:
    """The permit is taken back first; the success then tells that the lease is too short, and opens or closes nothing."""
    circuit = half_opened()
    probe = acquire(circuit, 6.0)
    circuit.record(probe, SUCCESS, 306.0)
    assert kinds(circuit.take_events()) == ["LeaseExpired", "ThresholdExceeded", "CircuitOpened", "LeaseTooShort"]
    assert circuit.snapshot(306.0).late_results == 1


def test_a_success_after_an_expired_lease_tells_how_long_it_took() -> None:
    """Once, and in the same half-open as well as after it; a failure or a release tells nothing."""
    circuit = ramping(4)
    circuit.try_acquire(5.0, 5)  # refused: the stage waits for its results
    success, failure = acquire(circuit, 5.0), acquire(circuit, 6.0)
    circuit.advance(305.5)
    circuit.advance(306.5)
    assert circuit.state is State.HALF_OPEN
    circuit.take_events()
    circuit.record(failure, FAILURE, 310.0)
    circuit.record(success, SUCCESS, 310.0)
    assert circuit.take_events() == (LeaseTooShort("payments", 310.0, 2, 305.0),)
    circuit.record(success, SUCCESS, 311.0)
    assert circuit.take_events() == ()
    snapshot = circuit.snapshot(311.0)
    assert (snapshot.late_results, snapshot.settled_twice, snapshot.in_flight) == (2, 1, 0)


def test_releasing_after_the_lease_is_nothing() -> None:
    """Neither late nor twice; only a second settlement is counted."""
    circuit = half_opened()
    probe = acquire(circuit, 6.0)
    circuit.advance(400.0)
    circuit.release(probe, 401.0)
    assert (circuit.snapshot(401.0).late_results, circuit.snapshot(401.0).settled_twice) == (0, 0)
    circuit.release(probe, 401.0)
    assert circuit.snapshot(401.0).settled_twice == 1


def test_low_traffic_goes_on_by_time() -> None:
    """One good result per stage and ten seconds of nobody refused; the deadline says when."""
    circuit = ramping(1)
    now = 5.0
    for limit in (2, 4, 8, 16):
        calls(circuit, "S", now)
        assert circuit.next_deadline() == now + 10.0
        now += 10.0
        circuit.advance(now)
        assert circuit.limit == limit
        assert circuit.next_deadline() is None
    calls(circuit, "S", now)
    circuit.advance(now + 10.0)
    assert circuit.take_events()[-1] == CircuitClosed("payments", now + 10.0, 3, State.HALF_OPEN)


def test_somebody_refused_ends_no_stage_by_time() -> None:
    """There is demand, so results will come."""
    circuit = ramping(1)
    permit = acquire(circuit, 5.0)
    assert is_refused(circuit, 5.0)
    circuit.record(permit, SUCCESS, 5.0)
    assert circuit.next_deadline() is None
    circuit.advance(100.0)
    assert circuit.limit == 1


def test_calls_that_wait_end_no_stage_by_time() -> None:
    """An engine that asks with a peek says that more wait; that is no refusal, and ends with the stage."""
    circuit = ramping(1)
    calls(circuit, "S", 5.0)
    circuit.expect_more()
    circuit.advance(100.0)
    assert (circuit.limit, circuit.next_deadline(), circuit.snapshot(100.0).rejected) == (1, None, 0)
    calls(circuit, "SSS", 100.0)
    assert circuit.limit == 2
    assert circuit.next_deadline() == 110.0


def test_a_closed_circuit_expects_what_comes() -> None:
    """Without a half-open there is no stage to keep."""
    circuit = Circuit("payments")
    before = circuit.snapshot(0.0)
    circuit.expect_more()
    assert circuit.snapshot(0.0) == before


def test_a_peek_is_no_refusal() -> None:
    """It counts nothing, so low traffic still goes on."""
    circuit = ramping(1)
    permit = acquire(circuit, 5.0)
    assert not circuit.may_acquire(5.0)
    circuit.record(permit, SUCCESS, 5.0)
    circuit.advance(15.0)
    assert (circuit.limit, circuit.snapshot(15.0).rejected) == (2, 0)


def test_calls_of_a_stage_that_hang_are_bad() -> None:
    """One in flight for over a second beside four good ones cuts."""
    circuit = ramping(4, SLOW_AFTER_ONE)
    acquire(circuit, 5.0)
    calls(circuit, "SSSS", 6.01)
    assert circuit.limit == 2


# -- The full rate -----------------------------------------------------------------------------------------------------------------


def test_a_circuit_alone_ramps_to_sixteen() -> None:
    """Without a setting and without set_full."""
    circuit = ramping(16)
    calls(circuit, "S" * 16, 6.0)
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize(("setting", "given", "full"), [(None, 40, 40), (None, 3, 3), (8, 40, 8), (8, 3, 3)])
def test_set_full_lowers_an_explicit_value_and_never_raises_it(setting: int | None, given: int, full: int) -> None:
    """None takes what is given."""
    circuit = half_opened(CircuitSettings(ramp=RampSettings(full=setting)))
    circuit.set_full(given, 5.0)
    limits = [circuit.limit]
    while circuit.state is State.HALF_OPEN:
        limits.append(circuit.limit)
        call(circuit, SUCCESS, 5.0)
    assert limits[-1] == full


def test_set_full_brings_a_running_limit_down() -> None:
    """And tells so; raising it again leaves the limit to the stages."""
    circuit = ramping(8)
    permits = [acquire(circuit, 5.0) for _ in range(6)]
    circuit.set_full(4, 6.0)
    assert (circuit.limit, circuit.free_slots, circuit.take_events()) == (4, 0, (LimitChanged("payments", 6.0, 2, 8, 4),))
    circuit.release(permits[0], 6.0)
    circuit.release(permits[1], 6.0)
    assert is_refused(circuit, 6.0)
    circuit.set_full(64, 7.0)
    assert (circuit.limit, circuit.take_events()) == (4, ())


def test_set_full_lets_time_pass_first() -> None:
    """An old stage is judged at its own limit."""
    circuit = ramping(4, full=8)
    calls(circuit, "S", 5.0)
    circuit.set_full(8, 100.0)
    assert circuit.limit == 8


@pytest.mark.parametrize("full", [0, -1, 1.5])
@pytest.mark.parametrize("setting", [None, 8])
def test_set_full_wants_a_whole_number(full: int, setting: int | None) -> None:
    """Anything else raises."""
    circuit = Circuit("payments", CircuitSettings(ramp=RampSettings(full=setting)))
    with pytest.raises(SettingsError, match="full="):
        circuit.set_full(full, 0.0)


# -- METRICS_ONLY ------------------------------------------------------------------------------------------------------------------


def test_an_observed_circuit_records_and_tells_once_per_episode() -> None:
    """It would have opened: told once, again only after the rates were below the thresholds."""
    circuit = Circuit("payments", CircuitSettings(window=CountWindow(10)))
    circuit.observe(0.0)
    circuit.take_events()
    calls(circuit, "FFFFFFFF", 0.0)
    assert circuit.take_events() == (ThresholdExceeded("payments", 0.0, 1, Reason.CONSECUTIVE_FAILURES, 5, 5, observed=True),)
    calls(circuit, "SSSSS", 0.0)
    assert circuit.take_events() == ()
    calls(circuit, "SSSS", 0.0)
    calls(circuit, "FFFFFFF", 0.0)
    assert kinds(circuit.take_events()) == ["ThresholdExceeded"]
    assert (circuit.state, circuit.generation, circuit.snapshot(0.0).calls) == (State.CLOSED, 1, 10)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [("payments", None, "settings=None is no CircuitSettings"), (7, CircuitSettings(), "name=7 is no text")],
)
def test_a_circuit_takes_a_name_and_settings(name: str, settings: CircuitSettings, told: str) -> None:
    """Anything else is refused where it is given, and not at the first call."""
    with pytest.raises(SettingsError, match=told):
        Circuit(name, settings)


BY_RATE_ALONE = CircuitSettings(window=TimeWindow(30.0), consecutive_failures=None, slow_call_duration=1.0)


def test_an_observed_circuit_tells_of_an_outage_after_an_idle_hour() -> None:
    """The window has emptied by time alone, and that ends an episode as good results do."""
    circuit = Circuit("payments", BY_RATE_ALONE)
    circuit.observe(0.0)
    calls(circuit, "F" * 12, 1.0)
    circuit.take_events()
    calls(circuit, "F" * 10, 3600.0)
    assert kinds(circuit.take_events()) == ["ThresholdExceeded"]


def test_an_observed_circuit_sees_the_end_of_an_episode_when_a_long_call_ends() -> None:
    """Nothing was admitted in between: the first failures after the pause are those of calls from before it."""
    circuit = Circuit("payments", replace(BY_RATE_ALONE, slow_call_duration=None))
    circuit.observe(0.0)
    long = [acquire(circuit, 0.5) for _ in range(10)]
    calls(circuit, "F" * 12, 1.0)
    circuit.take_events()
    for permit in long:
        circuit.record(permit, FAILURE, 3600.0)
    assert kinds(circuit.take_events()) == ["ThresholdExceeded"]


def test_an_observed_circuit_tells_of_calls_that_hang_after_an_idle_hour() -> None:
    """No result has come that could have ended the episode."""
    circuit = Circuit("payments", BY_RATE_ALONE)
    circuit.observe(0.0)
    calls(circuit, "F" * 12, 1.0)
    circuit.take_events()
    for _ in range(12):
        acquire(circuit, 3600.0)
    circuit.advance(3602.0)
    assert kinds(circuit.take_events()) == ["ThresholdExceeded"]


def test_an_observed_circuit_never_rejects() -> None:
    """Not even over an open state, and its results count."""
    circuit = opened()
    circuit.observe(1.0)
    for _ in range(100):
        acquire(circuit, 1.0)
    assert circuit.may_acquire(1.0)
    assert (circuit.limit, circuit.free_slots, circuit.snapshot(1.0).rejected) == (None, None, 0)


def test_an_observed_half_open_circuit_counts_into_the_window() -> None:
    """The ramp is not asked: clearing the override goes on with a probe."""
    circuit = ramping(8)
    circuit.observe(6.0)
    calls(circuit, "S" * 100, 6.0)
    assert (circuit.state, circuit.snapshot(6.0).calls) == (State.HALF_OPEN, 20)
    circuit.clear_override(6.0)
    assert (circuit.state, circuit.limit) == (State.HALF_OPEN, 1)


def test_an_observed_circuit_tells_of_calls_that_hang() -> None:
    """Once while they hang, whatever good results come beside them."""
    circuit = Circuit("payments", SLOW_AFTER_ONE)
    circuit.observe(0.0)
    circuit.take_events()
    for _ in range(10):
        acquire(circuit, 0.0)
    deadline = circuit.next_deadline()
    assert deadline is not None
    circuit.advance(deadline)
    calls(circuit, "SSS", 2.0)
    circuit.advance(3.0)
    assert kinds(circuit.take_events()) == ["ThresholdExceeded"]


def test_an_observed_circuit_tells_of_a_server_that_says_when() -> None:
    """It would have opened on that failure."""
    circuit = Circuit("payments")
    circuit.observe(0.0)
    circuit.take_events()
    circuit.record(acquire(circuit, 0.0), FAILURE, 0.0, retry_after=60.0)
    assert circuit.take_events() == (ThresholdExceeded("payments", 0.0, 1, Reason.RETRY_AFTER, 60.0, 0.0, observed=True),)


def test_the_deadline_of_an_observed_open_circuit_is_the_first_of_two() -> None:
    """The end of the wait below, or a call that becomes slow."""
    circuit = opened(SLOW_AFTER_ONE)
    circuit.observe(0.0)
    assert circuit.next_deadline() == FIRST_WAIT
    acquire(circuit, 1.0)
    assert 2.0 < (circuit.next_deadline() or 0.0) < 2.01
    circuit.advance(4.5)
    assert circuit.next_deadline() == FIRST_WAIT
    acquire(circuit, 4.6)
    assert circuit.next_deadline() == FIRST_WAIT


# -- Time --------------------------------------------------------------------------------------------------------------------------


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


def test_a_forced_opening_ends_by_time_alone() -> None:
    """Its expiry is the only deadline, and advance ends it there; one without an expiry has none."""
    circuit = opened()
    circuit.force_open(1.0, until=60.0)
    assert circuit.next_deadline() == 60.0
    circuit.advance(59.9)
    assert circuit.limit == 0
    circuit.advance(60.0)
    assert circuit.limit == 1
    circuit.force_open(61.0)
    assert circuit.next_deadline() is None


def test_set_full_of_a_closed_circuit_is_kept_for_its_next_ramp() -> None:
    """No ramp runs, so nothing changes now."""
    circuit = Circuit("payments")
    circuit.set_full(2, 0.0)
    assert circuit.limit is None
    calls(circuit, "FFFFF", 0.0)
    calls(circuit, "S" * 7, FIRST_WAIT)
    assert circuit.state is State.CLOSED


# -- Whose result it is ------------------------------------------------------------------------------------------------------------


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


def test_calls_that_wait_elsewhere_make_a_stage_one_of_high_traffic() -> None:
    """Told that more wait, a half-open is not judged by its age; a circuit that is not half-open has nothing to note."""
    told, untold = (Circuit("payments", CircuitSettings(consecutive_failures=1, open_jitter=0.0)) for _ in range(2))
    for circuit in (told, untold):
        circuit.expect_more()
        circuit.record(acquire(circuit, 0.0), FAILURE, 0.0)
        for _ in range(2):  # the probe, and one of the three results that the stage needs
            circuit.record(acquire(circuit, 5.0), SUCCESS, 5.0)
    told.expect_more()
    for circuit in (told, untold):
        circuit.advance(15.0)

    assert (told.limit, untold.limit) == (1, 2)
    assert told.snapshot(15.0).rejected == 0
