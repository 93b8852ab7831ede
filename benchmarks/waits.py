"""What the waits of an open circuit cost and what they are worth: failed calls against the time to recover, for several rules.

    python -m benchmarks.waits

Real guards in the fleet of the simulator (docs/explanation/simulator.md), in simulated time: workers with two lanes each and a backlog that
never ends, ten calls a second, and a dependency that is down for ten seconds to an hour. A call to it is refused after 20 ms, or hangs and
is given up after 5 s. Each worker decides alone. The same seeds give the same table.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from holdgate.core import CircuitSettings, State
from holdgate_lab.fleet.scenario import DependencySpec, Fault, Scenario, TopicSpec
from holdgate_lab.fleet.simulation import running
from holdgate_lab.fleet.strategy import strategy_of
from holdgate_lab.fleet.world import World

RULES = {
    "the default: a tenth of the outage, at most 300 s": CircuitSettings(),
    "at most 120 s": CircuitSettings(open_duration_max=120),
    "at most 60 s": CircuitSettings(open_duration_max=60),
    "at most 30 s": CircuitSettings(open_duration_max=30),
    "a twentieth, at most 300 s": CircuitSettings(open_share=0.05),
    "a fifth, at most 300 s": CircuitSettings(open_share=0.2),
    "doubled each time, at most 300 s": CircuitSettings(open_duration=5, open_multiplier=2),
    "doubled each time, at most 30 s": CircuitSettings(open_duration=5, open_multiplier=2, open_duration_max=30),
}
LENGTHS = {"10 s": 10.0, "40 s": 40.0, "2 min": 120.0, "10 min": 600.0, "1 h": 3600.0}
Kind = Literal["refuse", "hang"]
KINDS: dict[Kind, str] = {"refuse": "refused", "hang": "hangs 5 s"}
# How often each world is played: sixty workers in either case.
SEEDS = {1: 60, 20: 3}
# It never takes longer than the longest wait, the ramp and a call.
PATIENCE = 600.0
_NAME = "payments"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one outage cost: failed calls of a worker, and the seconds from its end until all circuits were closed."""

    failed: float
    closed_after: float


def outage(settings: CircuitSettings, seconds: float, kind: Kind, workers: int, seed: int) -> Cost:
    """Play one outage. Raises AssertionError if an invariant of the simulator is broken, or a circuit never closes."""
    at = 3 + 2 * random.Random(f"{seed} {seconds} {kind}").random()
    world = World(_scenario(settings, at, at + seconds, kind, workers), strategy_of("holdgate"), seed)
    healed, schedule = at + seconds, world.schedule
    with running(world):
        while schedule.step(healed):
            pass
        while not _all_closed(world):
            if not schedule.step(healed + PATIENCE):
                raise AssertionError(f"not closed {PATIENCE:g} s after an outage of {seconds:g} s, seed {seed}")
        if world.checker.violations:
            raise AssertionError(world.checker.violations)
        return Cost(world.checker.failed_calls / workers, schedule.now - healed)


def _scenario(settings: CircuitSettings, at: float, healed: float, kind: Kind, workers: int) -> Scenario:
    return Scenario(
        name="waits",
        seconds=healed + PATIENCE,
        workers=workers,
        concurrency=2,
        order="none",
        topics=(TopicSpec(name="orders", needs=(_NAME,), partitions=workers, backlog=100_000_000),),
        dependencies=(DependencySpec(name=_NAME, latency=0.2, timeout=5.0, circuit=settings),),
        faults=(Fault(at=at, until=healed, dependency=_NAME, kind=kind),),
    )


def _all_closed(world: World) -> bool:
    return all(worker.engine.gates[_NAME].circuit.state is State.CLOSED for worker in world.workers.values())


def cell(costs: Sequence[Cost]) -> str:
    """Show the mean of the failed calls, and of the seconds the mean and the most."""
    failed = sum(cost.failed for cost in costs) / len(costs)
    seconds = [cost.closed_after for cost in costs]
    return f"{failed:.0f} / {sum(seconds) / len(seconds):.1f}, {max(seconds):.1f}"


def table(workers: int, kind: Kind) -> None:
    """Print one table: a row for each rule, a column for each length."""
    who = "one worker" if workers == 1 else f"{workers} workers"
    print(f"| {who}, {KINDS[kind]} | {' | '.join(LENGTHS)} |")
    print("|---" * (len(LENGTHS) + 1) + "|", flush=True)
    for name, settings in RULES.items():
        cells = [cell([outage(settings, seconds, kind, workers, seed) for seed in range(SEEDS[workers])]) for seconds in LENGTHS.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print()


def main() -> None:
    print("Failed calls of a worker, probes included / seconds from the end of the outage until all circuits are closed, mean and most:\n")
    for workers in SEEDS:
        for kind in KINDS:
            table(workers, kind)


if __name__ == "__main__":
    main()
