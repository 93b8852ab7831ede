"""Any benchmark, of two builds in turn: this working tree's and that of a commit. Prints the least of each row, side by side.

    python -m benchmarks.builds NAME [--base b1d6c3e] [--times 5] [--column TEXT] [ARGUMENTS OF THE BENCHMARK]

The benchmark is this tree's in both cases, and only `src` differs: that of the other build is unpacked beside it. The two take turns, in
an order that turns around each time, so that a neighbour on the machine is in the way of both. What is compared is the least of all runs,
which is what the code costs while nobody is in its way; medians of two builds that ran one after the other differ by 30 % for nothing.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.page import number, tables

ROOT = Path(__file__).parent.parent

# The build before the work on speed of November 2026 began.
BASE = "b1d6c3e"

Figures = dict[tuple[str, str], float]  # by the first cell of a row and the title of the column


def unpacked(base: str, folder: str) -> Path:
    """Put `src` of another build into a folder, and return where it is."""
    archive = subprocess.run(["git", "archive", base, "src"], check=True, capture_output=True, cwd=ROOT)  # noqa: S603, S607 - our own repository
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return Path(folder) / "src"


def figures(printed: str) -> Figures:
    """Return the first number of every cell in the tables that a benchmark has printed."""
    found: Figures = {}
    for row in tables(printed):
        (_, name), *cells = row.items()
        for title, cell in cells:
            if cell[:1].isdigit():
                found[name, title] = number(cell)
    return found


def run(name: str, arguments: list[str], source: Path) -> Figures:
    """Run a benchmark once with the code that is in `source`."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)  # noqa: S603 - a module of this folder
    return figures(done.stdout)


def least(runs: list[Figures]) -> Figures:
    """Return the least of each figure."""
    return {key: min(one[key] for one in runs if key in one) for one in runs for key in one}


def report(base: str, before: Figures, now: Figures, column: str) -> None:
    print(f"| row | figure | {base} | this tree | {base} = 1 |\n|---|---|---:|---:|---:|")
    for key, value in now.items():
        if column not in key[1]:
            continue
        old = before.get(key)
        ratio = f"{value / old:.2f}" if old else ""
        print(f"| {key[0]} | {key[1]} | {'' if old is None else f'{old:g}'} | {value:g} | {ratio} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.builds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="the benchmark: a module of this folder that prints a table")
    parser.add_argument("--base", default=BASE, help="the tag or commit of the other build")
    parser.add_argument("--times", type=int, default=5, help="how often each build runs")
    parser.add_argument("--column", default="", metavar="TEXT", help="only the columns with this in their title")
    options, arguments = parser.parse_known_args()  # the rest is for the benchmark itself
    with tempfile.TemporaryDirectory() as folder:
        builds = {"before": unpacked(options.base, folder), "now": ROOT / "src"}
        runs: dict[str, list[Figures]] = {build: [] for build in builds}
        for turn in range(options.times):
            for build in sorted(builds, reverse=bool(turn % 2)):
                runs[build].append(run(options.name, arguments, builds[build]))
    report(options.base, least(runs["before"]), least(runs["now"]), options.column)


if __name__ == "__main__":
    main()
