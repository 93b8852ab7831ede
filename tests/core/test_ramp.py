"""The ramp's settings and verdicts, stage by stage."""

from __future__ import annotations

import pytest

from holdgate.core import RampSettings, Reason
from holdgate.core.ramp import FULL_ALONE, Ramp, StageResult
from holdgate.core.states import Breach

MARKS = {"g": StageResult.GOOD, "s": StageResult.SLOW, "f": StageResult.FAILED, "x": StageResult.EXPIRED}


def ramp_at(limit: int, full: int = 16, **settings: float) -> Ramp:
    """A ramp whose probe was good, at the beginning of a stage with `limit`, at 0 seconds."""
    ramp = Ramp(RampSettings(initial=limit, **settings), full)  # type: ignore[arg-type]
    assert ramp.count(ramp.stage, StageResult.GOOD, 0.0) is None
    assert ramp.limit == limit
    return ramp


def play(ramp: Ramp, marks: str, now: float = 0.0, overdue: int = 0) -> str:
    """Results of permits of the running stage, one by one; what came of them in the end."""
    for letter in marks:
        breach = ramp.count(ramp.stage, MARKS[letter], now)
        if breach is not None:
            return f"open: {breach.reason}"
        if ramp.is_due(now) and ramp.conclude(now, overdue):
            return "closed"
    return f"limit {ramp.limit}"


@pytest.mark.parametrize(
    ("mark", "reason"),
    [(StageResult.FAILED, Reason.PROBE), (StageResult.SLOW, Reason.SLOW_PROBE), (StageResult.EXPIRED, Reason.PERMIT_LEASE)],
)
def test_a_bad_probe_opens(mark: StageResult, reason: Reason) -> None:
    """The first failure, slow call or ended lease of the probe opens."""
    assert Ramp(RampSettings(), 16).count(1, mark, 0.0) == Breach(reason, 1, 1)


def test_a_probe_goes_alone() -> None:
    """The limit is 1 until it is back, whatever `initial` is."""
    ramp = Ramp(RampSettings(initial=4), 16)
    assert ramp.limit == 1
    assert ramp.has_room(1)
    assert not ramp.has_room(2)
    assert not ramp.is_due(1000.0)
    assert ramp.stage_ends is None


def test_the_seconds_of_good_results_are_added_up() -> None:
    """Of those of the running stage, whatever the others took."""
    ramp = ramp_at(4)
    for result, took in ((StageResult.GOOD, 0.5), (StageResult.FAILED, 5.0), (StageResult.SLOW, 5.0), (StageResult.GOOD, 0.25)):
        ramp.count(ramp.stage, result, 1.0, took=took)
    ramp.count(ramp.stage - 1, StageResult.GOOD, 1.0, took=9.0)
    assert ramp.good_seconds == 0.75
    ramp.conclude(1.0, 0)
    assert ramp.good_seconds == 0.0


def test_initial_never_passes_full() -> None:
    """A full rate below `initial` bounds the first stage."""
    ramp = Ramp(RampSettings(initial=4), 2)
    ramp.count(1, StageResult.GOOD, 0.0)
    assert ramp.limit == 2


@pytest.mark.parametrize(
    ("limit", "marks", "verdict"),
    [
        # one good result is luck: three make the first stages
        (1, "gg", "limit 1"),
        (1, "ggg", "limit 2"),
        (2, "ggg", "limit 4"),
        (4, "ggg", "limit 4"),
        (4, "gggg", "limit 8"),
        (8, "g" * 8, "limit 16"),
        (16, "g" * 15, "limit 16"),
        (16, "g" * 16, "closed"),
        (12, "g" * 12, "limit 16"),
        # one bad of ten or more is tolerated, one of eight is not
        (10, "gggggggggs", "limit 16"),
        (16, "gggggggggggggggf", "closed"),
        (8, "gggggggf", "limit 4"),
        (8, "gggggggs", "limit 4"),
        (8, "sgggssgg", "limit 4"),
        (3, "gsg", "limit 1"),
        (1, "gsg", "limit 1"),
        # slow results cut and never open by themselves
        (2, "sss", "limit 1"),
        (1, "ssssss", "limit 1"),
        # at the smallest limits half of what is needed opens, as soon as it is in
        (2, "ff", "open: failure_rate"),
        (2, "gff", "open: failure_rate"),
        (2, "fg", "limit 2"),
        (2, "fgg", "limit 1"),
        (1, "fgf", "open: failure_rate"),
        (3, "fgf", "limit 1"),
        (2, "x", "open: permit_lease"),
        (2, "gx", "open: permit_lease"),
        # above them only three in a row do, across stages
        (4, "xggg", "limit 2"),
        (4, "ffgf", "limit 2"),
        (4, "fff", "open: consecutive_failures"),
        (16, "fff", "open: consecutive_failures"),
        (16, "ffsff", "limit 16"),
        (16, "fxf", "open: consecutive_failures"),
        (16, "ggffgff" + "g" * 9 + "g", "limit 8"),
        (4, "ggffggf", "limit 1"),
        (4, "ggfff", "open: consecutive_failures"),
        (16, "g" * 13 + "gff" + "f", "open: consecutive_failures"),
    ],
)
def test_the_verdict_of_a_stage(limit: int, marks: str, verdict: str) -> None:
    """What a stage with this limit comes to after these results (g good, s slow, f failed, x lease expired)."""
    assert play(ramp_at(limit), marks) == verdict


def test_all_good_takes_thirty_five_calls_to_sixteen() -> None:
    """One probe, then 3 + 3 + 4 + 8 + 16."""
    ramp = Ramp(RampSettings(), 16)
    ramp.count(1, StageResult.GOOD, 0.0)
    assert play(ramp, "g" * 33) == "limit 16"
    assert play(ramp, "g") == "closed"


def test_a_cut_is_remembered_and_growth_goes_gently_from_there() -> None:
    """After 8 was too much the limit is 4, and grows by one sixteenth of full."""
    ramp = ramp_at(8)
    assert play(ramp, "ggffgggg") == "limit 4"
    assert play(ramp, "gggg") == "limit 5"
    assert play(ramp, "ggggg") == "limit 6"


def test_gentle_growth_is_a_sixteenth_of_a_large_full_rate() -> None:
    """With full = 64 a step is 4, and it stops at full."""
    ramp = ramp_at(64, full=64)
    assert play(ramp, "gs" * 32) == "limit 32"
    assert play(ramp, "g" * 32) == "limit 36"
    for limit in range(40, 65, 4):
        assert play(ramp, "g" * ramp.limit) == f"limit {limit}"
    assert play(ramp, "g" * 64) == "closed"


def test_below_a_cut_growth_is_fast_again() -> None:
    """A limit that came down below the cut for another reason doubles up to it."""
    ramp = ramp_at(16)
    assert play(ramp, "ggggggggffggffgg") == "limit 8"
    ramp.set_full(3)
    ramp.set_full(16)
    assert ramp.limit == 3
    assert play(ramp, "ggg") == "limit 6"


def test_one_cut_per_stage() -> None:
    """Results of permits from before the cut count for nothing in the stage after it."""
    ramp = ramp_at(8)
    before = ramp.stage
    assert play(ramp, "ggffgggg") == "limit 4"
    for mark in (StageResult.FAILED, StageResult.SLOW, StageResult.GOOD, StageResult.FAILED, StageResult.SLOW):
        assert ramp.count(before, mark, 0.0) is None
    assert ramp.results == 0
    assert not ramp.is_due(1000.0)
    assert ramp.limit == 4


def test_failures_of_an_earlier_stage_count_in_a_row() -> None:
    """Three failures in a row open, whatever stage their permits are of."""
    ramp = ramp_at(4)
    before = ramp.stage
    assert play(ramp, "gggg") == "limit 8"
    assert ramp.count(before, StageResult.FAILED, 0.0) is None
    assert ramp.count(ramp.stage, StageResult.FAILED, 0.0) is None
    assert ramp.count(before, StageResult.FAILED, 0.0) == Breach(Reason.CONSECUTIVE_FAILURES, 3, 3)


@pytest.mark.parametrize(("growth", "limits"), [(1.2, [2, 3, 4, 5, 6, 7, 8, 9, 10, 12]), (1.5, [2, 3, 4, 6, 9, 13]), (4.0, [4, 16])])
def test_a_stage_grows_by_one_at_least(growth: float, limits: list[int]) -> None:
    """A small growth of a small limit still goes on."""
    ramp = ramp_at(1, growth=growth)
    for limit in limits:
        assert play(ramp, "g" * ramp.need) == f"limit {limit}"


def test_low_traffic_is_judged_by_what_it_has() -> None:
    """After stage_timeout one good result is enough, if nobody was refused."""
    ramp = ramp_at(1)
    assert play(ramp, "g", 1.0) == "limit 1"
    assert ramp.stage_ends == 10.0
    assert not ramp.is_due(9.99)
    assert ramp.is_due(10.0)
    assert not ramp.conclude(10.0, 0)
    assert ramp.limit == 2
    assert ramp.stage_ends is None
    assert not ramp.is_due(1000.0)


def test_no_result_is_no_verdict() -> None:
    """An old stage without a result waits for one, which is then enough."""
    ramp = ramp_at(4)
    assert not ramp.is_due(100.0)
    assert play(ramp, "g", 100.0) == "limit 8"


def test_somebody_refused_is_no_low_traffic() -> None:
    """Where calls wait for the limit, the stage waits for its results; the next stage begins anew."""
    ramp = ramp_at(1)
    ramp.refused = True
    assert play(ramp, "gg", 100.0) == "limit 1"
    assert ramp.stage_ends is None
    assert play(ramp, "g", 100.0) == "limit 2"
    assert play(ramp, "g", 100.0) == "limit 2"
    assert ramp.stage_ends == 110.0


def test_a_bad_result_of_low_traffic_cuts() -> None:
    """One failure of one result is a bad stage, and no half of what is needed."""
    ramp = ramp_at(2)
    assert play(ramp, "f", 50.0) == "limit 1"


def test_exactly_half_of_what_is_needed_opens() -> None:
    """Two failures of four needed at limit 2, and one is not half."""
    assert play(ramp_at(2, minimum_verdicts=4), "f") == "limit 2"
    assert play(ramp_at(2, minimum_verdicts=4), "ff") == "open: failure_rate"


def test_a_breach_tells_what_was_seen() -> None:
    """Share and half, run and three, one lease."""
    assert ramp_at(2).count(2, StageResult.EXPIRED, 0.0) == Breach(Reason.PERMIT_LEASE, 1, 1)
    ramp = ramp_at(1, minimum_verdicts=4)
    ramp.count(ramp.stage, StageResult.FAILED, 0.0)
    assert ramp.count(ramp.stage, StageResult.FAILED, 0.0) == Breach(Reason.FAILURE_RATE, 0.5, 0.5)


def test_a_call_in_flight_for_too_long_is_one_more_of_all() -> None:
    """One beside ten good results is an eleventh, less than bad_rate."""
    assert play(ramp_at(10), "g" * 10, overdue=1) == "limit 16"


@pytest.mark.parametrize(("overdue", "limit"), [(0, 8), (1, 2)])
def test_a_call_in_flight_for_too_long_is_bad(overdue: int, limit: int) -> None:
    """One overdue call beside four good results is a fifth, more than bad_rate."""
    assert play(ramp_at(4), "gggg", overdue=overdue) == f"limit {limit}"


@pytest.mark.parametrize(("bad_rate", "verdict"), [(0, "limit 4"), (0.1, "limit 16"), (0.099, "limit 5")])
def test_bad_rate_is_tolerated_up_to_it(bad_rate: float, verdict: str) -> None:
    """A share equal to bad_rate is good."""
    marks = "g" * 8 + "s" if bad_rate == 0 else "g" * 9 + "s"
    limit = 9 if bad_rate == 0 else 10
    assert play(ramp_at(limit, bad_rate=bad_rate), marks) == verdict


def test_weight_counts_against_the_limit() -> None:
    """A batch needs room for all of it."""
    ramp = ramp_at(4)
    ramp.in_flight = 2
    assert ramp.has_room(2)
    assert not ramp.has_room(3)


def test_a_lower_full_rate_brings_the_limit_down() -> None:
    """The limit is clamped, and the stage needs less; a higher one changes no limit."""
    ramp = ramp_at(8)
    ramp.set_full(4)
    assert (ramp.limit, ramp.need) == (4, 4)
    ramp.set_full(32)
    assert ramp.limit == 4


def test_a_cut_never_reaches_zero() -> None:
    """The least limit is 1."""
    assert play(ramp_at(1), "sss") == "limit 1"


def heavy(ramp: Ramp, weights: list[int]) -> str:
    """Good results of these weights, one by one; what came of them in the end."""
    for weight in weights:
        assert ramp.count(ramp.stage, StageResult.GOOD, 0.0, weight) is None
        if ramp.is_due(0.0) and ramp.conclude(0.0, 0):
            return "closed"
    return f"limit {ramp.limit}"


def test_results_that_weigh_as_much_as_the_limit_make_a_verdict() -> None:
    """At a limit of 100, three batches of 34 are as much evidence as a hundred calls of one; of 33, they are not yet."""
    assert heavy(ramp_at(100, full=1000), [34, 34, 34]) == "limit 200"
    assert heavy(ramp_at(100, full=1000), [33, 33, 33]) == "limit 100"
    assert heavy(ramp_at(100, full=1000), [33, 33, 33, 1]) == "limit 200"


def test_one_heavy_result_is_no_verdict() -> None:
    """A single good batch of the whole limit is luck: `minimum_verdicts` counts results and not their weight."""
    assert heavy(ramp_at(4), [4, 4]) == "limit 4"
    assert heavy(ramp_at(4), [4, 4, 4]) == "limit 8"


def test_the_weight_of_a_stage_is_its_own() -> None:
    """What the results of an earlier stage weighed says nothing of the higher limit."""
    ramp = ramp_at(4)
    assert heavy(ramp, [4, 4, 4]) == "limit 8"
    assert heavy(ramp, [1, 1, 1]) == "limit 8"


def test_a_good_result_opens_nothing() -> None:
    """Two failures were few for a limit of eight; when the full rate comes down, the next one to fail may open, a good one may not."""
    ramp = Ramp(RampSettings(initial=8), 16)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    for mark in (StageResult.FAILED, StageResult.GOOD, StageResult.FAILED):
        assert ramp.count(ramp.stage, mark, 0.0) is None
    ramp.set_full(2)

    assert ramp.count(ramp.stage, StageResult.GOOD, 0.0) is None
    assert ramp.count(ramp.stage, StageResult.SLOW, 0.0) is None


def test_a_circuit_alone_ends_its_ramp_at_sixteen() -> None:
    """The number that the docs name, for whoever has said nothing else."""
    assert FULL_ALONE == 16


def test_each_relapse_halves_the_first_limit() -> None:
    """Eight, four, two, one, and never less; never more than the full rate."""
    for relapses, limit in ((0, 8), (1, 4), (2, 2), (3, 1), (4, 1)):
        ramp = Ramp(RampSettings(initial=8), 16, relapses)
        ramp.count(ramp.stage, StageResult.GOOD, 0.0)
        assert ramp.limit == limit
    ramp = Ramp(RampSettings(initial=8), 3, 1)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    assert ramp.limit == 3


def test_a_stage_after_relapses_lasts_its_time() -> None:
    """Two relapses, three seconds each: results that are enough are judged at six seconds, and the next stage lasts as long."""
    ramp = Ramp(RampSettings(stage_per_relapse=3.0), 16, 2)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    for _ in range(3):
        assert not ramp.is_due(5.0)
        ramp.count(ramp.stage, StageResult.GOOD, 5.0)
    ramp.refused = True
    assert (ramp.is_due(5.9), ramp.is_due(6.0), ramp.stage_ends) == (False, True, 6.0)
    assert ramp.conclude(6.5, 0) is False
    for _ in range(3):
        ramp.count(ramp.stage, StageResult.GOOD, 7.0)
    assert (ramp.is_due(12.4), ramp.is_due(12.5), ramp.stage_ends) == (False, True, 12.5)


def test_low_traffic_waits_for_a_stage_that_lasts_longer_than_its_timeout() -> None:
    """One result is judged when both times are over."""
    ramp = Ramp(RampSettings(stage_per_relapse=8.0), 16, 2)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    ramp.count(ramp.stage, StageResult.GOOD, 1.0)
    assert (ramp.is_due(15.9), ramp.is_due(16.0), ramp.stage_ends) == (False, True, 16.0)


def test_a_long_stage_is_broken_by_the_share_of_its_results() -> None:
    """Two failures of twenty are no half, though a short stage has only three."""
    ramp = Ramp(RampSettings(), 16, 1)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    for _ in range(18):
        ramp.count(ramp.stage, StageResult.GOOD, 0.5)
    assert ramp.count(ramp.stage, StageResult.FAILED, 0.5) is None
    assert ramp.count(ramp.stage, StageResult.FAILED, 0.5) is None
    ramp = Ramp(RampSettings(), 16)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    assert ramp.count(ramp.stage, StageResult.FAILED, 0.5) is None
    assert ramp.count(ramp.stage, StageResult.FAILED, 0.5) is not None


@pytest.mark.parametrize(
    ("is_probing", "limit", "proved", "goes_on_at"),
    [(False, 4, True, 4), (False, 40, True, 16), (False, 4, False, None), (True, 1, True, None), (False, 0, True, None)],
    ids=["from its limit", "up to its own end", "nothing good was seen", "in the middle of a probe", "no share"],
)
def test_a_ramp_that_takes_the_place_of_another_goes_on(is_probing: bool, limit: int, proved: bool, goes_on_at: int | None) -> None:
    """With what is in flight there, in a stage of its own; None: it begins with a probe."""
    other = ramp_at(4)
    other.is_probing, other.limit, other.in_flight, other.in_a_row = is_probing, limit, 3, 2
    stage = other.stage

    ramp = Ramp(RampSettings(), 16).after(other, 5.0, proved=proved)

    assert (ramp.is_probing, ramp.limit) == (goes_on_at is None, goes_on_at or 1)
    assert (ramp.in_flight, ramp.in_a_row, ramp.stage, ramp.is_share) == (3, 2, stage + 1, False)
    ramp.is_probing = False
    ramp.count(ramp.stage, StageResult.GOOD, 5.0)
    assert ramp.stage_ends == 15.0  # low traffic: stage_timeout after it began


def test_a_result_takes_no_time_unless_its_caller_says_so() -> None:
    """The sum is of what was measured."""
    ramp = ramp_at(4)
    ramp.count(ramp.stage, StageResult.GOOD, 1.0)
    assert ramp.good_seconds == 0.0


def test_other_settings_make_the_next_stages_last_as_long_as_they_say() -> None:
    """So many seconds for each relapse."""
    ramp = Ramp(RampSettings(initial=4), 16, relapses=2)
    ramp.reconfigure(RampSettings(initial=4, stage_per_relapse=3.0))
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    for _ in range(4):
        ramp.count(ramp.stage, StageResult.GOOD, 1.0)
    assert (ramp.limit, ramp.stage_ends) == (1, 6.0)


def test_stages_are_numbered_from_one_and_begin_with_no_refusal() -> None:
    """The probe is the first."""
    ramp = Ramp(RampSettings(), 16)
    assert (ramp.stage, ramp.refused) == (1, False)
    ramp.refused = True
    ramp.count(1, StageResult.GOOD, 0.0)
    assert (ramp.stage, ramp.refused) == (2, False)
