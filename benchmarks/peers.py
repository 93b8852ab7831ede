"""Holdgate's breaker beside those that Python has: what a call costs, what a refusal costs and keeps, and what an outage gets through.

    python -m benchmarks.peers [--rounds 41] [--calls 2000] [--refusals 200000]

The peers are installed by `make bench`, in an environment of their own (the dependency group `bench`); one that is missing is left out, and
the run says so. Times: rounds in random order, the thread's own CPU time, garbage collected before each. Counts are the same everywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.metadata
import os
import platform
import random
import statistics
import threading
import time
from collections.abc import Callable

from benchmarks.peer_breakers import LONG, PEERS, Peer
from benchmarks.refusals import bytes_kept

WAITING = 100
HEALTHY = 100
# Short for a breaker that is waited for, long for one that must stay open.
SHORT = 0.2
GIVE_UP = 10_000


class Down(Exception):
    """What a call to a dependency raises while that is down."""


def work(value: int) -> int:
    return value


def fails() -> None:
    raise Down


def trip(peer: Peer, guarded: Callable[[], object]) -> int:
    """Call what fails until it is refused; returns how many calls got through."""
    for made in range(GIVE_UP):
        try:
            guarded()
        except peer.refusal():
            # Some raise their refusal for the call that tripped them, too: that one has reached the dependency.
            return made
        except Down:
            continue
    raise RuntimeError(f"{peer.name} lets everything through")


def opened(peer: Peer, wait: float) -> Callable[[], object]:
    """A function behind a circuit that is open."""
    plain, _ = peer.make(wait)
    guarded = plain(fails)
    trip(peer, guarded)
    return guarded


def seconds_of_successes(peer: Peer) -> Callable[[int], float]:
    guarded = peer.make(LONG)[0](work)

    def loop(calls: int) -> float:
        numbers = range(calls)
        begun = time.thread_time()
        for _ in numbers:
            guarded(1)
        return time.thread_time() - begun

    return loop


def seconds_of_refusals(peer: Peer) -> Callable[[int], float]:
    guarded, refusal = opened(peer, LONG), peer.refusal()

    def loop(calls: int) -> float:
        numbers = range(calls)
        begun = time.thread_time()
        for _ in numbers:
            try:  # noqa: SIM105 - a `suppress` costs more than the refusal
                guarded()
            except refusal:
                pass
        return time.thread_time() - begun

    return loop


def refused_once(peer: Peer) -> Callable[[], None]:
    guarded, refusal = opened(peer, LONG), peer.refusal()

    def refuse() -> None:
        try:
            guarded()
        except refusal:
            return
        raise RuntimeError("not refused")

    return refuse


def wasted(peer: Peer) -> int:
    """Calls that reach a dependency in a total outage, one at a time and after a hundred good ones, until one is refused."""
    is_down = False
    reached = 0

    def call() -> None:
        nonlocal reached
        if is_down:
            reached += 1
            raise Down

    guarded = peer.make(LONG)[0](call)
    for _ in range(HEALTHY):
        guarded()
    is_down = True
    trip(peer, guarded)
    return reached


async def let_through(peer: Peer) -> int:
    """How many of a hundred callers that wait when a circuit becomes half-open are in the dependency at once."""
    plain, colour = peer.make(SHORT)
    if colour is None:
        return await asyncio.to_thread(let_through_threads, peer, plain)
    inside, is_down = 0, True

    async def call() -> None:
        nonlocal inside
        if is_down:
            raise Down
        inside += 1
        await asyncio.sleep(SHORT)

    guarded = colour(call)
    with contextlib.suppress(peer.refusal()):
        for _ in range(GIVE_UP):
            with contextlib.suppress(Down):
                await guarded()
    is_down = False
    await asyncio.sleep(SHORT * 1.5)
    callers = [asyncio.ensure_future(guarded()) for _ in range(WAITING)]
    await asyncio.sleep(SHORT / 2)
    seen = inside
    await asyncio.gather(*callers, return_exceptions=True)
    return seen


def let_through_threads(peer: Peer, plain: Callable[[Callable[..., object]], Callable[..., object]]) -> int:
    """The same with threads, for a breaker without async calls."""
    inside, is_down, lock, ended = 0, True, threading.Lock(), threading.Event()

    def call() -> None:
        nonlocal inside
        if is_down:
            raise Down
        with lock:
            inside += 1
        ended.wait()

    guarded = plain(call)
    trip(peer, guarded)
    is_down = False
    time.sleep(SHORT * 1.5)

    def caller() -> None:
        with contextlib.suppress(peer.refusal()):
            guarded()

    threads = [threading.Thread(target=caller, daemon=True) for _ in range(WAITING)]
    for thread in threads:
        thread.start()
    time.sleep(SHORT)
    seen = inside
    ended.set()
    for thread in threads:
        thread.join()
    return seen


def microseconds(loops: dict[str, Callable[[int], float]], rounds: int, calls: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name in random.sample(list(loops), len(loops)):
            gc.collect()
            seconds = loops[name](calls)
            if number:  # the first round warms up
                times[name].append(seconds / calls * 1e6)
    return times


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def installed() -> list[Peer]:
    present, missing = [], []
    for peer in PEERS:
        try:
            importlib.metadata.version(peer.distribution)
            present.append(peer)
        except importlib.metadata.PackageNotFoundError:
            missing.append(peer.name)
    if missing:
        print(f"Not installed, and left out: {', '.join(missing)}. `make bench` installs them.\n")
    return present


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--refusals", type=int, default=200_000)
    options = parser.parse_args()
    peers = installed()
    versions = ", ".join(f"{peer.name} {importlib.metadata.version(peer.distribution)}" for peer in peers)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {options.rounds} rounds of {options.calls:,} calls; {versions}\n")
    good = microseconds({peer.name: seconds_of_successes(peer) for peer in peers}, options.rounds, options.calls)
    bad = microseconds({peer.name: seconds_of_refusals(peer) for peer in peers}, options.rounds, options.calls)
    print(
        "| | judges by | a success, µs | a refusal by exception, µs | bytes kept per refusal | calls that reach a dead dependency", end=" "
    )
    print(f"| let through at half-open, of {WAITING} |\n|---|---|---:|---:|---:|---:|---:|")
    for peer in peers:
        kept = bytes_kept(refused_once(peer), options.refusals) / options.refusals
        row = [peer.name, peer.has, spread(good[peer.name]), spread(bad[peer.name]), f"{kept:,.0f}", str(wasted(peer))]
        print(f"| {' | '.join(row)} | {asyncio.run(let_through(peer))} |", flush=True)


if __name__ == "__main__":
    main()
