"""What an operator lays over a circuit: forced open, disabled, observed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.driving import (
    DOUBLING,
    FAILURE,
    FIRST_WAIT,
    SUCCESS,
    acquire,
    call,
    calls,
    half_opened,
    is_refused,
    kinds,
    opened,
    ramping,
)

from holdgate.core import (
    Circuit,
    CircuitHalfOpened,
    CircuitSettings,
    CountWindow,
    Limits,
    Override,
    OverrideCleared,
    OverrideSet,
    Reason,
    Rejected,
    State,
    ThresholdExceeded,
    TimeWindow,
)
from holdgate.errors import SettingsError

SLOW_AFTER_ONE = CircuitSettings(slow_call_duration=1.0)


BY_RATE_ALONE = CircuitSettings(window=TimeWindow(30.0), consecutive_failures=None, slow_call_duration=1.0)


SLOW = CircuitSettings(slow_call_duration=1.0, slow_call_rate_threshold=0.5, minimum_calls=1)


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


def test_an_observed_call_that_hangs_is_reported_once_when_it_ends() -> None:
    """Its slow result belongs to the episode that it began while it was in flight: with nothing else in the window, nothing is clear."""
    circuit = Circuit("payments", replace(SLOW_AFTER_ONE, window=CountWindow(1)))
    circuit.observe(0.0)
    permit = acquire(circuit, 0.0)
    circuit.advance(2.0)
    circuit.record(permit, SUCCESS, 2.0)
    assert kinds(circuit.take_events()) == ["OverrideSet", "ThresholdExceeded"]


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
    circuit.advance(3.0)
    assert circuit.next_deadline() == FIRST_WAIT
    acquire(circuit, 3.1)
    assert circuit.next_deadline() == FIRST_WAIT


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


def test_calls_in_flight_are_no_deadline_where_nothing_is_judged() -> None:
    """DISABLED records nothing, so that a call may take as long as it likes."""
    circuit = Circuit("payments", SLOW)
    circuit.disable(0.0)
    acquire(circuit, 0.0)
    assert circuit.next_deadline() is None


def test_reset_clears_no_override() -> None:
    """Forced open stays forced open over a closed circuit."""
    circuit = opened()
    circuit.force_open(1.0)
    circuit.reset(2.0)
    assert (circuit.state, circuit.override) == (State.CLOSED, Override.FORCED_OPEN)
    assert is_refused(circuit, 2.0)


def test_time_under_forced_open_lowers_no_level() -> None:
    """Closed below or not, nothing went through: an hour of it is no health. What was healthy before still counts."""
    circuit = half_opened(DOUBLING)
    call(circuit, FAILURE, 5.0)  # level 2, until 15
    circuit.set_full(1, 5.0)
    calls(circuit, "SSSS", 15.0)
    circuit.force_open(75.0, until=1000.0)  # a minute later: level 1
    assert circuit.snapshot(999.0).level == 1
    circuit.force_open(2000.0, until=4000.0)
    circuit.advance(4000.0)
    assert (circuit.state, circuit.snapshot(4000.0).level) == (State.HALF_OPEN, 1)


def test_a_reset_under_forced_open_takes_the_level_away() -> None:
    """An operator's word is more than a count of minutes."""
    circuit = opened()
    circuit.force_open(1.0)
    circuit.reset(2.0)
    assert circuit.snapshot(2.0).level == 0


@pytest.mark.parametrize("command", ["disable", "observe"])
def test_other_overrides_expire_too(command: str) -> None:
    """At their second, which is the next deadline, and the state below goes on: here the end of its wait was passed meanwhile."""
    circuit = opened()
    circuit.take_events()
    getattr(circuit, command)(1.0, until=3.0)
    assert circuit.next_deadline() == 3.0
    circuit.advance(2.9)
    assert circuit.override is not None
    circuit.advance(FIRST_WAIT)
    assert (circuit.state, circuit.override) == (State.HALF_OPEN, None)
    assert kinds(circuit.take_events()) == ["OverrideSet", "OverrideCleared", "CircuitHalfOpened"]


def test_an_override_that_ends_later_than_the_wait_waits_for_the_wait_first() -> None:
    """The earlier of the two is the deadline."""
    circuit = opened()
    circuit.disable(1.0, until=60.0)
    assert circuit.next_deadline() == FIRST_WAIT
    circuit.advance(FIRST_WAIT)
    assert (circuit.state, circuit.next_deadline()) == (State.HALF_OPEN, 60.0)


def test_an_expired_override_admits_as_the_state_below_does() -> None:
    """Also when nobody has let time pass before the call comes."""
    circuit = opened(CircuitSettings(open_duration=100.0))
    circuit.disable(1.0, until=3.0)
    acquire(circuit, 2.9)
    assert is_refused(circuit, 3.0)


def test_forced_open_rejects_whatever_the_state() -> None:
    """Also when the wait below is over; without an expiry nobody knows until when."""
    for circuit in (Circuit("payments"), opened(), half_opened()):
        state = circuit.state
        circuit.force_open(5.0)
        assert circuit.try_acquire(1e9) == Rejected(None, state, Override.FORCED_OPEN)
        assert not circuit.may_acquire(1e9)
        circuit.advance(1e9)
        assert (circuit.state, circuit.next_deadline(), circuit.limit, circuit.free_slots) == (state, None, 0, 0)


def test_forced_open_expires_into_half_open() -> None:
    """Never from nothing to everything: a probe is next, whatever the state was."""
    for circuit in (Circuit("payments"), opened(), half_opened()):
        circuit.take_events()
        generation, previous = circuit.generation, circuit.state
        circuit.force_open(6.0, until=60.0)
        assert circuit.next_deadline() == 60.0
        assert circuit.try_acquire(59.9) == Rejected(60.0, previous, Override.FORCED_OPEN)
        assert not circuit.may_acquire(59.9)
        assert circuit.may_acquire(60.0)
        acquire(circuit, 60.0)
        assert is_refused(circuit, 60.0)
        assert circuit.take_events() == (
            OverrideSet("payments", 6.0, generation + 1, Override.FORCED_OPEN, 60.0),
            OverrideCleared("payments", 60.0, generation + 2, Override.FORCED_OPEN),
            CircuitHalfOpened("payments", 60.0, generation + 2, previous),
        )


def test_clearing_forced_open_goes_to_half_open() -> None:
    """The operator's way is the expiry's."""
    circuit = Circuit("payments")
    circuit.force_open(0.0, until=60.0)
    circuit.clear_override(1.0)
    assert (circuit.state, circuit.override, circuit.limit) == (State.HALF_OPEN, None, 1)
    circuit.advance(60.0)
    assert circuit.generation == 2


def test_forced_open_replaced_by_another_override_goes_to_half_open_below() -> None:
    """What was forced open ramps up again, however it is let go."""
    circuit = Circuit("payments")
    circuit.force_open(0.0)
    circuit.disable(1.0)
    assert (circuit.state, circuit.override) == (State.HALF_OPEN, Override.DISABLED)
    circuit.clear_override(2.0)
    assert (circuit.state, circuit.limit) == (State.HALF_OPEN, 1)


@pytest.mark.parametrize("until", [float("nan"), float("inf"), True, "soon"])
def test_forced_open_wants_a_time_to_end(until: float) -> None:
    """Anything else raises and changes nothing."""
    circuit = Circuit("payments")
    with pytest.raises(SettingsError, match="until must be"):
        circuit.force_open(0.0, until=until)
    assert circuit.override is None


def test_an_override_twice_is_one() -> None:
    """The same one changes nothing; another expiry does."""
    circuit = Circuit("payments")
    for _ in range(2):
        circuit.force_open(0.0, until=60.0)
    assert (circuit.generation, kinds(circuit.take_events())) == (1, ["OverrideSet"])
    circuit.force_open(0.0, until=90.0)
    assert (circuit.generation, circuit.next_deadline()) == (2, 90.0)
    circuit.observe(1.0)
    circuit.observe(2.0)
    assert kinds(circuit.take_events()) == ["OverrideSet", "OverrideSet", "CircuitHalfOpened"]


def test_clearing_nothing_is_nothing() -> None:
    """No generation, no event."""
    circuit = Circuit("payments")
    circuit.clear_override(0.0)
    assert (circuit.generation, circuit.take_events()) == (0, ())


def test_a_disabled_circuit_admits_all_and_records_nothing() -> None:
    """Open, it lets everything through; results neither open nor count."""
    circuit = opened()
    circuit.disable(1.0)
    assert circuit.may_acquire(1.0)
    assert (circuit.limit, circuit.free_slots) == (None, None)
    calls(circuit, "F" * 30 + "I", 1.0)
    snapshot = circuit.snapshot(1.0)
    assert (snapshot.state, snapshot.calls, snapshot.late_results, snapshot.in_flight) == (State.OPEN, 5, 0, 0)


def test_the_wait_goes_on_below_a_disabled_circuit() -> None:
    """Its end shows, and clearing the override then goes on with a probe."""
    circuit = opened()
    circuit.disable(1.0)
    assert circuit.next_deadline() == FIRST_WAIT
    circuit.advance(FIRST_WAIT)
    assert circuit.state is State.HALF_OPEN
    calls(circuit, "SSSSSSSSFFFF", FIRST_WAIT)
    circuit.clear_override(6.0)
    assert (circuit.state, circuit.limit, circuit.free_slots) == (State.HALF_OPEN, 1, 1)


def test_clearing_goes_on_from_the_state_below() -> None:
    """Open stays open until its end."""
    circuit = opened()
    circuit.take_events()
    circuit.observe(1.0)
    circuit.clear_override(2.0)
    assert (circuit.state, circuit.next_deadline(), circuit.generation) == (State.OPEN, FIRST_WAIT, 3)
    assert circuit.take_events() == (
        OverrideSet("payments", 1.0, 2, Override.METRICS_ONLY, None),
        OverrideCleared("payments", 2.0, 3, Override.METRICS_ONLY),
    )


def test_an_override_keeps_the_window_of_a_closed_circuit() -> None:
    """What was counted before counts after."""
    circuit = Circuit("payments")
    calls(circuit, "FFFF", 0.0)
    circuit.disable(1.0)
    circuit.clear_override(2.0)
    call(circuit, FAILURE, 3.0)
    assert circuit.state is State.OPEN


@pytest.mark.parametrize("command", ["force_open", "disable", "observe", "clear_override", "reset"])
def test_permits_of_before_a_command_are_late(command: str) -> None:
    """Results of calls admitted before it move nothing after it."""
    circuit = Circuit("payments")
    if command == "clear_override":
        circuit.observe(0.0)
    permits = [acquire(circuit, 0.0) for _ in range(6)]
    getattr(circuit, command)(1.0)
    for permit in permits[:5]:
        circuit.record(permit, FAILURE, 2.0)
    circuit.record(permits[5], SUCCESS, 2.0)
    snapshot = circuit.snapshot(2.0)
    assert (snapshot.late_results, snapshot.calls, snapshot.failures) == (6, 0, 0)


def test_an_opening_under_an_override_leaves_the_override() -> None:
    """An operator's word is ended by an operator, or by its time."""
    circuit = Circuit("payments")
    circuit.observe(0.0)
    circuit.open_for(5.0, 1.0)
    assert (circuit.state, circuit.override) == (State.OPEN, Override.METRICS_ONLY)


def test_what_follows_a_forced_opening_is_told_with_its_time() -> None:
    """The half-open that it leaves behind, under another override too."""
    circuit = Circuit("payments")
    circuit.force_open(0.0)
    circuit.take_events()
    circuit.disable(3.0)
    assert [(type(event), event.at) for event in circuit.take_events()] == [(OverrideSet, 3.0), (CircuitHalfOpened, 3.0)]


def test_an_override_that_admits_leaves_the_level_to_time() -> None:
    """It falls by one per healthy interval, whoever has looked."""
    circuit = opened(DOUBLING)
    circuit.advance(5.0)
    calls(circuit, "F", 5.0)
    circuit.advance(15.0)
    circuit.set_full(1, 15.0)
    calls(circuit, "SSSS", 15.0)
    assert (circuit.state, circuit.snapshot(15.0).level) == (State.CLOSED, 2)
    circuit.disable(75.0)
    assert circuit.snapshot(75.0).level == 1


def test_results_that_had_opened_it_are_told_when_it_is_observed() -> None:
    """With the first that comes after: an operator who looks on has to know."""
    circuit = opened()
    circuit.observe(1.0)
    circuit.take_events()
    calls(circuit, "F", 1.0)
    (event,) = circuit.take_events()
    assert isinstance(event, ThresholdExceeded)
    assert event.observed is True


def test_what_is_only_observed_is_told_as_observed() -> None:
    """It opens nothing."""
    circuit = Circuit("payments")
    circuit.observe(0.0)
    circuit.take_events()
    calls(circuit, "FFFFF", 0.0)
    (event,) = circuit.take_events()
    assert isinstance(event, ThresholdExceeded)
    assert event.observed is True


def test_calls_that_run_when_the_observing_ends_count_from_then_on() -> None:
    """A limiter that begins anew is told the time, for its rate as well."""
    circuit = Circuit("payments", limits=Limits(rate=2, per=60.0, adaptive=False))
    circuit.observe(0.0)
    acquire(circuit, 1.0)
    circuit.clear_override(5.0)
    seen = circuit.snapshot(5.0).limits
    assert seen is not None
    assert seen.in_flight == 1
    acquire(circuit, 5.0)
    assert isinstance(circuit.try_acquire(64.0), Rejected)
    acquire(circuit, 65.0)
