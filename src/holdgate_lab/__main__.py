"""Random scenarios until one breaks an invariant: `python -m holdgate_lab --seeds 10000`, or one again: `--seed 17`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter

from holdgate_lab.fleet.explore import FailedSeed, describe, explain, explore, try_out
from holdgate_lab.fleet.extras import random_extras
from holdgate_lab.fleet.generate import random_scenario

# Seeds that a process gets at a time: a second's work, so that the first failure is soon to be read and nobody is idle at the end.
_AT_A_TIME = 20


def main(arguments: list[str] | None = None) -> int:
    """Run; 1 when an invariant was broken."""
    parser = argparse.ArgumentParser(prog="python -m holdgate_lab", description="Random scenarios of a fleet, every step checked.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to try")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="try this one alone, and tell its story")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many processes share them")
    given = parser.parse_args(arguments)
    return _explore(given.first, given.seeds, given.processes) if given.seed is None else _replay(given.seed)


def _explore(first: int, count: int, processes: int) -> int:
    began = perf_counter()
    failed = 0
    for failure in _failures(range(first, first + count), processes):
        failed += 1
        _say(f"{failure}\n")
    seconds = perf_counter() - began
    _say(f"{count} seeds from {first} on, {failed} failed; {count / seconds * 60:.0f} a minute")
    return 1 if failed else 0


def _failures(seeds: range, processes: int) -> Iterator[FailedSeed]:
    """Those of all seeds, in their order, whoever finds them."""
    if processes <= 1 or len(seeds) <= _AT_A_TIME:
        yield from explore(seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        parts = [seeds[index : index + _AT_A_TIME] for index in range(0, len(seeds), _AT_A_TIME)]
        for failures in pool.map(_failures_of_part, parts):
            yield from failures


def _failures_of_part(seeds: range) -> list[FailedSeed]:
    return list(explore(seeds))


def _replay(seed: int) -> int:
    scenario = random_scenario(seed)
    extras = random_extras(seed, scenario)
    violation = try_out(scenario, seed, extras)
    if violation is not None:
        _say(str(explain(scenario, seed, extras, violation)))
        return 1
    for line in describe(scenario, extras):
        _say(line)
    try_out(scenario, seed, extras, tell=_say)
    _say(f"seed {seed} keeps every invariant")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()  # who reads it from a file wants to see the first failure before the last seed


if __name__ == "__main__":
    sys.exit(main())
