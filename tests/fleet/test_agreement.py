"""What the fleet has agreed on for one dependency, record by record."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from holdgate.fleet.agreement import JUMP, MISMATCHES, MOST_NAMED, Agreement, Course, ReadAs
from holdgate.fleet.records import (
    LARGEST_NUMBER,
    Bad,
    Bye,
    Claim,
    FleetOrder,
    FleetRecord,
    Good,
    Lead,
    Need,
    Rest,
    Said,
    StageTally,
    ToldToWait,
)
from holdgate.fleet.shares import checksum, in_order

NAME = "payments"
A, B, C = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"
SHARERS = {A: 4, B: 4}


class Log:
    """An agreement, and the records that it reads one after the other, a tenth of a second apart."""

    def __init__(self, *, witness: bool = True, quorum: int = 2) -> None:
        self.agreement = Agreement(NAME, 0.0)
        self.witness, self.quorum, self.now = witness, quorum, 0.0

    def read(self, worker: str, *said: Said) -> Agreement:
        for each in said:
            self.now += 0.1
            self.agreement.read(FleetRecord(worker, 1, each), self.reading)
        return self.agreement

    @property
    def reading(self) -> ReadAs:
        return ReadAs(self.now, self.witness, self.quorum)

    def here(self, worker: str, *, backlog: bool = True, full: int = 4, epoch: int = 0) -> None:
        self.agreement.here(worker, Need(NAME, backlog, full, epoch), self.reading)

    def open(self) -> Agreement:
        self.read(A, Bad(NAME, 1, False))
        self.read(B, Bad(NAME, 1, False))
        self.read(A, Claim(NAME, 1))
        for worker in SHARERS:
            self.here(worker)
        return self.agreement


def lead(phase: str = "wait", epoch: int = 1, *, stage: int = 0, limit: int = 1, failed: int = 0, age: int = 0) -> Lead:
    return Lead(NAME, epoch, phase, stage, limit, 0, checksum(SHARERS), failed, age)


def order(word: str, lasts: int = 0) -> FleetOrder:
    return FleetOrder(NAME, word, 1, False, lasts, "", "")


def test_the_first_claim_of_an_epoch_has_it() -> None:
    """Of two claims of the same epoch the first one in the log counts, and the other one changes nothing."""
    log = Log()
    agreement = log.open()
    log.read(B, Claim(NAME, 1))
    assert (agreement.course, agreement.epoch, agreement.conductor, agreement.stale) == (Course.WAIT, 1, A, 1)


def test_no_quorum_no_opening() -> None:
    """A claim while only one worker is bad by the log opens nothing."""
    log = Log()
    log.read(A, Bad(NAME, 1000, True))
    log.read(B, Bad(NAME, 3, False), Good(NAME))
    assert log.read(A, Claim(NAME, 1)).course is Course.WELL
    assert log.agreement.epoch == 0


def test_a_good_call_takes_their_time_away_from_openings() -> None:
    """The dependency answers by then, so circuits that opened before say nothing of the present; a failure in a row is as old as it is."""
    log = Log()
    log.read(A, Bad(NAME, 5, True))
    log.read(B, Bad(NAME, 2, False))
    agreement = log.read(C, Bad(NAME, 1, False), Good(NAME))
    assert {worker: mark.at for worker, mark in agreement.marks.items()} == {A: -inf, B: pytest.approx(0.2)}
    assert agreement.marks[A].opened
    assert log.read(A, Bad(NAME, 5, True)).marks[A].at == log.now


def test_in_an_outage_any_claim_of_the_next_epoch_takes_over() -> None:
    """The log decides whether a conductor was silent: a later claim counts, and the outage goes on."""
    log = Log()
    agreement = log.open()
    began = agreement.began
    log.read(C, Claim(NAME, 2))
    assert (agreement.course, agreement.epoch, agreement.conductor, agreement.began) == (Course.WAIT, 2, C, began)


def test_a_zombie_changes_nothing() -> None:
    """What a conductor writes whose epoch is over has no effect, whatever it says."""
    log = Log()
    agreement = log.open()
    log.read(C, Claim(NAME, 2))
    log.read(A, lead("ramp", 1, stage=9, limit=64), lead("up", 1), Rest(NAME, 1), Claim(NAME, 2))
    assert (agreement.course, agreement.epoch, agreement.conductor, agreement.stage, agreement.stale) == (Course.WAIT, 2, C, 0, 3)


def test_only_the_holder_of_an_epoch_leads() -> None:
    """A verdict of the present epoch by somebody else has no effect, nor has another's rest."""
    log = Log()
    agreement = log.open()
    log.read(B, lead("up"), Rest(NAME, 1))
    assert (agreement.course, agreement.conductor) == (Course.WAIT, A)


def test_a_made_up_epoch_is_skipped() -> None:
    """A claim that jumps further than a thousand epochs would use the numbers up."""
    log = Log()
    agreement = log.open()
    log.read(C, Claim(NAME, 2 + JUMP), lead(epoch=2 + JUMP))
    log.here(C, epoch=2 + JUMP)
    assert agreement.epoch == 1


def test_who_has_just_come_believes_the_last_verdict() -> None:
    """A reader that has missed the claim takes the epoch, its holder and how long the outage has lasted from the verdict."""
    log = Log(witness=False)
    for worker in SHARERS:
        log.here(worker)
    log.now = 100.0
    agreement = log.read(B, lead("ramp", 7, stage=3, limit=2, age=60))
    assert (agreement.course, agreement.epoch, agreement.conductor) == (Course.RAMP, 7, B)
    assert agreement.began == pytest.approx(40.1)
    assert sum(agreement.shares.values()) == 2


def test_a_witness_believes_no_verdict_out_of_nothing() -> None:
    """Who has read everything follows no conductor whose claim was none; with a quorum, the claim may have been lost with a wiped log."""
    log = Log()
    assert log.read(B, lead("wait", 7)).course is Course.WELL
    log.read(A, Bad(NAME, 1, False))
    log.read(B, Bad(NAME, 1, False))
    assert log.read(B, lead("wait", 7)).course is Course.WAIT


def test_an_epoch_is_learned_from_others() -> None:
    """A worker that came after an outage learns its epoch from what others say of themselves, so that its own claim is not an old one."""
    log = Log(witness=False)
    log.here(B, epoch=7)
    assert log.agreement.epoch == 7
    log.open()
    assert log.agreement.course is Course.WELL
    log.read(A, Claim(NAME, 8))
    log.here(B, epoch=9)
    assert log.agreement.epoch == 8


def test_a_ramp_gives_shares() -> None:
    """A stage of the ramp divides its limit between the workers with messages."""
    log = Log()
    agreement = log.open()
    log.read(A, lead("ramp", stage=1, limit=3))
    assert (agreement.course, agreement.stage, agreement.limit) == (Course.RAMP, 1, 3)
    assert sum(agreement.shares.values()) == 3


def test_an_older_stage_is_none() -> None:
    """A stage that was there before changes nothing."""
    log = Log()
    agreement = log.open()
    log.read(A, lead("ramp", stage=4, limit=4), lead("ramp", stage=3, limit=2))
    assert (agreement.stage, agreement.limit, agreement.stale) == (4, 4, 1)


def test_a_verdict_about_other_sharers_is_not_followed_for_long() -> None:
    """Who knows other sharers than the conductor keeps its share once, in case somebody has just come, and then has none."""
    log = Log()
    agreement = log.open()
    log.read(A, lead("ramp", stage=1, limit=3))
    log.here(C)
    log.read(A, lead("ramp", stage=2, limit=6))
    assert (agreement.stage, sum(agreement.shares.values())) == (1, 3)
    for _ in range(MISMATCHES - 1):
        log.read(A, lead("ramp", stage=2, limit=6))
    assert agreement.shares == {}
    log.here(C, backlog=False)
    log.read(A, lead("ramp", stage=2, limit=6))
    assert (agreement.stage, sum(agreement.shares.values())) == (2, 6)


def test_a_share_goes_to_another_with_the_verdict_after_the_next() -> None:
    """Somebody who comes before another one in the order: neither has the call until the conductor has spoken again."""
    log = Log()
    agreement = log.open()
    log.here(B, backlog=False)
    one = {A: 4}
    log.read(A, replace(lead("ramp", stage=1, limit=1), sharers=checksum(one)))
    assert agreement.shares == {A: 1}
    first = next(turn for turn in range(20) if in_order(SHARERS, turn)[0] == B)
    log.here(B)
    verdict = replace(lead("ramp", stage=2, limit=1), turn=first)
    log.read(A, verdict)
    assert agreement.shares == {A: 0, B: 0}
    log.read(A, verdict)
    assert agreement.shares == {A: 0, B: 1}


def test_a_claim_asks_who_shares() -> None:
    """With a new conductor only workers that have spoken since take part, so a worker that died long ago has no share."""
    log = Log()
    agreement = log.open()
    log.read(C, Claim(NAME, 2))
    assert agreement.sharers == {}


def test_who_has_no_messages_takes_no_part() -> None:
    """A worker without messages, or without room for a call, has no share."""
    log = Log()
    agreement = log.open()
    log.here(A, backlog=False)
    log.here(B, full=0)
    assert agreement.sharers == {}


def test_a_failed_ramp_waits_anew() -> None:
    """Back from the ramp, or after a failed probe, a wait begins; the same verdict again begins none."""
    log = Log()
    agreement = log.open()
    log.read(A, lead("ramp", stage=1))
    log.read(A, lead("wait", stage=2))
    back = agreement.wait_at
    assert (agreement.course, agreement.stage, agreement.shares) == (Course.WAIT, 2, {})
    log.read(A, lead("wait", stage=2))
    assert agreement.wait_at == back
    log.read(A, lead("wait", stage=2, failed=1))
    assert (agreement.wait_at, agreement.failed) == (log.now, 1)


def test_up_ends_the_outage() -> None:
    """After it nobody is bad, and nobody has a share; a second one changes nothing."""
    log = Log()
    agreement = log.open()
    log.read(A, lead("ramp", stage=1), lead("up", stage=5))
    recovered = agreement.recovered_at
    assert (agreement.course, agreement.marks, agreement.shares, agreement.stage) == (Course.WELL, {}, {}, 5)
    assert recovered == log.now
    log.read(A, lead("up", stage=5))
    assert agreement.recovered_at == recovered


def test_results_count_for_their_stage() -> None:
    """A tally of the running stage is kept, the last one of each worker that has a share; of another stage it is not."""
    log = Log()
    agreement = log.open()
    log.read(A, lead("ramp", stage=1, limit=8))
    log.read(B, StageTally(NAME, 1, 1, 0), StageTally(NAME, 1, 2, 1), StageTally(NAME, 2, 9, 9))
    log.read(C, StageTally(NAME, 1, 5, 5))
    assert agreement.tallies == {B: (2, 1, 0)}
    log.read(B, StageTally(NAME, 1, 2**31 - 1, 2**31 - 1))
    assert agreement.tallies == {B: (1000, 1000, 0)}
    log.read(B, StageTally(NAME, 1, 4, 0, 250))
    assert agreement.tallies == {B: (4, 0, 250)}
    log.read(A, lead("ramp", stage=2, limit=8))
    assert agreement.tallies == {}


def test_a_broken_ramp_is_remembered_while_the_outage_lasts() -> None:
    """Where it broke, and when it had begun; a ramp that broke with a call or two was no load, and a new outage knows of none."""
    log = Log()
    agreement = log.open()
    assert (agreement.broke_at, agreement.resumed_at) == (0, None)
    log.read(A, lead("ramp", stage=1, limit=2))
    resumed = agreement.resumed_at
    assert resumed == log.now
    log.read(A, lead("wait", stage=2))
    assert agreement.broke_at == 0
    log.read(A, lead("ramp", stage=3, limit=8), lead("ramp", stage=4, limit=16), lead("wait", stage=5), lead("wait", stage=5))
    assert (agreement.broke_at, agreement.resumed_at) == (16, pytest.approx(resumed + 0.2))
    log.read(A, lead("up", stage=5))
    log.read(A, Bad(NAME, 1, False))
    log.read(B, Bad(NAME, 1, False), Claim(NAME, 2))
    assert (agreement.course, agreement.broke_at, agreement.resumed_at) == (Course.WAIT, 0, None)


def test_who_has_read_the_claim_in_the_past_of_the_log_learns_when_it_was() -> None:
    """A newcomer reads the last seconds in one piece and takes the claim for new; the verdict after it has the age of the outage."""
    log = Log(witness=False)
    log.now = 1000.0
    agreement = log.open()
    assert agreement.began > 1000.0
    log.read(A, lead(age=25))
    assert agreement.began == pytest.approx(log.now - 25)
    log.read(A, lead(age=3))
    assert agreement.began == pytest.approx(log.now - 25.1)


def test_what_a_server_tells_the_conductor_counts_for_all() -> None:
    """The conductor's probe asks for all. What one other worker is told is its own affair, and what a quorum is told is everybody's."""
    log = Log()
    agreement = log.open()
    log.read(B, ToldToWait(NAME, 600))
    assert agreement.told_until(2) == -inf
    log.read(C, ToldToWait(NAME, 60))
    assert agreement.told_until(2) == log.now + 60
    agreement.left(C, log.now)
    log.read(A, ToldToWait(NAME, 120))
    until = log.now + 120
    assert agreement.told_until(3) == until
    log.read(A, Rest(NAME, 1))
    assert agreement.told_until(3) == until
    log.read(C, Claim(NAME, 2))
    assert agreement.told_until(3) == until
    log.read(C, lead("up", 2))
    assert agreement.told_until(1) == -inf


def test_a_newcomer_learns_from_the_verdict_for_how_long_a_server_is_left_alone() -> None:
    """A repetition of what is known puts the end off by nothing; a longer wait is news."""
    log = Log()
    agreement = log.open()
    log.read(A, replace(lead(), told=60))
    until = agreement.told_until(2)
    assert until == log.now + 60
    log.read(A, replace(lead(), told=61), lead())
    assert agreement.told_until(2) == until
    log.read(A, replace(lead(), told=90))
    assert agreement.told_until(2) == log.now + 90


def test_a_good_call_after_bad_ones_is_noted() -> None:
    """So that nobody takes the next failure for the beginning of an outage."""
    log = Log()
    assert log.agreement.good_at == -inf
    log.read(A, Bad(NAME, 1, False), Good(NAME))
    assert log.agreement.good_at == log.now


def test_a_conductor_that_leaves_leaves_the_epoch() -> None:
    """The outage goes on without a conductor, and the worker takes no part and is bad no more."""
    log = Log()
    agreement = log.open()
    agreement.left(A, 5.0)
    assert (agreement.course, agreement.epoch, agreement.conductor, agreement.heard_at) == (Course.WAIT, 1, None, 5.0)
    assert A not in agreement.sharers
    assert A not in agreement.marks
    agreement.left(B, 6.0)
    assert agreement.heard_at == 5.0


def test_a_conductor_may_give_the_epoch_back() -> None:
    """After a rest nobody conducts, and its verdicts do not count any more."""
    log = Log()
    agreement = log.open()
    log.read(A, Rest(NAME, 1), lead("up"))
    assert (agreement.course, agreement.conductor, agreement.stale) == (Course.WAIT, None, 1)


def test_a_hold_needs_no_quorum() -> None:
    """An operator's hold is a wait for all, without a conductor, and it stands whatever a verdict says."""
    log = Log()
    agreement = log.read(C, order("hold"))
    assert (agreement.course, agreement.conductor) == (Course.WAIT, None)
    log.read(A, Claim(NAME, 1), lead("ramp", stage=1), lead("up", stage=1))
    assert agreement.words.holds(log.now)


def test_a_hold_in_a_ramp_stops_it() -> None:
    """The shares end, and the epoch: what its conductor has on its way is of before. After the hold somebody claims the next one."""
    log = Log()
    agreement = log.open()
    log.read(A, lead("ramp", stage=1, limit=8))
    log.read(C, order("force_open"))
    assert (agreement.course, agreement.shares, agreement.conductor) == (Course.WAIT, {}, None)
    log.read(A, lead("up", stage=2))
    assert agreement.course is Course.WAIT


def test_after_a_release_the_fleet_waits_for_a_probe() -> None:
    """A release brings nobody back to the full rate: the outage goes on until somebody has probed."""
    log = Log()
    agreement = log.read(C, order("hold"), order("release"))
    assert agreement.course is Course.WAIT
    assert agreement.heard_at == log.now


def test_a_reset_ends_everything() -> None:
    """After an operator's reset the fleet is well."""
    log = Log()
    agreement = log.open()
    log.read(C, order("reset"))
    assert (agreement.course, agreement.marks) == (Course.WELL, {})


def test_a_repetition_of_a_known_word_changes_nothing() -> None:
    """What is repeated for newcomers begins no second hold."""
    log = Log()
    agreement = log.read(C, order("hold"))
    began = agreement.wait_at
    log.read(A, FleetOrder(NAME, "hold", 1, True, 0, "", ""))
    assert agreement.wait_at == began


def test_a_record_about_no_dependency_is_a_defect() -> None:
    """Only what concerns one dependency may be given to it."""
    with pytest.raises(TypeError, match="not about one dependency"):
        Log().read(A, Bye())


def test_a_verdict_on_its_way_does_not_undo_a_reset() -> None:
    """The conductor wrote it before it has read the reset, and of every phase; only a claim with a quorum begins an outage again."""
    for phase in ("wait", "ramp"):
        log = Log()
        agreement = log.open()
        log.read(A, lead())
        log.read(C, order("reset"))
        log.read(A, lead(phase, stage=1), Claim(NAME, 2))
        assert agreement.course is Course.WELL
        log.read(A, Bad(NAME, 1, False))
        log.read(B, Bad(NAME, 1, False), Claim(NAME, 2))
        assert agreement.course is Course.WAIT


def test_who_is_missed_in_quiet_times_is_bad_no_more() -> None:
    """A worker that was killed while it was bad would count for ever. In an outage only the log says who is gone."""
    log = Log()
    agreement = log.read(A, Bad(NAME, 1, False), ToldToWait(NAME, 60))
    agreement.missed(A)
    assert not agreement.marks
    assert not agreement.told
    log.open()
    agreement.missed(A)
    assert set(agreement.marks) == {A, B}


def test_made_up_workers_fill_no_memory() -> None:
    """Whatever they say of themselves: of the last thousand it is remembered."""
    log = Log()
    for number in range(MOST_NAMED + 10):
        name = f"{number:012x}"
        log.read(name, Bad(NAME, 1, False), ToldToWait(NAME, 60))
        log.here(name)
    agreement = log.agreement
    for remembered in (agreement.marks, agreement.told, agreement.sharers):
        assert len(remembered) == MOST_NAMED
        assert f"{9:012x}" not in remembered
    log.read(f"{10:012x}", Bad(NAME, 2, False))
    log.read(A, Bad(NAME, 1, False))
    assert f"{10:012x}" in agreement.marks
    assert f"{11:012x}" not in agreement.marks


def test_a_made_up_stage_is_outdone() -> None:
    """The largest number there is, of whoever has the epoch; what is far below it is the next stage, and what is a little below is old."""
    log = Log()
    agreement = log.open()
    log.read(A, lead("ramp", stage=LARGEST_NUMBER))
    assert log.read(A, lead("ramp", stage=LARGEST_NUMBER - 1)).stage == LARGEST_NUMBER
    log.read(A, lead("ramp", stage=0, limit=2))
    assert (agreement.stage, agreement.limit) == (0, 2)
    log.read(A, lead("wait", stage=LARGEST_NUMBER), lead("wait", stage=1))
    assert agreement.stage == 1
    log.read(A, lead("up", stage=LARGEST_NUMBER))
    assert agreement.stage == LARGEST_NUMBER


@pytest.mark.parametrize(("others", "epoch"), [([7, 9], 8), ([7, 9, 9_000_001], 8), ([7, 9_000_001], 9_000_000), ([0], 0), ([], 9_000_000)])
def test_an_epoch_far_above_that_of_most_others_was_made_up(others: list[int], epoch: int) -> None:
    """Who has just come believes any; then it goes back to just before theirs, so that their next verdict counts."""
    log = Log(witness=False)
    agreement = log.read(A, lead(epoch=9_000_000))
    agreement.doubt(others, 1.0)
    assert agreement.epoch == epoch
    assert (agreement.conductor is None) == (epoch < 9_000_000)


def test_an_epoch_a_little_above_that_of_others_is_none_to_doubt() -> None:
    """They have not read its claim yet."""
    log = Log(witness=False)
    agreement = log.read(A, lead(epoch=1 + JUMP))
    agreement.doubt([1, 1, 2], 1.0)
    assert (agreement.epoch, agreement.conductor) == (1 + JUMP, A)


def test_who_has_said_that_it_is_over_has_no_more_to_say() -> None:
    """The epoch is over with the outage: another verdict of it begins none, with nobody bad."""
    log = Log()
    agreement = log.open()
    log.read(A, lead(), lead("up", stage=1), lead("wait", failed=1))
    assert (agreement.course, agreement.conductor) == (Course.WELL, None)
