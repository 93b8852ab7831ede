"""Whose a cancellation was, and what else than an Exception may end an attempt."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest
from tests.runtime.stage import (
    GROUP,
    ORDERS,
    BreakingIntake,
    Handler,
    Wrong,
    assert_nothing_left,
    broker_with,
    dependency,
    quiet_guard,
    running,
    until,
)

from holdgate import Delivery, Dependency, RetryPolicy
from holdgate.flow.message import Queue
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time, run_virtual

ORDER = ORDERS[0]
TWICE = RetryPolicy(attempts=2, initial_backoff=0.1, jitter=0.0)


async def own_cancel() -> None:
    this_task().cancel()
    await asyncio.sleep(10)


async def own_cancel_twice() -> None:
    this_task().cancel()
    this_task().cancel()
    await asyncio.sleep(10)


async def raised_by_hand() -> None:
    raise asyncio.CancelledError


async def raised_after_a_wait() -> None:
    await asyncio.sleep(0.01)
    raise asyncio.CancelledError


async def a_childs() -> None:
    child = asyncio.ensure_future(asyncio.sleep(10))
    child.cancel()
    await child


async def a_future_of_a_library() -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, future.cancel)
    await future


async def a_childs_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.sleep(10))
        task.cancel()
        await task


async def cancelled_from_a_child() -> None:
    parent = this_task()

    async def child() -> None:
        parent.cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await asyncio.sleep(10)


async def within_a_scope() -> None:
    """The scope did not cancel anything, so that it lets it through."""
    with anyio.CancelScope():
        await asyncio.sleep(0)
        raise asyncio.CancelledError


async def within_a_timeout() -> None:
    async with asyncio.timeout(10):
        this_task().cancel()
        await asyncio.sleep(1)


async def a_deadline_kept_badly() -> None:
    """What some libraries do: cancel the caller's task from a timer, and forget to take it back."""
    asyncio.get_running_loop().call_later(0.01, this_task().cancel)
    await asyncio.sleep(10)


async def generator_exit() -> None:
    raise GeneratorExit


async def a_group_of_no_exceptions() -> None:
    raise BaseExceptionGroup("several", [asyncio.CancelledError(), GeneratorExit()])


async def a_mixed_group() -> None:
    raise BaseExceptionGroup("several", [asyncio.CancelledError(), Wrong()])


class Odd(BaseException):
    pass


async def a_kind_of_its_own() -> None:
    raise Odd


SELF_MADE = [
    own_cancel, own_cancel_twice, raised_by_hand, raised_after_a_wait, a_childs, a_future_of_a_library, a_childs_in_a_group,
    cancelled_from_a_child, within_a_scope, within_a_timeout, a_deadline_kept_badly, generator_exit, a_group_of_no_exceptions,
    a_mixed_group, a_kind_of_its_own,
]  # fmt: skip


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def intake(broker: MemoryBroker, **settings: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"], **settings)


class Failing:
    """Ends the poison at position 1 in the given way, and does the rest after a wait."""

    def __init__(self, way: Callable[[], Awaitable[None]]) -> None:
        self.way = way
        self.attempts: list[int] = []

    async def __call__(self, delivery: Delivery[Any]) -> None:
        self.attempts.append(delivery.position)
        if delivery.position == 1:
            await self.way()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("needed", [True, False], ids=["with a need", "without"])
@pytest.mark.parametrize("way", SELF_MADE)
@in_virtual_time
async def test_what_a_handler_ends_in_is_the_messages_failure(way: Callable[[], Awaitable[None]], needed: bool) -> None:
    """Rejected after its attempts, whatever it is and whoever else sent it; the message behind it is not touched, and no circuit moves."""
    # By default every Exception is the dependency's failure, and so would be the member of the mixed group.
    payments = dependency() if way is a_mixed_group else Dependency("payments")
    broker, handler, dead = broker_with(4), Failing(way), MemoryDeadLetters()
    run = {"needs": [payments] if needed else [], "retry": TWICE, "dead_letters": dead}
    async with quiet_guard(payments) as guard, running(guard.run(intake(broker), handler, **run)) as task:
        await until(lambda: broker.committed(GROUP) == {ORDER: 4})
        assert handler.attempts == [0, 1, 1, 2, 3]
        assert [letter.delivery.position for letter in dead.letters] == [1]
        assert guard.snapshot().dependencies["payments"].failures == 0
        assert not task.done()
        await guard.stop()
        await assert_nothing_left(guard)


async def cancelled_to_come() -> None:
    this_task().cancel()


async def two_cancels_to_come() -> None:
    this_task().cancel()
    this_task().cancel()


@pytest.mark.parametrize("way", [cancelled_to_come, two_cancels_to_come])
@in_virtual_time
async def test_a_cancellation_that_is_still_to_arrive_hits_no_other_message(way: Callable[[], Awaitable[None]]) -> None:
    """The handler cancels its task and returns without another wait: it has succeeded, and the next one has a task of its own."""
    broker, started, done = broker_with(4), [], []

    async def handler(delivery: Delivery[Any]) -> None:
        started.append(delivery.position)
        if delivery.position % 2:
            await asyncio.sleep(0.01)
        done.append(delivery.position)
        if not delivery.position % 2:
            await way()

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 4})
    assert started == done == [0, 1, 2, 3]


@in_virtual_time
async def test_what_was_cancelled_once_leaves_task_groups_whole() -> None:
    """A count of cancellations that stays behind would break the next message's task groups and time limits."""
    broker, handled = broker_with(2), []

    async def handler(delivery: Delivery[Any]) -> None:
        if delivery.attempt == 1:
            await own_cancel_twice()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(1)
        with pytest.raises(ExceptionGroup):
            await a_group_that_fails()
        handled.append((delivery.position, this_task().cancelling()))

    async def a_group_that_fails() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.sleep(1)

    async def fail() -> None:
        raise Wrong

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, retry=TWICE)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 2})
    assert handled == [(0, 0), (1, 0)]


def plain_cancelled(delivery: Delivery[Any]) -> None:
    if delivery.position == 1:
        raise asyncio.CancelledError


def plain_generator_exit(delivery: Delivery[Any]) -> None:
    if delivery.position == 1:
        raise GeneratorExit


def plain_group(delivery: Delivery[Any]) -> None:
    if delivery.position == 1:
        raise BaseExceptionGroup("several", [asyncio.CancelledError()])


@pytest.mark.parametrize("handler", [plain_cancelled, plain_generator_exit, plain_group])
async def test_a_plain_handlers_cancelled_error_is_the_messages_failure(handler: Callable[[Delivery[Any]], None]) -> None:
    """In a thread nobody is cancelled at all."""
    broker, dead = broker_with(3), MemoryDeadLetters()
    retry = RetryPolicy(attempts=2, initial_backoff=0.001)
    run = {"needs": [dependency()], "retry": retry, "dead_letters": dead}
    async with quiet_guard() as guard, running(guard.run(intake(broker, poll_timeout=0.005, commit_every=0.01), handler, **run)):
        async with asyncio.timeout(10):
            while broker.committed(GROUP) != {ORDER: 3}:
                await asyncio.sleep(0.005)
    assert [(letter.delivery.position, letter.attempts) for letter in dead.letters] == [(1, 2)]


@pytest.mark.parametrize("way", [own_cancel, raised_by_hand, generator_exit, a_group_of_no_exceptions])
@in_virtual_time
async def test_one_of_a_batch_that_cancels_is_found_in_halves(way: Callable[[], Awaitable[None]]) -> None:
    """A batch that ends so has failed, and only the one at fault is rejected."""
    broker, dead = broker_with(8), MemoryDeadLetters()

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        if any(delivery.position == 5 for delivery in deliveries):
            await way()

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, batch=8, retry=TWICE, dead_letters=dead)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 8})
    assert [letter.delivery.position for letter in dead.letters] == [5]


@pytest.mark.parametrize("way", [own_cancel, raised_by_hand, generator_exit, a_group_of_no_exceptions])
@in_virtual_time
async def test_a_fallback_that_cancels_itself_has_failed(way: Callable[[], Awaitable[None]]) -> None:
    """Its message waits for its dependency, the run goes on, and what follows falls back as before."""
    broker, payments, fell_back = broker_with(3), dependency(), []
    done: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        done.append(delivery.position)

    async def fallback(delivery: Delivery[Any]) -> None:
        fell_back.append(delivery.position)
        if delivery.position == 0:
            await way()

    async with quiet_guard(payments) as guard:
        guard.circuit("payments").open_for(100.0, guard.now())
        run = guard.run(intake(broker), handler, needs=[payments], fallback=fallback, order="none", concurrency=1)
        async with running(run) as task:
            await until(lambda: broker.committed(GROUP) == {ORDER: 3})
            assert not task.done()
    assert (fell_back, done) == ([0, 1, 2], [0])


@in_virtual_time
async def test_interrupted_by_us_it_is_no_verdict_whatever_the_handler_makes_of_it() -> None:
    """Revoked again and again: never charged, though its handler turns the cancellation into something else each time."""
    broker, dead = broker_with(1), MemoryDeadLetters()
    source = BreakingIntake(broker, topics=["orders"])
    ends = [asyncio.CancelledError(), GeneratorExit(), BaseExceptionGroup("both", [asyncio.CancelledError(), Wrong()]), Wrong(), Odd()]
    attempts: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) > len(ends):
            return
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ends[len(attempts) - 1] from None

    retry = RetryPolicy(attempts=1)
    async with quiet_guard() as guard, running(guard.run(source, handler, retry=retry, dead_letters=dead)) as task:
        for count in range(1, len(ends) + 1):
            await until(lambda count=count: len(attempts) == count)
            broker.drop(source)
        await until(lambda: broker.committed(GROUP) == {ORDER: 1})
        assert not task.done()
    assert not dead.letters
    assert len(attempts) == len(ends) + 1


@in_virtual_time
async def test_its_own_and_ours_at_once_is_no_verdict() -> None:
    """Nobody can tell which of the two arrived, and doubt is never charged."""
    broker, dead = broker_with(1), MemoryDeadLetters()
    source = BreakingIntake(broker, topics=["orders"])
    attempts: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) == 1:
            assert source.listener is not None
            source.listener.lost([ORDER])
            source.listener.assigned([ORDER])
            broker.drop(source)
            await own_cancel()

    async with quiet_guard() as guard, running(guard.run(source, handler, retry=RetryPolicy(attempts=1), dead_letters=dead)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 1})
    assert (len(attempts), dead.letters) == (2, [])


def test_the_shutdown_of_the_loop_is_no_verdict(caplog: pytest.LogCaptureFixture) -> None:
    """Every task is cancelled, as `asyncio.run` does at its end, ten times running: the message is never charged, and the lane ends."""
    broker, dead = MemoryBroker(queues=["mails"]), MemoryDeadLetters()
    broker.produce("mails", b"")
    handler = Handler(3600.0)

    async def main() -> None:
        guard = quiet_guard()
        await guard.__aenter__()
        source = MemoryIntake(broker, queues=["mails"])
        forgotten = asyncio.create_task(guard.run(source, handler, retry=RetryPolicy(attempts=1), dead_letters=dead))
        await until(lambda: handler.running == 1)
        assert not forgotten.done()

    for count in range(1, 11):
        run_virtual(main())
        assert (handler.interrupted, handler.running) == (count, 0)
    assert "handler raised" not in caplog.text
    assert not dead.letters
    assert broker.waiting(Queue("mails"))


@in_virtual_time
async def test_a_call_that_a_cancellation_cut_short_is_a_vote_and_no_charge() -> None:
    """As a TimeoutError would be: it may be the dependency, and neighbours tell it from one that cancels itself."""
    broker = broker_with(300, partitions=3)
    payments, dead = Dependency("payments"), MemoryDeadLetters()

    async def pay(delivery: Delivery[Any]) -> None:
        if (delivery.source, delivery.position) == (ORDER, 3):
            await own_cancel()
        await asyncio.sleep(0.2)

    async def handler(delivery: Delivery[Any]) -> None:
        await payments.call(pay, delivery)

    run = {"needs": [payments], "retry": RetryPolicy(attempts=3, initial_backoff=2.0), "dead_letters": dead}
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, **run)):
        await until(lambda: sum(broker.committed(GROUP).values()) == 300)
        assert guard.snapshot().dependencies["payments"].level == 0
    assert [(letter.delivery.source, letter.delivery.position) for letter in dead.letters] == [(ORDER, 3)]
    assert dead.letters[0].attempts >= 3


@pytest.mark.parametrize("end", [asyncio.CancelledError(), GeneratorExit(), BaseExceptionGroup("one", [asyncio.CancelledError()]), Wrong()])
@in_virtual_time
async def test_interrupted_by_a_drain_it_is_no_verdict_either(end: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Its place is still ours then, and an only attempt would be the last: the message is kept, and nothing is said of it."""
    broker, dead, handler_began = broker_with(1), MemoryDeadLetters(), asyncio.Event()

    async def handler(delivery: Delivery[Any]) -> None:
        handler_began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            this_task().cancel()
            raise end from None

    run = {"retry": RetryPolicy(attempts=1), "dead_letters": dead}
    async with quiet_guard(drain_timeout=1.0) as guard, running(guard.run(intake(broker), handler, **run)):
        await handler_began.wait()
        await guard.stop()
        await assert_nothing_left(guard)
    assert not dead.letters
    assert not broker.committed(GROUP)
    assert "handler raised" not in caplog.text
