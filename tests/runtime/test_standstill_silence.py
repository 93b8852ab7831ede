from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.runtime.stage import ORDERS, Down, Handler, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, Dependency, Limits
from holdgate.runtime.lane import Lane
from holdgate.runtime.worker import Worker
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]
# What is promised: told within half a minute.
SOON = 30.0


def intake(broker: MemoryBroker, **settings: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"], **settings)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def lose_the_wake_up(self: Lane, delivery: Delivery[Any]) -> None:
    """A saboteur: the delivery is given, and the lane sleeps on."""
    self.delivery = delivery


def forget(self: Lane, delivery: Delivery[Any]) -> None:
    """Another one: the delivery is lost on its way to a lane, which goes on waiting."""
    self.worker.idle.append(self)


def hand_out_nothing(self: Worker) -> None:
    """And another one: what came in is not given to anybody."""


@pytest.mark.parametrize(
    ("owner", "method", "fault"),
    [(Lane, "give", lose_the_wake_up), (Lane, "give", forget), (Worker, "hand_out", hand_out_nothing)],
)
@in_virtual_time
async def test_a_silent_standstill_is_told_within_half_a_minute(
    owner: type, method: str, fault: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the cause: an error with what is known and no payload, once, and the process counts as dead."""
    broker, handler = broker_with(1), Handler()
    async with quiet_guard(drain_timeout=1.0) as guard, running(guard.run(intake(broker), handler)):
        await until(lambda: len(handler.done) == 1)
        monkeypatch.setattr(owner, method, fault)
        for _ in range(3):
            broker.produce("orders", b"secret")
        await asyncio.sleep(SOON)
        health = guard.health()
        assert (health.live, health.status) == (False, "degraded")
        assert health.reasons[0].startswith("orders[0]: ")
        await asyncio.sleep(10 * SOON)
        told = errors(caplog)
        assert len(told) == 1
        assert told[0].startswith("orders[0] stands still though nothing holds it")
        assert "secret" not in told[0]
        assert len(handler.done) == 1


@in_virtual_time
async def test_what_moves_again_is_alive_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The next look sees that it was over; the error stays in the log."""
    broker, handler = broker_with(1), Handler()
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)):
        await until(lambda: len(handler.done) == 1)
        with monkeypatch.context() as sabotage:
            sabotage.setattr(Worker, "hand_out", hand_out_nothing)
            broker.produce("orders", b"")
            await asyncio.sleep(SOON)
            assert not guard.health().live
        guard.turn()
        await asyncio.sleep(SOON)
        assert guard.health().live
        assert len(errors(caplog)) == 1


@pytest.mark.parametrize("order", ["source", "key", "none"])
@pytest.mark.parametrize("seconds", [0.0, 7.0, 100.0])
@in_virtual_time
async def test_work_is_no_standstill(order: Any, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    """Quick, slow, and slower than any look, in each order, with failures in between and a backlog behind."""
    broker, count = broker_with(0, partitions=2), 20 if seconds < 100 else 8
    done: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(seconds)
        if delivery.attempt == 1 and delivery.position % 3 == 0:
            raise Down
        done.append(delivery.position)

    for number in range(count):
        broker.produce("orders", b"", key=b"%d" % (number % 2))
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, needs=[dependency()], order=order)):
        while len(done) < count:
            await asyncio.sleep(1)
        assert guard.health().live
    assert errors(caplog) == []


@in_virtual_time
async def test_an_outage_is_no_standstill(caplog: pytest.LogCaptureFixture) -> None:
    """Held by a circuit, by an operator, in a ramp, by a backoff without any circuit: there is always a reason."""
    broker, handler, payments = broker_with(10, partitions=2), Handler(down=True), dependency()
    async with quiet_guard(payments) as guard, running(guard.run(intake(broker), handler, needs=[payments])):
        await asyncio.sleep(200)
        guard.hold(ORDER, reason="test")
        handler.down = False
        await asyncio.sleep(200)
        guard.unhold(ORDER, reason="test")
        await until(lambda: len(handler.done) == 10)
        assert guard.health().live
    assert errors(caplog) == []


def calling_twice(dependency: Dependency, seconds: float, done: list[Any]) -> Handler:
    """Return a handler whose calls take so many seconds."""

    async def call() -> None:
        await asyncio.sleep(seconds)

    async def handler(delivery: Delivery[Any]) -> None:
        await dependency.call(call)
        await dependency.call(call)
        done.append(delivery.position)

    return handler


@pytest.mark.parametrize("order", ["source", "key", "none"])
@pytest.mark.parametrize("declared", [True, False])
@in_virtual_time
async def test_a_limit_is_no_standstill(declared: bool, order: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A call in twenty seconds, and two for each message: messages and calls wait for longer than any look, declared or not."""
    slow = Dependency("payments", limits=Limits(rate=1, per=20, adaptive=False))
    broker, done = broker_with(0, partitions=3), []
    for number in range(9):
        broker.produce("orders", b"", b"%d" % number, partition=number % 3)

    needs = [slow] if declared else []
    async with quiet_guard() as guard, running(guard.run(intake(broker), calling_twice(slow, 0.01, done), needs=needs, order=order)):
        await until(lambda: len(done) == 9, 1500)
        assert guard.health().live
    assert errors(caplog) == []


@pytest.mark.parametrize("order", ["source", "key", "none"])
@pytest.mark.parametrize("kind", ["declared", "undeclared", "by key"])
@in_virtual_time
async def test_a_bulkhead_is_no_standstill(kind: str, order: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One call in flight, and it takes longer than any look: whatever waits for it has no time at which it may go on."""
    key = (lambda _: "acme") if kind == "by key" else None
    slow = Dependency("payments", limits=Limits(concurrency=1, adaptive=False), key=key)
    broker, done = broker_with(0, partitions=3), []
    for number in range(6):
        broker.produce("orders", b"", b"%d" % number, partition=number % 3)

    needs = [] if kind == "undeclared" else [slow]
    async with quiet_guard() as guard, running(guard.run(intake(broker), calling_twice(slow, 40, done), needs=needs, order=order)):
        await until(lambda: len(done) == 6, 1000)
        assert guard.health().live
    assert errors(caplog) == []


@in_virtual_time
async def test_a_loop_that_takes_its_time_is_no_standstill(caplog: pytest.LogCaptureFixture) -> None:
    """The loop form: what somebody does between two deliveries is theirs."""
    broker, done = broker_with(3), []
    async with quiet_guard() as guard, guard.deliveries(intake(broker)) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                done.append(delivery.position)
            await asyncio.sleep(100)
            if len(done) == 3:
                break
        assert guard.health().live
    assert errors(caplog) == []
