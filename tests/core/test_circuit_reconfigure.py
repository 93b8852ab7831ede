"""Other settings for a circuit that works: what stays, what changes at once, and what only the next result changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.driving import FAILURE, FIRST_WAIT, SUCCESS, acquire, call, calls, half_opened, opened, ramping

from holdgate.core import Circuit, CircuitSettings, CountWindow, Permit, RampSettings, State, TimeWindow
from holdgate.errors import SettingsError

NO_RUN = CircuitSettings(consecutive_failures=None, minimum_calls=4)


def test_anything_else_than_settings_is_refused() -> None:
    """And the circuit keeps those that it has."""
    circuit = Circuit("payments")
    with pytest.raises(SettingsError, match="settings must be CircuitSettings"):
        circuit.reconfigure({"open_duration": 3}, 0.0)  # type: ignore[arg-type]
    assert circuit.settings == CircuitSettings()


def test_state_totals_and_permits_stay() -> None:
    """No transition, no event, and a call in flight is counted by its result."""
    circuit = Circuit("payments")
    calls(circuit, "SSF", 0.0)
    permit = acquire(circuit, 1.0)
    generation = circuit.generation
    circuit.reconfigure(CircuitSettings(failure_rate_threshold=0.9), 2.0)
    circuit.record(permit, SUCCESS, 3.0)
    assert (circuit.state, circuit.generation, circuit.take_events()) == (State.CLOSED, generation, ())
    assert circuit.snapshot(3.0).calls == 4
    assert circuit.read_totals().succeeded.count == 3


def test_a_lower_threshold_is_met_by_the_next_result() -> None:
    """Also by a good one, and not by the change: no circuit opens because somebody saved a file."""
    # Two bad results of at least four meet neither of these rates, so the circuit looks at no good one more.
    circuit = Circuit("payments", replace(NO_RUN, failure_rate_threshold=0.9, slow_call_rate_threshold=0.9))
    calls(circuit, "FFSS", 0.0)
    circuit.reconfigure(replace(NO_RUN, failure_rate_threshold=0.4), 1.0)
    assert circuit.state is State.CLOSED
    calls(circuit, "S", 2.0)
    assert circuit.state is State.OPEN


def test_a_rule_of_failures_in_a_row_goes_on_from_its_count() -> None:
    """Four failures are behind it; with a limit of four the next one is one too many."""
    circuit = Circuit("payments")
    calls(circuit, "FFFF", 0.0)
    circuit.reconfigure(CircuitSettings(consecutive_failures=4), 1.0)
    calls(circuit, "F", 2.0)
    assert circuit.state is State.OPEN


@pytest.mark.parametrize(("size", "seen"), [(2, (2, 1)), (4, (4, 2)), (10, (6, 4))])
def test_of_a_count_window_the_youngest_results_stay(size: int, seen: tuple[int, int]) -> None:
    """A smaller one holds fewer of them, and a larger one all of them."""
    circuit = Circuit("payments", replace(NO_RUN, window=CountWindow(6), failure_rate_threshold=1.0, minimum_calls=6))
    calls(circuit, "SFFFSFSF", 0.0)
    circuit.reconfigure(replace(circuit.settings, window=CountWindow(size)), 1.0)
    snapshot = circuit.snapshot(1.0)
    assert (snapshot.calls, snapshot.failures) == seen


def test_good_results_that_were_counted_by_the_short_cut_go_over() -> None:
    """They are in no ring yet, and count in the window and in the totals, once each."""
    circuit = Circuit("payments", CircuitSettings(window=CountWindow(20)))
    calls(circuit, "SSSSSSS", 0.0)
    circuit.reconfigure(CircuitSettings(window=CountWindow(5)), 1.0)
    calls(circuit, "S", 1.0)
    assert circuit.snapshot(1.0).calls == 5
    assert circuit.read_totals().succeeded.count == 8


def test_of_a_time_window_results_keep_their_age() -> None:
    """In a shorter one the old ones are gone; the rest leaves when it would have left anyway."""
    circuit = Circuit("payments", replace(NO_RUN, window=TimeWindow(10.0), failure_rate_threshold=1.0))
    calls(circuit, "FS", 0.5)
    calls(circuit, "FFS", 7.5)
    calls(circuit, "SSS", 9.5)
    circuit.reconfigure(replace(circuit.settings, window=TimeWindow(5.0)), 9.6)
    seen = circuit.snapshot(9.6)
    assert (seen.calls, seen.failures) == (6, 2)
    assert circuit.snapshot(13.0).calls == 3
    assert circuit.read_totals().succeeded.count == 5


def test_a_longer_time_window_goes_on_from_what_there_is() -> None:
    """Good ones in the running bucket, too, which no ring has yet."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0)))
    calls(circuit, "SSS", 3.5)
    circuit.reconfigure(CircuitSettings(window=TimeWindow(60.0)), 3.6)
    assert circuit.snapshot(3.6).calls == 3
    assert circuit.snapshot(50.0).calls == 3
    assert circuit.snapshot(70.0).calls == 0


@pytest.mark.parametrize("windows", [(CountWindow(20), TimeWindow(10.0)), (TimeWindow(10.0), CountWindow(20))])
def test_a_window_of_the_other_kind_begins_empty(windows: tuple[CountWindow | TimeWindow, CountWindow | TimeWindow]) -> None:
    """What is missing for it was never noted. Failures in a row and totals are no window's, and stay."""
    circuit = Circuit("payments", CircuitSettings(window=windows[0]))
    calls(circuit, "SSFFFF", 0.0)
    circuit.reconfigure(CircuitSettings(window=windows[1]), 1.0)
    assert circuit.snapshot(1.0).calls == 0
    assert circuit.snapshot(1.0).consecutive_failures == 4
    assert circuit.read_totals().succeeded.count == 2
    calls(circuit, "F", 2.0)
    assert circuit.state is State.OPEN


def test_calls_in_flight_are_judged_by_the_new_duration() -> None:
    """One that was overdue is not, and the order in which they became slow is the order of issue."""
    slow = replace(NO_RUN, slow_call_duration=1.0, minimum_calls=3)
    circuit = Circuit("payments", slow)
    first, second = acquire(circuit, 0.0), acquire(circuit, 0.1)
    circuit.advance(3.0)
    third = acquire(circuit, 3.0)
    circuit.reconfigure(replace(slow, slow_call_duration=10.0), 3.5)
    assert list(circuit.live) == [first, second, third]
    circuit.advance(5.0)
    assert circuit.state is State.CLOSED
    circuit.reconfigure(replace(slow, slow_call_duration=1.0), 5.0)
    circuit.advance(5.0)
    assert circuit.state is State.OPEN


def test_a_quick_call_is_what_the_new_duration_says() -> None:
    """The short cut for quick calls must not pass by what is slow from now on."""
    circuit = Circuit("payments")
    call(circuit, SUCCESS, 0.0, took=0.004)
    circuit.reconfigure(CircuitSettings(slow_call_duration=0.001), 1.0)
    call(circuit, SUCCESS, 2.0, took=0.003)
    assert circuit.snapshot(3.0).slow_calls == 1


def test_a_wait_is_what_it_would_have_been() -> None:
    """Measured from when it began: shorter or longer, with the same chance."""
    drawn = iter([0.9, 0.1])
    circuit = Circuit("payments", CircuitSettings(open_duration=100.0), draw=lambda: next(drawn))
    calls(circuit, "FFFFF", 10.0)
    circuit.reconfigure(CircuitSettings(open_duration=10.0), 12.0)
    assert circuit.next_deadline() == pytest.approx(10.0 + 10.0 * 1.08)
    assert circuit.try_acquire(13.0).retry_at == pytest.approx(20.8)  # type: ignore[union-attr]
    circuit.reconfigure(CircuitSettings(open_duration=50.0), 13.0)
    assert circuit.next_deadline() == pytest.approx(10.0 + 50.0 * 1.08)


def test_a_wait_that_is_over_by_the_new_settings_ends() -> None:
    """At the next look, as any wait."""
    circuit = opened(CircuitSettings(open_duration=100.0))
    circuit.reconfigure(CircuitSettings(open_duration=2.0), 50.0)
    assert circuit.state is State.OPEN
    assert isinstance(circuit.try_acquire(50.0), Permit)
    assert circuit.state is State.HALF_OPEN


def test_a_wait_that_a_server_asked_for_is_only_clamped() -> None:
    """It is none of the settings' own, but `retry_after_max` bounds it from now on."""
    circuit = Circuit("payments")
    circuit.record(acquire(circuit, 0.0), FAILURE, 0.0, retry_after=600.0)
    circuit.reconfigure(CircuitSettings(open_duration=2.0), 10.0)
    assert circuit.next_deadline() == 600.0
    circuit.reconfigure(CircuitSettings(retry_after_max=60.0), 10.0)
    assert circuit.next_deadline() == 70.0


def test_a_wait_that_was_put_off_is_one_that_was_asked_for() -> None:
    """`open_for` decides, and no later settings shorten that."""
    circuit = opened()
    circuit.open_for(100.0, 1.0)
    circuit.reconfigure(CircuitSettings(open_duration=1.0), 2.0)
    assert circuit.next_deadline() == 101.0


def test_a_wait_that_is_over_already_ends_by_the_old_settings() -> None:
    """Time passes first: what has happened has happened."""
    circuit = opened()
    circuit.reconfigure(CircuitSettings(open_duration=100.0), FIRST_WAIT)
    assert circuit.state is State.HALF_OPEN


def test_a_ramp_keeps_its_limit_and_ends_where_the_new_settings_say() -> None:
    """A lower end brings the limit down, and a stage that is complete by that closes the circuit."""
    circuit = ramping(8)
    circuit.reconfigure(replace(circuit.settings, ramp=RampSettings(initial=1, growth=4.0)), FIRST_WAIT)
    assert circuit.limit == 8
    calls(circuit, "S" * 3, FIRST_WAIT)
    circuit.reconfigure(replace(circuit.settings, ramp=RampSettings(initial=1, full=2)), FIRST_WAIT)
    assert circuit.state is State.CLOSED


def test_a_stage_is_judged_by_the_new_rate() -> None:
    """One failure of eight is too many by the old rate, and allowed by the new one."""
    circuit = ramping(8, replace(CircuitSettings(), failure_rate_threshold=0.9))
    calls(circuit, "SSSSF", FIRST_WAIT)
    circuit.reconfigure(replace(circuit.settings, ramp=RampSettings(bad_rate=0.3)), FIRST_WAIT)
    calls(circuit, "SSS", FIRST_WAIT)
    assert circuit.limit == 16


def test_a_lease_is_the_new_one() -> None:
    """A probe that never returns is taken back earlier."""
    circuit = half_opened()
    acquire(circuit, FIRST_WAIT)
    circuit.reconfigure(CircuitSettings(permit_lease=5.0), FIRST_WAIT)
    circuit.advance(FIRST_WAIT + 5.0)
    assert circuit.state is State.OPEN


def test_the_end_of_a_ramp_that_a_guard_has_set_comes_back() -> None:
    """An explicit end lowers it, and without one it is the guard's again."""
    circuit = Circuit("payments", CircuitSettings(ramp=RampSettings(full=8)))
    circuit.set_full(12, 0.0)
    assert circuit.snapshot(0.0).full == 8
    circuit.reconfigure(CircuitSettings(), 0.0)
    assert circuit.snapshot(0.0).full == 12


def test_an_override_stays() -> None:
    """Forced open is forced open, whatever the settings."""
    circuit = Circuit("payments")
    circuit.force_open(0.0, until=50.0)
    circuit.reconfigure(CircuitSettings(open_duration=1.0), 1.0)
    assert circuit.limit == 0
    assert circuit.next_deadline() == 50.0
