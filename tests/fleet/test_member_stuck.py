"""When one worker waits for its fleet no longer: the agreement has got no further for twenty seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fleet.test_member import BAD, ME, NAME, WELL, A, B, Bench, of

from holdgate.core import Reason, State
from holdgate.core.guidance import Phase
from holdgate.fleet.concern import STUCK_AFTER
from holdgate.fleet.records import Claim, FleetOrder, Here, Lead, Need, Rest, Said
from holdgate.fleet.shares import checksum
from holdgate.fleet.snapshot import AgreementSnapshot

LED = replace(BAD, state=State.HALF_OPEN, opened_by=Reason.FLEET)
HANGS = replace(LED, in_flight=1)


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


class Term(Bench):
    """A member that conducts an outage, and whose probe is due and hangs; `others` have messages as well."""

    def __init__(self, *others: str) -> None:
        super().__init__()
        self.others = others
        self.open(ME)
        self.pass_by(0.0)
        due = self.member.snapshot(self.now).agreements[0].probe_in
        assert due is not None
        self.pass_by(due)
        assert self.look(HANGS).phase is Phase.PROBE

    def pass_by(self, seconds: float) -> list[Said]:
        """Let time pass in which everybody beats and nothing comes of the probe. Returns what the member has written."""
        written = self.turn(seconds)
        for worker in (A, B):
            self.hear(worker, Here(2, (Need(NAME, worker in self.others, 4, 0),)))
        self.look(HANGS)
        return written + self.turn()

    def wait(self) -> list[Said]:
        """Lead as ever until one second before nobody should wait any more. Returns what was written."""
        written = [each for _ in range(int(STUCK_AFTER) - 1) for each in self.pass_by(1.0)]
        assert self.look(HANGS).phase is Phase.PROBE
        return written

    @property
    def shown(self) -> AgreementSnapshot:
        return self.member.snapshot(self.now).agreements[0]


def test_a_conductor_whose_probe_hangs_gives_the_epoch_back() -> None:
    """Its own network may swallow what it sends. Another worker that has messages is to ask, and is not kept from it any longer."""
    term = Term(A)
    assert of(Rest, term.wait()) == []
    assert of(Rest, term.pass_by(1.0)) == [Rest(NAME, 1)]
    assert (term.shown.course, term.shown.conductor) == ("wait", None)


def test_a_conductor_that_nobody_can_relieve_goes_by_its_own_rules() -> None:
    """No other worker has messages, so it keeps the epoch. A good call of its own is then the recovery of all."""
    term = Term()
    term.wait()
    assert of(Rest, term.pass_by(1.0)) == []
    assert (term.look(HANGS).phase, term.shown.course, term.shown.own) == (Phase.LOCAL, "wait", True)

    term.look(replace(WELL, last_good=term.now))
    assert [lead.phase for lead in of(Lead, term.turn())] == ["up"]
    assert term.shown.course == "well"
