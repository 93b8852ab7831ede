"""What `import holdgate` adds to a program that has asyncio and anyio already, and which client libraries it brings in: none.

    python -m benchmarks.import_time [--rounds 21]

Each figure is the CPU time of an import in a process of its own, with bytecode compiled; rounds in random order.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile

GOAL_MS = 30.0
CLIENTS = ("aiokafka", "aio_pika", "aiormq", "redis", "starlette", "uvicorn", "prometheus_client", "opentelemetry", "click", "rich")
MODULES = ("holdgate", "holdgate.runtime.dependency", "holdgate.runtime.guard", "holdgate.brokers.kafka", "aiokafka", "aio_pika")
TIMED = "import asyncio, anyio, time; begun = time.process_time(); import {}; print((time.process_time() - begun) * 1000)"
FOUND = f"from holdgate import *; import sys; print(' '.join(name for name in {CLIENTS} if name in sys.modules))"


def said_by(code: str, compiled: str) -> str:
    # Compiled once, as an installed package is, also where somebody has told Python not to leave bytecode about.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = compiled
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)  # noqa: S603 - our own
    return run.stdout.strip()


def measure(rounds: int, compiled: str) -> dict[str, list[float]]:
    """Milliseconds of each module and round."""
    spent: dict[str, list[float]] = {name: [] for name in MODULES}
    for number in range(rounds + 1):
        for name in random.sample(MODULES, len(MODULES)):
            taken = float(said_by(TIMED.format(name), compiled))
            if number:  # the first round compiles
                spent[name].append(taken)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as compiled:
        spent = measure(options.rounds, compiled)
        found = said_by(FOUND, compiled)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {options.rounds} rounds, CPU time over asyncio and anyio\n")
    print("| import | ms, median (quartiles) | goal |\n|---|---|---|")
    for name, times in spent.items():
        low, middle, high = statistics.quantiles(times, n=4)
        print(f"| `{name}` | {middle:.1f} ({low:.1f} to {high:.1f}) | {f'≤ {GOAL_MS:.0f}' if name == 'holdgate' else ''} |")
    print(f"\nClient libraries in memory after `from holdgate import *`: {found or 'none'}.")


if __name__ == "__main__":
    main()
