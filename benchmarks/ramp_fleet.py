"""A fleet meets a dependency that comes back: how the ramp of `Circuit` treats it, beside a breaker that steps from probes to full rate.

    python -m benchmarks.ramp_fleet

Ten workers of 16 slots with an endless backlog. The dependency has capacity K = 160 calls of 50 ms; with q = calls in it / K a call takes
50 ms * max(1, q) * (1 + max(0, q - 1) / 20) * U(0.9, 1.1). Callers give up after 1 s, and the call goes on occupying it. It is down for the
first 30 s and refuses within 20 ms. Simulated time; the same seeds give the same table.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from holdgate.core import Circuit, CircuitSettings, Outcome, Permit, RampSettings

WORKERS, SLOTS, CAPACITY, HORIZON, DOWN_UNTIL = 10, 16, 160, 130.0, 30.0
PATIENCE, SECONDS_PER_CALL, REFUSAL = 1.0, 0.05, 0.02


@dataclass
class World:
    """One dependency: `share(now, served)` of its capacity is there at `now`; 0 is down."""

    share: Callable[[float, int], float]
    rng: random.Random
    inside: int = 0
    served: int = 0

    def call(self, now: float) -> tuple[bool, float]:
        """Start a call: whether it is answered at all, and after how long."""
        share = self.share(now, self.served)
        if share <= 0:
            return False, REFUSAL
        q = self.inside / (CAPACITY * share)
        self.inside += 1
        return True, SECONDS_PER_CALL * max(1.0, q) * (1 + max(0.0, q - 1) / 20) * self.rng.uniform(0.9, 1.1)


@dataclass
class Fleet:
    """Workers in front of one world, one event after the other."""

    world: World
    circuits: list[Circuit]
    good: int = 0
    failed_after: int = 0
    failed_before: int = 0
    busy: list[int] = field(default_factory=lambda: [0] * WORKERS)

    def run(self) -> None:
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = count()
        self._armed: dict[int, float] = {}  # one timer per worker is enough
        for worker in range(WORKERS):
            self._at(worker * 0.001, lambda now, worker=worker: self._fill(worker, now))
        while self._events:
            now, _, act = heapq.heappop(self._events)
            if now > HORIZON:
                return
            act(now)

    def _at(self, when: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), act))

    def _fill(self, worker: int, now: float) -> None:
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
            self._at(deadline, lambda later: self._fill(worker, later))

    def _start(self, worker: int, permit: Permit, now: float) -> None:
        self.busy[worker] += 1
        answered, latency = self.world.call(now)
        if answered:
            self._at(now + latency, self._leave)
        good = answered and latency <= PATIENCE
        self._at(now + min(latency, PATIENCE), lambda later: self._end(worker, permit, good, later))

    def _leave(self, _now: float) -> None:
        self.world.inside -= 1
        self.world.served += 1

    def _end(self, worker: int, permit: Permit, good: bool, now: float) -> None:
        self.busy[worker] -= 1
        self.circuits[worker].record(permit, Outcome.SUCCESS if good else Outcome.FAILURE, now)
        self.good += good
        self.failed_after += not good and permit.acquired_at >= DOWN_UNTIL
        self.failed_before += not good and permit.acquired_at < DOWN_UNTIL
        self._fill(worker, now)


def clean(now: float, _served: int) -> float:
    return float(now >= DOWN_UNTIL)


def four_percent(now: float, _served: int) -> float:
    return 0.0 if now < DOWN_UNTIL else 0.04 if now < DOWN_UNTIL + 60 else 1.0


def cold(now: float, served: int) -> float:
    return 0.0 if now < DOWN_UNTIL else 0.03 + 0.97 * (1 - math.exp(-served / 6000))


def false_recovery(now: float, _served: int) -> float:
    return float(now >= DOWN_UNTIL and (now - DOWN_UNTIL) % 24 < 4)


def fleet(share: Callable[[float, int], float], *, jitter: float, seed: int, ramp: RampSettings) -> Fleet:
    rng = random.Random(seed)
    settings = CircuitSettings(open_duration=5.0, open_duration_max=30.0, open_jitter=jitter, slow_call_duration=0.5, ramp=ramp)
    return Fleet(World(share, rng), [Circuit(f"w{number}", settings, draw=rng.random) for number in range(WORKERS)])


WORLDS = [
    ("clean", clean, 0.2, "0 failed / 299,176 good"),
    ("cold cache, no jitter", cold, 0.0, "0 / 277,916"),
    ("cold cache", cold, 0.2, "0 / 291,514"),
    ("4 % capacity for 60 s, no jitter", four_percent, 0.0, "31 / 131,000"),
    ("false recovery (up 4 s, down 20 s)", false_recovery, 0.2, "96 failed"),
]


def main() -> None:
    print("| world | failed after recovery | good calls | goal |")
    print("|---|---|---|---|")
    for name, share, jitter, goal in WORLDS:
        results = []
        for seed in (1, 2):
            simulated = fleet(share, jitter=jitter, seed=seed, ramp=RampSettings(full=SLOTS))
            simulated.run()
            results.append(simulated)
        failed = ", ".join(str(result.failed_after) for result in results)
        good = ", ".join(f"{result.good:,}" for result in results)
        print(f"| {name} | {failed} | {good} | {goal} |", flush=True)


if __name__ == "__main__":
    main()
