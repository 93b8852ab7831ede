"""A fleet meets a dependency that comes back: how the ramp of `Circuit` treats it, beside a breaker that steps from probes to full rate.

    python -m benchmarks.ramp_fleet

Ten workers of 16 slots with an endless backlog. The dependency has capacity K = 160 calls of 50 ms; with q = calls in it / K a call takes
50 ms * max(1, q) * (1 + max(0, q - 1) / 20) * U(0.9, 1.1). Callers give up after 1 s, and the call goes on occupying it. It is down for the
first 30 s and refuses within 20 ms. Simulated time; the same seeds give the same table.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from holdgate.core import Circuit, CircuitSettings, Outcome, Permit, RampSettings
from holdgate_lab.fleet.clock import Schedule
from holdgate_lab.fleet.dependency import ModelDependency
from holdgate_lab.fleet.scenario import DependencySpec, Fault

WORKERS, SLOTS, HORIZON, DOWN_UNTIL = 10, 16, 130.0, 30.0
SERVICE = DependencySpec(name="payments", capacity=WORKERS * SLOTS, latency=0.05, timeout=1.0)


@dataclass
class Fleet:
    """Workers in front of one dependency, one event after the other."""

    dependency: ModelDependency
    circuits: list[Circuit]
    good: int = 0
    failed_after: int = 0
    failed_before: int = 0
    busy: list[int] = field(default_factory=lambda: [0] * WORKERS)

    def run(self) -> None:
        self._schedule = Schedule()
        self._armed: dict[int, float] = {}  # one timer per worker is enough
        for worker in range(WORKERS):
            self._schedule.at(worker * 0.001, partial(self._fill, worker))
        while self._schedule.step(HORIZON):
            pass

    def _fill(self, worker: int) -> None:
        now = self._schedule.now
        circuit = self.circuits[worker]
        circuit.advance(now)
        while self.busy[worker] < SLOTS:
            permit = circuit.try_acquire(now)
            if not isinstance(permit, Permit):
                break
            self._start(worker, permit, now)
        deadline = circuit.next_deadline()
        if deadline is not None and not now < self._armed.get(worker, 0.0) <= deadline:
            self._armed[worker] = deadline = max(deadline, now + 1e-6)
            self._schedule.at(deadline, partial(self._fill, worker))

    def _start(self, worker: int, permit: Permit, now: float) -> None:
        self.busy[worker] += 1
        answer = self.dependency.call(now)
        if answer.occupies:
            self._schedule.at(now + answer.seconds, self.dependency.leave)
        good = answer.good and answer.seconds <= SERVICE.timeout
        self._schedule.at(now + min(answer.seconds, SERVICE.timeout), partial(self._end, worker, permit, good))

    def _end(self, worker: int, permit: Permit, good: bool) -> None:
        now = self._schedule.now
        self.busy[worker] -= 1
        self.circuits[worker].record(permit, Outcome.SUCCESS if good else Outcome.FAILURE, now)
        self.good += good
        self.failed_after += not good and permit.acquired_at >= DOWN_UNTIL
        self.failed_before += not good and permit.acquired_at < DOWN_UNTIL
        self._fill(worker)


DOWN = Fault(at=0, until=DOWN_UNTIL, dependency="payments", kind="refuse", latency=0.02)
WEAK = Fault(at=DOWN_UNTIL, until=DOWN_UNTIL + 60, dependency="payments", kind="capacity", ratio=0.04)
COLD = Fault(at=DOWN_UNTIL, until=HORIZON + 1, dependency="payments", kind="cold", ratio=0.03, warm_up=6000)
FALSE = Fault(at=DOWN_UNTIL + 4, until=HORIZON + 1, dependency="payments", kind="flap", down=20, up=4)


def fleet(faults: Sequence[Fault], *, jitter: float, seed: int, ramp: RampSettings) -> Fleet:
    rng = random.Random(seed)
    settings = CircuitSettings(open_duration=5.0, open_duration_max=30.0, open_jitter=jitter, slow_call_duration=0.5, ramp=ramp)
    circuits = [Circuit(f"w{number}", settings, draw=rng.random) for number in range(WORKERS)]
    return Fleet(ModelDependency(SERVICE, faults, rng.random), circuits)


WORLDS = [
    ("clean", [DOWN], 0.2, "0 failed / 299,176 good"),
    ("cold cache, no jitter", [DOWN, COLD], 0.0, "0 / 277,916"),
    ("cold cache", [DOWN, COLD], 0.2, "0 / 291,514"),
    ("4 % capacity for 60 s, no jitter", [DOWN, WEAK], 0.0, "31 / 131,000"),
    ("false recovery (up 4 s, down 20 s)", [DOWN, FALSE], 0.2, "96 failed"),
]


def main() -> None:
    print("| world | failed after recovery | good calls | goal |")
    print("|---|---|---|---|")
    for name, faults, jitter, goal in WORLDS:
        results = []
        for seed in (1, 2):
            simulated = fleet(faults, jitter=jitter, seed=seed, ramp=RampSettings(full=SLOTS))
            simulated.run()
            results.append(simulated)
        failed = ", ".join(str(result.failed_after) for result in results)
        good = ", ".join(f"{result.good:,}" for result in results)
        print(f"| {name} | {failed} | {good} | {goal} |", flush=True)


if __name__ == "__main__":
    main()
