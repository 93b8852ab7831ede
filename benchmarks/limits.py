"""Services with a limit, and workers with a backlog in front of them: how much of the possible gets done, and how many calls are in vain.

    python -m benchmarks.limits [--worlds rate,cap] [--seeds 5] [--keep FILE [--only-kept]] [--write]

Real guards on the broker in memory, in simulated time (src/holdgate_lab/worlds). The same seeds give the same table. A cell of several
seeds has the worst of them. All of it is some two hours of one processor. With `--keep` an interrupted call loses nothing, and
`--only-kept` makes no run: it shows what there is, and names the worlds that are missing. A change of the law makes the file worthless.
`benchmarks.limits_peers` has the peers, and `benchmarks.limits_real` real brokers and a real HTTP server.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict, fields
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

from benchmarks.page import PAGE, put

from holdgate_lab.worlds.catalogue import WORLDS
from holdgate_lab.worlds.figures import WorldFigures, missed
from holdgate_lab.worlds.hard import HARD_WORLDS
from holdgate_lab.worlds.more import MORE_WORLDS
from holdgate_lab.worlds.odd import ODD_WORLDS
from holdgate_lab.worlds.playing import play
from holdgate_lab.worlds.world import LimitedWorld, Promise

NONE = ""


def chosen(names: Sequence[str]) -> Iterable[LimitedWorld]:
    """Return the worlds of these names, or all."""
    every = {**WORLDS, **MORE_WORLDS, **HARD_WORLDS, **ODD_WORLDS}
    return [every[name] for name in names] if names else every.values()


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(each) for each in cells)} |", flush=True)


def head(*titles: str) -> None:
    row(*titles)
    print("|---" * len(titles) + "|", flush=True)


def cell(world: LimitedWorld, runs: Sequence[WorldFigures]) -> str:
    """Return what came of a world in short: goodput, and the share of calls in vain; then what the world has a figure of its own for."""
    parts = [f"{min(run.goodput for run in runs):.2f}", f"{max(run.waste for run in runs):.1%}"]
    if world.promise.in_flight is not None:
        parts.append(f"{max(run.in_flight for run in runs)} in flight")
    if world.promise.calls_a_minute is not None:
        parts.append(f"{max(run.calls_a_minute or 0.0 for run in runs):.1f} a minute")
    if world.promise.fairness is not None:
        parts.append(f"Jain {min(run.fairness or 0.0 for run in runs):.2f}")
    if world.promise.back_after is not None:
        parts.append(late(runs))
    return " / ".join(parts)


def late(runs: Sequence[WorldFigures]) -> str:
    """Return the longest way back."""
    lates = [run.back_after for run in runs]
    found = [each for each in lates if each is not None]
    return f"back after {max(found):g} s" if len(found) == len(lates) else "never back"


def promised(promise: Promise) -> str:
    """Return a promise as `cell` would show it."""
    parts = [f"≥ {promise.goodput:.2f}", f"≤ {promise.waste:.1%}"]
    if promise.in_flight is not None:
        parts.append(f"≤ {promise.in_flight}")
    if promise.calls_a_minute is not None:
        parts.append(f"≤ {promise.calls_a_minute:g}")
    if promise.fairness is not None:
        parts.append(f"≥ {promise.fairness:.2f}")
    if promise.back_after is not None:
        parts.append(f"≤ {promise.back_after:g} s")
    return " / ".join(parts)


class KeptRuns:
    """The runs of a file, one a line, by world and seed. None means that nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._runs: dict[tuple[str, int], WorldFigures] = {}
        names = [field.name for field in fields(WorldFigures)]
        for line in path.read_text().splitlines() if path is not None and path.exists() else ():
            kept = json.loads(line)
            self._runs[kept["world"], kept["seed"]] = WorldFigures(**{name: kept[name] for name in names})

    def seeds(self, world: LimitedWorld, seeds: int) -> list[int]:
        """Return which of the seeds from 1 on are kept."""
        return [seed for seed in range(1, seeds + 1) if (world.name, seed) in self._runs]

    def run(self, world: LimitedWorld, seed: int) -> WorldFigures:
        """Return the figures of a run, which is made unless it was kept."""
        if (world.name, seed) not in self._runs:
            figures = self._runs[world.name, seed] = play(world, seed)
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps({"world": world.name, "seed": seed, **asdict(figures)}) + "\n")
        return self._runs[world.name, seed]


def table(names: Sequence[str], seeds: int, kept: KeptRuns, *, only_kept: bool = False) -> None:
    """Print a row for each world: the worst of all seeds, what is promised, and how many seeds keep it.

    `only_kept`: of the runs that are kept; the worlds without one are named at the end.
    """
    head("world", "", f"worst of {seeds} seeds", "promised", "kept by")
    missing: list[str] = []
    for world in chosen(names):
        run_by = kept.seeds(world, seeds) if only_kept else range(1, seeds + 1)
        runs = [kept.run(world, seed) for seed in run_by]
        if not runs:
            missing.append(world.name)
            continue
        keep = sum(not missed(run, world.promise) for run in runs)
        row(world.letter, world.name, cell(world, runs), promised(world.promise), f"{keep} of {len(runs)}")
    if missing:
        print(f"\nNot run: {', '.join(missing)}.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worlds", default="", help="names with commas; left out: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="add each run to this file, and make none that is in it")
    parser.add_argument("--only-kept", action="store_true", help="make no run, and show those of the file")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    names = [name for name in options.worlds.split(",") if name]
    printed = StringIO()
    with redirect_stdout(printed) if options.write else nullcontext():
        table(names, options.seeds, KeptRuns(options.keep), only_kept=options.only_kept)
    if options.write:
        put("limits", printed.getvalue(), datetime.now(UTC).strftime("%d %B %Y").lstrip("0"))


if __name__ == "__main__":
    main()
