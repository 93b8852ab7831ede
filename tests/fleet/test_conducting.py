"""What a conductor decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdgate.core import CircuitSettings, RampSettings, State
from holdgate.core.guidance import Guidance, OwnFacts, Phase
from holdgate.core.outages import Outage
from holdgate.core.ramp import StageResult
from holdgate.fleet.agreement import Agreement, Course, ReadAs
from holdgate.fleet.conducting import LARGE_STAGE, PROBES_IN_A_TERM, ROUND_TRIPS, Conductor, ConductorView, probe_due, spread
from holdgate.fleet.records import LARGEST_NUMBER, Bad, Claim, FleetRecord, Need, StageTally
from holdgate.fleet.shares import checksum, parts_of

NAME = "payments"
ME, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
FACTS = OwnFacts(State.OPEN, None, 1, 1, 0, None, None, 0, 0, 0, 0, 0, 0)
SETTINGS = CircuitSettings(ramp=RampSettings(minimum_verdicts=1))


class Term:
    """A conductor, and the log in which its verdicts come back."""

    def __init__(self, full: int = 8, settings: CircuitSettings = SETTINGS) -> None:
        self.agreement = Agreement(NAME, 0.0)
        self.facts, self.full, self.now, self.round_trip, self.settings = FACTS, full, 0.0, 0.0, settings
        for worker in (ME, OTHER):
            self.read(worker, Bad(NAME, 5, True))
        self.claim(1)

    @property
    def reading(self) -> ReadAs:
        return ReadAs(self.now, True, 2)

    def read(self, worker: str, said: Any) -> None:
        self.agreement.read(FleetRecord(worker, 1, said), self.reading)

    def claim(self, epoch: int) -> None:
        self.read(ME, Claim(NAME, epoch))
        for worker in (ME, OTHER):
            self.agreement.here(worker, Need(NAME, True, self.full // 2, 0), self.reading)
        self.conductor = Conductor(self.agreement, self.settings, 0, self.seen)

    @property
    def seen(self) -> ConductorView:
        return ConductorView(self.facts, self.full, self.round_trip, self.now)

    def know(self, **facts: Any) -> Term:
        self.facts = replace(self.facts, **facts)
        return self

    def step(self) -> Term:
        self.conductor.step(self.agreement, 0, self.seen)
        return self

    def lead(self) -> Term:
        """The verdict comes back."""
        self.read(ME, self.conductor.verdict(self.agreement, checksum(self.agreement.sharers), self.now))
        return self

    def guidance(self, due: float = 3.5) -> Guidance:
        return self.conductor.guidance(self.agreement, due, 100.0, self.now)

    def climbed(self) -> Term:
        return self.know(probes_succeeded=1).step().lead()


def test_a_conductor_waits_and_then_probes() -> None:
    """Before the fleet's probe is due the conductor waits as all do; then its circuit may end a wait that is as long as the fleet's."""
    term = Term()
    assert term.guidance().phase is Phase.WAIT
    term.now = 3.5
    assert term.guidance() == Guidance(Phase.PROBE, epoch=1, until=100.0, wait_at_most=3.5)


def test_a_failed_probe_is_the_next_wait() -> None:
    """A probe that failed is told to all, and until that is in the log nobody probes."""
    term = Term().know(probes_failed=1).step()
    assert term.conductor.failed == 1
    term.now = 10.0
    assert term.guidance() == Guidance(Phase.WAIT, 0, 0, 1, 100.0)
    term.step().lead()
    assert (term.agreement.failed, term.agreement.wait_at) == (1, 10.0)
    assert term.guidance(13.5).phase is Phase.WAIT


def test_nothing_is_decided_before_the_last_decision_is_read() -> None:
    """Whatever has come in meanwhile is looked at when the log has the verdict."""
    term = Term().know(probes_failed=1).step().know(probes_failed=2).step()
    assert term.conductor.failed == 1
    term.lead().step()
    assert term.conductor.failed == 2


def test_after_two_failed_probes_others_have_a_try() -> None:
    """A term ends after two failed probes of its own, and a new one begins with none."""
    term = Term()
    for failed in range(1, PROBES_IN_A_TERM + 1):
        assert not term.conductor.wants_rest
        term.know(probes_failed=failed).step().lead()
    assert term.conductor.wants_rest
    term.claim(2)
    assert (term.conductor.failed, term.conductor.wants_rest) == (2, False)


def test_a_good_probe_begins_the_ramp_with_one_call() -> None:
    """Until the first stage is in the log the conductor's own circuit admits nothing more, and then the fleet has one call."""
    term = Term().know(probes_succeeded=1, state=State.HALF_OPEN).step()
    assert term.guidance() == Guidance(Phase.RAMP, 0, 0, 1, 100.0)
    term.lead()
    assert (term.agreement.course, term.agreement.stage, term.agreement.limit) == (Course.RAMP, 1, 1)
    assert not term.conductor.is_waiting


def test_good_results_of_all_workers_climb_to_the_end() -> None:
    """One, two, four calls by the results of everybody, and a good stage at what all can do together is the recovery."""
    term = Term().climbed()
    limits = []
    while term.agreement.course is Course.RAMP:
        limits.append(term.agreement.limit)
        stage = term.agreement.stage
        term.read(OTHER, StageTally(NAME, stage, term.agreement.limit, 0))
        term.know(stage=stage, stage_good=term.agreement.limit).step().lead()
    assert limits == [1, 2, 4, 8]
    assert term.agreement.course is Course.WELL
    assert term.conductor.finished
    assert term.step().conductor.verdict(term.agreement, 0, 5.0).phase == "up"


def test_results_of_an_older_stage_do_not_count() -> None:
    """What the conductor's circuit counted in another stage is none of this one."""
    term = Term().climbed().know(stage=0, stage_good=50).step()
    assert (term.conductor.limit, term.conductor.stage) == (1, 1)


def test_a_stage_lasts_four_round_trips() -> None:
    """With a slow log the ramp is slow: a verdict has to reach everybody before it is followed by the next."""
    term = Term().climbed()
    term.round_trip = 1.0
    term.know(stage=1, stage_good=1)
    term.now = ROUND_TRIPS - 0.1
    assert term.step().conductor.limit == 1
    term.now = float(ROUND_TRIPS)
    assert term.step().conductor.limit == 2


def test_failures_of_all_together_open_again() -> None:
    """Three failures in a row, whoever had them, end the ramp, and the fleet waits."""
    term = Term().climbed()
    term.read(OTHER, StageTally(NAME, 1, 0, 2))
    term.know(stage=1, stage_bad=1).step()
    assert term.conductor.is_waiting
    term.lead()
    assert (term.agreement.course, term.agreement.stage) == (Course.WAIT, 2)
    term.know(probes_succeeded=2).step()
    assert not term.conductor.is_waiting


def test_a_stage_without_results_is_given_to_others() -> None:
    """If nothing comes back for as long as `stage_timeout`, the same limit is given out in another order."""
    term = Term().climbed()
    before = (term.conductor.stage, term.conductor.turn, term.conductor.limit)
    term.now = term.settings.ramp.stage_timeout
    term.step()
    assert before == (1, 0, 1)
    assert (term.conductor.stage, term.conductor.turn, term.conductor.limit) == (2, 1, 1)


def test_the_durations_of_all_workers_hold_the_limit() -> None:
    """A stage whose calls take three times as long as usual is good, and the next one has the same limit."""
    term = Term(full=64).know(usual=0.1).climbed()
    for stage, took, limit in ((1, 0.1, 2), (2, 0.1, 4), (3, 0.1, 8), (4, 0.35, 8), (5, 0.35, 8), (6, 0.2, 9)):
        count = term.agreement.limit
        term.read(OTHER, StageTally(NAME, stage, count, 0, int(1000 * took * count)))
        term.know(stage=stage, stage_good=count, stage_seconds=took * count).step().lead()
        assert (term.agreement.stage, term.agreement.limit) == (stage + 1, limit)


def test_a_stage_is_judged_by_those_that_report() -> None:
    """Of twenty workers with a share six write their results, and a stage does not wait for those of the others."""
    term = Term(full=80)
    others = [f"{worker:012x}" for worker in range(20)]
    for worker in (ME, OTHER):
        term.agreement.here(worker, Need(NAME, False, 4, 0), term.reading)
    for worker in others:
        term.agreement.here(worker, Need(NAME, True, 4, 0), term.reading)
    term.climbed()
    for _ in range(7):
        stage = term.agreement.stage
        limit = term.agreement.limit
        term.now += LARGE_STAGE
        for worker, part in parts_of(max(3, limit), term.agreement.shares, limit, stage).items():
            term.read(worker, StageTally(NAME, stage, part, 0))
        term.step().lead()
        assert term.agreement.stage == stage + 1
    assert term.agreement.limit == 80
    for worker, part in parts_of(80, term.agreement.shares, 80, term.agreement.stage).items():
        term.read(worker, StageTally(NAME, term.agreement.stage, part, 0))
    term.now += LARGE_STAGE - 0.01
    assert not term.step().conductor.finished
    term.now += 0.02
    assert term.step().conductor.finished


def test_after_a_broken_ramp_the_next_one_is_gentle() -> None:
    """From half of where it broke on the limit grows by an eighth."""
    term = Term(full=64).climbed()
    for _ in range(4):
        stage = term.agreement.stage
        term.know(stage=stage, stage_good=term.agreement.limit).step().lead()
    assert term.agreement.limit == 16
    term.know(stage=term.agreement.stage, stage_good=0, stage_bad=3).step().lead()
    assert (term.agreement.course, term.agreement.broke_at) == (Course.WAIT, 16)
    term.know(probes_succeeded=2).step().lead()
    limits = []
    for _ in range(7):
        limits.append(term.agreement.limit)
        term.know(stage=term.agreement.stage, stage_good=term.agreement.limit, stage_bad=0).step().lead()
    assert limits == [1, 2, 4, 8, 9, 10, 11]


def test_a_wait_does_not_say_who_shares() -> None:
    """So a verdict is no news with each worker that has spoken; a ramp says it."""
    term = Term()
    assert term.conductor.verdict(term.agreement, 77, 0.0).sharers == 0
    term.climbed()
    assert term.conductor.verdict(term.agreement, 77, 0.0).sharers == 77


def test_a_takeover_goes_on_where_the_ramp_was() -> None:
    """The next conductor begins a stage of its own with the limit that it has found."""
    term = Term().climbed()
    term.know(stage=1, stage_good=1).step().lead()
    assert term.agreement.limit == 2
    term.claim(2)
    assert (term.conductor.limit, term.conductor.stage, term.conductor.is_waiting) == (2, 3, False)


def test_the_verdict_says_how_long_the_outage_has_lasted() -> None:
    """Its age is a length in whole seconds, and never below zero."""
    term = Term()
    assert term.conductor.verdict(term.agreement, 0, 61.7).age == 61
    assert term.conductor.verdict(term.agreement, 0, -5.0).age == 0


@pytest.mark.parametrize(
    ("good", "bad", "pattern"), [(0, 0, ""), (2, 0, "gg"), (0, 2, "bb"), (3, 1, "gggb"), (4, 2, "ggbggb"), (1, 2, "gbb")]
)
def test_bad_results_are_spread(good: int, bad: int, pattern: str) -> None:
    """Among good results the bad ones are as far from each other as they can be."""
    assert ["b" if result is StageResult.FAILED else "g" for result in spread(good, bad)] == list(pattern)


def test_twenty_five_probes_reach_through_ten_minutes() -> None:
    """With a fleet's waits (half of the outage's age, at least 3.5 and at most 30 seconds) ten minutes of outage have 25 probes."""
    settings = CircuitSettings(open_share=0.5, open_duration_max=30.0, open_jitter=0.0)
    now, probes = 0.0, 0
    while (now := probe_due(Outage(0.0, 0, 1), settings, now)) < 600:
        probes += 1
    assert probes == 25


def test_numbers_that_somebody_made_up_do_not_run_out() -> None:
    """After the largest stage and turn that a record can carry they begin anew, and of failed probes there are no more than that."""
    term = Term()
    agreement = term.agreement
    agreement.stage = agreement.turn = agreement.failed = LARGEST_NUMBER
    term.claim(2)
    term.know(probes_failed=1).step().lead()
    assert agreement.failed == LARGEST_NUMBER
    term.know(probes_succeeded=1).step().lead()
    assert (agreement.course, agreement.stage) == (Course.RAMP, 0)
    term.now += SETTINGS.ramp.stage_timeout
    term.step().lead()
    assert (agreement.stage, agreement.turn) == (1, 0)
    agreement.stage = term.conductor.stage = LARGEST_NUMBER
    term.know(stage=LARGEST_NUMBER, stage_bad=3).step().lead()
    assert (agreement.course, agreement.stage) == (Course.WAIT, 0)
