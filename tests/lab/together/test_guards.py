from __future__ import annotations

from collections.abc import Sequence

from holdgate.core import State
from holdgate_lab.fleet.scenario import DependencySpec, Fault, MemberEvent, Scenario, TopicSpec
from holdgate_lab.fleet.simulation import running
from holdgate_lab.fleet.strategy import strategy_of
from holdgate_lab.fleet.worker import FleetWorker
from holdgate_lab.fleet.world import NewWorker, World
from holdgate_lab.together.guards import GuardedTogether
from holdgate_lab.together.scenario import LogFault

BEGINS, ENDS = 10.0, 30.0


def outage(make: NewWorker, members: Sequence[MemberEvent] = ()) -> tuple[World, list[tuple[float, int, State]]]:
    """Play twenty seconds of outage before four guards, and return the world with who was in which state when it changed."""
    scenario = Scenario(
        name="together",
        seconds=ENDS + 40,
        workers=4,
        concurrency=2,
        order="none",
        topics=(TopicSpec(name="orders", needs=("payments",), partitions=4, rate=16.0),),
        dependencies=(DependencySpec(name="payments"),),
        faults=(Fault(at=BEGINS, until=ENDS, dependency="payments", kind="refuse"),),
        members=tuple(members),
    )
    world = World(scenario, strategy_of("holdgate"), 1, worker=make)
    trace: list[tuple[float, int, State]] = []
    before: dict[int, State] = {}
    with running(world):
        while world.schedule.step(scenario.seconds):
            for number, worker in world.workers.items():
                gate = worker.engine.gates.get("payments")
                if worker.is_alive and gate is not None and before.get(number) is not gate.circuit.state:
                    before[number] = gate.circuit.state
                    trace.append((world.schedule.now, number, gate.circuit.state))
    assert not world.checker.violations
    return world, trace


def is_back(trace: list[tuple[float, int, State]]) -> bool:
    """Whether the last state of each worker is CLOSED."""
    return set({number: state for _, number, state in trace}.values()) == {State.CLOSED}


def test_whole_guards_agree_over_a_log() -> None:
    """Nothing that the simulator checks is broken, fewer calls fail than without the log, and all come back."""
    together, trace = outage(GuardedTogether())
    alone, _ = outage(FleetWorker)
    assert together.checker.failed_calls < alone.checker.failed_calls
    assert is_back(trace)


def test_guards_come_back_when_one_is_killed_and_one_is_frozen() -> None:
    """Whoever conducts: each of them is away for a while of the outage."""
    kill = MemberEvent(at=BEGINS + 4, worker=0, kind="kill")
    freeze = MemberEvent(at=BEGINS + 8, worker=1, kind="freeze", seconds=8)
    _, trace = outage(GuardedTogether(), (kill, freeze, MemberEvent(at=BEGINS + 12, worker=0, kind="join")))
    assert is_back(trace)


def test_guards_whose_log_refuses_go_as_guards_without_one() -> None:
    """To the last transition of the last worker."""
    assert outage(GuardedTogether((LogFault(at=0, kind="refuse"),)))[1] == outage(FleetWorker)[1]
