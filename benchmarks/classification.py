"""What it costs to tell whose an exception is: once for each failure, never for a success.

    python -m benchmarks.classification [--rounds 15] [--calls 1000]

Each exception is classified as a guard does it, with all that it stands for: as it is, as the cause of another one, in a task group's
exception, and in a group of such causes. `builtin` is a tuple of types; the presets are asked for an exception of a client's, by its class
or its status, and for one that is nobody's. Rounds are in random order, gc is off in them, and what is counted is the thread's own CPU
time, because a wall clock on a shared machine measures the neighbours.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

from holdgate import Dependency, Outcome, http
from holdgate.presets import sql


class Wrapped(Exception):
    """What a client of somebody's own makes of it."""


class HTTPStatusError(Exception):
    """As httpx has it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = SimpleNamespace(status_code=status, headers={})


class OperationalError(Exception):
    """As psycopg has it, with PostgreSQL's word for a shutdown."""

    sqlstate = "57P01"


def as_it_is(error: Exception) -> Exception:
    return error


def as_a_cause(error: Exception) -> Exception:
    wrapped = Wrapped()
    wrapped.__cause__ = error
    return wrapped


def in_a_group(error: Exception) -> Exception:
    return ExceptionGroup("unhandled errors in a TaskGroup", [error])


def in_a_group_of_causes(error: Exception) -> Exception:
    return in_a_group(as_a_cause(error))


SHAPES = (as_it_is, as_a_cause, in_a_group, in_a_group_of_causes)

Case = tuple[Dependency, Exception, Outcome]
BUILTIN = Dependency("builtin", failures=(ConnectionError, TimeoutError))
HTTP = Dependency("http", failures=http.failures)
SQL = Dependency("sql", failures=sql.failures)
CASES: dict[str, tuple[Dependency, Callable[[], Exception], Outcome]] = {
    "types, ConnectionRefusedError": (BUILTIN, ConnectionRefusedError, Outcome.FAILURE),
    "types, ValueError": (BUILTIN, ValueError, Outcome.IGNORED),
    "`http.failures`, ConnectionRefusedError": (HTTP, ConnectionRefusedError, Outcome.FAILURE),
    "`http.failures`, 503": (HTTP, lambda: HTTPStatusError(503), Outcome.FAILURE),
    "`http.failures`, 422": (HTTP, lambda: HTTPStatusError(422), Outcome.IGNORED),
    "`http.failures`, ValueError": (HTTP, ValueError, Outcome.IGNORED),
    "`sql.failures`, 57P01": (SQL, OperationalError, Outcome.FAILURE),
    "`sql.failures`, ValueError": (SQL, ValueError, Outcome.IGNORED),
}


def seconds(dependency: Dependency, error: Exception, calls: int) -> float:
    classify = dependency.classify
    gc.collect()
    gc.disable()
    begun = time.thread_time()
    for _ in range(calls):
        classify(error)
    spent = time.thread_time() - begun
    gc.enable()
    return spent


def measure(rounds: int, calls: int) -> dict[tuple[str, str], list[float]]:
    """Microseconds per exception of each case, shape and round."""
    cells: dict[tuple[str, str], Case] = {}
    for name, (dependency, make, expected) in CASES.items():
        for shape in SHAPES:
            cells[name, shape.__name__] = dependency, shape(make()), expected
    for (name, shape), (dependency, error, expected) in cells.items():
        assert dependency.classify(error) is expected, (name, shape)
    times: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    for number in range(rounds + 1):
        for cell in random.sample(list(cells), len(cells)):
            dependency, error, _ = cells[cell]
            spent = seconds(dependency, error, calls)
            if number:  # the first round warms up
                times[cell].append(spent / calls * 1e6)
    return times


def report(times: dict[tuple[str, str], list[float]], calls: int) -> None:
    rounds = len(next(iter(times.values())))
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {rounds} rounds of {calls:,} exceptions, CPU time, µs, median\n")
    heads = [shape.__name__.replace("_", " ") for shape in SHAPES]
    print(f"| exception | {' | '.join(heads)} |")
    print(f"|---{'|---' * len(heads)}|")
    for name in CASES:
        cells = (statistics.median(times[name, shape.__name__]) for shape in SHAPES)
        print(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=1_000)
    options = parser.parse_args()
    report(measure(options.rounds, options.calls), options.calls)


if __name__ == "__main__":
    main()
