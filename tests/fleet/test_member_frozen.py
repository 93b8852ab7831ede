"""A worker stops right after it has written a record of any kind, for good or for half a minute: the fleet goes on."""

from __future__ import annotations

import pytest
from tests.fleet.world import NAME, Worker, World

from holdgate.core import State
from holdgate.fleet import Word
from holdgate.fleet.records import (
    Bad,
    Claim,
    FleetOrder,
    FleetRecord,
    Good,
    Here,
    Lead,
    Rest,
    Said,
    StageTally,
    decode,
    encode,
)

START, LENGTH = 35.0, 12.0
# A wait of half the outage, the silence of a conductor, a claim, its wait, and the ramp.
BACK_WITHIN = 25.0


class Stopping(World):
    """A world whose worker stops with the first record from `START` on that `kind` and `phase` describe, when it has written it."""

    kind: type = Here
    phase: str | None = None
    seconds: float | None = None  # None: for good
    stopped: Worker | None = None

    def append(self, records: list[bytes]) -> None:
        super().append(records)
        for data in records:
            record = decode("fleet", data)
            if self.stopped is None and self.now >= START and record is not None and self._is_meant(record.said):
                self.stopped = next(worker for worker in self.workers if worker.name == record.worker)
                self.stopped.alive = self.seconds is not None
                self.stopped.frozen_until = self.now + (self.seconds or 0.0)

    def others_closed(self) -> bool:
        return all(worker.circuit.state is State.CLOSED for worker in self.workers if worker is not self.stopped)

    def _is_meant(self, said: Said) -> bool:
        return isinstance(said, self.kind) and self.phase in {None, getattr(said, "phase", None)}


def in_an_outage(kind: type, phase: str | None, seconds: float | None) -> Stopping:
    world = Stopping(4, seed=7, full=2, down=lambda now: START <= now < START + LENGTH)
    world.kind, world.phase, world.seconds = kind, phase, seconds
    return world


KINDS = [
    (Here, None),
    (Bad, None),
    (Claim, None),
    (Lead, "wait"),
    (Lead, "ramp"),
    (Lead, "up"),
    (StageTally, None),
    (Rest, None),
]


@pytest.mark.parametrize("seconds", [None, 30.0], ids=["killed", "frozen"])
@pytest.mark.parametrize(("kind", "phase"), KINDS, ids=lambda each: getattr(each, "__name__", each) or "any")
def test_a_worker_that_stops_with_any_record_keeps_nobody(kind: type, phase: str | None, seconds: float | None) -> None:
    """Be it a claim, a verdict of each phase, a result or the end of a term: all others are back in time, and one probes, or two."""
    world = in_an_outage(kind, phase, seconds)
    world.run(START + LENGTH)
    while world.now < START + LENGTH + BACK_WITHIN and not world.others_closed():
        world.run(world.now + 0.1)
    assert world.others_closed()
    assert world.stopped is not None, f"nobody has written {kind.__name__} {phase}"
    assert world.run_until_closed(world.now + 35) is not None  # whoever was frozen, too
    assert world.result.most_probes <= 2


@pytest.mark.parametrize("seconds", [None, 30.0], ids=["killed", "frozen"])
def test_a_worker_that_stops_with_a_good_word_keeps_nobody(seconds: float | None) -> None:
    """It writes that only where single calls fail, so that there is no outage to come back from: none is opened for all either."""
    world = Stopping(4, seed=7, failure_rate=0.2)
    world.kind, world.seconds = Good, seconds
    world.run(START + 40)
    assert world.stopped is not None
    world.failure_rate = 0.0
    assert world.run_until_closed(world.now + 330) is not None


@pytest.mark.parametrize("seconds", [None, 30.0], ids=["killed", "frozen"])
def test_a_worker_that_stops_with_an_order_has_given_it(seconds: float | None) -> None:
    """The log has it, so all hold, its giver included when it goes on; and the end comes without the giver."""
    world = Stopping(4, seed=7)
    world.kind, world.seconds = FleetOrder, seconds
    world.run(START)
    giver = world.workers[0]
    giver.member.command(NAME, Word.HOLD, reason="", actor="ada", lasts=60.0, now=world.now)
    world.turn(giver)
    assert world.stopped is giver
    world.run(START + 2)
    assert [worker.circuit.state for worker in world.workers[1:]] == [State.OPEN] * 3
    world.run(START + 58)
    assert all(worker.circuit.state is State.OPEN for worker in world.workers if worker.alive)
    assert world.run_until_closed(START + 60 + BACK_WITHIN) is not None


def test_who_was_cut_off_while_the_fleet_was_held_is_not_held_alone() -> None:
    """It reads the whole hold afterwards, in one moment: what was repeated of it says that a second is left."""
    world = World(4, seed=7)
    world.run(START)
    late = world.workers[3]
    late.cut = True
    missed = len(world.log)
    world.workers[0].member.command(NAME, Word.HOLD, reason="", actor="ada", lasts=120.0, now=world.now)
    world.turn(world.workers[0])
    world.run(START + 170)
    assert world.all_closed()
    late.cut = False
    world.deliver(late, [data for _, data in world.log[missed:]])
    world.run(world.now + 25 + BACK_WITHIN)
    assert world.all_closed()


def test_a_made_up_verdict_lames_no_fleet_for_good() -> None:
    """With the largest numbers there are, in an outage: the fleet ends this one, and opens, probes and closes in the next one as ever."""
    largest = 2**31 - 1
    world = World(4, seed=7, full=2)
    world.down = lambda now: START <= now < START + 20 or START + 80 <= now < START + 95
    world.run(START + 5)
    epoch = max(worker.member.snapshot(world.now).agreements[0].epoch for worker in world.workers)
    made_up = Lead(NAME, epoch + 1, "wait", largest, largest, largest, 0, largest, largest, 0)
    world.arrived([encode("fleet", FleetRecord("f" * 12, 1, made_up))])
    assert world.run_until_closed(START + 20 + 55) is not None
    world.run(START + 80)
    world.run(START + 85)
    seen = {(each.course, each.conductor) for each in (worker.member.snapshot(world.now).agreements[0] for worker in world.workers)}
    assert len(seen) == 1
    assert "wait" in next(iter(seen))
    probes = world.probes
    world.run(START + 95)
    assert world.probes - probes <= 2
    assert world.run_until_closed(START + 95 + BACK_WITHIN) is not None


def test_a_newcomer_that_has_read_a_made_up_epoch_is_one_of_the_fleet_soon() -> None:
    """A worker believes what it reads first. The others' words put that right, and who comes later learns nothing of it."""
    largest = 2**31 - 1
    world = World(5, seed=7)
    world.run(START)
    world.arrived([encode("fleet", FleetRecord("f" * 12, 1, Lead(NAME, largest, "wait", 0, 1, 0, 0, 0, 0, 0)))])
    world.run(START + 1)
    world.join()
    world.join()
    world.run(START + 5)
    assert {worker.member.snapshot(world.now).agreements[0].epoch < 1000 for worker in world.workers} == {True}
    assert world.run_until_closed(START + 60) is not None
    world.down = lambda now: START + 60 <= now < START + 70
    world.run(START + 65)
    assert len({worker.member.snapshot(world.now).agreements[0].conductor for worker in world.workers}) == 1
    assert world.run_until_closed(START + 70 + BACK_WITHIN) is not None
