from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from holdgate.core import CircuitSettings, State
from holdgate.core.events import CircuitClosed, CircuitOpened
from holdgate.core.guidance import Guidance, Phase
from holdgate.core.states import Reason
from holdgate.fleet.records import FleetRecord, Lead, encode
from holdgate_lab.fleet.clock import Schedule
from holdgate_lab.fleet.dependency import ModelDependency
from holdgate_lab.together.log import SharedLog
from holdgate_lab.together.scenario import NAME, Together
from holdgate_lab.together.watching import TogetherWatch

PROBE, RAMP = Guidance(Phase.PROBE, epoch=2), Guidance(Phase.RAMP, 2, stage=1, epoch=2)


class Scene:
    """A watch with workers that do what a test says."""

    def __init__(self, workers: int = 3) -> None:
        scenario = Together(name="scene", seconds=100)
        schedule = Schedule()
        self.log = SharedLog(schedule)
        self.workers: dict[int, Any] = {number: self._worker(number) for number in range(workers)}
        service = ModelDependency(scenario.dependency, (), lambda: 0.5)
        self.watch = TogetherWatch(scenario, schedule, self.log, self.workers, service)

    def _worker(self, number: int) -> SimpleNamespace:
        circuit = SimpleNamespace(state=State.CLOSED, is_probing=False, settings=CircuitSettings())
        fields = {
            "number": number,
            "name": NAME,
            "circuit": circuit,
            "guidance": None,
            "is_alive": True,
            "in_flight": 0,
            "me": f"{number:012x}",
        }
        return _Hashable(**fields)

    def opens(self, number: int, reason: Reason, previous: State = State.CLOSED) -> None:
        self.workers[number].circuit.state = State.OPEN
        self.watch.moved(self.workers[number], CircuitOpened(NAME, 0.0, 1, reason, 3.5, 1, previous, 0.0, 0, 0.0))

    def leads(self, number: int, epoch: int, limit: int = 1) -> None:
        said = Lead(NAME, epoch, "ramp", stage=1, limit=limit, turn=0, sharers=0, failed=0, age=0)
        self.log.append(encode("fleet", FleetRecord(self.workers[number].me, 1, said)))

    @property
    def broken(self) -> list[str]:
        return [violation.rule for violation in self.watch.violations]


class _Hashable(SimpleNamespace):
    def __hash__(self) -> int:  # type: ignore[override]  # pyright: ignore[reportAssignmentType]
        return id(self)


def test_a_fleet_that_opens_without_a_quorum_is_seen() -> None:
    """One worker has failed, and another opens for all; two are a quorum."""
    for failing, broken in ((1, ["quorum"]), (2, [])):
        scene = Scene()
        for number in range(failing):
            scene.watch.ended(scene.workers[number], False, 0.0)
        scene.opens(2, Reason.FLEET)
        assert scene.broken == broken


def test_a_verdict_without_a_quorum_is_seen() -> None:
    """Whoever writes it."""
    scene = Scene()
    scene.leads(0, 1)
    assert scene.broken == ["quorum"]
    assert scene.watch.fleet_openings == 1


def test_two_conductors_of_one_epoch_are_seen() -> None:
    """By their probes, and by their verdicts at the end."""
    scene = Scene()
    scene.watch.guided(scene.workers[0], PROBE)
    scene.watch.guided(scene.workers[1], PROBE)
    assert scene.broken == ["one conductor"]
    scene = Scene()
    for number in range(2):
        scene.watch.ended(scene.workers[number], False, 0.0)
    for number in range(2):
        scene.leads(number, 1)
    scene.watch.finish()
    assert scene.broken == ["one conductor"]


def test_an_epoch_that_goes_back_is_seen() -> None:
    """A worker follows a newer one, and then an older one."""
    scene = Scene()
    scene.watch.guided(scene.workers[0], PROBE)
    scene.watch.guided(scene.workers[0], Guidance(Phase.WAIT, epoch=1))
    assert scene.broken == ["epoch"]


def test_a_circuit_that_is_closed_against_its_own_calls_is_seen() -> None:
    """It has opened in the ramp by itself, and no call of its own was good since."""
    for has_good_call, broken in ((False, ["keeps open"]), (True, [])):
        scene = Scene()
        worker = scene.workers[0]
        worker.guidance, worker.circuit.state = RAMP, State.HALF_OPEN
        scene.watch.moved(worker, CircuitOpened(NAME, 0.0, 1, Reason.CONSECUTIVE_FAILURES, 3.5, 1, State.HALF_OPEN, 0.0, 0, 0.0))
        if has_good_call:
            scene.watch.ended(worker, True, 0.0)
        scene.watch.moved(worker, CircuitClosed(NAME, 1.0, 2, State.OPEN, 0.0, 1))
        assert scene.broken == broken


def test_a_worker_that_does_not_come_back_is_seen() -> None:
    """At the end of the run."""
    scene = Scene()
    scene.workers[1].circuit.state = State.HALF_OPEN
    scene.watch.finish()
    assert scene.broken == ["progress"]


def test_calls_above_the_fleets_limit_are_counted() -> None:
    """Of all workers that follow it, together."""
    scene = Scene()
    scene.leads(0, 2, limit=3)
    for number in range(2):
        worker = scene.workers[number]
        worker.guidance, worker.circuit.state, worker.in_flight = RAMP, State.HALF_OPEN, 2
    scene.watch.admitted(scene.workers[1])
    assert scene.watch.overshoot == 1


def test_probes_that_nobody_needs_are_not_counted_as_made_at_once() -> None:
    """Where a worker calls freely, two probes are two calls of many; where all others wait, they are one too many."""
    for state, at_once in ((State.CLOSED, 0), (State.OPEN, 2)):
        scene = Scene()
        scene.workers[2].circuit.state = state
        for number in range(2):
            circuit = scene.workers[number].circuit
            circuit.state, circuit.is_probing = State.HALF_OPEN, True
        for number in range(2):
            scene.watch.admitted(scene.workers[number])
        assert (scene.watch.probes, scene.watch.probes_at_once) == (2, at_once)
