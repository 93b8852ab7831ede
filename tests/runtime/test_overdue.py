"""Handlers that take too long."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, Handler, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, Guard, RetryPolicy
from holdgate.errors import SettingsError
from holdgate.events import HandlerStuck
from holdgate.runtime.lane import Lane
from holdgate.runtime.overdue import Overdue
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]
TIMEOUT = 2.0


class Hanging(Handler):
    """Hangs at the message whose body is `b"1"`, for so many attempts; notes when each attempt of it began."""

    def __init__(self, attempts: int = 99, *, seconds: float = 0.01) -> None:
        super().__init__(seconds)
        self.attempts = attempts
        self.began: list[float] = []

    async def __call__(self, delivery: Delivery[Any]) -> None:
        if delivery.body == b"1" and delivery.attempt <= self.attempts:
            self.began.append(now())
            await asyncio.sleep(1e6)
        await super().__call__(delivery)


def committed(broker: MemoryBroker) -> int:
    return broker.committed(GROUP).get(ORDER, 0)


def failures(guard: Guard, dependency: str) -> int:
    """In its window; 0 before the run has begun."""
    gate = guard.engine.gates.get(dependency)
    return 0 if gate is None else gate.circuit.snapshot(guard.now()).failures


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_a_handler_that_takes_too_long_is_cancelled_and_tried_again() -> None:
    """After exactly its time, it is its own failure where it needs nothing, and the others go on behind it."""
    handler = Hanging(attempts=1)
    broker = broker_with(3)
    policy = RetryPolicy(initial_backoff=1.0, jitter=0.0)
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, timeout=TIMEOUT, retry=policy)):
        await until(lambda: len(handler.done) == 3)
        assert now() == pytest.approx(TIMEOUT + 1.0, abs=0.3)
        assert [position for _, position in handler.done] == [0, 1, 2]


@in_virtual_time
async def test_own_timeouts_are_charged() -> None:
    """After its attempts the message is rejected, by a TimeoutError."""
    broker = broker_with(3)
    dead = MemoryDeadLetters()
    async with (
        quiet_guard() as guard,
        running(
            guard.run(MemoryIntake(broker, topics=["orders"]), Hanging(), timeout=TIMEOUT, retry=RetryPolicy(attempts=2), dead_letters=dead)
        ),
    ):
        await until(lambda: committed(broker) == 3)
        assert [letter.exception for letter in dead.letters] == ["TimeoutError"]


@in_virtual_time
async def test_a_timeout_is_the_failure_of_what_it_needs() -> None:
    """No call form ran, so every need failed, though none takes a TimeoutError for its own: it is a vote, and nothing is charged."""
    broker = broker_with(2)
    async with (
        quiet_guard() as guard,
        running(
            guard.run(
                MemoryIntake(broker, topics=["orders"]),
                Hanging(),
                needs=[dependency()],
                timeout=TIMEOUT,
                retry=RetryPolicy(attempts=1, max_backoff=1.0),
            )
        ),
    ):
        await until(lambda: failures(guard, "payments") == 4)
        assert committed(broker) == 1


@in_virtual_time
async def test_a_timeout_is_the_failure_of_the_call_under_way() -> None:
    """The other need is not touched by it."""
    slow, idle = dependency("slow"), dependency("idle")

    async def handler(delivery: Delivery[Any]) -> None:
        await slow.call(asyncio.sleep, 1e6)

    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), handler, needs=[slow, idle], timeout=TIMEOUT)),
    ):
        await until(lambda: failures(guard, "slow") == 4)
        assert failures(guard, "idle") == 0


@in_virtual_time
async def test_a_handler_that_ends_in_time_is_left_alone() -> None:
    """Whether a lane goes from one message to the next without a look in between, or waits before."""
    handler = Handler(seconds=TIMEOUT - 0.01)
    broker = broker_with(4)
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, timeout=TIMEOUT)):
        await until(lambda: committed(broker) == 4)
        await asyncio.sleep(7.3)
        broker.produce("orders", b"late")
        await until(lambda: committed(broker) == 5)
        assert handler.interrupted == 0


@in_virtual_time
async def test_every_lane_has_its_own_time() -> None:
    """One that began later is cancelled later."""
    handler = Hanging()
    broker = broker_with(2, partitions=2)
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, timeout=timedelta(seconds=2))):
        await until(lambda: len(handler.began) == 1)
        await asyncio.sleep(1.5)
        broker.produce("orders", b"1", partition=0)
        await until(lambda: len(handler.began) == 2)
        second = handler.began[1]
        await until(lambda: handler.running == 0 and len(handler.began) >= 2 and now() >= second + TIMEOUT)
        assert second + TIMEOUT <= now() <= second + TIMEOUT + 0.1


@in_virtual_time
async def test_a_handler_that_finishes_all_the_same_is_done() -> None:
    """Processed is processed, although it was told that its time is over; the next cancellation finds no trace of it."""
    attempts: list[int] = []

    async def stubborn(delivery: Delivery[Any]) -> None:
        attempts.append(delivery.attempt)
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)

    broker = broker_with(2)
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), stubborn, timeout=TIMEOUT)):
        await until(lambda: committed(broker) == 2)
        assert attempts == [1, 1]


@in_virtual_time
async def test_a_thread_gives_its_verdict_in_time_and_keeps_its_lane() -> None:
    """Nothing else starts on its lane until the thread has come back."""
    loop: Any = asyncio.get_running_loop()
    under_way, jobs = loop.under_way, []
    begun, known = Future[None](), loop.create_future()
    known.set_result(None)

    def hang(*job: Any) -> None:
        """As in real life, time passes for a thread that hangs: it is waited for until it has begun, and then again when it may end."""
        jobs.append(job)
        under_way(begun, known, job[-1])

    loop.under_way = hang
    gate = threading.Event()
    attempts: list[int] = []

    def blocking(delivery: Delivery[Any]) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) == 1:
            begun.set_result(None)
            gate.wait(20.0)

    broker = broker_with(1)
    async with (
        quiet_guard() as guard,
        running(
            guard.run(
                MemoryIntake(broker, topics=["orders"]),
                blocking,
                needs=[dependency()],
                timeout=TIMEOUT,
                retry=RetryPolicy(initial_backoff=0.1, max_backoff=0.1),
            )
        ),
    ):
        await asyncio.sleep(TIMEOUT + 0.2)
        assert failures(guard, "payments") == 1
        await asyncio.sleep(2.0)  # many backoffs
        assert attempts == [1]
        loop.under_way = under_way
        under_way(*jobs[0])
        gate.set()
        await until(lambda: committed(broker) == 1)
        assert attempts == [1, 2]


@in_virtual_time
async def test_a_stuck_handler_is_named() -> None:
    """After `hold_warn_after`, and again each time, with how long it has run."""
    seen: list[Any] = []
    async with (
        quiet_guard(hold_warn_after=100.0, observers=[seen.append]) as guard,
        running(guard.run(MemoryIntake(broker_with(2), topics=["orders"]), Hanging())),
    ):
        await asyncio.sleep(350.0)
        stuck = [event for event in seen if isinstance(event, HandlerStuck)]
        assert [(event.source, event.position, round(event.seconds)) for event in stuck] == [
            (ORDER, 1, 100),
            (ORDER, 1, 200),
            (ORDER, 1, 300),
        ]


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
@in_virtual_time
async def test_a_time_that_makes_no_sense_is_refused(timeout: float) -> None:
    """Before anything is consumed, with its name and value."""
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match="timeout"):
            await guard.run(MemoryIntake(broker_with(1), topics=["orders"]), Handler(), timeout=timeout)


def test_nothing_is_looked_at_before_its_time() -> None:
    """A look costs nothing until something can be over."""
    looked: list[int] = []

    def seats() -> list[Lane]:
        looked.append(1)
        return []

    overdue = Overdue(10.0, 600.0, 0.0)
    assert overdue.look(seats(), 0.0) == []
    assert overdue.next_at == 10.0
    overdue.look([], 9.9)
    assert overdue.next_at == 10.0


class Busy:
    """A lane whose handler began at second 0; notes whether it was interrupted."""

    def __init__(self) -> None:
        self.since = 0.0
        self.started = True
        self.delivery = object()
        self.interruptions = 0

    def time_out(self) -> None:
        self.interruptions += 1


@pytest.mark.parametrize(("late", "again_after"), [(0.5, 0.5), (30.0, 1.0)])
def test_after_a_standstill_handlers_get_a_moment_to_end(late: float, again_after: float) -> None:
    """The first look after it interrupts nobody, the next one does: a second later at most."""
    overdue, lane = Overdue(10.0, 1e6, 0.0), Busy()
    lanes: list[Any] = [lane]
    overdue.look(lanes, 0.0)
    overdue.look(lanes, 10.0 + late)
    assert (lane.interruptions, overdue.next_at) == (0, 10.0 + late + again_after)
    overdue.look(lanes, 10.0 + late + again_after)
    assert lane.interruptions == 1


def test_each_standstill_counts_by_itself() -> None:
    """A look that was late as well, after one that was waited for, decides; the one after it may wait again."""
    overdue, lane = Overdue(10.0, 1e6, 0.0), Busy()
    lanes: list[Any] = [lane]
    for at, interruptions in ((0.0, 0), (15.0, 0), (20.0, 1), (40.0, 1), (41.0, 2)):
        overdue.look(lanes, at)
        assert lane.interruptions == interruptions


def test_a_loop_that_is_merely_busy_delays_no_interruption() -> None:
    """Some milliseconds late is what timers are."""
    overdue, lane = Overdue(10.0, 1e6, 0.0), Busy()
    lanes: list[Any] = [lane]
    overdue.look(lanes, 0.0)
    overdue.look(lanes, 10.05)
    assert lane.interruptions == 1


async def test_work_that_was_done_while_the_process_stood_still_counts() -> None:
    """Its answer has come before its time was over, and the loop sees both in one step: no failure, no second call."""
    calls: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        calls.append(delivery.position)
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.8)  # the process stands still, past the end and the timeout
        await asyncio.sleep(0.2)

    broker = broker_with(1)
    target = MemoryDeadLetters()
    async with Guard(signals=False) as guard:
        run = guard.run(MemoryIntake(broker, topics=["orders"]), handler, timeout=0.5, retry=RetryPolicy(attempts=1), dead_letters=target)
        async with running(run):
            while not (committed(broker) or target.published):
                await asyncio.sleep(0.01)
    assert (calls, target.letters) == ([0], [])
