"""One worker in a fleet: beats, silence, answers, orders and what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from holdgate.core import CircuitSettings, Override, Reason, State
from holdgate.core.guidance import Guidance, OwnFacts, Phase
from holdgate.errors import CommandError, SettingsError
from holdgate.fleet import (
    FleetLogCameBack,
    FleetLogFellSilent,
    FleetMember,
    FleetMembersChanged,
    FleetOpened,
    FleetOrdered,
    FleetSettings,
    Word,
)
from holdgate.fleet.member import ANSWER_WITHIN, EARLIER, MOST_OUTSTANDING, RECORDS, parts
from holdgate.fleet.members import LONG_BEAT
from holdgate.fleet.records import (
    LARGEST,
    Bad,
    Bye,
    Claim,
    FleetOrder,
    FleetRecord,
    Gone,
    Good,
    Here,
    Lead,
    Need,
    Rest,
    Said,
    StageTally,
    ToldToWait,
    decode,
    encode,
)
from holdgate.fleet.shares import checksum

NAME = "payments"
ME, A, B, C = "0123456789ab", "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"
WELL = OwnFacts(State.CLOSED, None, 0, 0, 0, None, None, 0, 0, 0, 0, 0, 0)
BAD = replace(WELL, in_a_row=5, failed=5)
OPENED = replace(BAD, state=State.OPEN, opened_by=Reason.CONSECUTIVE_FAILURES)


class Bench:
    """One member, a clock, and a log of which the test writes what it likes."""

    def __init__(self, lot: Callable[[], float] = lambda: 0.5, *, echo: bool = True) -> None:
        self.now = 0.0
        self.numbers = count(1_000_000)  # far above those of the member itself
        self.member = FleetMember(ME, FleetSettings(), lot)
        self.member.add(NAME, CircuitSettings(), 0.0)
        self.said: list[Said] = []
        if echo:
            self.turn()

    def turn(self, after: float = 0.0, *, echo: bool = True) -> list[Said]:
        """Let time pass, and write what is to be written; it comes back in the same moment."""
        self.now += after
        records = self.member.take_records(self.now)
        said = [record.said for data in records if (record := decode("fleet", data)) is not None]
        self.said += said
        if echo:
            self.member.heard(records, self.now)
        return said

    def hear(self, worker: str, *said: Said) -> None:
        self.member.heard([encode("fleet", FleetRecord(worker, next(self.numbers), each)) for each in said], self.now)

    def look(self, facts: OwnFacts = WELL, *, backlog: bool = True, full: int = 4) -> Guidance:
        return self.member.look(NAME, facts, backlog, full, self.now)

    def meet(self, *workers: str) -> None:
        for worker in workers:
            self.hear(worker, Here(2, (Need(NAME, True, 4, 0),)))

    def open(self, conductor: str = A) -> None:
        """Two others open the fleet, and one of them conducts."""
        self.meet(A, B)
        self.hear(A, Bad(NAME, 5, True))
        self.hear(B, Bad(NAME, 5, True))
        self.hear(conductor, Claim(NAME, 1))

    def news(self, kind: type) -> list[Any]:
        return [event for event in self.member.take_news() if isinstance(event, kind)]


def of(kind: type, said: list[Said]) -> list[Any]:
    return [each for each in said if isinstance(each, kind)]


@pytest.mark.parametrize("me", ["", "0123456789AB", "0123456789abc", "worker-1@host"])
def test_a_worker_is_a_random_number(me: str) -> None:
    """Nothing but 12 hexadecimal digits may name a worker: its host belongs in no log."""
    with pytest.raises(SettingsError, match="me must be 12 hexadecimal digits"):
        FleetMember(me, FleetSettings(), lambda: 0.5)


def test_settings_are_needed() -> None:
    """Anything else than FleetSettings is refused."""
    with pytest.raises(SettingsError, match="settings must be FleetSettings"):
        FleetMember(ME, "fleet", lambda: 0.5)  # type: ignore[arg-type]


def test_a_name_that_fits_into_no_record_is_refused() -> None:
    """A dependency with a name of more than 128 bytes cannot be in a fleet."""
    with pytest.raises(SettingsError, match="128 bytes"):
        Bench().member.add("x" * 129, CircuitSettings(), 0.0)


def test_without_a_dependency_there_is_nothing_to_do() -> None:
    """A member that takes part in nothing has no deadline, and says no more than that it is there."""
    member = FleetMember(ME, FleetSettings(), lambda: 0.5)
    assert member.next_deadline() is None
    assert [decode("fleet", data) for data in member.take_records(0.0)] == [FleetRecord(ME, 1, Here(30, ()))]


def test_a_dependency_may_be_added_again_with_other_settings() -> None:
    """A second time changes its settings alone."""
    bench = Bench()
    bench.member.add(NAME, CircuitSettings(consecutive_failures=3), 0.0)
    assert len(bench.member.snapshot(0.0).agreements) == 1


def test_other_settings_of_the_fleet_hold_from_now_on() -> None:
    """Two workers that fail are no outage any more where three must."""
    bench = Bench()
    courses: list[str] = []
    for quorum in (3, 2):
        bench.member.reconfigure(FleetSettings(quorum=quorum))
        bench.open()
        courses.append(bench.member.snapshot(bench.now).agreements[0].course)
    assert courses == ["well", "wait"]


def test_other_settings_leave_the_name() -> None:
    """Another name would be another fleet: the worker goes on to read and write as this one."""
    bench = Bench()
    bench.member.reconfigure(FleetSettings(name="others"))
    bench.meet(A)
    bench.turn(1.0)
    assert (bench.member.snapshot(bench.now).name, len(bench.member.snapshot(bench.now).members)) == ("fleet", 2)


def test_a_newcomer_speaks_immediately_and_then_rarely() -> None:
    """The first word comes at once, and in quiet times there is one each half minute, or sooner as chance says."""
    for lot, pause in ((0.0, 30.0), (0.5, 25.5)):
        bench = Bench(lambda lot=lot: lot)
        assert bench.said == [Here(30, (Need(NAME, False, 0, 0),))]
        assert bench.turn(pause - 0.1) == []
        assert bench.turn(0.1) == [Here(30, (Need(NAME, False, 0, 0),))]


def test_a_newcomer_is_answered_within_a_second() -> None:
    """Who reads of somebody new says that it is there, too, spread by chance."""
    bench = Bench()
    bench.turn(10.0)
    bench.hear(A, Here(30, ()))
    assert bench.member.next_deadline() == 10.5
    assert of(Here, bench.turn(0.5))
    bench.hear(A, Here(30, ()))
    assert bench.member.next_deadline() == 10.5 + LONG_BEAT * (1 - EARLIER / 2)


def test_in_an_outage_it_speaks_every_two_seconds() -> None:
    """While the fleet waits, everybody says often what it can do, and at once if that changes."""
    bench = Bench()
    bench.open()
    bench.look(BAD)
    assert of(Here, bench.turn(0.5)) == [Here(2, (Need(NAME, True, 4, 1),))]
    assert of(Here, bench.turn(1.9)) == []
    assert len(of(Here, bench.turn(0.1))) == 1
    bench.look(BAD, backlog=False)
    assert of(Here, bench.turn(0.9)) == []
    assert of(Here, bench.turn(0.1)) == [Here(2, (Need(NAME, False, 4, 1),))]


def test_many_dependencies_are_spoken_of_in_parts() -> None:
    """What does not fit into one record is written in several, and none is too long."""
    needs = [Need(str(number) * 64, True, 2**31 - 1, 2**31 - 1) for number in range(10)]
    found = parts(needs)
    assert [need for part in found for need in part] == needs
    assert len(found) > 1
    assert all(len(encode("f" * 128, FleetRecord(ME, 1, Here(2, part)))) <= LARGEST for part in found)


def test_who_is_silent_is_a_member_no_more() -> None:
    """After three beats a worker is gone, and joins again with its next word."""
    bench = Bench()
    bench.meet(A)
    assert len(bench.member.snapshot(0.0).members) == 2
    for _ in range(14):
        bench.turn(0.5)
    assert [each.own for each in bench.member.snapshot(bench.now).members] == [True]
    bench.meet(A)
    assert [(each.size, each.joined, each.left) for each in bench.news(FleetMembersChanged)] == [(1, 1, 0), (2, 1, 0), (1, 0, 1), (2, 1, 0)]


def test_who_leaves_in_order_is_gone_immediately() -> None:
    """The last record of a worker says so, and others wait for it no longer."""
    bench = Bench()
    bench.meet(A)
    bench.hear(A, Bye())
    assert len(bench.member.snapshot(0.0).members) == 1
    assert [decode("fleet", data) for data in bench.member.leave(1.0)] == [FleetRecord(ME, 2, Bye())]


def test_a_conductor_misses_who_is_silent_for_all() -> None:
    """It writes who is gone, so that everybody drops the same worker; others only drop it for themselves."""
    bench = Bench()
    bench.open(ME)
    bench.look(BAD)
    gone: list[Said] = []
    for _ in range(20):
        bench.meet(B)
        bench.look(BAD)
        gone += of(Gone, bench.turn(0.5))
    assert gone == [Gone(A)]


def test_a_worker_that_is_missed_says_that_it_is_there() -> None:
    """Whoever reads that it is gone speaks at once; only a conductor's word sends anybody away."""
    bench = Bench()
    bench.open(A)
    bench.look(BAD)
    bench.turn(1.0)
    bench.hear(B, Gone(C))
    bench.hear(A, Gone(ME))
    assert len(of(Here, bench.turn())) == 1


# -- The log ---------------------------------------------------------------------------------------------------------------------------


def test_a_log_that_gives_nothing_back_is_silent_after_six_seconds() -> None:
    """Then the circuit goes by its own rules, nothing is decided, and the first record that comes back ends it."""
    bench = Bench()
    bench.open()
    assert bench.look(BAD).phase is Phase.WAIT
    bench.turn(0.5, echo=False)
    guidance = bench.look(BAD)
    assert (guidance.phase, guidance.until) == (Phase.WAIT, 6.0)
    bench.turn(6.0, echo=False)
    assert bench.look(BAD).phase is Phase.LOCAL
    assert [event.seconds for event in bench.news(FleetLogFellSilent)] == [6.0]
    assert bench.member.snapshot(bench.now).silent_for == 6.0
    assert bench.turn(1.0, echo=False) == []
    bench.turn(2.0)
    assert [event.seconds for event in bench.news(FleetLogCameBack)] == [9.0]
    assert bench.member.snapshot(bench.now).silent_for is None
    assert bench.look(BAD).phase is Phase.WAIT


def test_what_the_link_says_of_the_log_counts() -> None:
    """A log that fails for six seconds is silent, and one that works again is not."""
    bench = Bench()
    bench.member.log_state(False, 1.0)
    bench.member.log_state(False, 5.0)
    bench.member.log_state(True, 6.0)
    bench.member.log_state(False, 7.0)
    assert bench.news(FleetLogFellSilent) == []
    bench.member.log_state(False, 13.0)
    assert len(bench.news(FleetLogFellSilent)) == 1
    bench.member.log_state(True, 14.0)
    assert len(bench.news(FleetLogCameBack)) == 1


def test_before_its_first_word_has_come_back_it_is_alone() -> None:
    """A worker that has not read the log up to now follows nobody."""
    bench = Bench(echo=False)
    bench.open()
    assert bench.look(BAD).phase is Phase.LOCAL


def test_the_round_trip_is_what_our_own_records_take() -> None:
    """A longer one is believed at once, a shorter one slowly, and a record that is still out counts, too."""
    bench = Bench()
    bench.member.take_records(30.0)
    assert bench.member.snapshot(31.0).round_trip == 1.0
    bench.member.heard([encode("fleet", FleetRecord(ME, 2, Good(NAME)))], 32.0)
    assert bench.member.snapshot(32.0).round_trip == 2.0
    records = bench.member.take_records(60.0)
    bench.member.heard(records, 60.0)
    assert bench.member.snapshot(60.0).round_trip == pytest.approx(1.8)


def test_a_number_of_ours_that_we_did_not_write_is_nothing() -> None:
    """Somebody who writes in our name makes no silent log look well."""
    bench = Bench(echo=False)
    bench.turn(0.0, echo=False)
    bench.member.heard([encode("fleet", FleetRecord(ME, number, Good(NAME))) for number in (77, 1)], 0.0)
    bench.turn(31.0, echo=False)
    assert len(bench.news(FleetLogFellSilent)) == 0


def test_a_worker_that_was_frozen_takes_nobody_for_silent() -> None:
    """What it did not hear while it was frozen is no silence of others: it claims nothing, and misses nobody."""
    bench = Bench()
    bench.open()
    bench.look(BAD)
    bench.turn()
    bench.member.next_deadline()
    bench.now += 60.0
    bench.look(BAD)
    said = bench.turn()
    assert of(Claim, said) == []
    assert len(bench.member.snapshot(bench.now).members) == 3


def test_our_own_records_do_not_pile_up() -> None:
    """A log that takes nothing for hours costs a few numbers, and of a defect of ours it gets no flood."""
    bench = Bench()
    for _ in range(100):
        bench.turn(31.0, echo=False)
    assert len(bench.member._outstanding) == MOST_OUTSTANDING
    for number in range(100):
        bench.member.heard([encode("fleet", FleetRecord(ME, bench.member._number, Good(NAME)))], bench.now)
        bench.member.command(NAME, Word.HOLD, reason=str(number), actor="ada", lasts=None, now=bench.now)
    assert len(bench.turn(10.0)) == RECORDS


# -- Opening and vetoes ----------------------------------------------------------------------------------------------------------------


def test_a_worker_that_is_well_does_not_follow() -> None:
    """While its own last call was good, a worker goes by its own rules; with its first failure it follows."""
    bench = Bench()
    bench.open()
    assert bench.look(replace(WELL, succeeded=9, last_good=-1.0)).phase is Phase.LOCAL
    assert bench.member.watches(NAME)
    assert bench.look(replace(WELL, in_a_row=1, last_good=-1.0)).phase is Phase.WAIT
    assert bench.look(replace(WELL, succeeded=9, last_good=0.0)).phase is Phase.WAIT


def test_a_good_call_of_long_ago_is_no_veto() -> None:
    """A worker that has called nobody for ten seconds, or ever, knows no better than the fleet."""
    bench = Bench()
    bench.open()
    assert bench.look(WELL).phase is Phase.WAIT
    other = Bench()
    other.open()
    other.now = 11.0
    other.meet(A)
    assert other.look(replace(WELL, last_good=0.5)).phase is Phase.WAIT


def test_the_fleet_opens_by_pooled_failures() -> None:
    """Whose own last call was bad stops as soon as it sees the others' failures, and claims within a fifth of a second."""
    bench = Bench()
    bench.meet(A, B)
    bench.hear(A, Bad(NAME, 5, False))
    bench.hear(B, Bad(NAME, 5, False))
    assert bench.look(WELL).phase is Phase.LOCAL
    guidance = bench.look(BAD)
    assert (guidance.phase, guidance.until) == (Phase.WAIT, 2.0)
    assert bench.turn() == [Bad(NAME, 5, False)]
    assert bench.turn(0.1) == [Claim(NAME, 1)]
    assert [(event.epoch, event.workers, event.failures) for event in bench.news(FleetOpened)] == [(1, 3, 15)]
    assert bench.look(BAD).epoch == 1


def test_what_a_server_asks_for_is_told_once() -> None:
    """For how long it is to be left alone, in whole seconds; a later end is told again, and one that is over is not."""
    bench = Bench()
    told = replace(OPENED, opened_by=Reason.RETRY_AFTER, told_until=59.5)
    bench.look(told)
    assert of(ToldToWait, bench.turn()) == [ToldToWait(NAME, 60)]
    bench.look(told)
    assert of(ToldToWait, bench.turn(1.0)) == []
    bench.look(replace(told, told_until=100.5))
    assert of(ToldToWait, bench.turn(1.0)) == [ToldToWait(NAME, 100)]
    bench.now = 200.0
    bench.look(replace(told, told_until=150.0))
    assert of(ToldToWait, bench.turn()) == []


def test_nobody_probes_before_the_server_may_be_asked_again() -> None:
    """The next probe is due when it says, at most as much later as the settings let it ask for, and the verdict repeats it."""
    bench = Bench()
    bench.open(ME)
    bench.look(BAD)
    bench.turn()
    assert bench.member.snapshot(0.0).agreements[0].probe_in == 3.5
    bench.look(replace(BAD, state=State.OPEN, opened_by=Reason.RETRY_AFTER, told_until=100.0))
    bench.turn()
    assert bench.member.snapshot(0.0).agreements[0].probe_in == 100.0
    assert [each.told for each in of(Lead, bench.turn(1.0))] == [99]
    bench.hear(ME, ToldToWait(NAME, 86_400))
    assert bench.member.snapshot(1.0).agreements[0].probe_in == 3599.0


def test_an_opening_that_nobody_follows_is_forgotten() -> None:
    """If the claim never comes back, the worker goes by its own rules after two seconds."""
    bench = Bench()
    bench.meet(A, B)
    bench.hear(A, Bad(NAME, 5, False))
    bench.hear(B, Bad(NAME, 5, False))
    assert bench.look(BAD).phase is Phase.WAIT
    bench.hear(A, Good(NAME))
    bench.hear(B, Good(NAME))
    bench.now = 1.9
    assert bench.look(BAD).phase is Phase.WAIT
    bench.now = 2.0
    assert bench.look(BAD).phase is Phase.LOCAL
    assert bench.look(WELL).phase is Phase.LOCAL


def test_an_operator_of_a_worker_keeps_it_from_conducting() -> None:
    """A circuit under an override cannot probe, so its worker claims nothing, and gives back what it has."""
    bench = Bench()
    bench.meet(A, B)
    bench.hear(A, Bad(NAME, 5, False))
    bench.hear(B, Bad(NAME, 5, False))
    forced = replace(BAD, override=Override.FORCED_OPEN)
    bench.look(forced)
    assert of(Claim, bench.turn(1.0)) == []
    bench.hear(ME, Claim(NAME, 1))
    bench.meet(A, B)
    bench.look(forced)
    bench.turn()
    for _ in range(5):
        bench.meet(A)
        bench.look(forced)
        bench.turn(1.0)
    assert of(Rest, bench.said) == [Rest(NAME, 1)]


# -- A term ----------------------------------------------------------------------------------------------------------------------------


def test_a_conductor_beats_every_second() -> None:
    """Without anything new a verdict is repeated once a second, and with something new immediately."""
    bench = Bench()
    bench.open(ME)
    bench.look(BAD)
    assert len(of(Lead, bench.turn())) == 1
    assert of(Lead, bench.turn(0.9)) == []
    assert len(of(Lead, bench.turn(0.1))) == 1
    bench.meet(C)
    assert of(Lead, bench.turn(0.1)) == []  # who shares is no news of a wait
    bench.look(replace(BAD, state=State.OPEN, probes_failed=1))
    assert len(of(Lead, bench.turn())) == 1


def test_a_verdict_that_does_not_come_back_is_written_again() -> None:
    """What is lost in the log is not decided, so after a while it is said once more."""
    bench = Bench()
    bench.open(ME)
    bench.look(BAD)
    bench.turn()
    bench.look(replace(BAD, state=State.OPEN, probes_failed=1))
    assert len(of(Lead, bench.turn(0.1, echo=False))) == 1
    assert of(Lead, bench.turn(1.5, echo=False)) == []
    assert len(of(Lead, bench.turn(0.5, echo=False))) == 1


def test_a_silent_conductor_is_replaced_after_three_seconds() -> None:
    """Three seconds without a verdict, and a share of one by chance, and another worker claims the next epoch."""
    bench = Bench()
    bench.open(A)
    bench.look(BAD)
    claims = []
    for _ in range(36):
        bench.meet(A, B)
        bench.look(BAD)
        claims += of(Claim, bench.turn(0.1))
    assert claims == [Claim(NAME, 2)]
    assert bench.now == pytest.approx(3.6)
    assert bench.member.snapshot(bench.now).agreements[0].own


def test_a_conductor_gives_back_what_it_cannot_do() -> None:
    """Without a message it cannot probe, so when the probe is due somebody else is to have the epoch; it then comes last itself."""
    bench = Bench()
    bench.open(ME)
    bench.meet(A)
    for _ in range(8):
        bench.meet(A)
        bench.look(BAD, backlog=False)
        bench.turn(0.5)
    assert of(Rest, bench.said) == [Rest(NAME, 1)]
    assert bench.member.snapshot(bench.now).agreements[0].conductor is None
    for _ in range(10):
        bench.meet(A)
        bench.look(BAD)
        bench.turn(0.5)
    assert of(Claim, bench.said) == [Claim(NAME, 2)]


def test_a_rest_that_is_lost_is_as_good_as_silence() -> None:
    """Who has given the epoch back leads no more, whether or not the log has it."""
    bench = Bench()
    bench.open(ME)
    bench.meet(A)
    bench.look(BAD)
    bench.turn()
    for failed in (1, 2):
        bench.look(replace(BAD, state=State.OPEN, probes_failed=failed))
        bench.turn(0.5)
    bench.meet(A)
    bench.look(replace(BAD, state=State.OPEN, probes_failed=2))
    assert of(Rest, bench.turn(0.5, echo=False)) == [Rest(NAME, 1)]
    assert of(Lead, bench.turn(2.0, echo=False)) == []


def test_results_of_a_share_are_written() -> None:
    """A worker with a share writes what came of it, by stage; one whose circuit has opened takes no part."""
    bench = Bench()
    bench.open(A)
    bench.look(BAD)
    bench.turn(0.5)
    bench.meet(A, B)
    sharers = {ME: 4, A: 4, B: 4}
    bench.hear(A, Lead(NAME, 1, "ramp", 1, 12, 0, checksum(sharers), 0, 1))
    guidance = bench.look(BAD)
    assert (guidance.phase, guidance.limit, guidance.stage) == (Phase.RAMP, 4, 1)
    half_open = replace(WELL, state=State.HALF_OPEN, stage=1, stage_good=4, opened_by=Reason.FLEET)
    bench.look(half_open)
    assert of(StageTally, bench.turn()) == [StageTally(NAME, 1, 4, 0)]
    bench.look(replace(OPENED, stage=1))
    assert of(Here, bench.turn(1.0)) == [Here(2, (Need(NAME, False, 4, 1),))]


def test_what_opened_a_circuit_before_the_ramp_keeps_nobody_out_of_it() -> None:
    """A worker that has opened by its own rules in the outage says that it takes part, also in the turn in which the ramp begins."""
    bench = Bench()
    bench.open(A)
    bench.look(OPENED)
    bench.turn(0.5)
    bench.meet(A, B)
    bench.hear(A, Lead(NAME, 1, "ramp", 1, 12, 0, checksum({ME: 4, A: 4, B: 4}), 0, 1))
    bench.look(OPENED)
    assert of(Here, bench.turn(2.0)) == [Here(2, (Need(NAME, True, 4, 1),))]


def test_a_takeover_in_the_ramp_is_answered_soon() -> None:
    """The new conductor gives shares to those that have spoken since, so everybody does within a second; in a wait there is time."""
    bench = Bench()
    bench.open(A)
    bench.look(BAD)
    bench.turn(0.5)
    bench.hear(B, Claim(NAME, 2))
    assert of(Here, bench.turn(1.0)) == []
    bench.hear(B, Lead(NAME, 2, "ramp", 1, 1, 0, checksum({}), 0, 1))
    bench.hear(A, Claim(NAME, 3))
    bench.look(BAD)
    assert of(Here, bench.turn(ANSWER_WITHIN / 2)) == [Here(2, (Need(NAME, True, 4, 3),))]


def test_of_a_large_stage_only_some_report() -> None:
    """With a share for each of twenty workers six write their results, and another one only when its calls fail in a row."""
    bench = Bench()
    bench.open(A)
    bench.look(BAD)
    bench.turn(0.5)
    others = [f"{number:012x}" for number in range(19)]
    bench.meet(*others)
    bench.hear(A, Here(2, (Need(NAME, False, 4, 0),)), Here(2, (Need(NAME, False, 4, 0),)))
    bench.hear(B, Here(2, (Need(NAME, False, 4, 0),)))
    sharers = dict.fromkeys([ME, *others], 4)
    told = []
    for stage in range(1, 41):
        bench.hear(A, Lead(NAME, 1, "ramp", stage, 80, 0, checksum(sharers), 0, 1))
        bench.look(replace(WELL, state=State.HALF_OPEN, stage=stage, stage_good=4, stage_seconds=0.8, opened_by=Reason.FLEET))
        told += of(StageTally, bench.turn())
    assert 3 <= len(told) <= 24
    assert {(each.good, each.bad, each.took) for each in told} == {(4, 0, 800)}
    silent = next(stage for stage in range(1, 41) if stage not in {each.stage for each in told})
    bench = bench_at(bench, silent, sharers)
    failing = replace(WELL, state=State.HALF_OPEN, stage=silent, stage_good=2, opened_by=Reason.FLEET)
    bench.look(replace(failing, stage_bad=1, in_a_row=1))
    assert of(StageTally, bench.turn()) == []
    bench.look(replace(failing, stage_bad=2, in_a_row=2))
    assert of(StageTally, bench.turn()) == [StageTally(NAME, silent, 2, 2)]


def bench_at(other: Bench, stage: int, sharers: dict[str, int]) -> Bench:
    """Another bench whose fleet is in this stage, with the sharers of the first."""
    bench = Bench()
    bench.now = other.now
    bench.open(A)
    bench.look(BAD)
    bench.turn(0.5)
    bench.meet(*(worker for worker in sharers if worker != ME))
    for worker in (A, B):
        bench.hear(worker, Here(2, (Need(NAME, False, 4, 0),)))
    bench.hear(A, Lead(NAME, 1, "ramp", stage, 80, 0, checksum(sharers), 0, 1))
    return bench


def test_after_the_outage_circuits_close() -> None:
    """Whoever was guided is told that the fleet is well until its circuit is closed, and then goes by its own rules."""
    bench = Bench()
    bench.open(A)
    bench.look(BAD)
    bench.hear(A, Lead(NAME, 1, "up", 1, 1, 0, 0, 0, 1))
    assert bench.look(replace(BAD, state=State.OPEN, opened_by=Reason.FLEET)).phase is Phase.UP
    assert bench.look(WELL).phase is Phase.LOCAL
    assert not bench.member.watches(NAME)
    assert bench.look(OPENED).phase is Phase.LOCAL


# -- Operators -------------------------------------------------------------------------------------------------------------------------


def test_an_order_is_in_force_when_it_is_read() -> None:
    """It takes the way over the log, for its writer as for all, and is news for everybody."""
    bench = Bench()
    bench.member.command(NAME, Word.HOLD, reason="a\nrelease", actor="ada", lasts=0.2, now=0.0)
    assert bench.look(WELL).phase is Phase.LOCAL
    assert bench.turn() == [FleetOrder(NAME, "hold", 1, False, 1, "a release", "ada")]
    guidance = bench.look(replace(WELL, last_good=0.0))
    assert (guidance.phase, guidance.until) == (Phase.WAIT, 1.0)
    ordered = bench.news(FleetOrdered)
    assert [(event.word, event.reason, event.actor, event.lasts) for event in ordered] == [("hold", "a release", "ada", 1.0)]
    shown = bench.member.snapshot(0.5).agreements[0]
    assert (shown.word, shown.reason, shown.actor, shown.word_ends_in, shown.course) == ("hold", "a release", "ada", 0.5, "wait")


def test_a_hold_outlives_the_log() -> None:
    """An order that was read stands, though the log has fallen silent."""
    bench = Bench()
    bench.member.command(NAME, Word.HOLD, reason="", actor="ada", lasts=None, now=0.0)
    bench.turn()
    bench.turn(3.0)
    bench.turn(1.0, echo=False)
    bench.now = 60.0
    assert bench.look(WELL).phase is Phase.WAIT
    assert bench.member.snapshot(60.0).silent_for is not None


def test_a_hold_is_repeated() -> None:
    """Some seconds later the word is said again for those who come, and only once."""
    bench = Bench()
    bench.member.command(NAME, Word.FORCE_OPEN, reason="", actor="ada", lasts=60.0, now=0.0)
    bench.turn()
    assert of(FleetOrder, bench.turn(14.9)) == []
    assert of(FleetOrder, bench.turn(0.1)) == [FleetOrder(NAME, "force_open", 1, True, 45, "", "ada")]
    assert of(FleetOrder, bench.turn(1.0)) == []


def test_a_reset_ends_the_outage() -> None:
    """Everybody is well again at once."""
    bench = Bench()
    bench.open()
    bench.look(BAD)
    bench.member.command(NAME, Word.RESET, reason="", actor="ada", lasts=None, now=0.0)
    bench.turn()
    assert bench.member.snapshot(0.0).agreements[0].course == "well"
    assert bench.look(replace(BAD, state=State.OPEN, opened_by=Reason.FLEET)).phase is Phase.UP


def test_an_order_that_nobody_would_hear_is_refused() -> None:
    """For a dependency that the fleet does not have, and with a silent log, the command fails and says what to do."""
    bench = Bench()
    with pytest.raises(CommandError, match=r"no dependency 'ledger': it has payments"):
        bench.member.command("ledger", Word.HOLD, reason="", actor="ada", lasts=None, now=0.0)
    bench.turn(30.0, echo=False)
    with pytest.raises(CommandError, match="silent for 7 seconds, so no other worker would hear of hold: give the order at each"):
        bench.member.command(NAME, Word.HOLD, reason="", actor="ada", lasts=None, now=37.0)


def test_what_is_shown_names_no_worker() -> None:
    """A snapshot has checksums in place of what stands in the log."""
    bench = Bench()
    bench.open()
    bench.look(BAD)
    shown = bench.member.snapshot(1.0)
    assert not any(worker in repr(shown) for worker in (ME, A, B))
    agreement = shown.agreements[0]
    assert (agreement.epoch, agreement.course, agreement.phase, agreement.own, agreement.bad) == (1, "wait", "wait", False, 2)
    assert (agreement.since, agreement.probe_in, agreement.word) == (1.0, 2.5, None)
    assert [(each.backlog, each.full, each.share) for each in agreement.sharers] == [(False, 0, 0), (True, 4, 0), (True, 4, 0)]


def test_a_record_about_another_dependency_is_nothing() -> None:
    """What the fleet has agreed on for a dependency that this worker does not need is none of its business."""
    bench = Bench()
    bench.hear(A, Bad("ledger", 5, True), Here(2, (Need("ledger", True, 4, 0),)))
    assert bench.member.snapshot(0.0).agreements[0].bad == 0
