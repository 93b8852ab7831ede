"""Plays fleets that share a log until one breaks a rule: every named world, and random ones.

    python -m holdgate_lab.together [--seeds 100] [--first 0] [--worlds 3]

A world takes about a second. The exit code is 1 if a rule was broken; the world and its seed are printed, and play it again.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from holdgate_lab.together.catalogue import TRIED
from holdgate_lab.together.chance import random_together
from holdgate_lab.together.playing import TogetherOutcome, play_together

# What is printed of a run that has broken a rule: the first violations tell what is wrong.
_TOLD = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m holdgate_lab.together", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="random worlds (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed of these (default: %(default)s)")
    parser.add_argument("--worlds", type=int, default=3, help="seeds for each of the named worlds (default: %(default)s)")
    options = parser.parse_args(arguments)
    broken: Counter[str] = Counter()
    runs = above = 0
    for name, seed, outcome in _runs(options.worlds, range(options.first, options.first + options.seeds)):
        runs += 1
        above = max(above, outcome.figures.overshoot)
        broken.update({violation.rule for violation in outcome.violations})
        for violation in outcome.violations[:_TOLD]:
            sys.stdout.write(f"{name}, seed {seed}: {violation.rule} at {violation.at:.3f} s: {violation.words}\n")
    rules = ", ".join(f"{rule} in {count}" for rule, count in sorted(broken.items()))
    sys.stdout.write(f"{runs} runs; {rules or 'no rule was broken'}; at most {above} calls above the fleet's limit\n")
    return 1 if broken else 0


def _runs(worlds: int, seeds: Sequence[int]) -> Iterator[tuple[str, int, TogetherOutcome]]:
    for name, world in TRIED.items():
        for seed in range(worlds):
            yield name, seed, play_together(world, seed)
    for seed in seeds:
        yield "random world", seed, play_together(random_together(seed), seed)


if __name__ == "__main__":
    sys.exit(main())
