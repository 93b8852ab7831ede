"""What a circuit has counted since it was made."""

from __future__ import annotations

import random

import pytest
from tests.core.driving import NO_LIMIT

from holdgate.core import Circuit, CircuitSettings, CountWindow, Outcome, Permit, RampSettings, TimeWindow
from holdgate.core.totals import CALL_BOUNDS, QUICK, CircuitTotals, Histogram

SETTINGS = CircuitSettings(consecutive_failures=2, open_duration=10.0, open_jitter=0.0, ramp=RampSettings(minimum_verdicts=1))


def acquire(circuit: Circuit, now: float) -> Permit:
    permit = circuit.try_acquire(now)
    assert isinstance(permit, Permit)
    return permit


def call(circuit: Circuit, now: float, took: float = 0.0, outcome: Outcome = Outcome.SUCCESS) -> None:
    circuit.record(acquire(circuit, now), outcome, now + took)


def test_a_value_at_a_bound_is_within_it() -> None:
    """As Prometheus has it: `le` means less or equal."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.add(value)
    assert (histogram.counts, histogram.sum, histogram.count) == ([2, 2, 1], 7.5, 5)


def test_a_copy_stays_as_it_is() -> None:
    """A reading is compared with the next one."""
    histogram = Histogram((1.0,))
    histogram.add(0.5)
    copied = histogram.copy(lowest=2, their_sum=0.25)
    histogram.add(0.5)
    assert (copied.counts, copied.sum) == ([3, 0], 0.75)


@pytest.mark.parametrize("window", [CountWindow(10), TimeWindow(20.0)], ids=["count window", "time window"])
@pytest.mark.parametrize("seed", range(4))
def test_every_call_is_in_the_bucket_of_its_duration(window: CountWindow | TimeWindow, seed: int) -> None:
    """Quick ones that no look is taken at, and others, good and bad: as a list of them says, whatever the window has forgotten."""
    draw = random.Random(seed)
    circuit = Circuit("payments", CircuitSettings(window=window, failure_rate_threshold=1.0, consecutive_failures=None))
    seen: dict[bool, list[float]] = {True: [], False: []}
    now = 0.0
    for _ in range(300):
        took, failed = draw.choice([0.0, 0.001, QUICK, 0.006, 0.3, 70.0]), draw.random() < 0.2
        call(circuit, now, took, Outcome.FAILURE if failed else Outcome.SUCCESS)
        seen[failed].append((now + took) - now)
        now += took + draw.choice([0.0, 0.1, 30.0])

    totals = circuit.read_totals()
    for failed, histogram in ((False, totals.succeeded), (True, totals.failed)):
        plain = Histogram(CALL_BOUNDS)
        for took in seen[failed]:
            plain.add(took)
        assert histogram.counts == plain.counts
        assert histogram.sum == pytest.approx(plain.sum)


def test_a_renewed_permit_is_a_call_of_its_own() -> None:
    """The short way of messages that follow one another."""
    circuit = Circuit("payments")
    call(circuit, 0.0, 0.004)
    permit = acquire(circuit, 1.0)
    assert circuit.renew(permit, 1.002)
    circuit.record(permit, Outcome.SUCCESS, 1.003)
    totals = circuit.read_totals()
    assert totals.succeeded.counts[0] == totals.succeeded.count == 3
    assert totals.succeeded.sum == pytest.approx(0.007)


def test_the_duration_that_was_measured_elsewhere_counts() -> None:
    """A call form in a handler: its own seconds, and not those of the handler."""
    circuit = Circuit("payments")
    call(circuit, 0.0, 0.004)
    circuit.record(acquire(circuit, 1.0), Outcome.SUCCESS, 1.004, duration=0.001)
    circuit.record(acquire(circuit, 2.0), Outcome.SUCCESS, 2.004, duration=0.5)
    assert circuit.read_totals().succeeded.sum == pytest.approx(0.505)


def test_what_a_reset_forgets_is_still_counted() -> None:
    """Totals only go up."""
    circuit = Circuit("payments")
    for _ in range(5):
        call(circuit, 0.0)
    circuit.reset(1.0)
    call(circuit, 2.0)
    assert circuit.read_totals().succeeded.count == 6


def test_calls_under_an_override_are_counted_too() -> None:
    """DISABLED records nothing for the rules, but a metric shows what went through."""
    circuit = Circuit("payments")
    circuit.disable(0.0)
    call(circuit, 1.0)
    call(circuit, 1.0, outcome=Outcome.FAILURE)
    totals = circuit.read_totals()
    assert (totals.succeeded.count, totals.failed.count, circuit.snapshot(1.0).calls) == (1, 1, 0)


def test_what_is_neither_success_nor_failure() -> None:
    """Ignored, throttled, late, refused; a permit that is given back is nothing at all."""
    circuit = Circuit("payments", SETTINGS, limits=NO_LIMIT)
    circuit.release(acquire(circuit, 0.0), 0.0)
    call(circuit, 0.0, outcome=Outcome.IGNORED)
    call(circuit, 0.0, outcome=Outcome.IGNORED)
    for _ in range(2):
        call(circuit, 0.0, outcome=Outcome.THROTTLED)
    late = acquire(circuit, 0.0)
    call(circuit, 0.0, outcome=Outcome.FAILURE)
    call(circuit, 0.0, outcome=Outcome.FAILURE)
    circuit.record(late, Outcome.SUCCESS, 1.0)
    circuit.try_acquire(1.0)
    totals = circuit.read_totals()
    assert (totals.ignored, totals.throttled, totals.late, totals.refused) == (2, 2, 1, 1)
    assert (totals.succeeded.count, totals.failed.count) == (0, 2)


def test_the_first_call_of_each_half_open_is_a_probe() -> None:
    """Two that failed, then a good one; what follows in the ramp is none. And the same once more."""
    circuit = Circuit("payments", SETTINGS)
    for now in (0.0, 1000.0):
        call(circuit, now, outcome=Outcome.FAILURE)
        call(circuit, now, outcome=Outcome.FAILURE)
        call(circuit, now + 10.0, outcome=Outcome.FAILURE)
        call(circuit, now + 100.0, outcome=Outcome.FAILURE)
        for _ in range(40):
            call(circuit, now + 300.0)
    totals = circuit.read_totals()
    assert (totals.probes_succeeded, totals.probes_failed) == (2, 4)


def test_nothing_has_happened_at_first() -> None:
    """All zero, and equal to any other such."""
    assert Circuit("payments").read_totals() == CircuitTotals()
