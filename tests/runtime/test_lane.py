from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from typing import Any

import pytest
from tests.runtime.stage import (
    GROUP,
    ORDERS,
    BreakingIntake,
    Down,
    Handler,
    Wrong,
    assert_nothing_left,
    broker_with,
    dependency,
    quiet_guard,
    running,
    until,
)

from holdgate import CallNotPermitted, Delivery, RetryPolicy, State
from holdgate.errors import CommandError
from holdgate.flow.message import Queue
from holdgate.runtime.worker import Worker
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]
PATIENCE = 60.0  # only a failing test waits so long


def now() -> float:
    return asyncio.get_running_loop().time()


def intake(broker: MemoryBroker, **settings: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"], **settings)


# -- orders ----------------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_by_source_each_partition_has_a_lane_and_keeps_its_order() -> None:
    """Two partitions work side by side, each strictly in the order of its log."""
    broker, handler = broker_with(10, partitions=2), Handler()
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)):
        await until(lambda: len(handler.done) == 10)
    assert handler.most == 2
    for source in ORDERS:
        assert [position for name, position in handler.started if name == str(source)] == list(range(5))


@in_virtual_time
async def test_by_key_lanes_work_side_by_side_and_keep_each_key_in_order() -> None:
    """Within one partition, different keys overlap and equal ones never do."""
    broker = MemoryBroker(topics={"orders": 1})
    for number in range(12):
        broker.produce("orders", b"", key=b"abc"[number % 3 : number % 3 + 1])
    running_keys: list[bytes] = []
    order: dict[bytes, list[int]] = {}

    async def handler(delivery: Delivery[Any]) -> None:
        assert delivery.key is not None
        assert delivery.key not in running_keys
        running_keys.append(delivery.key)
        most.append(len(running_keys))
        await asyncio.sleep(0.1)
        running_keys.remove(delivery.key)
        order.setdefault(delivery.key, []).append(delivery.position)

    most: list[int] = []
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, order="key", concurrency=8)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 12})
    assert max(most) == 3
    assert order == {b"a": [0, 3, 6, 9], b"b": [1, 4, 7, 10], b"c": [2, 5, 8, 11]}


@in_virtual_time
async def test_by_a_key_of_the_users_own() -> None:
    """`key=` decides for queues, whose messages have none; None has no order to keep."""
    broker = MemoryBroker(queues=["mails"])
    for number in range(6):
        broker.produce("mails", b"even" if number % 2 == 0 else b"odd")
    handler = Handler(1.0)

    def key(delivery: Delivery[Any]) -> object:
        return "even" if delivery.body == b"even" else None

    source = MemoryIntake(broker, queues=["mails"])
    async with quiet_guard() as guard, running(guard.run(source, handler, order="key", key=key)):
        await asyncio.sleep(0.5)
        assert handler.running == 4  # three without a key, one of the even ones
        await until(lambda: len(handler.done) == 6)
    assert not broker.waiting(Queue("mails"))


@pytest.mark.parametrize("answer", [[], 1 / 3])
@in_virtual_time
async def test_a_key_function_that_fails_ends_the_run(answer: object) -> None:
    """Unhashable or raising: without a key there is no order, so nothing of it is processed, and the error names the delivery."""

    def key(delivery: Delivery[Any]) -> object:
        if isinstance(answer, float):
            raise KeyError
        return answer

    broker, handler = broker_with(1), Handler()
    async with quiet_guard() as guard:
        with pytest.raises(CommandError, match=r"key= raised (TypeError|KeyError) for <MemoryDelivery orders\[0\]@0"):
            await guard.run(intake(broker), handler, order="key", key=key)
    assert not handler.started


@in_virtual_time
async def test_without_order_up_to_concurrency_run_at_once() -> None:
    """A queue without a single active consumer: sixteen lanes when nothing else is said, never more than the prefetch."""
    broker = MemoryBroker(queues=["mails"])
    for _ in range(40):
        broker.produce("mails", b"")
    handler = Handler()
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, queues=["mails"]), handler)):
        await until(lambda: len(handler.done) == 40)
    assert handler.most == 16


@in_virtual_time
async def test_without_order_a_retrying_message_does_not_own_a_lane() -> None:
    """One lane, one poison message: the others go by while it waits for its backoff."""
    broker = MemoryBroker(queues=["mails"])
    for number in range(5):
        broker.produce("mails", str(number).encode())
    done: list[bytes] = []

    async def handler(delivery: Delivery[Any]) -> None:
        if delivery.body == b"0" and delivery.attempt < 3:
            raise Wrong
        assert delivery.body is not None
        done.append(delivery.body)

    source = MemoryIntake(broker, queues=["mails"])
    async with quiet_guard() as guard, running(guard.run(source, handler, concurrency=1)):
        await until(lambda: len(done) == 5)
    assert done == [b"1", b"2", b"3", b"4", b"0"]


@in_virtual_time
async def test_the_span_bounds_how_far_work_runs_ahead() -> None:
    """With the oldest stuck, only `span` places start."""
    broker, started = broker_with(50), []

    async def handler(delivery: Delivery[Any]) -> None:
        started.append(delivery.position)
        if delivery.position == 0:
            await asyncio.sleep(1000)

    async with quiet_guard(drain_timeout=1.0) as guard, running(guard.run(intake(broker), handler, order="none", span=10)):
        await asyncio.sleep(500)
        assert started == list(range(10))
        await until(lambda: len(started) == 50)


@in_virtual_time
async def test_a_handler_that_never_waits_lets_others_run() -> None:
    """A slice ends after 256 deliveries: the poll, other tasks and other sources get their turn."""
    broker, handled, ticks = broker_with(1000), [], []

    async def handler(delivery: Delivery[Any]) -> None:
        handled.append(delivery.position)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)):
        while len(handled) < 1000 and len(ticks) < 10_000:  # steps of the loop: no time passes
            ticks.append(len(handled))
            await asyncio.sleep(0)
    assert handled == list(range(1000))
    steps = [later - earlier for earlier, later in pairwise(ticks)]
    assert steps
    assert max(steps) <= 256


# -- ends of a handler -----------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_handlers_own_cancelled_error_is_no_dependencys_failure() -> None:
    """A CancelledError of a task that the handler awaited: the circuit hears nothing, and the message comes again after a backoff."""
    broker, payments, attempts = broker_with(2), dependency(), []

    async def handler(delivery: Delivery[Any]) -> None:
        attempts.append((delivery.position, delivery.attempt))
        if delivery.attempt == 1 and delivery.position == 0:
            inner = asyncio.ensure_future(asyncio.sleep(10))
            inner.cancel()
            await inner

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, needs=[payments])):
        await until(lambda: broker.committed(GROUP) == {ORDER: 2})
        assert attempts == [(0, 1), (0, 2), (1, 1)]
        assert guard.snapshot().dependencies["payments"].failures == 0


@in_virtual_time
async def test_a_lane_that_somebody_cancels_loses_nothing() -> None:
    """A library that cancels the handler's task from outside costs an attempt, not the lane: the message comes again."""
    broker, payments, handler = broker_with(3), dependency(), Handler(1.0)
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, needs=[payments])) as run:
        await until(lambda: handler.running == 1)
        _lane().cancel()
        await until(lambda: len(handler.done) == 3)
        assert handler.started == [("orders[0]", position) for position in (0, 0, 1, 2)]
        assert not run.done()
    await assert_nothing_left(guard)


@in_virtual_time
async def test_an_idle_lane_that_somebody_cancels_is_replaced() -> None:
    """A cancellation that comes late, when the handler has ended long ago, takes no lane out of service."""
    broker, handler = broker_with(1), Handler()
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)):
        await until(lambda: len(handler.done) == 1)
        _lane().cancel()
        await asyncio.sleep(1)
        broker.produce("orders", b"")
        await until(lambda: len(handler.done) == 2)


def _lane() -> asyncio.Task[Any]:
    return next(task for task in asyncio.all_tasks() if task.get_name().startswith("holdgate lane"))


@in_virtual_time
async def test_a_handler_that_finishes_though_interrupted_is_processed() -> None:
    """Drained, cancelled, and it returned all the same: what is processed is committed."""
    broker = broker_with(2)

    async def handler(delivery: Delivery[Any]) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return

    async with quiet_guard(drain_timeout=1.0) as guard, running(guard.run(intake(broker), handler)) as run:
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
    assert broker.committed(GROUP) == {ORDER: 1}


@in_virtual_time
async def test_an_interruption_that_a_handler_brings_about_itself_hits_nothing_else() -> None:
    """The handler loses its own source in its last step: the cancellation must not arrive in the next delivery, or kill the lane."""
    broker = broker_with(2)
    source = BreakingIntake(broker, topics=["orders"])
    attempts: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        attempts.append(delivery.position)
        if len(attempts) == 1:
            assert source.listener is not None
            source.listener.lost([ORDER])
            source.listener.assigned([ORDER])
            broker.drop(source)
            return
        await asyncio.sleep(0.1)

    async with quiet_guard() as guard, running(guard.run(source, handler)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 2})
        assert attempts == [0, 0, 1]


@in_virtual_time
async def test_an_interruption_brought_about_before_the_handler_waits_arrives() -> None:
    """The handler goes on after losing its source: it is cancelled at its next wait."""
    broker = broker_with(1)
    source = BreakingIntake(broker, topics=["orders"])
    ends: list[str] = []

    async def handler(delivery: Delivery[Any]) -> None:
        if not ends:
            assert source.listener is not None
            source.listener.lost([ORDER])
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async with quiet_guard(drain_timeout=1.0) as guard, running(guard.run(source, handler)):
        await asyncio.sleep(1)
        assert ends == ["cancelled"]


@in_virtual_time
async def test_a_crash_in_a_lane_ends_the_run_loudly_and_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours: the run drains and raises it; it neither goes on one lane short nor waits for the lane that is gone."""
    broker, payments = broker_with(4, partitions=2), dependency()

    async def handler(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.1)
        if delivery.source == ORDER:
            monkeypatch.setattr(Worker, "log_failure", lambda *_, **__: 1 / 0)
            raise Down

    async with quiet_guard() as guard:
        with pytest.raises(ZeroDivisionError):
            await guard.run(intake(broker), handler, needs=[payments])
        assert now() < 2
        await assert_nothing_left(guard)


# -- threads ---------------------------------------------------------------------------------------------------------------------------


async def test_a_plain_handler_runs_in_a_thread_with_its_calls() -> None:
    """Call forms in it know their delivery: declared calls use its permit, and a failure is the dependency's."""
    broker, payments, names = broker_with(2), dependency(), []

    def handler(delivery: Delivery[Any]) -> None:
        names.append(threading.current_thread().name)
        payments.call_sync(fail if delivery.attempt == 1 else fine)

    def fail() -> None:
        raise Down

    def fine() -> None:
        pass

    retry = RetryPolicy(initial_backoff=0.001)
    source = intake(broker, poll_timeout=0.005)
    async with quiet_guard() as guard, running(guard.run(source, handler, needs=[payments], retry=retry)):
        async with asyncio.timeout(PATIENCE):
            while len(names) < 4:
                await asyncio.sleep(0.005)
            await guard.stop()
        snapshot = guard.snapshot().dependencies["payments"]
        assert (snapshot.calls, snapshot.failures, snapshot.in_flight) == (4, 2, 0)
    assert broker.committed(GROUP) == {ORDER: 2}
    assert all(name.startswith("holdgate-handler") for name in names)


async def test_a_plain_handler_that_is_stuck_keeps_no_verdict_back() -> None:
    """Drained, its verdict is given at once, though its thread goes on; the run ends and the message is not committed."""
    broker, gate = broker_with(1), threading.Event()
    started = threading.Event()

    def handler(delivery: Delivery[Any]) -> None:
        started.set()
        gate.wait(10 * PATIENCE)

    payments = dependency()
    try:
        async with quiet_guard(drain_timeout=0.05) as guard:
            run = asyncio.create_task(guard.run(intake(broker), handler, needs=[payments]))
            async with asyncio.timeout(PATIENCE):
                while not started.is_set():
                    await asyncio.sleep(0.005)
                await guard.stop()
            assert await run is None
            await assert_nothing_left(guard)
    finally:
        gate.set()
    assert not broker.committed(GROUP)


async def test_a_thread_of_a_revoked_source_does_not_take_the_lane_of_the_next_one() -> None:
    """The source comes back while the thread of its earlier assignment is stuck: it is worked on all the same."""
    broker, gate = broker_with(1), threading.Event()
    attempts: list[int] = []

    def handler(delivery: Delivery[Any]) -> None:
        attempts.append(delivery.position)
        if len(attempts) == 1:
            gate.wait(10 * PATIENCE)

    source = BreakingIntake(broker, topics=["orders"], poll_timeout=0.005)
    try:
        async with quiet_guard() as guard, running(guard.run(source, handler)):
            async with asyncio.timeout(PATIENCE):
                while not attempts:
                    await asyncio.sleep(0.005)
                broker.drop(source)
                while len(attempts) < 2:
                    await asyncio.sleep(0.005)
                gate.set()
                (worker,) = guard._workers
                while worker.lanes_lent:
                    await asyncio.sleep(0.005)
    finally:
        gate.set()


async def test_with_a_concurrency_a_stuck_thread_keeps_its_lane() -> None:
    """`concurrency=1` promises one handler at once: while a thread cannot be stopped, nothing else starts."""
    broker, gate = broker_with(1), threading.Event()
    attempts: list[int] = []

    def handler(delivery: Delivery[Any]) -> None:
        attempts.append(delivery.position)
        if len(attempts) == 1:
            gate.wait(10 * PATIENCE)

    source = BreakingIntake(broker, topics=["orders"], poll_timeout=0.005)
    try:
        async with quiet_guard() as guard, running(guard.run(source, handler, concurrency=1)):
            async with asyncio.timeout(PATIENCE):
                while not attempts:
                    await asyncio.sleep(0.005)
                broker.drop(source)
                await asyncio.sleep(0.1)
                assert len(attempts) == 1
                gate.set()
                while len(attempts) < 2:
                    await asyncio.sleep(0.005)
    finally:
        gate.set()


# -- call forms in handlers ------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_declared_call_uses_the_deliverys_permit_and_is_not_refused() -> None:
    """In half-open with one slot, the probe's own call goes through."""
    broker, payments, down = broker_with(6), dependency(), [True]

    async def pay() -> None:
        if down[0]:
            raise Down

    async def handler(delivery: Delivery[Any]) -> None:
        await payments.call(pay)

    async with quiet_guard(payments) as guard, running(guard.run(intake(broker), handler, needs=[payments])):
        await until(lambda: guard.circuit("payments").state is State.OPEN)
        down[0] = False
        await until(lambda: broker.committed(GROUP) == {ORDER: 6})
        assert guard.circuit("payments").state is State.CLOSED
        assert guard.snapshot().dependencies["payments"].in_flight == 0


@in_virtual_time
async def test_a_handler_that_swallows_a_calls_failure_still_counts_it() -> None:
    """The message is done, and the dependency has failed."""
    broker, payments = broker_with(4), dependency()

    async def pay() -> None:
        raise Down

    async def handler(delivery: Delivery[Any]) -> None:
        with pytest.raises(Down):
            await payments.call(pay)

    async with quiet_guard(payments) as guard, running(guard.run(intake(broker), handler, needs=[payments])):
        await until(lambda: broker.committed(GROUP) == {ORDER: 4})
        assert guard.snapshot().dependencies["payments"].failures == 4


@in_virtual_time
async def test_an_undeclared_call_that_is_refused_holds_the_message() -> None:
    """Whatever the handler makes of the refusal: the message waits for that dependency, and nothing is charged."""
    broker, mail, attempts = broker_with(2), dependency("mail"), []

    async def send() -> None:
        pass

    async def handler(delivery: Delivery[Any]) -> None:
        attempts.append(delivery.position)
        try:
            await mail.call(send)
        except CallNotPermitted as error:
            raise Wrong from error

    async with quiet_guard(mail) as guard:
        guard.circuit("mail").force_open(guard.now())
        async with running(guard.run(intake(broker), handler, retry=RetryPolicy(attempts=1))):
            await asyncio.sleep(100)
            assert attempts == [0]
            source = guard.snapshot().sources[ORDER]
            assert source.held
            assert source.waits_for == ("mail",)
            guard.circuit("mail").clear_override(guard.now())
            guard.wake()
            await until(lambda: broker.committed(GROUP) == {ORDER: 2})
            assert attempts == [0, 0, 1]
            assert guard.snapshot().dependencies["mail"].in_flight == 0


# -- outages ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@in_virtual_time
async def test_a_total_outage_wastes_few_calls(concurrency: int) -> None:
    """At most the five that open the circuit, those in flight then, and one per probe; nothing is lost or charged."""
    broker = MemoryBroker(queues=["mails"])
    for _ in range(400):
        broker.produce("mails", b"")
    payments, handler = dependency(), Handler(0.01, down=True)
    source = MemoryIntake(broker, queues=["mails"])
    async with quiet_guard(payments) as guard, running(guard.run(source, handler, needs=[payments], concurrency=concurrency)):
        await asyncio.sleep(120)
        probes = guard.snapshot().dependencies["payments"].probes
        wasted = len(handler.started)
        assert probes >= 3
        assert wasted <= 5 + concurrency - 1 + probes
        handler.down = False
        await until(lambda: len(handler.done) == 400)
        assert len(handler.started) == 400 + wasted
    assert not broker.waiting(Queue("mails"))


@in_virtual_time
async def test_an_outage_of_one_dependency_leaves_the_others_at_full_rate() -> None:
    """`mails` needs what is up: it gets through as if nothing were, while `orders` is held."""
    broker = broker_with(100)
    broker.create_topic("mails")
    for _ in range(100):
        broker.produce("mails", b"")
    payments, post, order, mail = dependency(), dependency("post"), Handler(0.1, down=True), Handler(0.1)
    async with quiet_guard() as guard:
        run = guard.run(
            MemoryIntake(broker, topics=["orders", "mails"]),
            {"orders": order, "mails": mail},
            needs={"orders": [payments], "mails": [post]},
        )
        async with running(run):
            await until(lambda: len(mail.done) == 100)
            assert 10.0 <= now() < 10.5
            assert guard.snapshot().sources[ORDER].reasons == ("circuit:payments",)
            assert len(order.started) <= 6
