"""What a circuit costs per call, without any call: `try_acquire` and `record` beside the least that Python needs for such a breaker.

    python -m benchmarks.core_call [--rounds 41] [--calls 20000]

The floor is a breaker written by hand into two functions over one closure: a flag to refuse by, a list as the permit, a count window. It
knows no half-open, no generations and no live permits. Rounds are in random order, gc is collected before each and off in it, and the
figure is the median; what is counted is the thread's own CPU time, because a wall clock on a shared machine measures the neighbours.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable

from holdgate.core import Circuit, CircuitSettings, CountWindow, Outcome, Permit, TimeWindow

Loop = Callable[[int], None]
WINDOWS = (10, 100, 1_000, 10_000)
REFUSALS = 1_000_000
NOW = 1.0


def floor(size: int = 100) -> Loop:
    ring, place, failures, refuses = bytearray(size), 0, 0, False

    def acquire(now: float) -> list[float] | None:
        return None if refuses else [now]

    def record(permit: list[float], code: int, now: float) -> None:
        nonlocal place, failures, refuses
        if now - permit[0] > 1.0:
            code |= 2
        old = ring[place]
        if old != code:
            failures += (code & 1) - (old & 1)
            ring[place] = code
            refuses = failures * 2 >= size
        place = place + 1 if place + 1 < size else 0

    def loop(calls: int) -> None:
        for _ in range(calls):
            permit = acquire(NOW)
            if permit is not None:
                record(permit, 0, NOW)

    return loop


def calling(settings: CircuitSettings, bad_every: int = 0) -> Loop:
    """Calls of a closed circuit; with `bad_every` every so-manyth fails, which keeps its window from ever being clean."""
    circuit = Circuit("core", settings, now=NOW)
    acquire, record, success = circuit.try_acquire, circuit.record, Outcome.SUCCESS

    def loop(calls: int) -> None:
        for _ in range(calls):
            permit = acquire(NOW)
            if permit.__class__ is Permit:
                record(permit, success, NOW)

    def mixed(calls: int) -> None:
        for at in range(calls):
            permit = acquire(NOW)
            if permit.__class__ is Permit:
                record(permit, success if at % bad_every else Outcome.FAILURE, NOW)

    return mixed if bad_every else loop


def refused() -> Loop:
    circuit = Circuit("core", now=NOW)
    circuit.open_for(60.0, NOW)
    acquire = circuit.try_acquire

    def loop(calls: int) -> None:
        for _ in range(calls):
            acquire(NOW)

    return loop


def asked_first() -> Loop:
    """The engine's way while a circuit is open: one attribute."""
    circuit = Circuit("core", now=NOW)

    def loop(calls: int) -> None:
        for _ in range(calls):
            circuit.state  # noqa: B018

    return loop


def rows() -> dict[str, Loop]:
    loops = {"floor, written by hand": floor()}
    for size in WINDOWS:
        loops[f"success, count window {size}, slow calls"] = calling(CircuitSettings(window=CountWindow(size), slow_call_duration=1.0))
    loops["success, count window 20, defaults"] = calling(CircuitSettings())
    loops["success, time window 30 s"] = calling(CircuitSettings(window=TimeWindow(30.0)))
    loops["one failure in 50, count window 100"] = calling(CircuitSettings(window=CountWindow(100)), bad_every=50)
    loops["one failure in 50, time window 30 s"] = calling(CircuitSettings(window=TimeWindow(30.0)), bad_every=50)
    loops["refused"] = refused()
    loops["refused, asking `state` first"] = asked_first()
    return loops


def measure(loops: dict[str, Loop], rounds: int, calls: int) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = {name: [] for name in loops}
    for loop in loops.values():
        loop(calls)  # warm up: the interpreter specialises, the longest success is learnt
    for _ in range(rounds):
        for name in random.sample(list(loops), len(loops)):
            gc.collect()
            gc.disable()
            begun = time.thread_time_ns()
            loops[name](calls)
            spent[name].append((time.thread_time_ns() - begun) / calls)
            gc.enable()
    return spent


def kept_by_refusals() -> int:
    loop = refused()
    loop(10)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    loop(REFUSALS)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    spent = measure(rows(), options.rounds, options.calls)
    least = statistics.median(spent["floor, written by hand"])
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, {options.rounds} rounds\n")
    print("| try_acquire + record | ns | quartiles | to the floor |")
    print("|---|---:|---:|---:|")
    for name, rounds in spent.items():
        low, middle, high = statistics.quantiles(rounds, n=4)
        print(f"| {name} | {middle:.0f} | {low:.0f} to {high:.0f} | {middle / least:.2f} |")
    # Round by round, so that what slows a whole round falls out.
    small, large = (spent[f"success, count window {size}, slow calls"] for size in (WINDOWS[0], WINDOWS[-1]))
    share = statistics.median(late / early for early, late in zip(small, large, strict=True))
    print(f"\nCount window of {WINDOWS[-1]} to one of {WINDOWS[0]}: {share:.3f}.")
    print(f"Kept after {REFUSALS} refusals: {kept_by_refusals()} bytes.")


if __name__ == "__main__":
    main()
