"""`python -m tests.mutation [FILE ...] [--jobs N]`: changes core and flow line by line, and tells which changes no test notices.

FILE is like core/ramp.py; without one, every file. Fails when 98 % or less are noticed, or a survivor is not argued in argued.toml.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest
from tests.mutation.mutants import Mutant
from tests.mutation.page import score
from tests.mutation.results import FileResult, argued, arguments, digest, keep, load
from tests.mutation.run import Fate, Run

ROOT = Path(__file__).parents[2]
FLOORS = ("core", "flow")

# The goal of this project; what is left is argued line by line.
LEAST = 98.0


def main() -> int:
    """Run, keep what was found, and say what is wrong with it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", help="core/ramp.py and the like; left out, all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time; left out, one per core")
    parser.add_argument("--again", action="store_true", help="of files as they were at the last run, only what survived it")
    parser.add_argument("--tests", nargs="+", metavar="TEST", help="with --again: only these files of tests, for a quick look at new ones")
    options = parser.parse_args()
    if options.tests and not options.again:
        parser.error("--tests without --again would find survivors that other tests notice")
    source = ROOT / "src" / "holdgate"
    files = [
        str(path.relative_to(source)) for floor in FLOORS for path in sorted((source / floor).glob("*.py")) if path.name != "__init__.py"
    ]
    if unknown := set(options.files) - set(files):
        parser.error(f"no such file: {', '.join(sorted(unknown))}; there are {', '.join(files)}")
    results = {file: it for file, it in load().items() if file in files}

    before = {file: it for file, it in results.items() if options.again and it.digest == digest(source / file)}

    def known(mutant: Mutant) -> bool:
        return mutant.file in before and mutant.name not in before[mutant.file].survivors

    def found(file: str, fates: dict[Mutant, Fate]) -> None:
        number = before[file].mutants if file in before else sum(fate is not Fate.NOT_PLACED for fate in fates.values())
        survivors = [mutant.name for mutant, fate in fates.items() if fate is Fate.SURVIVED]
        results[file] = FileResult(digest(source / file), number, survivors)
        keep(results)
        print(f"{file}: {number} mutants, {len(results[file].survivors)} survived", file=sys.stderr, flush=True)

    run = Run(ROOT, options.files or files, options.jobs, known, found)
    # One process, forked by us. Hypothesis is imported here already, and pytest would have liked to rewrite its asserts.
    quiet = ["--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main([*(options.tests or (f"tests/{floor}" for floor in FLOORS)), *quiet], plugins=[run])
    if code or run.failed:
        print(f"pytest ended with {code}; without any mutant these fail: {', '.join(run.failed) or 'none'}", file=sys.stderr)
        return 2
    return judge(results)


def judge(results: dict[str, FileResult]) -> int:
    """Tell which survivors nobody has argued, and which arguments have become idle; the exit code."""
    known = arguments()
    missing = [f"{file} {name}" for file, it in results.items() for name in it.survivors if argued(file, name, known) is None]
    survivors = [(file, name) for file, it in results.items() for name in it.survivors]
    idle = [f"{it.file} {it.mutant}" for it in known if not any(it.speaks_for(*survivor) for survivor in survivors)]
    for line in missing:
        print(f"no test notices: {line}")
    for line in idle:
        print(f"argued, though a test notices it: {line}")
    reached = score(list(results.values()))
    print(f"{reached:.1f} % of {sum(it.mutants for it in results.values())} mutants were noticed")
    return int(bool(missing or idle) or reached <= LEAST)


if __name__ == "__main__":
    sys.exit(main())
