"""Where the tasks of a worker meet the guard, with a pool that is a list and a main loop that is this test."""

from __future__ import annotations

import inspect
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("celery", reason="celery is not installed: pip install 'holdgate[celery]'")

from billiard.einfo import ExceptionInfo

from holdgate import CircuitSettings, Dependency, Guard, RetryPolicy
from holdgate.core import Outcome
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.message import Queue
from holdgate.flow.policy import Verdict
from holdgate.integrations.celery.given_back import TaskGivenBack
from holdgate.integrations.celery.loop import SharedLoop
from holdgate.integrations.celery.station import PoolLane, TaskStation
from holdgate.runtime.guests import GuestRun
from holdgate.runtime.run_settings import plan_run
from holdgate.runtime.wording import RaisedElsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0
ORDERS = Queue("orders")


def request_of(tag: int) -> Any:
    message = SimpleNamespace(delivery_tag=tag, headers={})
    return SimpleNamespace(delivery_info={"redelivered": False}, type="charge", id=str(tag), message=message, body=b"{}", request_dict={})


class Main:
    """Stands for Celery's consumer: what the station asks of it is kept, and `step` is a step of its main loop."""

    def __init__(self) -> None:
        self.pool: list[Any] = []
        self.given_up: list[Any] = []
        self.returned: list[int] = []
        self.queues: list[str] = []
        self._soon: list[Callable[[], object]] = []

    def soon(self, call: Callable[[], object]) -> None:
        self._soon.append(call)

    def start_in_pool(self, request: Any) -> None:
        self.pool.append(request)

    def give_up(self, request: Any, error: Exception) -> None:
        self.given_up.append(request)

    def forget(self, request: Any, *, acknowledge: bool) -> None:
        self.returned.append(request.message.delivery_tag)

    def cancel(self, queue: str) -> None:
        self.queues.append(f"-{queue}")

    def consume(self, queue: str) -> None:
        self.queues.append(f"+{queue}")

    def step(self) -> None:
        while self._soon:
            self._soon.pop(0)()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            self.step()
            time.sleep(0.01)


class Bench:
    """A station with a guard on a loop of its own."""

    def __init__(self, loop: SharedLoop, timeout: float, concurrency: int) -> None:
        self.loop, self.main = loop, Main()
        self.payments = Dependency("payments", settings=CircuitSettings(open_duration=0.3, open_jitter=0.0))
        self.guard, self.station = loop.run(self._begin(timeout, concurrency), PATIENCE)
        self.station.take_up([ORDERS])

    async def _begin(self, timeout: float, concurrency: int) -> tuple[Guard, TaskStation]:
        guard = Guard(signals=False)
        await guard.__aenter__()
        station = TaskStation(self.loop, self.main, guard, prefetch=8, concurrency=concurrency, timeouts={"orders": timeout})
        retry = RetryPolicy(initial_backoff=0.02, max_backoff=0.05)
        plans = plan_run(station, [self.payments], order=None, key=None, concurrency=concurrency, span=1000, retry=retry)
        run = GuestRun(guard, station, plans, station.granted, PoolLane)
        station.joined(run)
        await run.open()
        return guard, station

    def offer(self, *tags: int) -> None:
        for tag in tags:
            self.station.offer(ORDERS, request_of(tag))

    def started(self) -> list[int]:
        return [request.message.delivery_tag for request in self.main.pool]

    def fail(self, request: Any) -> Verdict | None:
        found = Attribution((NeedVerdict(Outcome.FAILURE),), Cause.DEPENDENCY)
        try:
            raise ConnectionError
        except ConnectionError:
            failure = ExceptionInfo()
        return self.station.given_back(
            request.delivery, TaskGivenBack(found, RaisedElsewhere("ConnectionError", "tasks.py:7", "", ""), failure)
        )

    def open_circuit(self) -> None:
        with self.loop:
            self.guard.force_open("payments", reason="test")

    def close_circuit(self) -> None:
        with self.loop:
            self.guard.clear_override("payments", reason="test")
            self.guard.reset("payments", reason="test")
            self.guard.wake()


@contextmanager
def bench(timeout: float = 1800.0, concurrency: int = 2) -> Iterator[Bench]:
    loop = SharedLoop("test")
    loop.start()
    made = Bench(loop, timeout, concurrency)
    try:
        yield made
    finally:
        made.station.abandon()
        loop.run(made.guard.__aexit__(None, None, None), PATIENCE)
        assert loop.stop(PATIENCE)


def test_as_many_start_as_the_pool_has_processes() -> None:
    """And the next one when one has ended, in the order of arrival."""
    with bench() as it:
        it.offer(1, 2, 3, 4)
        assert it.started() == [1, 2]
        it.station.succeeded(it.main.pool[1].delivery)
        it.station.succeeded(it.main.pool[0].delivery)
        assert it.started() == [1, 2, 3, 4]


def test_what_is_held_waits_without_a_timer_and_starts_in_order() -> None:
    """The main loop is not asked for anything until they may start."""
    with bench() as it:
        it.open_circuit()
        it.offer(1, 2, 3, 4)
        assert it.started() == []
        assert it.main._soon == []
        assert it.station.held == 4
        it.close_circuit()
        it.main.until(lambda: len(it.main.pool) == 2)
        for request in list(it.main.pool):
            it.station.succeeded(request.delivery)
        assert it.started() == [1, 2, 3, 4]


def test_a_task_that_is_given_back_waits_here_and_starts_again() -> None:
    """The very same request, unacked meanwhile."""
    with bench() as it:
        it.offer(1)
        [request] = it.main.pool
        assert it.fail(request) is Verdict.AGAIN
        it.main.until(lambda: len(it.main.pool) == 2)
        assert it.main.pool[1] is request
        it.station.succeeded(request.delivery)
        assert it.station.held == 0


def test_a_task_that_comes_starts_behind_those_that_may_start_already() -> None:
    """One waits for the main loop's next step, and the new one has its permits, too."""
    with bench(concurrency=4) as it:
        it.offer(1)
        # Not in the main thread, which starts by itself what may start: on a slow machine the first task may by the end of this call.
        thread = threading.Thread(target=it.fail, args=(it.main.pool[0],))
        thread.start()
        thread.join()
        deadline = time.monotonic() + PATIENCE
        while not it.station._granted:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        it.offer(2)
        assert it.started() == [1, 1, 2]


def test_an_end_in_a_pool_thread_lets_the_main_loop_start_the_next() -> None:
    """Celery's pools are asked in the main thread alone."""
    with bench(concurrency=1) as it:
        it.offer(1, 2)
        thread = threading.Thread(target=it.station.succeeded, args=(it.main.pool[0].delivery,))
        thread.start()
        thread.join()
        assert it.started() == [1]
        it.main.step()
        assert it.started() == [1, 2]


def test_a_pool_that_runs_tasks_in_the_main_thread_is_not_nested() -> None:
    """A solo pool's task has ended before it is handed over: a thousand of them are no thousand frames."""
    with bench(concurrency=1) as it:
        depth: list[int] = []

        def run(request: Any) -> None:
            depth.append(len(inspect.stack(0)))
            it.main.pool.append(request)
            it.station.succeeded(request.delivery)

        it.main.start_in_pool = run  # type: ignore[method-assign]
        it.open_circuit()
        it.offer(*range(1, 9))
        it.close_circuit()
        it.main.until(lambda: len(it.main.pool) == 8)
        assert max(depth) - min(depth) <= 1


def test_a_result_of_a_connection_that_is_gone_counts_for_nothing() -> None:
    """What was held and what had not begun is forgotten, because the broker hands it out again; the others' ends are stale."""
    with bench() as it:
        it.offer(1, 2, 3)
        first, second = it.main.pool
        it.station.lost(lambda request: request is first)
        assert it.station.held == 0
        assert it.fail(first) is Verdict.STALE
        it.station.succeeded(second.delivery)
        it.offer(4, 5)
        assert it.started() == [1, 2, 4, 5]


def test_what_is_held_goes_back_before_the_consumer_timeout() -> None:
    """The queue is cancelled, what waits goes back oldest first, and the queue is taken again when the circuit lets a task try."""
    with bench(timeout=0.5) as it:
        it.open_circuit()
        it.offer(2, 1, 3)
        with it.loop:
            it.guard.clear_override("payments", reason="test")
            it.guard.force_open("payments", reason="test", for_=2.0)
        it.main.until(lambda: it.main.returned)
        assert it.main.queues[0] == "-orders"
        assert it.main.returned == [1, 2, 3]
        assert it.station.held == 0
        it.main.until(lambda: "+orders" in it.main.queues)
        it.offer(4)
        it.main.until(lambda: it.started() == [4])


def test_trap_the_consumer_timeout_counts_from_the_broker_and_not_from_an_eta() -> None:
    """Celery has a task with an ETA, unacked, long before it comes here: the broker would take it back in the middle of a hold."""
    with bench(timeout=600.0) as it:
        it.open_circuit()
        it.station.offer(ORDERS, request_of(1), age=500.0)
        it.main.until(lambda: it.main.returned == [1])


def test_a_task_that_runs_while_its_queue_goes_back_and_then_fails_goes_back_too() -> None:
    """Nobody would start it here again, and what stays unacked meets the consumer timeout, which costs the whole channel."""
    with bench(timeout=0.5, concurrency=1) as it:
        it.offer(1)
        it.open_circuit()
        it.offer(2)
        it.main.until(lambda: it.main.returned == [2])
        assert it.fail(it.main.pool[0]) is Verdict.STALE
        it.main.until(lambda: it.main.returned == [2, 1])


def test_a_task_that_comes_when_its_queue_has_gone_back_goes_back_too() -> None:
    """Its ETA has come: it must not wait where nobody starts it, nor keep the queue from being taken again."""
    with bench(timeout=0.5) as it:
        it.open_circuit()
        it.offer(1)
        it.main.until(lambda: it.main.returned == [1])
        it.offer(2, 3)
        it.main.until(lambda: sorted(it.main.returned) == [1, 2, 3])
        it.close_circuit()
        it.main.until(lambda: "+orders" in it.main.queues)
        it.offer(4)
        it.main.until(lambda: it.started() == [4])


def test_a_task_that_an_operator_skips_is_acked() -> None:
    """It has failed and waits; it is let go in the main thread."""
    with bench() as it:
        it.offer(7)
        it.open_circuit()
        assert it.fail(it.main.pool[0]) is Verdict.AGAIN
        with it.loop:
            it.guard.skip(ORDERS, 7, reason="test")
        it.main.until(lambda: it.main.returned == [7])
        assert it.station.held == 0


def test_its_own_failure_says_nothing_of_what_it_needs() -> None:
    """Celery settles it, and the circuit stays closed however many there are."""
    with bench() as it:
        for tag in range(40):
            it.offer(tag)
            it.station.failed(it.main.pool[-1].delivery, ValueError())
        with it.loop:
            found = it.guard.snapshot().dependencies["payments"]
        assert found.state.name == "CLOSED"
        assert len(it.started()) == 40
