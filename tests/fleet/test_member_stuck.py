"""When one worker waits for its fleet no longer: the agreement has got no further for twenty seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fleet.test_member import BAD, NAME, A, B, Bench

from holdgate.core import Reason, State
from holdgate.core.guidance import Phase
from holdgate.fleet.concern import STUCK_AFTER
from holdgate.fleet.records import Claim, FleetOrder, Here, Lead, Need
from holdgate.fleet.shares import checksum

LED = replace(BAD, state=State.HALF_OPEN, opened_by=Reason.FLEET)


def ramp(epoch: int, stage: int, limit: int, turn: int = 0) -> Lead:
    return Lead(NAME, epoch, "ramp", stage, limit, turn, checksum({A: 4, B: 4}), 0, 1)


def stuck() -> Bench:
    """A member in a ramp of a limit of four that has stood still for too long."""
    bench = Bench()
    bench.open(A)
    bench.meet(A, B)
    bench.look(LED, backlog=False)
    bench.hear(A, ramp(1, 1, 4))
    assert bench.look(LED, backlog=False).phase is Phase.RAMP
    for second in range(int(STUCK_AFTER)):
        bench.turn(1.0)
        bench.hear(A, ramp(1, 1 + second // 10, 4, turn=second // 10))
        bench.meet(B)
    return bench


def test_a_ramp_that_stands_still_is_left() -> None:
    """Another turn of the same limit is no step: somebody has been heard of for ten seconds, and nothing came of it."""
    assert stuck().look(LED, backlog=False).phase is Phase.LOCAL


def test_a_takeover_with_a_lower_limit_is_no_step() -> None:
    """Fewer have messages by then. In a fleet that has run out of them conductors would follow each other for ever, each with a line."""
    bench = stuck()
    bench.look(LED, backlog=False)
    bench.hear(B, Claim(NAME, 2))
    bench.meet(A, B)
    bench.hear(B, ramp(2, 3, 1))
    assert bench.look(LED, backlog=False).phase is Phase.LOCAL


@pytest.mark.parametrize("step", [ramp(1, 3, 5, turn=1), Lead(NAME, 1, "wait", 3, 1, 0, 0, 1, 30)], ids=["a higher limit", "a wait"])
def test_a_step_is_followed_again(step: Lead) -> None:
    """The fleet leads again as soon as it gets on."""
    bench = stuck()
    bench.look(LED, backlog=False)
    bench.hear(A, step)
    assert bench.look(LED, backlog=False).phase in {Phase.RAMP, Phase.WAIT}


def test_a_hold_is_no_standstill() -> None:
    """For ten minutes nobody was to get on; when it ends the fleet waits for one worker's probe."""
    bench = Bench()
    bench.meet(A, B)
    bench.hear(A, FleetOrder(NAME, "hold", 1, False, 600, "", ""))
    for _ in range(300):
        bench.turn(2.0)
        bench.hear(B, Here(2, (Need(NAME, True, 4, 0),)))
        bench.look(LED, backlog=False)
    bench.turn(1.0)
    assert bench.look(LED, backlog=False).phase in {Phase.WAIT, Phase.PROBE}
    assert bench.member.snapshot(bench.now).agreements[0].word is None
