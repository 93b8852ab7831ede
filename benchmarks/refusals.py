"""What an outage costs in memory and in calls: bytes kept by refusals, calls wasted until it is noticed, callers let through at its end.

    python -m benchmarks.refusals [--refusals 1000000]

Counts, not times: the same on every machine.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
import tracemalloc
from array import array
from collections.abc import Callable

from holdgate import CallNotPermitted, CircuitSettings, Dependency, State
from holdgate.core import Circuit, Outcome, Permit

WAITING = 100


def opened() -> Dependency:
    dependency = Dependency("payments")
    dependency.circuit.open_for(3000.0, time.monotonic())
    return dependency


def by_exception(dependency: Dependency) -> Callable[[], object]:
    guarded = dependency.guarded(lambda: None)

    def refuse() -> None:
        try:
            guarded()
        except CallNotPermitted:
            return
        raise RuntimeError("not refused")

    return refuse


def asking(dependency: Dependency) -> Callable[[], object]:
    def refuse() -> None:
        if dependency.circuit.state is not State.OPEN:
            raise RuntimeError("not refused")

    return refuse


def acquiring(dependency: Dependency) -> Callable[[], object]:
    circuit, now = dependency.circuit, dependency.access.now

    def refuse() -> None:
        if circuit.try_acquire(now()).__class__ is Permit:
            raise RuntimeError("not refused")

    return refuse


def bytes_kept(refuse: Callable[[], object], refusals: int) -> int:
    """What is still allocated after so many refusals, over what was before."""
    for _ in range(1000):  # whatever is made once is made now
        refuse()
    gc.collect()
    tracemalloc.start()
    seen = array("q", (0, 0))  # no objects of our own between the two looks
    for _ in range(1000):
        refuse()
    gc.collect()
    seen[0] = tracemalloc.get_traced_memory()[0]
    for _ in range(refusals):
        refuse()
    gc.collect()
    seen[1] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return max(0, seen[1] - seen[0])


def wasted_calls(concurrency: int, probes: int) -> int:
    """Calls made during a total outage, so many at a time, until it has been noticed and probed so many times."""
    circuit = Circuit("payments", CircuitSettings())
    now, made, under_way = 0.0, 0, list[Permit]()
    half_opened = 0
    while half_opened <= probes:
        while len(under_way) < concurrency and isinstance(permit := circuit.try_acquire(now), Permit):
            under_way.append(permit)
            made += 1
        now += 0.01
        if under_way:
            circuit.record(under_way.pop(0), Outcome.FAILURE, now)
            continue
        half_opened += 1
        now = circuit.next_deadline() or now
    return made


def admitted_at_half_open(waiting: int) -> tuple[int, int]:
    """How many of those that ask at the first moment of half-open are let through, and the limit."""
    circuit = Circuit("payments", CircuitSettings())
    circuit.open_for(5.0, 0.0)
    answers = [circuit.try_acquire(5.0) for _ in range(waiting)]
    return sum(isinstance(answer, Permit) for answer in answers), circuit.limit or 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--refusals", type=int, default=1_000_000)
    options = parser.parse_args()
    admitted, limit = admitted_at_half_open(WAITING)
    print(f"CPython {platform.python_version()}\n")
    print("| an outage | measured | goal |\n|---|---:|---:|")
    print(f"| bytes kept by {options.refusals:,} refusals, asking first | {bytes_kept(asking(opened()), options.refusals)} | 0 |")
    print(f"| bytes kept by {options.refusals:,} refusals of `try_acquire` | {bytes_kept(acquiring(opened()), options.refusals)} | 0 |")
    print(f"| bytes kept by {options.refusals:,} refusals by exception | {bytes_kept(by_exception(opened()), options.refusals)} | 0 |")
    for concurrency in (1, 8, 64):
        for probes in (0, 3):
            print(
                f"| calls wasted, {concurrency} at a time, {probes} probes | {wasted_calls(concurrency, probes)}"
                f" | ≤ {5 + concurrency - 1 + probes} |"
            )
    print(f"| of {WAITING} callers waiting when it is half-open, let through | {admitted} | {limit} (the limit) |")


if __name__ == "__main__":
    main()
