"""The scenarios that come with holdgate, with whole guards: each alone, and as a fleet over one log, side by side, in the simulator.

    python -m benchmarks.fleet_scenarios [--workers 20] [--seeds 5] [--scenario NAME ...]

What `holdgate simulate NAME --fleet 20` plays, with several seeds. A cell has the least and the most of them; the same seeds give the same
table. Every run is held to every invariant of the simulator.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks.fleet import cell

from holdgate_lab.fleet.outcome import RunOutcome
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.simulate.command import with_workers
from holdgate_lab.simulate.figures import DependencyFigures, dependency_figures
from holdgate_lab.simulate.reading import scenario_of
from holdgate_lab.simulate.running import FLEET, GUARDED, Runs, entrants
from holdgate_lab.simulate.shipped import named

# Of those in which all workers meet the same outage, one of each kind: it is gone for a while, again and again, or comes back weak. Each
# takes minutes of a core. In the others one message or one key is at fault, and a fleet has no part.
NAMES = ("total-outage", "false-recovery", "partial-capacity", "twenty-workers")
DEPENDENCY = "payments"
WAYS = {GUARDED: "each alone", FLEET: "a fleet"}

Figure = Callable[[RunOutcome, DependencyFigures], float | None]
COLUMNS: dict[str, Figure] = {
    "failed calls": lambda _, seen: seen.failed_calls,
    "most in it": lambda _, seen: seen.peak_in_flight,
    "some circuit not closed, s": lambda _, seen: seen.not_closed_seconds,
    "all closed at, s": lambda _, seen: seen.closed_at,
    "processed": lambda run, _: run.totals.processed,
}


def played(scenario: Scenario, seeds: int) -> dict[str, list[tuple[RunOutcome, DependencyFigures]]]:
    """Play a scenario in both ways with each seed. Raises AssertionError for an invariant that was broken."""
    found: dict[str, list[tuple[RunOutcome, DependencyFigures]]] = {way: [] for way in WAYS}
    for seed in range(seeds):
        for entrant in entrants(scenario, (), (GUARDED,), in_fleet=True):
            outcome = Runs.outcome_of(entrant, seed)
            if outcome.violations:
                raise AssertionError(f"{scenario.name}, {entrant.label}, seed {seed}: {outcome.violations[0]}")
            found[entrant.label].append((outcome, dependency_figures(scenario, outcome, DEPENDENCY)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_scenarios", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scenario", action="append", choices=NAMES)
    options = parser.parse_args()
    print(f"| scenario | seeds | who decides | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 3) + "|", flush=True)
    for name in options.scenario or NAMES:
        runs = played(with_workers(options.workers, scenario_of(named(name), name)), options.seeds)
        for way, who in WAYS.items():
            cells = [cell([figure(*run) for run in runs[way]]) for figure in COLUMNS.values()]
            print(f"| {name} | {options.seeds} | {who} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
