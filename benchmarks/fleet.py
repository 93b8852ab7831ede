"""Twenty workers before one dependency, each alone, and as a fleet over one log: what both cost, side by side, in the simulator.

    python -m benchmarks.fleet [--seeds 5] [--world NAME ...]


Real circuits and real members of a fleet (`holdgate.fleet`) on simulated time; a record takes 5 to 50 ms to the log, and as long to each
reader. A cell has the least and the most of its seeds; the same seeds give the same table. Every run is checked (`watching.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace

from holdgate_lab.together.catalogue import MEASURED
from holdgate_lab.together.playing import TogetherFigures, play_together
from holdgate_lab.together.scenario import Together

SEEDS = 5

Figure = Callable[[TogetherFigures], float | None]
COLUMNS: dict[str, Figure] = {
    "failed calls": lambda run: run.failed,
    "after the recovery": lambda run: run.failed_after,
    "probes": lambda run: run.probes,
    "at once": lambda run: run.probes_at_once,
    "above the fleet's limit": lambda run: run.overshoot,
    "all closed after, s": lambda run: run.closed_after,
    "most in flight": lambda run: run.peak_in_flight,
    "opened for all": lambda run: run.fleet_openings,
    "good calls": lambda run: run.good,
    "records a second": lambda run: run.records_a_second,
}
WAYS = {"each alone": False, "a fleet": True}


def runs_of(world: Together, seeds: int) -> list[TogetherFigures]:
    """Play a world with each seed. Raises AssertionError for what must not happen."""
    figures: list[TogetherFigures] = []
    for seed in range(seeds):
        outcome = play_together(world, seed)
        if outcome.violations:
            raise AssertionError(f"{world.name}, seed {seed}: {outcome.violations}")
        figures.append(outcome.figures)
    return figures


def cell(values: Sequence[float | None]) -> str:
    """Show the least and the most; "never" for what has not come."""
    if any(value is None for value in values):
        return "never"
    numbers = [value for value in values if value is not None]
    least, most = min(numbers), max(numbers)
    shown = [f"{each:,}" if isinstance(each, int) else f"{each:,.1f}" for each in (least, most)]
    return shown[0] if shown[0] == shown[1] else " to ".join(shown)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of every world")
    parser.add_argument("--world", action="append", choices=[*MEASURED])
    options = parser.parse_args()
    print(f"| world | seeds | who decides | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 3) + "|", flush=True)
    size = ""
    for name in options.world or MEASURED:
        for who, fleet in WAYS.items():
            runs = runs_of(replace(MEASURED[name], fleet=fleet), options.seeds)
            cells = [cell([figure(run) for run in runs]) for figure in COLUMNS.values()]
            print(f"| {name} | {options.seeds} | {who} | {' | '.join(cells)} |", flush=True)
            if name == "quiet" and fleet:
                size = cell([run.bytes_an_hour / 1e6 for run in runs])
    if size:
        print(f"\nWhen nothing happens the log grows by {size} MB an hour.")


if __name__ == "__main__":
    main()
