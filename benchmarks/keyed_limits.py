"""Limits and circuits by key: what a key takes in memory, and what a message with a key costs beside one without.

    python -m benchmarks.keyed_limits [--keys 100000]

Memory is counted by `tracemalloc`, names of the keys left out: 100,000 keys that are well, down, throttled with a pace, and that have
numbers of their own. A message is received, started and settled by the engine alone, without a broker, with order="none": the
least of interleaved rounds, since another process can only make one longer.
"""

from __future__ import annotations

import argparse
import gc
import platform
import random
import time
import tracemalloc
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from holdgate.core import Circuit, CircuitSettings, Limits, Outcome
from holdgate.core.keys import Keys
from holdgate.flow.engine import Engine
from holdgate.flow.keyed import KeyedNeeds, KeyOfMessage
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.policy import ByMessage, Needs
from holdgate.flow.state import Run

ORDERS = Partition("orders", 0)
ROUNDS = 9
MESSAGES = 4000
TENANTS = 1000


def filled(names: Sequence[str], limits: Limits | None, outcome: Callable[[int], Outcome]) -> float:
    """Return the bytes for each key after six calls of each, as far as they have room."""
    gc.collect()
    tracemalloc.start()
    keys = Keys(Circuit("billing"), limits, random.Random(1).random, max_keys=len(names))
    now = 0.0
    for turn in range(6):
        for name in names:
            now += 1e-3
            record = keys.record_of(name)
            if record is None or keys.free_of(record, now) != 0:
                keys.end(name, keys.start(name, now), outcome(turn), now, took=0.01)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken / len(names)


class Message(Delivery[int]):
    """A delivery without a client's object."""

    __slots__ = ()

    @property
    def position(self) -> int:
        return self.message


class Flow:
    """An engine with one source; `kind` says what its messages have."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.engine = Engine(draw=lambda: 0.5)
        circuit = Circuit("billing", CircuitSettings())
        limits = Limits(concurrency=64) if kind == "a key with a number" else None
        self.keys = Keys(circuit, limits, lambda: 0.5) if "key" in kind else None
        self.gate = self.engine.add_gate(circuit, keys=self.keys)
        needs: Any = ByMessage(("billing",)) if kind == "needs by message" else ("billing",)
        self.run = Run(Needs(needs), order="none", concurrency=16, inbox=MESSAGES, span=10 * MESSAGES)
        self.engine.add_run(self.run)
        self.engine.assigned(self.run, [ORDERS], 0.0)
        self.now = 0.0
        if kind == "a key that was down":
            for number in range(TENANTS):
                self.keys and self.keys.end(f"tenant-{number}", None, Outcome.FAILURE, 0.0)

    def deliveries(self) -> list[Message]:
        came = [Message(ORDERS, number) for number in range(MESSAGES)]
        if self.keys is not None:
            results = self.run.kinds.results_of(ORDERS)
            for message in came:
                key = KeyOfMessage(self.keys, f"tenant-{message.message % TENANTS}")
                message.needs = KeyedNeeds((self.gate,), (key,), results)
        elif self.kind == "needs by message":
            for message in came:
                message.needs = self.run.kinds.needing((self.gate,), ORDERS)
        return came

    def played(self) -> float:
        """Return the seconds for each message of one round."""
        came = self.deliveries()
        engine, run, now = self.engine, self.run, self.now
        began = time.perf_counter()
        engine.received(run, came)
        engine.turn(now)
        done = 0
        while done < MESSAGES:
            now += 1e-6
            delivery = engine.next(run, now)
            if delivery is None:
                engine.turn(now)
                continue
            engine.succeeded(delivery, now)
            done += 1
        took = time.perf_counter() - began
        self.now = now
        return took / MESSAGES


KINDS = ("nothing of its own", "needs by message", "a key that is well", "a key that was down", "a key with a number")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keyed_limits", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, default=100_000)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}\n")
    names = [f"tenant-{number:06d}" for number in range(options.keys)]
    pace = lambda turn: Outcome.THROTTLED if turn % 2 == 0 else Outcome.SUCCESS  # noqa: E731
    print(f"| {options.keys:,} keys | bytes for each |\n| --- | --- |")
    for what, limits, outcome in (
        ("well", None, lambda _: Outcome.SUCCESS),
        ("down", None, lambda _: Outcome.FAILURE),
        ("throttled, with a pace", None, pace),
        ("rate=600, per=60, and throttled", Limits(rate=600, per=60), pace),
    ):
        print(f"| {what} | {filled(names, limits, outcome):.0f} |")
    flows = [Flow(kind) for kind in KINDS]
    least = dict.fromkeys(KINDS, inf)
    for _ in range(ROUNDS):
        for flow in flows:
            least[flow.kind] = min(least[flow.kind], flow.played())
    print(f"\n| a message with {TENANTS:,} tenants | µs |\n| --- | --- |")
    for kind, seconds in least.items():
        print(f"| {kind} | {seconds * 1e6:.2f} |")


if __name__ == "__main__":
    main()
