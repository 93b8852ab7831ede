"""A worker with a hunch: it stops for a moment, and what is an outage meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fleet.test_member import BAD, NAME, WELL, Bench, of

from holdgate.core import Reason, State
from holdgate.core.guidance import OwnFacts, Phase
from holdgate.fleet.concern import HUNCH_AGAIN, HUNCH_LASTS
from holdgate.fleet.records import Bad, Claim


def test_a_hunch_stops_a_worker_for_a_moment() -> None:
    """Four of twenty have just failed, and so has the worker itself: it stops. If nothing follows it goes on, with no other for a while."""
    bench = Bench()
    others = [f"{number:012x}" for number in range(19)]
    bench.meet(*others)
    once = replace(WELL, in_a_row=1, failed=1)
    open_by_fleet = replace(once, state=State.OPEN, opened_by=Reason.FLEET)
    for worker in others[:3]:
        bench.hear(worker, Bad(NAME, 1, False))
    assert bench.look(once).phase is Phase.WAIT
    assert bench.turn() == [Bad(NAME, 1, False)]
    assert bench.member.next_deadline() == pytest.approx(HUNCH_LASTS)
    bench.turn(HUNCH_LASTS - 0.01)
    assert bench.look(open_by_fleet).phase is Phase.WAIT
    bench.turn(0.01)
    assert bench.look(open_by_fleet).phase is Phase.UP
    assert bench.look(WELL).phase is Phase.LOCAL
    assert of(Claim, bench.said) == []
    bench.now += 1.0
    for worker in others[4:8]:
        bench.hear(worker, Bad(NAME, 1, False))
    assert bench.look(once).phase is Phase.LOCAL
    bench.now += HUNCH_AGAIN
    for worker in others[8:12]:
        bench.hear(worker, Bad(NAME, 1, False))
    assert bench.look(once).phase is Phase.WAIT


@pytest.mark.parametrize("facts", [BAD, replace(WELL, in_a_row=1, state=State.HALF_OPEN), replace(WELL, succeeded=1, last_good=0.0)])
def test_who_has_more_to_go_by_than_a_hunch_has_none(facts: OwnFacts) -> None:
    """A worker with a row of failures is about to open by itself, one that is half-open has another matter, one that is well goes on."""
    bench = Bench()
    others = [f"{number:012x}" for number in range(19)]
    bench.meet(*others)
    for worker in others[:8]:
        bench.hear(worker, Bad(NAME, 1, False))
    assert bench.look(facts).phase is Phase.LOCAL


def test_after_a_hunch_nearly_all_must_have_failed() -> None:
    """Who stops cannot be good again meanwhile, so fifteen of twenty, with a failure each, are an outage a moment later only."""
    bench = Bench()
    others = [f"{number:012x}" for number in range(19)]
    bench.meet(*others)
    for worker in others[:14]:
        bench.hear(worker, Bad(NAME, 1, False))
    once = replace(WELL, in_a_row=1, failed=1)
    open_by_fleet = replace(once, state=State.OPEN, opened_by=Reason.FLEET)
    bench.look(once)
    bench.turn()
    assert bench.look(open_by_fleet).until == pytest.approx(2.0)
    bench.turn(0.1)
    bench.look(open_by_fleet)
    assert of(Claim, bench.turn(0.05)) == []
    for worker in others[14:17]:
        bench.hear(worker, Bad(NAME, 1, False))
    bench.look(open_by_fleet)
    assert of(Claim, bench.turn(0.2)) == [Claim(NAME, 1)]
