"""How late a worker is back when its dependency is, and what it called meanwhile: outages of ten seconds to six hours, and one that flaps.

    python -m benchmarks.heal

Every outage is the first one, or the third within five minutes (the two before last as long, at most a minute, with a minute between); with
one worker, and with ten that do not know of each other. Beside holdgate: its circuit with `open_multiplier=2`, as all were before, and
models of the defaults of Resilience4j, Istio and Polly. Simulated time (benchmarks/healing.py); the same seeds give the same table.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.healing import BEFORE, FAULTS, Breaker, Scene, Weather
from benchmarks.healing_peers import BREAKERS, holdgate

LENGTHS = {"10 s": 10, "1 min": 60, "3 min": 180, "10 min": 600, "30 min": 1800, "1 h": 3600, "6 h": 21600}
HOUR = 3600.0
# How often each world is played with one worker, and with ten.
SEEDS = {1: 40, 10: 12}
PEER_SEEDS = 20
FLAPPING = {"up 5 s, down 20 s": (5.0, 20.0), "up 5 s, down 22 s": (5.0, 22.0), "up 10 s, down 20 s": (10.0, 20.0)}
FLAPPING_SEEDS = 30
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25)

Make = Callable[[random.Random], Breaker]


@dataclass(frozen=True, slots=True)
class World:
    """One kind of outage: the first one or the third, of so many seconds, and how many workers meet it."""

    seconds: float
    third: bool
    fault: str
    workers: int = 1

    def weather(self, chance: random.Random) -> Weather:
        at = BEFORE + chance.random()
        outages = []
        if self.third:
            for _ in range(2):
                outages.append((at, at + min(self.seconds, 60.0)))
                at = outages[-1][1] + 60.0
        return Weather((*outages, (at, at + self.seconds)), self.fault)


@dataclass(frozen=True, slots=True)
class Cell:
    """What it cost: `late` is the p95 of the seconds from the heal to the flow, the others are the most calls of a worker in an hour."""

    late: float
    first_hour: int
    later_hour: int


def cell(make: Make, world: World, seeds: int) -> Cell:
    lates, first, later = [], 0, 0
    for seed in range(seeds):
        chance = random.Random(f"{seed} {world}")
        weather = world.weather(chance)
        start, healed = weather.outages[-1]
        breakers = [make(random.Random(chance.random())) for _ in range(world.workers)]
        seen = Scene(weather, breakers, seed, healed + HOUR).run()
        back_after = seen.back_after()
        lates.append(HOUR if back_after is None else back_after)
        for calls in seen.calls:
            hours = Counter(int((at - start) // HOUR) for at in calls if at >= start)
            first = max(first, hours.pop(0, 0))
            later = max(later, *hours.values(), 0)
    lates.sort()
    return Cell(lates[math.ceil(0.95 * seeds) - 1], first, later)


def worst(cells: Sequence[Cell]) -> Cell:
    return Cell(max(each.late for each in cells), max(each.first_hour for each in cells), max(each.later_hour for each in cells))


def limit(seconds: float) -> float:
    """What the circuit is to stay below: five seconds, or 12 % of the outage."""
    return max(5.0, 0.12 * seconds)


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(each) for each in cells)} |", flush=True)


def head(*titles: str) -> None:
    row(*titles)
    print("|---" * len(titles) + "|", flush=True)


def ours() -> None:
    """Print what holdgate does in each world."""
    kinds = [(third, fault) for third in (False, True) for fault in FAULTS]
    titles = [f"{'third' if third else 'first'}, {fault}" for third, fault in kinds]
    head("outage", *titles, "limit", "calls in the first hour", "in a later")
    for name, seconds in LENGTHS.items():
        cells = [
            [cell(BREAKERS["holdgate"], World(seconds, third, fault, workers), seeds) for workers, seeds in SEEDS.items()]
            for third, fault in kinds
        ]
        shown = (" / ".join(f"{each.late:.1f}" for each in both) for both in cells)
        most = worst([each for both in cells for each in both])
        row(name, *shown, f"{limit(seconds):g}", most.first_hour, most.later_hour or "")


def worst_of(make: Make, seconds: float) -> Cell:
    """Return the worst of one worker's worlds of this length."""
    return worst([cell(make, World(seconds, third, fault), PEER_SEEDS) for third in (False, True) for fault in FAULTS])


def beside() -> None:
    """Print the worst of each length, for every breaker."""
    head("worst p95, one worker", *LENGTHS, "calls in the first hour", "in a later")
    for name, make in BREAKERS.items():
        cells = [worst_of(make, seconds) for seconds in LENGTHS.values()]
        most = worst(cells)
        row(name, *(f"{each.late:.1f}" for each in cells), f"{most.first_hour:,}", f"{most.later_hour:,}")


def shares() -> None:
    """Print what `open_share` trades."""
    head("`open_share`", "worst p95 after 1 min", "3 min", "10 min", "30 min", "calls in the first hour")
    for share in SHARES:
        make = holdgate(open_share=share)
        cells = [worst_of(make, LENGTHS[name]) for name in ("1 min", "3 min", "10 min", "30 min", "1 h")]
        lates = (f"{each.late:.1f}" for each in cells[:-1])
        row(share, *lates, cells[-1].first_hour)


def flapping(breakers: Iterable[str]) -> None:
    """Print how often one that flaps is called in an hour."""
    head("calls in an hour, failed + good", *(f"{name}, {fault}" for name in FLAPPING for fault in ("503", "hang 5 s")))
    for name in breakers:
        shown = []
        for up, down in FLAPPING.values():
            for fault in ("503", "hang 5 s"):
                failed = good = 0
                for seed in range(FLAPPING_SEEDS):
                    chance = random.Random(f"{seed} {up} {down} {fault}")
                    at = BEFORE + chance.random()
                    outages = tuple((at + n * (up + down), at + n * (up + down) + down) for n in range(int(HOUR / (up + down)) + 1))
                    seen = Scene(Weather(outages, fault), [BREAKERS[name](chance)], seed, HOUR, until_back=False).run()
                    failed += len(seen.calls[0])
                    good += seen.good
                shown.append(f"{failed / FLAPPING_SEEDS:.0f} + {good / FLAPPING_SEEDS:,.0f}")
        row(name, *shown)


def main() -> None:
    print("Seconds from the heal to 90 % of the flow (of ten workers: to nine that are back), p95, one worker / ten:\n")
    ours()
    print()
    beside()
    print()
    shares()
    print()
    flapping(("holdgate", "holdgate, open_multiplier=2"))


if __name__ == "__main__":
    main()
