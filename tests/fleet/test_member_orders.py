"""One worker and an operator's words for all: what is refused, what a reset closes, and what a worker reads late."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fleet.test_member import BAD, NAME, OPENED, WELL, A, B, Bench, of

from holdgate.core import Reason, State
from holdgate.core.guidance import Phase
from holdgate.errors import CommandError
from holdgate.fleet import Word
from holdgate.fleet.records import LONGEST_SECONDS, Bad, Claim, FleetOrder, Here, Lead, Need

GUIDED = replace(BAD, state=State.OPEN, opened_by=Reason.FLEET)


def order(word: str, number: int = 1, *, again: bool = False, lasts: int = 0) -> FleetOrder:
    return FleetOrder(NAME, word, number, again, lasts, "", "")


def test_a_word_that_no_record_can_carry_is_refused() -> None:
    """A month is the longest: a hold for two would end after one, and nobody would know."""
    bench = Bench()
    with pytest.raises(CommandError, match=r"at most 31 days, got 2678401 seconds: give it without an end"):
        bench.member.command(NAME, Word.HOLD, reason="", actor="ada", lasts=LONGEST_SECONDS + 1, now=0.0)
    bench.member.command(NAME, Word.HOLD, reason="", actor="ada", lasts=LONGEST_SECONDS, now=0.0)
    assert [said.lasts for said in of(FleetOrder, bench.turn())] == [LONGEST_SECONDS]


def test_a_reset_is_for_circuits_that_are_open_by_their_own_rules_too() -> None:
    """No guidance closes them, so it is said once, to whoever has the circuit; a hold and a release are none."""
    bench = Bench()
    bench.look(OPENED)
    bench.hear(A, order("hold"), order("release", 2))
    assert not bench.member.take_reset(NAME)
    bench.hear(A, order("reset", 3))
    assert bench.member.take_reset(NAME)
    assert not bench.member.take_reset(NAME)


def test_a_reset_that_is_over_by_another_word_closes_nothing() -> None:
    """Both are read in one moment: the later one counts."""
    bench = Bench()
    bench.hear(A, order("reset"), order("hold", 2))
    assert not bench.member.take_reset(NAME)


def test_a_reset_of_the_past_closes_nothing() -> None:
    """Who has just come reads half a minute of the log in one moment; what its own calls have opened since stays open."""
    newcomer = Bench(echo=False)
    newcomer.hear(A, order("reset"))
    assert not newcomer.member.take_reset(NAME)
    newcomer.turn()
    newcomer.hear(A, order("reset", 2))
    assert newcomer.member.take_reset(NAME)


def test_a_recovery_that_is_read_while_the_hold_still_lasts_here_counts_when_it_ends() -> None:
    """Here the hold was read late, so that it lasts longer; the others have held, probed and come back meanwhile."""
    bench = Bench()
    bench.meet(A, B)
    bench.look(WELL)
    bench.hear(A, order("hold", lasts=60), Claim(NAME, 1), Lead(NAME, 1, "wait", 0, 1, 0, 0, 0, 60), Lead(NAME, 1, "up", 1, 1, 0, 0, 0, 61))
    assert bench.look(WELL).phase is Phase.WAIT
    bench.turn(30.0)
    bench.turn(30.0)
    assert bench.look(GUIDED).phase is Phase.UP
    assert bench.look(WELL).phase is Phase.LOCAL


def test_whose_verdict_was_on_its_way_when_a_hold_came_has_no_say() -> None:
    """It was written before its writer has read the hold, which takes the epoch from it."""
    bench = Bench()
    bench.open(A)
    bench.look(BAD)
    bench.hear(A, Lead(NAME, 1, "wait", 0, 1, 0, 0, 0, 0))
    bench.hear(B, order("hold"))
    bench.hear(A, Lead(NAME, 1, "up", 1, 1, 0, 0, 0, 1))
    shown = bench.member.snapshot(0.0).agreements[0]
    assert (shown.course, shown.conductor) == ("wait", None)


def test_a_worker_that_died_while_it_was_bad_is_forgotten_in_quiet_times() -> None:
    """It has been silent for three of its beats. Otherwise a fleet in which workers die would count more and more of them as failing."""
    bench = Bench()
    bench.meet(A)
    bench.hear(A, Here(30, (Need(NAME, True, 4, 0),)), Bad(NAME, 5, True))
    assert bench.member.snapshot(0.0).agreements[0].bad == 1
    for _ in range(4):
        bench.turn(29.0)
    assert bench.member.snapshot(bench.now).agreements[0].bad == 0


def test_who_has_read_a_made_up_epoch_hears_from_the_others_what_it_is() -> None:
    """It has just come, and believes any: one that a stranger made up could never be outbid."""
    newcomer = Bench(echo=False)
    newcomer.hear("f" * 12, Lead(NAME, 2**31 - 1, "wait", 0, 1, 0, 0, 0, 0))
    newcomer.turn()
    for worker in (A, B):
        newcomer.hear(worker, Here(2, (Need(NAME, True, 4, 7),)))
    assert newcomer.member.snapshot(0.0).agreements[0].epoch == 6
    newcomer.hear(A, Lead(NAME, 7, "wait", 0, 1, 0, 0, 0, 0))
    newcomer.look(BAD)
    shown = newcomer.member.snapshot(0.0).agreements[0]
    assert (shown.epoch, shown.conductor is None, shown.course) == (7, False, "wait")
