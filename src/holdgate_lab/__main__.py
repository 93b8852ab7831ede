"""Random scenarios until one breaks an invariant: `python -m holdgate_lab --seeds 10000`, or one again: `--seed 17`."""

from __future__ import annotations

import argparse
import sys
from time import perf_counter

from holdgate_lab.fleet.explore import describe, explain, explore
from holdgate_lab.fleet.generate import random_scenario
from holdgate_lab.fleet.trial import try_out
from holdgate_lab.fleet.twists import random_twists


def main(arguments: list[str] | None = None) -> int:
    """Run; 1 when an invariant was broken."""
    parser = argparse.ArgumentParser(prog="python -m holdgate_lab", description="Random scenarios of a fleet, every step checked.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to try")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="try this one alone, and tell its story")
    given = parser.parse_args(arguments)
    return _explore(given.first, given.seeds) if given.seed is None else _replay(given.seed)


def _explore(first: int, count: int) -> int:
    began = perf_counter()
    failed = 0
    for failure in explore(range(first, first + count)):
        failed += 1
        _say(f"{failure}\n")
    seconds = perf_counter() - began
    _say(f"{count} seeds from {first} on, {failed} failed; {count / seconds * 60:.0f} a minute")
    return 1 if failed else 0


def _replay(seed: int) -> int:
    scenario = random_scenario(seed)
    twists = random_twists(seed, scenario)
    violation = try_out(scenario, seed, twists)
    if violation is not None:
        _say(str(explain(scenario, seed, twists, violation)))
        return 1
    for line in describe(scenario, twists):
        _say(line)
    try_out(scenario, seed, twists, tell=_say)
    _say(f"seed {seed} keeps every invariant")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()  # who reads it from a file wants to see the first failure before the last seed


if __name__ == "__main__":
    sys.exit(main())
