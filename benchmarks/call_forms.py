"""What a call form adds to a call: beside the bare call, beside the least that Python needs for such a breaker, and where the time goes.

    python -m benchmarks.call_forms [--rounds 101] [--calls 4000]

The floor is a breaker written by hand into one closure: a flag to refuse by, two clock reads, a count window of failures and slow calls. It
knows no half-open, no cancellation, no threads and no permits. Every row has a count window and slow calls on. Rounds are in random
order; what is counted is the thread's own CPU time, because a wall clock on a shared machine measures the neighbours. Async rows are
driven without a loop, so they hold the call and nothing of asyncio.

The rows "in a guard" and "in a handler" are measured in a handler of a running guard; the former in a context of their own, where no call
form knows of the handler.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import gc
import os
import platform
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from holdgate import CallNotPermitted, CircuitSettings, CountWindow, Delivery, Dependency, Guard, Outcome, State
from holdgate.core import Circuit
from holdgate.runtime.calling import current_attempt
from holdgate.testing import MemoryBroker, MemoryIntake

Loop = Callable[[int], float]
WINDOWS = (10, 100, 1_000, 10_000)


def settings(window: int = 100) -> CircuitSettings:
    return CircuitSettings(window=CountWindow(window), slow_call_duration=1.0)


def work(value: int) -> int:
    return value


async def work_async(value: int) -> int:
    return value


def floor(fn: Callable[..., Any], *, refuses: bool = False, size: int = 100, slow: float = 1.0) -> Callable[..., Any]:
    """The breaker written by hand."""
    ring, place, failures, slows, seen, now = bytearray(size), 0, 0, 0, 0, time.monotonic

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal place, failures, slows, seen, refuses
        if refuses:
            raise RuntimeError
        started = now()
        code = 0
        try:
            return fn(*args, **kwargs)
        except Exception:
            code = 1
            raise
        finally:
            if now() - started > slow:
                code |= 2
            old = ring[place]
            if old != code:
                failures += (code & 1) - (old & 1)
                slows += (code >> 1) - (old >> 1)
                ring[place] = code
            place = place + 1 if place + 1 < size else 0
            if seen < size:
                seen += 1
            elif failures * 2 >= size or slows * 2 >= size:
                refuses = True

    return wrapper


# One row each: a function that makes so many calls and returns the seconds they took.


def plain(fn: Callable[[int], object]) -> Loop:
    def loop(calls: int) -> float:
        numbers = range(calls)
        begun = time.thread_time()
        for _ in numbers:
            fn(1)
        return time.thread_time() - begun

    return loop


def driven(fn: Callable[[int], Awaitable[object]]) -> Loop:
    async def awaits(calls: int) -> float:
        numbers = range(calls)
        begun = time.thread_time()
        for _ in numbers:
            await fn(1)
        return time.thread_time() - begun

    def loop(calls: int) -> float:
        coroutine = awaits(calls)
        try:
            coroutine.send(None)
        except StopIteration as end:
            return float(end.value)
        raise RuntimeError("a call of the benchmark waited")

    return loop


def refused(fn: Callable[[int], object], error: type[Exception]) -> Loop:
    def loop(calls: int) -> float:
        numbers = range(calls)
        begun = time.thread_time()
        for _ in numbers:
            try:  # noqa: SIM105 - a `suppress` costs more than the refusal
                fn(1)
            except error:
                pass
        return time.thread_time() - begun

    return loop


def asked(dependency: Dependency) -> Loop:
    def loop(calls: int) -> float:
        numbers = range(calls)
        begun = time.thread_time()
        for _ in numbers:
            if dependency.circuit.state is not State.OPEN:
                raise RuntimeError("not open")
        return time.thread_time() - begun

    return loop


def circuit_alone() -> Loop:
    circuit, now, success = Circuit("circuit", settings(), now=time.monotonic()), time.monotonic, Outcome.SUCCESS

    def loop(calls: int) -> float:
        numbers = range(calls)
        begun = time.thread_time()
        for _ in numbers:
            circuit.record(circuit.try_acquire(now()), success, now())  # type: ignore[arg-type]
        return time.thread_time() - begun

    return loop


def opened(name: str) -> Dependency:
    dependency = Dependency(name, settings=settings())
    dependency.circuit.open_for(3000.0, time.monotonic())
    return dependency


def outside_loops(alone: Dependency, bound: Dependency) -> dict[str, Loop]:
    """The rows that know of no handler."""
    shut = opened("shut")
    windows = {size: Dependency(f"window-{size}", settings=settings(size)) for size in WINDOWS}
    return {
        "bare call": plain(work),
        "bare call, async": driven(work_async),
        "floor": plain(floor(work)),
        "floor, refused by exception": refused(floor(work, refuses=True), RuntimeError),
        "`Circuit` alone: acquire, record, two clock reads": circuit_alone(),
        "in a guard: `@guarded`": plain(bound.guarded(work)),
        "in a guard: `@guarded`, async": driven(bound.guarded(work_async)),
        "in a guard: `call_sync`": plain(lambda value: bound.call_sync(work, value)),
        "in a guard: `call`": driven(lambda value: bound.call(work_async, value)),
        "plain breaker: `@guarded`": plain(alone.guarded(work)),
        "plain breaker: `@guarded`, async": driven(alone.guarded(work_async)),
        "plain breaker: `call_sync`": plain(lambda value: alone.call_sync(work, value)),
        "plain breaker: `call`": driven(lambda value: alone.call(work_async, value)),
        **{f"plain breaker: `@guarded`, window {size:,}": plain(dependency.guarded(work)) for size, dependency in windows.items()},
        "refused, asking first": asked(shut),
        "refused, by exception": refused(shut.guarded(work), CallNotPermitted),
    }


def first_of_attempt(fn: Callable[[int], object]) -> Loop:
    """Each call as the first one of its attempt: the tally is taken away before it, as its lane does at a handler's end."""

    def loop(calls: int) -> float:
        numbers, attempt = range(calls), current_attempt.get()
        if attempt is None:
            raise RuntimeError("not in a handler")
        begun = time.thread_time()
        for _ in numbers:
            attempt.calls = None
            fn(1)
        return time.thread_time() - begun

    return loop


def inside_loops(bound: Dependency) -> dict[str, Loop]:
    """The rows that write into a delivery's tally."""
    return {
        "in a handler: `@guarded`, first call": first_of_attempt(bound.guarded(work)),
        "in a handler: `@guarded`": plain(bound.guarded(work)),
        "in a handler: `@guarded`, async": driven(bound.guarded(work_async)),
        "in a handler: `call_sync`": plain(lambda value: bound.call_sync(work, value)),
        "in a handler: `call`": driven(lambda value: bound.call(work_async, value)),
    }


@contextmanager
def without_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(inside: dict[str, Loop], outside: dict[str, Loop], rounds: int, calls: int) -> dict[str, list[float]]:
    """Microseconds per call of each row and round."""
    loops = {**outside, **inside}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name in random.sample(list(loops), len(loops)):
            with without_collections():
                seconds = loops[name](calls) if name in inside else contextvars.Context().run(loops[name], calls)
            if number:  # the first round warms up
                times[name].append(seconds / calls * 1e6)
    return times


async def measure_in_a_guard(rounds: int, calls: int) -> dict[str, list[float]]:
    alone, bound = Dependency("alone", settings=settings()), Dependency("bound", settings=settings())
    needed = Dependency("needed")
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"one")
    ended: asyncio.Future[dict[str, list[float]]] = asyncio.get_running_loop().create_future()

    async def handler(_: Delivery[Any]) -> None:
        try:
            ended.set_result(measure(inside_loops(needed), outside_loops(alone, bound), rounds, calls))
        except Exception as error:  # noqa: BLE001 - a handler's exception would be tried again
            ended.set_exception(error)

    async with Guard(bound, signals=False) as guard:
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[needed]))
        await asyncio.wait({run, ended}, return_when=asyncio.FIRST_COMPLETED)
    await run
    return ended.result()


def report(times: dict[str, list[float]], calls: int) -> None:
    bare, least, refusal = (statistics.median(times[name]) for name in ("bare call", "floor", "floor, refused by exception"))
    rounds = len(times["floor"])
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {rounds} rounds of {calls:,} calls, CPU time\n")
    print("| call | µs, median (quartiles) | over the bare call, µs | floor = 1 |")
    print("|---|---|---|---|")
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        ratio = middle / (refusal if "by exception" in name else least)
        print(f"| {name} | {middle:.3f} ({low:.3f} to {high:.3f}) | {middle - bare:.3f} | {ratio:.2f} |")
    windows = [statistics.quantiles(values, n=4)[0] for name, values in times.items() if ", window " in name]
    spread = (max(windows) / min(windows) - 1) * 100
    print(f"\nWindows from {WINDOWS[0]} to {WINDOWS[-1]:,} calls differ by {spread:.1f} % (lower quartiles).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--calls", type=int, default=4_000)
    options = parser.parse_args()
    report(asyncio.run(measure_in_a_guard(options.rounds, options.calls)), options.calls)


if __name__ == "__main__":
    main()
