"""How the limit of a fleet's ramp grows."""

from __future__ import annotations

import pytest

from holdgate.core import RampSettings
from holdgate.core.ramp import StageResult
from holdgate.fleet.climbing import CROWDED, FULL, HOLDS, PooledRamp

USUAL = 0.25


def climbing(limit: int, *, full: int = 160, usual: float | None = USUAL, gentle_from: int | None = None) -> PooledRamp:
    """A ramp whose probe was good, at the beginning of a stage with `limit`, at 0 seconds."""
    ramp = PooledRamp(RampSettings(initial=limit), full, usual=usual, gentle_from=gentle_from)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    return ramp


def stage(ramp: PooledRamp, took: float, now: float, bad: int = 0) -> int:
    """One stage with as many results as its limit, each of `took` seconds. Returns the next limit."""
    good = max(3, ramp.limit) - bad
    ramp.time(good, good * took)
    for result in [StageResult.GOOD] * good + [StageResult.FAILED] * bad:
        assert ramp.count(ramp.stage, result, now) is None
    assert ramp.is_due(now)
    ramp.conclude(now, 0)
    return ramp.limit


def test_while_calls_take_as_long_as_usual_the_limit_doubles() -> None:
    """One, two, four, as in a circuit alone."""
    ramp = climbing(1)
    assert [stage(ramp, USUAL, now) for now in (1.0, 2.0, 3.0, 4.0)] == [2, 4, 8, 16]


def test_crowded_calls_make_small_steps() -> None:
    """From half as long again as usual on the limit grows by an eighth, and by one at least."""
    ramp = climbing(8)
    assert stage(ramp, USUAL, 0.0) == 16
    assert [stage(ramp, CROWDED * USUAL, now) for now in (1.0, 2.0, 3.0)] == [18, 20, 22]
    assert stage(ramp, 0.99 * CROWDED * USUAL, 4.0) == 44
    small = climbing(1)
    assert [stage(small, took * USUAL, 1.0) for took in (1.0, 1.6)] == [2, 3]


def test_a_dependency_that_does_all_it_can_is_given_no_more() -> None:
    """Three times as long as usual: the limit stays as it is, for so long that it may change, and then it grows in any case."""
    ramp = climbing(16)
    assert stage(ramp, USUAL, 0.0) == 32
    for now in (1.0, 5.0, HOLDS - 0.1):
        assert stage(ramp, FULL * USUAL, now) == 32
    assert stage(ramp, FULL * USUAL, HOLDS) == 36
    assert stage(ramp, FULL * USUAL, HOLDS + 1.0) == 36
    assert stage(ramp, USUAL, HOLDS + 2.0) == 72


def test_what_is_slow_from_the_first_call_on_is_not_crowded() -> None:
    """What counts is the usual duration or that of the quickest stage, whichever is more; without any, the quickest stage."""
    ramp = climbing(1)
    assert [stage(ramp, 10 * USUAL, now) for now in (1.0, 2.0)] == [2, 4]
    unknown = climbing(4, usual=None)
    assert stage(unknown, 1.0, 1.0) == 8
    assert stage(unknown, 2.0, 2.0) == 9


def test_where_nobody_says_how_long_calls_took_it_climbs_as_alone() -> None:
    """Workers of an older version write results without a duration."""
    ramp = climbing(4)
    ramp.time(4, 0.0)
    for _ in range(4):
        ramp.count(ramp.stage, StageResult.GOOD, 1.0)
    ramp.conclude(1.0, 0)
    assert (ramp.limit, ramp.crowding) == (8, 1.0)


def test_a_broken_ramp_is_remembered() -> None:
    """Up to the limit that is given the steps are those of a circuit alone, and end there; from it on they are small."""
    ramp = climbing(4, gentle_from=12)
    assert [stage(ramp, USUAL, now) for now in (1.0, 2.0, 3.0, 4.0)] == [8, 12, 13, 14]


def test_a_dependency_that_takes_twice_as_much_as_when_the_ramp_broke_has_changed() -> None:
    """From there on the limit doubles again."""
    ramp = climbing(4, gentle_from=4)
    assert [stage(ramp, USUAL, float(now)) for now in range(13)][-3:] == [15, 16, 32]


def test_a_bad_stage_halves_the_limit() -> None:
    """And from there on the steps are small, too."""
    ramp = climbing(32)
    assert stage(ramp, USUAL, 1.0, bad=2) == 64
    for bad in range(64):
        ramp.count(ramp.stage, StageResult.FAILED if bad % 5 == 0 else StageResult.GOOD, 2.0)
    ramp.conclude(2.0, 0)
    assert ramp.limit == 32
    assert stage(ramp, USUAL, 3.0) == 36


@pytest.mark.parametrize(("sample", "enough"), [(8, True), (9, False)])
def test_a_stage_is_judged_by_those_that_report(sample: int, enough: bool) -> None:
    """Of a limit of sixteen eight results are enough, if no more are reported at once."""
    ramp = climbing(16)
    ramp.sample = sample
    for _ in range(8):
        ramp.count(ramp.stage, StageResult.GOOD, 1.0)
    assert ramp.is_due(1.0) is enough
