"""When a worker's guard has something to do: what is a reason for a turn, and what has a deadline instead."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fleet.test_member import ME, NAME, WELL, A, B, Bench, C

from holdgate.core import CircuitSettings
from holdgate.fleet import FleetMember, FleetSettings
from holdgate.fleet.member import ANSWER_WITHIN, EARLIER, LOOK_AROUND_EVERY
from holdgate.fleet.members import BEATS, LONG_BEAT
from holdgate.fleet.records import Bad, Bye, Claim, FleetOrder, FleetRecord, Gone, Good, Here, Lead, Need, Said, ToldToWait, encode


def settled(bench: Bench) -> Bench:
    """As a guard leaves a member after a turn: nothing is to be written or told, and the next deadline was given."""
    bench.look()
    bench.turn()
    bench.member.take_news()
    bench.member.next_deadline()
    return bench


def well() -> Bench:
    """A worker that is well among two others, with two dependencies."""
    bench = Bench()
    bench.member.add("ledger", CircuitSettings(), 0.0)
    bench.meet(A, B)
    bench.turn(ANSWER_WITHIN)
    return settled(bench)


def test_what_others_say_of_themselves_is_no_reason_for_a_turn() -> None:
    """Their beats, their bad luck, and their outage of what this worker does not need. It has read it all the same."""
    bench = well()
    bench.now += 1.0
    bench.meet(A, B)
    bench.hear(A, Bad(NAME, 5, True), Good(NAME), Bad(NAME, 1, False))
    bench.hear(B, Claim(NAME, 1), Bad("mail", 5, True), Claim("mail", 1), Lead("mail", 1, "wait", 0, 1, 0, 0, 0, 0))
    assert not bench.member.is_stirred
    seen = bench.member.snapshot(bench.now)
    assert [each.age for each in seen.members if not each.own] == [0.0, 0.0]
    assert seen.agreements[0].bad == 1


@pytest.mark.parametrize(
    "said",
    [
        (Here(30, (Need(NAME, True, 4, 0),)),),
        (Bad(NAME, 1, False),),
        (Good(NAME),),
        (Gone(B),),
        (Lead(NAME, 1, "ramp", 1, 1, 0, 0, 0, 0),),
        (ToldToWait(NAME, 5),),
    ],
    ids=lambda said: said[0].kind,
)
def test_in_an_outage_each_record_about_it_is_a_reason_for_a_turn(said: tuple[Said, ...]) -> None:
    """Shares, marks and the conductor may be others by it; what is about another dependency is none."""
    bench = settled(well())
    bench.open()
    settled(bench)
    bench.hear(B, Here(30, (Need("ledger", True, 4, 0),)), Bad("ledger", 1, False), Good("ledger"))
    assert not bench.member.is_stirred
    bench.hear(A, *said)
    assert bench.member.is_stirred


def test_an_outage_that_begins_and_one_that_ends_are_reasons_for_a_turn() -> None:
    """With the claim, though every call here was good, and with the verdict."""
    bench = well()
    bench.hear(A, Bad(NAME, 5, True))
    bench.hear(B, Bad(NAME, 5, True))
    assert not bench.member.is_stirred
    bench.hear(A, Claim(NAME, 1))
    assert bench.member.is_stirred
    settled(bench)
    bench.hear(A, Lead(NAME, 1, "up", 1, 1, 0, 0, 0, 0))
    assert bench.member.is_stirred


def test_whose_own_calls_fail_has_a_turn_for_the_failures_of_others() -> None:
    """They may be one outage with its own."""
    bench = well()
    bench.look(replace(WELL, in_a_row=1, failed=1))
    bench.turn()
    bench.member.next_deadline()
    bench.hear(A, Bad("ledger", 1, False))
    assert not bench.member.is_stirred
    bench.hear(A, Bad(NAME, 1, False))
    assert bench.member.is_stirred


@pytest.mark.parametrize(
    "said",
    [FleetOrder(NAME, "hold", 1, False, 0, "", ""), FleetOrder(NAME, "reset", 1, False, 0, "", ""), Bye()],
    ids=["hold", "reset", "bye"],
)
def test_words_and_members_are_reasons_for_a_turn(said: Said) -> None:
    """An operator's word, and somebody who comes or goes, which is told."""
    bench = well()
    bench.hear(A, said)
    assert bench.member.is_stirred
    settled(bench)
    assert not bench.member.is_stirred
    bench.hear(C, Here(30, ()))
    assert bench.member.is_stirred


def test_a_log_that_fails_and_one_that_answers_for_the_first_time_are_reasons_for_a_turn() -> None:
    """The one has a deadline before the next beat, and with the other the fleet counts; that it works still is none."""
    bench = Bench(echo=False)
    records = bench.member.take_records(0.0)
    bench.member.next_deadline()
    bench.member.log_state(True, 0.0)
    assert not bench.member.is_stirred
    bench.member.heard(records, 0.0)
    bench.member.take_news()
    assert bench.member.is_stirred
    settled(bench)
    bench.member.log_state(True, 1.0)
    assert not bench.member.is_stirred
    bench.member.log_state(False, 2.0)
    assert bench.member.is_stirred
    assert bench.member.next_deadline() == 8.0
    bench.member.log_state(False, 3.0)
    assert not bench.member.is_stirred


def test_without_a_dependency_nothing_is_a_reason_for_a_turn() -> None:
    """Nothing would follow from it."""
    member = FleetMember(ME, FleetSettings(), lambda: 0.5)
    member.heard([encode("fleet", FleetRecord(A, 1, Here(2, ())))], 0.0)
    assert not member.is_stirred


def test_the_silence_of_a_worker_has_a_deadline() -> None:
    """Nobody has to write anything for it to be noticed: it is looked for when it is due, and then twice a second."""
    bench = Bench()
    bench.turn(10.0)
    bench.meet(A)
    bench.turn(ANSWER_WITHIN)
    assert bench.member.next_deadline() == 10.0 + BEATS * 2
    bench.turn(5.0)
    assert bench.member.next_deadline() == bench.now + LOOK_AROUND_EVERY
    bench.turn(LOOK_AROUND_EVERY)
    assert [each.own for each in bench.member.snapshot(bench.now).members] == [True]
    assert bench.member.next_deadline() == 11.0 + LONG_BEAT * (1 - EARLIER / 2)
