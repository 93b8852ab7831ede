"""Run the tests again and again where they have it hard, and say what failed how often: `make test-repeat`.

`python -m tests.repeat [--runs 10] [--setting NAME]... -- PYTEST ARGUMENTS`. A test that fails once in fifty runs has a race in it, or
has found one. Output of every run is kept in a folder that is told; the exit code is 1 when a run was not green.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.guardian import guardian

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
# pytest's own closing line.
CLOSING = re.compile(r"^=*\s*(.*\b(?:passed|failed|skipped|error)\b.*) in [\d.]+s.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Setting:
    """How the tests have it: shared out among `workers` processes, `beside` a command that runs meanwhile, with `environment`."""

    words: str
    workers: int
    beside: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


SETTINGS: Mapping[str, Setting] = {
    "two": Setting("2 processes", 2),
    "twelve": Setting("12 processes", 12),
    "stressed": Setting("6 processes beside stress-ng --cpu 4", 6, beside=("stress-ng", "--cpu", "4", "--quiet")),
    "still": Setting(
        "6 processes, of which one or a broker stands still, again and again", 6, beside=(sys.executable, "-m", "tests.standing_still")
    ),
    "slow": Setting("6 processes, their workers with a quarter of their time", 6, environment={"HOLDGATE_TEST_SLOW": "4"}),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. `closing` is what pytest said last, `failed` the tests that did; without a closing line it broke off."""

    setting: Setting
    code: int
    seconds: float
    closing: str
    failed: tuple[str, ...]


def run(setting: Setting, arguments: Sequence[str], output: Path) -> Outcome:
    """Run the tests once."""
    command = [sys.executable, "-m", "pytest", "-n", str(setting.workers), "-p", "no:cacheprovider", *arguments]
    begun = time.monotonic()
    with output.open("w") as file:
        code = subprocess.run(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False, env={**os.environ, **setting.environment}
        ).returncode
    text = output.read_text(errors="replace")
    closing = CLOSING.findall(text)
    return Outcome(setting, code, time.monotonic() - begun, closing[-1] if closing else "broke off", tuple(FAILED.findall(text)))


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the runs by setting, and below them what failed."""
    lines = [f"{'setting':58} {'green':>8} {'median':>8} {'longest':>8}"]
    for setting in dict.fromkeys(outcome.setting.words for outcome in outcomes):
        its = [outcome for outcome in outcomes if outcome.setting.words == setting]
        seconds = [outcome.seconds for outcome in its]
        green = sum(outcome.code == 0 for outcome in its)
        lines.append(f"{setting:58} {f'{green}/{len(its)}':>8} {statistics.median(seconds):7.0f}s {max(seconds):7.0f}s")
    failed = Counter((name, outcome.setting.words) for outcome in outcomes for name in outcome.failed)
    lines += [f"{count} times: {name} ({words})" for (name, words), count in sorted(failed.items())]
    return "\n".join(lines)


@contextmanager
def meanwhile(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Have a command run beside, to the end of the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    guardian.watch_process(process.pid)
    try:
        yield process
        assert process.poll() is None, f"{command[0]} has ended with {process.returncode}: the runs beside it show nothing"
    finally:
        process.terminate()
        process.wait()
        guardian.process_ended(process.pid)


def repeat(settings: Sequence[Setting], runs: int, arguments: Sequence[str], folder: Path) -> Iterator[Outcome]:
    """Run the tests so often in each setting, one run after the other, and tell of each."""
    outputs = (folder / f"{number}.txt" for number in itertools.count(1))
    for setting in settings:
        with meanwhile(setting.beside) if setting.beside else nullcontext():
            for number in range(1, runs + 1):
                output = next(outputs)
                outcome = run(setting, arguments, output)
                print(f"{setting.words}, {number} of {runs}: {outcome.closing} ({output})", flush=True)
                yield outcome


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.repeat", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="how often in each setting (default 10)")
    parser.add_argument("--setting", action="append", choices=SETTINGS, help="which (default all)")
    parser.add_argument("arguments", nargs="*", help="for pytest, after --")
    options = parser.parse_args()
    settings = [SETTINGS[name] for name in options.setting or SETTINGS]
    for command in {setting.beside[0] for setting in settings if setting.beside}:
        if shutil.which(command) is None:
            sys.exit(f"not installed: {command}; apt-get install {command}, or name other settings")
    outcomes: list[Outcome] = []
    # Stopped in the middle, it says what it has.
    with suppress(KeyboardInterrupt):
        outcomes.extend(repeat(settings, options.runs, options.arguments, Path(tempfile.mkdtemp(prefix="holdgate-repeat-"))))
    print(table(outcomes))
    sys.exit(any(outcome.code != 0 for outcome in outcomes))


if __name__ == "__main__":
    main()
