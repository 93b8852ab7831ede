"""One half-open: permits, leases, stages and what it decides."""

from __future__ import annotations

import pytest

from holdgate.core import RampSettings, Reason
from holdgate.core.permits import EXPIRED, LIVE, Permit, PermitsInFlight, issue
from holdgate.core.ramp import HalfOpen, Ramp, StageResult
from holdgate.core.totals import CircuitTotals

LEASE = 300.0
SLOW = 1.0


class Bench:
    """A half-open with the live permits it looks at."""

    def __init__(self, limit: int | None = None, full: int = 16) -> None:
        self.permits = PermitsInFlight(SLOW)
        self.half_open = HalfOpen(Ramp(RampSettings(initial=limit or 1), full), self.permits, LEASE, SLOW, CircuitTotals())
        if limit is not None:
            self.half_open.ramp.count(1, StageResult.GOOD, 0.0)

    def admit(self, now: float, weight: int = 1) -> Permit:
        """A permit goes out, as the circuit does it."""
        permit = issue(0, now, weight)
        self.permits.live[permit] = None
        self.half_open.admit(permit)
        return permit

    def settle(self, permit: Permit, now: float, *, failed: bool = False) -> object:
        """It comes back, as the circuit does it."""
        self.permits.take(permit)
        self.half_open.give_back(permit)
        return self.half_open.settle(permit, failed, now - permit.acquired_at, now)


def test_weight_is_in_flight_until_it_comes_back() -> None:
    """In flight is what the live permits weigh."""
    bench = Bench(limit=8)
    permit = bench.admit(0.0, weight=3)
    bench.admit(0.0)
    assert bench.half_open.ramp.in_flight == 4
    bench.settle(permit, 0.1)
    assert bench.half_open.ramp.in_flight == 1


@pytest.mark.parametrize(("failed", "took", "reason"), [(True, 0.0, Reason.PROBE), (False, 1.01, Reason.SLOW_PROBE)])
def test_a_bad_probe_is_a_breach(failed: bool, took: float, reason: Reason) -> None:
    """A failed or a slow probe opens."""
    bench = Bench()
    step = bench.settle(bench.admit(0.0), took, failed=failed)
    assert step.breach.reason is reason  # type: ignore[attr-defined]


def test_a_probe_of_exactly_the_slow_duration_is_good() -> None:
    """Slow is more than the duration."""
    bench = Bench()
    step = bench.settle(bench.admit(0.0), 1.0)
    assert step.breach is None  # type: ignore[attr-defined]
    assert not bench.half_open.ramp.is_probing


def test_a_lease_ends_at_its_time_and_is_a_failure() -> None:
    """Just before nothing happens; at the time the permit is taken back, and the probe has failed."""
    bench = Bench()
    permit = bench.admit(7.0)
    before = bench.half_open.pass_time(306.99)
    assert (before.expired, before.breach, permit.standing) == ((), None, LIVE)
    step = bench.half_open.pass_time(307.0)
    assert step.expired == (permit,)
    assert step.breach is not None
    assert permit.standing == EXPIRED
    assert not bench.permits.live
    assert bench.half_open.ramp.in_flight == 0


def test_leases_end_in_the_order_of_issue_until_the_circuit_opens() -> None:
    """Three ended leases are three failures in a row; the fourth permit is left to the transition."""
    bench = Bench(limit=4)
    permits = [bench.admit(at) for at in (0.0, 0.0, 1.0, 1.0)]
    bench.half_open.ramp.refused = True
    step = bench.half_open.pass_time(301.0)
    assert step.expired == tuple(permits[:3])
    assert step.breach is not None
    assert step.breach.reason is Reason.CONSECUTIVE_FAILURES
    assert list(bench.permits.live) == permits[3:]


def test_leases_that_end_together_in_low_traffic_open_by_the_second() -> None:
    """The first ends the old stage with a cut to 2, and at that limit an ended lease opens."""
    bench = Bench(limit=4)
    permits = [bench.admit(0.0) for _ in range(3)]
    step = bench.half_open.pass_time(300.0)
    assert step.expired == tuple(permits[:2])
    assert step.breach is not None
    assert step.breach.reason is Reason.PERMIT_LEASE


def test_one_ended_lease_of_many_is_one_bad_result() -> None:
    """Above the smallest limits it counts as a failure and opens nothing."""
    bench = Bench(limit=4)
    bench.admit(0.0)
    for _ in range(3):
        bench.admit(100.0)
    step = bench.half_open.pass_time(300.0)
    assert len(step.expired) == 1
    assert step.breach is None
    # one bad result of one: the stage is old, and nobody was refused
    assert (step.limit, bench.half_open.ramp.limit) == (4, 2)


def test_a_stage_that_is_old_enough_ends_by_time_alone() -> None:
    """One good result, ten seconds, nobody refused: the limit grows."""
    bench = Bench(limit=2)
    bench.settle(bench.admit(0.0), 0.5)
    assert bench.half_open.pass_time(9.9).limit == bench.half_open.ramp.limit == 2
    step = bench.half_open.pass_time(10.0)
    assert (step.limit, bench.half_open.ramp.limit) == (2, 4)


def test_an_old_stage_at_full_recovers_before_a_lease_of_it_ends() -> None:
    """The stage ended long before the lease; the order of time is kept in one late look."""
    bench = Bench(limit=2, full=2)
    bench.settle(bench.admit(0.0), 0.5)
    hanging = bench.admit(400.0)
    step = bench.half_open.pass_time(400.5)
    assert step.recovered
    assert hanging.standing == LIVE


def test_calls_of_this_stage_in_flight_for_too_long_are_bad() -> None:
    """A call longer in flight than the slow duration makes one of five; one of an earlier stage does not count."""
    for same_stage, limit in ((True, 2), (False, 8)):
        bench = Bench(limit=4)
        hanging = bench.admit(0.0)
        hanging.stage -= not same_stage
        for _ in range(4):
            bench.settle(bench.admit(2.0), 2.0)
        assert bench.half_open.ramp.limit == limit


def test_a_call_in_flight_for_exactly_the_duration_is_not_bad() -> None:
    """Slow is more than the duration, in flight too."""
    bench = Bench(limit=4)
    bench.admit(1.0)
    for _ in range(4):
        bench.settle(bench.admit(2.0), 2.0)
    assert bench.half_open.ramp.limit == 8


def test_a_good_stage_at_full_recovers() -> None:
    """The step says so, and the circuit closes."""
    bench = Bench(limit=2, full=2)
    steps = [bench.settle(bench.admit(0.0), 0.1) for _ in range(3)]
    assert [step.recovered for step in steps] == [False, False, True]  # type: ignore[attr-defined]


def test_a_lower_full_rate_may_complete_the_stage() -> None:
    """Five good results are enough for a stage of 4, which is then the full rate."""
    bench = Bench(limit=8)
    for _ in range(5):
        bench.settle(bench.admit(0.0), 0.1)
    step = bench.half_open.set_full(4, 1.0)
    assert step.recovered
    assert step.limit == 8


@pytest.mark.parametrize(
    ("admitted_at", "result_at", "deadline"),
    [(None, None, None), (7.0, None, 307.0), (None, 0.5, 10.0), (7.0, 0.5, 10.0), (-295.0, 0.5, 5.0)],
)
def test_the_next_time_is_a_lease_or_a_stage(admitted_at: float | None, result_at: float | None, deadline: float | None) -> None:
    """Whichever ends first; None while neither will."""
    bench = Bench(limit=4)
    if admitted_at is not None:
        bench.admit(admitted_at)
    if result_at is not None:
        bench.settle(bench.admit(0.0), result_at)
    assert bench.half_open.next_deadline() == deadline


def test_a_bad_probe_is_told_with_the_limit_and_nothing_else() -> None:
    """Nothing expired, and nothing recovered."""
    bench = Bench()
    step = bench.settle(bench.admit(0.0), 0.1, failed=True)
    assert (step.limit, step.expired, step.recovered) == (1, (), False)  # type: ignore[attr-defined]


def test_time_that_passes_is_told_with_the_limit_of_before() -> None:
    """So that the circuit sees it change: by an old stage of low traffic, and by a lease that has ended."""
    bench = Bench(limit=4)
    bench.settle(bench.admit(0.0), 0.1)
    step = bench.half_open.pass_time(10.0)
    assert (step.limit, bench.half_open.ramp.limit) == (4, 8)
    bench = Bench(limit=4)
    bench.admit(0.0)
    step = bench.half_open.pass_time(LEASE)
    assert (step.limit, bench.half_open.ramp.limit, len(step.expired)) == (4, 2, 1)


def test_a_result_counts_by_its_weight() -> None:
    """Three batches that fill a limit of eight are a stage."""
    bench = Bench(limit=8)
    for weight in (3, 3, 2):
        bench.settle(bench.admit(0.0, weight), 0.1)
    assert bench.half_open.ramp.limit == 16


def test_a_good_probe_shows_the_dependency_well_until_it_ends() -> None:
    """A bad one says how it was when it was sent, so the next wait is measured from there."""
    bench = Bench()
    probe = bench.admit(2.0)
    assert bench.half_open.probe_asked_at(7.0) == 2.0
    bench.settle(probe, 7.0 - 4.5)  # it took half a second
    assert bench.half_open.probe_asked_at(7.0) == 7.0


@pytest.mark.parametrize(("failed", "counted"), [(False, (1, 0)), (True, (0, 1))])
def test_a_probe_is_counted_by_how_it_ended(failed: bool, counted: tuple[int, int]) -> None:
    """Once: what comes after it is a stage."""
    totals = CircuitTotals()
    permits = PermitsInFlight(SLOW)
    half_open = HalfOpen(Ramp(RampSettings(initial=4), 16), permits, LEASE, SLOW, totals)
    for _ in range(1 if failed else 2):
        permit = issue(0, 0.0, 1)
        half_open.admit(permit)
        half_open.settle(permit, failed, 0.25, 0.25)
    assert (totals.probes_succeeded, totals.probes_failed) == counted
    assert half_open.ramp.good_seconds == (0.0 if failed else 0.25)


def test_a_lease_that_ends_adds_no_seconds() -> None:
    """Nobody knows how long that call takes."""
    bench = Bench(limit=4)
    bench.admit(0.0)
    bench.half_open.pass_time(LEASE)
    assert bench.half_open.ramp.good_seconds == 0.0
