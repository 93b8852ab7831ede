"""Cost of the engine: a message on the fast path, and an outage among many sources. Prints a Markdown table; run it alone.

    python -m benchmarks.flow_turn

The world of the second table: 1,000 sources, 20 dependencies, each source needs one of them; one circuit opens, its 50 sources are held;
or all sources need it, and a thousand heads wait while others come and go. Medians of rounds in random order, garbage collected before.
"""

from __future__ import annotations

import gc
import os
import platform
import random
import statistics
import time
from collections.abc import Callable

from holdgate.core import Circuit, Outcome, Permit
from holdgate.flow.engine import Engine
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.policy import Needs
from holdgate.flow.state import Run

SOURCES = 1000
DEPENDENCIES = 20
ROUNDS = 31
BATCH = 500


class Message(Delivery[int]):
    """A delivery whose message is its position."""

    __slots__ = ()

    @property
    def position(self) -> int:
        return self.message


def timed(work: Callable[[], object]) -> float:
    """Seconds of this thread: others share the cores."""
    gc.collect()
    gc.disable()
    start = time.thread_time()
    work()
    taken = time.thread_time() - start
    gc.enable()
    return taken


# -- one message ----------------------------------------------------------------------------------------------------------------------


def circuit_alone() -> Callable[[], float]:
    circuit = Circuit("payments")

    def work() -> None:
        for _ in range(BATCH):
            permit = circuit.try_acquire(1.0)
            assert isinstance(permit, Permit)
            circuit.record(permit, Outcome.SUCCESS, 1.0)

    return lambda: timed(work) / BATCH


def messages_through(needs: tuple[str, ...], order: Order, *, directly: bool = False) -> Callable[[], float]:
    engine = Engine(draw=lambda: 0.5)
    for name in needs:
        engine.add_gate(Circuit(name))
    run = Run(Needs(needs), order=order, concurrency=1, inbox=10 * BATCH)
    engine.add_run(run)
    source = Partition("orders", 0)
    engine.assigned(run, [source], 0.0)

    def work() -> None:
        delivery = engine.next(run, 1.0)
        assert delivery is not None
        assignment = delivery.assignment
        while delivery is not None:
            engine.succeeded(delivery, 1.0)
            delivery = engine.follow(assignment, 1.0)

    def work_directly() -> None:
        delivery = engine.next(run, 1.0)
        while delivery is not None:
            delivery = engine.pass_on(delivery, 1.0)

    def once() -> float:
        engine.received(run, [Message(source, position) for position in range(BATCH)])
        engine.turn(1.0)
        return timed(work_directly if directly else work) / BATCH

    return once


# -- an outage among many sources -----------------------------------------------------------------------------------------------------


class Crowd:
    """A thousand sources with a message each behind the one that runs, or none running yet."""

    def __init__(self, *, all_need_one: bool) -> None:
        self.names = [f"dependency-{number}" for number in range(DEPENDENCIES)]
        self.engine = Engine(draw=lambda: 0.5)
        for name in self.names:
            self.engine.add_gate(Circuit(name))
        needs = {f"topic-{number}": [self.names[0 if all_need_one else number % DEPENDENCIES]] for number in range(SOURCES)}
        self.run = Run(Needs(needs), order="source", concurrency=16, inbox=500)
        self.engine.add_run(self.run)
        self.sources = [Partition(f"topic-{number}", 0) for number in range(SOURCES)]
        self.engine.assigned(self.run, self.sources, 0.0)
        self.engine.received(self.run, [Message(source, 0) for source in self.sources])
        self.engine.turn(0.0)

    def open_first(self) -> None:
        self.engine.gates[self.names[0]].circuit.open_for(10.0, 1.0)


def opening_turn(*, all_need_one: bool) -> float:
    """One circuit opens: the turn that holds its sources."""
    crowd = Crowd(all_need_one=all_need_one)
    crowd.open_first()
    return timed(lambda: crowd.engine.turn(1.0))


def waiting_crowd() -> Crowd:
    """Half-open, all sources need it: one probe runs and 999 heads wait."""
    crowd = Crowd(all_need_one=True)
    crowd.open_first()
    crowd.engine.turn(1.0)
    crowd.engine.turn(11.0)
    return crowd


def first_look() -> float:
    """The `next` that puts a thousand heads onto the list, once per outage."""
    crowd = waiting_crowd()
    taken = timed(lambda: [crowd.engine.next(crowd.run, 11.0), crowd.engine.next(crowd.run, 11.0)])
    assert len(crowd.engine._waiting) == SOURCES - 1  # noqa: SLF001 - what the row claims
    return taken


def turn_beside_waiting_heads() -> float:
    """A probe ends well, and the next head is granted: the turn per message of a ramp."""
    crowd = waiting_crowd()
    probe = crowd.engine.next(crowd.run, 11.0)
    assert crowd.engine.next(crowd.run, 11.0) is None
    assert probe is not None
    crowd.engine.succeeded(probe, 11.0)
    taken = timed(lambda: crowd.engine.turn(11.0))
    assert len(crowd.run.granted) == 1
    return taken


def idle_next() -> float:
    """A free lane asks while a thousand sources have nothing that may start."""
    crowd = waiting_crowd()
    crowd.engine.next(crowd.run, 11.0)
    crowd.engine.next(crowd.run, 11.0)
    return timed(lambda: [crowd.engine.next(crowd.run, 11.0) for _ in range(BATCH)]) / BATCH


def head(title: str, unit: str) -> None:
    print(f"\n| {title} | median, {unit} | least | most |\n|---|---|---|---|")


def measure(scale: float, rows: dict[str, Callable[[], float]]) -> None:
    seen: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name in random.sample(list(rows), len(rows)):
            seen[name].append(rows[name]() * scale)
    for name, times in seen.items():
        print(f"| {name} | {statistics.median(times):.3f} | {min(times):.3f} | {max(times):.3f} |")


def message_rows() -> dict[str, Callable[[], float]]:
    """The rows per message: each returns its seconds when called."""
    return {
        "circuit alone: try_acquire + record": circuit_alone(),
        "`pass_on`, one need, order by source: the fast path": messages_through(("payments",), "source", directly=True),
        "`follow` + `succeeded`, one need, order by source": messages_through(("payments",), "source"),
        "`follow` + `succeeded`, one need, no order": messages_through(("payments",), "none"),
        "`follow` + `succeeded`, no needs": messages_through((), "source"),
        "`follow` + `succeeded`, two needs": messages_through(("mail", "payments"), "source"),
    }


def main() -> None:
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, medians of {ROUNDS} rounds")
    head("per message", "µs")
    # One row at a time: the interpreter specialises these lines for the inbox they meet, as it does in a worker.
    for name, row in message_rows().items():
        row()
        measure(1e6, {name: row})
    head(f"{SOURCES} sources, {DEPENDENCIES} dependencies", "ms")
    measure(
        1e3,
        {
            "turn: one circuit opens, 50 sources held": lambda: opening_turn(all_need_one=False),
            "turn: one circuit opens, all sources held": lambda: opening_turn(all_need_one=True),
            "`next`: 999 heads go onto the waiting list": first_look,
            "turn: one slot is free, 998 heads wait on": turn_beside_waiting_heads,
            "`next`: nothing may start": idle_next,
        },
    )


if __name__ == "__main__":
    main()
