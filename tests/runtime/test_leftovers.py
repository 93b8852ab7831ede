"""What one attempt leaves meets no other: with the real libraries that keep something for the current task or context."""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, Handler, Wrong, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, RetryPolicy
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]
THRICE = RetryPolicy(attempts=5, initial_backoff=0.01, jitter=0.0)

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


def intake(broker: MemoryBroker, **settings: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"], **settings)


async def done_with(count: int, handler: Callable[[Any], Any], **settings: Any) -> None:
    """Handle so many messages, until all are committed."""
    broker = broker_with(count)
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, retry=THRICE, **settings)):
        await until(lambda: broker.committed(GROUP) == {ORDER: count})


# -- context variables -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [0, None, 0.01], ids=["yields", "never waits", "waits"])
@pytest.mark.parametrize("order", ["source", "key", "none"])
@in_virtual_time
async def test_a_value_that_a_handler_sets_is_not_seen_by_another(order: Any, wait: float | None) -> None:
    """What the caller of `run` had is seen, in every delivery; what a handler has set, in none but its own."""
    seen: list[Any] = []

    async def handler(delivery: Delivery[Any]) -> None:
        seen.append(tenant.get())
        tenant.set(f"tenant {delivery.position}")
        if wait is not None:
            await asyncio.sleep(wait)
        assert tenant.get() == f"tenant {delivery.position}"

    tenant.set("outer")
    await done_with(9, handler, order=order)
    assert seen == ["outer"] * 9


@in_virtual_time
async def test_a_failed_attempt_leaves_no_value_to_the_next() -> None:
    """Nor to the message behind it."""
    seen: list[Any] = []

    async def handler(delivery: Delivery[Any]) -> None:
        seen.append((delivery.position, tenant.get()))
        tenant.set("mine")
        if delivery.position == 1 and delivery.attempt < 3:
            raise Wrong

    await done_with(3, handler)
    assert seen == [(position, "nobody") for position in (0, 1, 1, 1, 2)]


@in_virtual_time
async def test_batches_have_a_context_of_their_own() -> None:
    """Each call of a batch handler, its halves too."""
    seen: list[Any] = []

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        seen.append(tenant.get())
        tenant.set("mine")
        if len(deliveries) > 1 and any(delivery.position == 3 for delivery in deliveries):
            raise Wrong

    await done_with(12, handler, batch=4)
    assert len(seen) > 3
    assert set(seen) == {"nobody"}


@in_virtual_time
async def test_a_fallback_has_a_context_of_its_own() -> None:
    """It is user code like a handler."""
    broker, payments, seen = broker_with(4), dependency(), []

    async def fallback(delivery: Delivery[Any]) -> None:
        seen.append(tenant.get())
        tenant.set("mine")

    async with quiet_guard(payments) as guard:
        guard.circuit("payments").open_for(100.0, guard.now())
        async with running(guard.run(intake(broker), Handler(), needs=[payments], fallback=fallback)):
            await until(lambda: broker.committed(GROUP) == {ORDER: 4})
    assert seen == ["nobody"] * 4


@in_virtual_time
async def test_in_a_context_of_its_own_all_of_asyncio_works() -> None:
    """Once a handler has set something: time limits, task groups, a cancellation, async generators, tokens, and its lane is found."""
    broker, ends, payments = broker_with(4), [], dependency()

    @asynccontextmanager
    async def bound(name: str) -> AsyncIterator[None]:
        token = tenant.set(name)
        try:
            yield
        finally:
            tenant.reset(token)

    async def child(name: str) -> str:
        await asyncio.sleep(0.01)
        await payments.call(asyncio.sleep, 0)
        return f"{name} of {tenant.get()}"

    async def handler(delivery: Delivery[Any]) -> None:
        tenant.set(f"tenant {delivery.position}")
        if delivery.position == 0:
            return
        async with bound("inner"), asyncio.timeout(10):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(child("child"))
            ends.append(task.result())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.sleep(10)
        ends.append(tenant.get())
        if delivery.attempt == 1:
            raise Wrong

    async with quiet_guard(payments) as guard, running(guard.run(intake(broker), handler, needs=[payments], retry=THRICE)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 4})
        assert guard.snapshot().dependencies["payments"].calls == 7  # known as calls of a handler: one result for each attempt
    assert ends == [word for position in (1, 2, 3) for word in 2 * ("child of inner", f"tenant {position}")]


@in_virtual_time
async def test_a_handler_in_a_context_of_its_own_is_cancelled_as_any_other() -> None:
    """Drained: the cancellation reaches it, and its answer to it counts."""
    broker, ends = broker_with(2), []

    async def handler(delivery: Delivery[Any]) -> None:
        tenant.set("mine")
        if delivery.position == 0:
            return
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ends.append(tenant.get())
            await asyncio.sleep(0.1)

    async with quiet_guard(drain_timeout=1.0) as guard, running(guard.run(intake(broker), handler)) as run:
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
    assert ends == ["mine"]
    assert broker.committed(GROUP) == {ORDER: 2}


@in_virtual_time
async def test_a_lane_that_a_handlers_turn_makes_begins_with_the_outer_context() -> None:
    """A handler's call form may wake the guard, and so make lanes: they know nothing of that handler."""
    broker, payments, seen = broker_with(8, partitions=4), dependency(), []

    async def handler(delivery: Delivery[Any]) -> None:
        seen.append(tenant.get())
        tenant.set("mine")
        await payments.call(asyncio.sleep, 0.1)

    async with quiet_guard(payments) as guard:
        guard.circuit("payments").open_for(1.0, guard.now())
        async with running(guard.run(intake(broker), handler, needs=[payments])):
            await until(lambda: sum(broker.committed(GROUP).values()) == 8)
    assert seen == ["nobody"] * 8


# -- what is kept for the current task -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["raises", "asks again", "times out", "cancels itself"])
@in_virtual_time
async def test_no_attempt_meets_the_task_of_one_that_did_not_succeed(ends: str) -> None:
    """Whatever is keyed by the current task is gone, for the next attempt and for other messages."""
    tasks: list[Any] = []

    async def handler(delivery: Delivery[Any]) -> None:
        tasks.append(asyncio.current_task())
        if delivery.position != 1 or delivery.attempt == 3:
            return
        if ends == "raises":
            raise Wrong
        if ends == "asks again":
            delivery.retry()
        if ends == "cancels itself":
            raise asyncio.CancelledError
        await asyncio.sleep(100 if ends == "times out" else 0)

    await done_with(3, handler, timeout=1.0)
    first, second, third = tasks[1:4]
    assert len({first, second, third}) == 3
    assert tasks[4] not in {first, second}


@in_virtual_time
async def test_a_message_that_succeeds_costs_no_task() -> None:
    """Handlers that return and leave their context as it was share one task, for the whole of a backlog."""
    tasks: set[Any] = set()

    async def handler(delivery: Delivery[Any]) -> None:
        token = tenant.set("mine")
        tasks.add(asyncio.current_task())
        await asyncio.sleep(0)
        tenant.reset(token)

    await done_with(500, handler)
    assert len(tasks) == 1


@in_virtual_time
async def test_a_context_that_is_set_costs_one_task_and_no_more() -> None:
    """From the second message on each has a context of its own, in the same task."""
    tasks: set[Any] = set()

    async def handler(delivery: Delivery[Any]) -> None:
        tenant.set("mine")
        tasks.add(asyncio.current_task())

    await done_with(500, handler)
    assert len(tasks) == 2


async def test_sqlalchemy_rows_of_a_failed_attempt_are_not_committed_by_the_next(tmp_path: Path) -> None:
    """`async_scoped_session(scopefunc=current_task)`: one row for a message that was tried three times."""
    alchemy = pytest.importorskip("sqlalchemy")
    aio = pytest.importorskip("sqlalchemy.ext.asyncio")
    pytest.importorskip("aiosqlite")
    file = tmp_path / "orders.db"
    engine = aio.create_async_engine(f"sqlite+aiosqlite:///{file}")
    columns = [alchemy.Column(name, alchemy.Integer) for name in ("position", "attempt")]
    table = alchemy.Table("done", alchemy.MetaData(), *columns)
    async with engine.begin() as connection:
        await connection.run_sync(table.create)
    orm = pytest.importorskip("sqlalchemy.orm")

    class Row:
        def __init__(self, position: int, attempt: int) -> None:
            self.position, self.attempt = position, attempt

    orm.registry().map_imperatively(Row, table, primary_key=[table.c.position, table.c.attempt])
    sessions = aio.async_scoped_session(aio.async_sessionmaker(engine), scopefunc=asyncio.current_task)

    async def handler(delivery: Delivery[Any]) -> None:
        sessions.add(Row(delivery.position, delivery.attempt))
        await asyncio.sleep(0)
        if delivery.position == 1 and delivery.attempt < 3:
            raise Wrong
        await sessions.commit()

    broker = broker_with(3)
    async with quiet_guard() as guard, running(guard.run(intake(broker, commit_every=0.01, poll_timeout=0.01), handler, retry=THRICE)):
        async with asyncio.timeout(20):
            while broker.committed(GROUP) != {ORDER: 3}:
                await asyncio.sleep(0.01)
    for session in list(sessions.registry.registry.values()):
        await session.close()
    await engine.dispose()
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("select position, attempt from done order by 1, 2").fetchall() == [(0, 1), (1, 3), (2, 1)]


@in_virtual_time
async def test_structlog_binds_are_the_messages_own() -> None:
    """`bind_contextvars` in a handler: no other attempt or message logs them, and those bound outside are in all."""
    contextvars_of = pytest.importorskip("structlog.contextvars")
    seen: list[Any] = []

    async def handler(delivery: Delivery[Any]) -> None:
        seen.append(contextvars_of.get_contextvars())
        contextvars_of.bind_contextvars(order=delivery.position)
        if delivery.attempt < 2:
            raise Wrong

    contextvars_of.bind_contextvars(service="orders")
    await done_with(3, handler)
    assert seen == [{"service": "orders"}] * 6


@in_virtual_time
async def test_sentry_tags_are_the_messages_own() -> None:
    """By the rule of the docs, `with isolation_scope()`: Sentry makes one scope at its import, and every context shares that object."""
    sentry = pytest.importorskip("sentry_sdk")
    seen: list[Any] = []

    async def handler(delivery: Delivery[Any]) -> None:
        with sentry.isolation_scope() as scope:
            seen.append(dict(scope._tags))
            sentry.set_tag("order", delivery.position)
            await asyncio.sleep(0.01)
            if delivery.attempt < 2:
                raise Wrong

    await done_with(3, handler)
    assert seen == [{}] * 6


@in_virtual_time
async def test_an_opentelemetry_span_that_is_left_open_is_no_parent() -> None:
    """A context that a handler attaches, and never detaches, is not the next one's."""
    context = pytest.importorskip("opentelemetry.context")
    seen: list[Any] = []

    async def handler(delivery: Delivery[Any]) -> None:
        seen.append(context.get_value("span"))
        context.attach(context.set_value("span", delivery.position))
        if delivery.attempt < 2:
            raise Wrong

    await done_with(3, handler)
    assert seen == [None] * 6
