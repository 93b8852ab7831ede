"""Limits in a running guard: messages that wait before their handlers, and calls in handlers that wait for a slot."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.runtime.stage import ORDERS, STEADY, assert_nothing_left, broker_with, quiet_guard, running, until

from holdgate import CallNotPermitted, Delivery, Dependency, Guard, Limits, Partition
from holdgate.errors import CommandError, SettingsError
from holdgate.events import LimitBegan, SourceHeld
from holdgate.testing import MemoryDeadLetters, MemoryIntake, in_virtual_time

FIVE_A_SECOND = Limits(rate=1, per=0.2, adaptive=False)
ONE = Limits(concurrency=1, adaptive=False)


class TooMany(Exception):
    """The service's 429."""


class Bucket:
    """A service with a token bucket: so many calls a second, and refuses the rest. Each call takes `seconds`."""

    def __init__(self, rate: float, size: float = 10.0, seconds: float = 0.02) -> None:
        self.clock = asyncio.get_running_loop().time
        self.rate, self.size, self.seconds = rate, size, seconds
        self.tokens, self.last = size, self.clock()
        self.good: list[float] = []
        self.refused = 0
        self.running = self.most = 0

    async def call(self) -> None:
        now = self.clock()
        self.tokens = min(self.size, self.tokens + (now - self.last) * self.rate)
        self.last = now
        accepted = self.tokens >= 1.0
        self.tokens -= accepted
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.seconds)
        self.running -= 1
        if not accepted:
            self.refused += 1
            raise TooMany
        self.good.append(now)


def limited(limits: Limits | None = None, name: str = "payments") -> Dependency:
    return Dependency(name, throttled=TooMany, settings=STEADY, limits=limits)


def intake(broker: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"])


@in_virtual_time
async def test_messages_go_as_fast_as_the_service_lets_them(caplog: pytest.LogCaptureFixture) -> None:
    """Ten a second, and nothing says so: all are done in little more than their time, few are refused, none is dead or has failed."""
    caplog.set_level(logging.INFO, "holdgate")
    broker, payments, service = broker_with(400, partitions=2), limited(), Bucket(10.0)
    events: list[Any] = []
    attempts: set[int] = set()
    dead = MemoryDeadLetters()

    async def handler(delivery: Delivery[Any]) -> None:
        attempts.add(delivery.attempt)
        await service.call()

    async with quiet_guard(observers=[events.append]) as guard:
        began = service.clock()
        async with running(guard.run(intake(broker), handler, needs=[payments], order="none", concurrency=16, dead_letters=dead)):
            await until(lambda: len(service.good) == 400)
            seen = guard.snapshot().dependencies["payments"].limits
            assert guard.snapshot().dependencies["payments"].failures == 0
        await assert_nothing_left(guard)

    assert max(service.good) - began < 39.0 * 1.5
    assert service.refused < 40
    assert attempts == {1}
    assert not dead.letters
    assert seen is not None
    assert seen.pace == pytest.approx(10.0, rel=0.35)
    assert [event.dependency for event in events if isinstance(event, LimitBegan)] == ["payments"]
    assert not [event for event in events if isinstance(event, SourceHeld) and "limit:payments" in event.reasons]
    said = next(line for line in caplog.messages if line.startswith("payments lets "))
    assert re.fullmatch(r"payments lets \S+/s through \(TooMany\); [123]\d\d wait, about \d+\.\d s", said), said


@in_virtual_time
async def test_a_rate_that_is_set_refuses_nothing() -> None:
    """The service is never asked too much."""
    broker, service = broker_with(30), Bucket(5.0, size=2.0)
    payments = limited(FIVE_A_SECOND)

    async def handler(_: Delivery[Any]) -> None:
        await service.call()

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, needs=[payments], order="none", concurrency=8)):
        await until(lambda: len(service.good) == 30)
    assert service.refused == 0


async def by_call(payments: Dependency, service: Bucket) -> None:
    await payments.call(service.call)


async def by_block(payments: Dependency, service: Bucket) -> None:
    async with payments.calling():
        await service.call()


async def by_guarded(payments: Dependency, service: Bucket) -> None:
    await payments.guarded(service.call)()


FORMS = [by_call, by_block, by_guarded]


@pytest.mark.parametrize("form", FORMS)
@in_virtual_time
async def test_each_call_of_a_handler_takes_a_slot(form: Callable[[Dependency, Bucket], Awaitable[None]]) -> None:
    """Three calls for each message: the later ones wait in the handler, and no handler begins twice."""
    broker, service = broker_with(10), Bucket(5.0, size=2.0)
    payments = limited(FIVE_A_SECOND)
    begun: list[int] = []
    done: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        begun.append(delivery.position)
        for _ in range(3):
            await form(payments, service)
        done.append(delivery.position)

    async with quiet_guard() as guard:
        async with running(guard.run(intake(broker), handler, needs=[payments], order="none", concurrency=4)):
            await until(lambda: len(done) == 10)
        await assert_nothing_left(guard)
    assert (service.refused, len(service.good)) == (0, 30)
    assert sorted(begun) == list(range(10))


@in_virtual_time
async def test_a_bulkhead_of_one_is_no_dead_end_for_two_calls() -> None:
    """The first call gives its slot back when it ends, and not with its handler."""
    broker, service, payments = broker_with(6), Bucket(1000.0, size=1000.0), limited(ONE)
    done: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        await payments.call(service.call)
        await payments.call(service.call)
        done.append(delivery.position)

    async with quiet_guard() as guard:
        async with running(guard.run(intake(broker), handler, needs=[payments], order="none", concurrency=3)):
            await until(lambda: len(done) == 6)
        await assert_nothing_left(guard)
    assert service.most == 1


async def test_a_plain_handler_waits_in_its_thread() -> None:
    """Nothing else could hold its place. Each handler calls twice, and one call runs at a time."""
    broker, payments = broker_with(8), limited(ONE)
    running_now: list[int] = []
    most: list[int] = []
    done: list[int] = []

    def call() -> None:
        running_now.append(1)
        most.append(len(running_now))
        running_now.pop()

    def handler(delivery: Delivery[Any]) -> None:
        payments.call_sync(call)
        payments.call_sync(call)
        done.append(delivery.position)

    async with Guard(signals=False) as guard, running(guard.run(intake(broker), handler, needs=[payments], order="none", concurrency=4)):
        async with asyncio.timeout(60):
            while len(done) < 8:
                await asyncio.sleep(0.005)
    assert max(most) == 1
    assert sorted(done) == list(range(8))


@in_virtual_time
async def test_an_undeclared_call_waits_for_a_moment_and_then_before_its_handler() -> None:
    """For a token of a second in the handler; for one of two minutes its message waits, and its lane is free."""
    broker, mail = broker_with(2), limited(Limits(rate=1, per=120.0, adaptive=False), "mail")
    begun: list[int] = []
    done: list[int] = []
    refusals: list[float | None] = []

    async def send() -> None:
        return

    async def handler(delivery: Delivery[Any]) -> None:
        begun.append(delivery.position)
        try:
            await mail.call(send)
        except CallNotPermitted as refused:
            refusals.append(refused.retry_at)
            raise
        done.append(delivery.position)

    async with quiet_guard(mail) as guard, running(guard.run(intake(broker), handler, order="none", concurrency=2)):
        await until(lambda: len(refusals) == 1)
        await asyncio.sleep(60.0)
        assert begun == [0, 1]
        await until(lambda: len(done) == 2, seconds=200.0)
        assert begun == [0, 1, 1]
        assert refusals[0] is not None


@in_virtual_time
async def test_a_call_that_waits_ends_with_its_handler() -> None:
    """The guard's timeout cuts the wait, and the slot that was kept for it is free again."""
    broker, payments = broker_with(1), limited(Limits(rate=1, per=3600.0, adaptive=False))
    ended: list[str] = []

    async def send() -> None:
        return

    async def handler(_: Delivery[Any]) -> None:
        await payments.call(send)
        try:
            await payments.call(send)
        except asyncio.CancelledError:
            ended.append("cut")
            raise

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, needs=[payments], timeout=10.0)):
        await until(lambda: ended == ["cut"])
        assert guard.circuit("payments").limits.waiting == 0


@in_virtual_time
async def test_limits_can_be_changed_in_a_running_guard() -> None:
    """What waits goes on by the new ones."""
    broker, payments = broker_with(20), limited(Limits(rate=1, per=3600.0, adaptive=False))
    done: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        done.append(delivery.position)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, needs=[payments], order="none", concurrency=4)):
        await until(lambda: len(done) == 1)
        await asyncio.sleep(10.0)
        assert guard.snapshot().sources[ORDERS[0]].reasons == ("limit:payments",)
        guard.set_limits("payments", None)
        await until(lambda: len(done) == 20)
        with pytest.raises(CommandError):
            guard.set_limits("mail", None)
        with pytest.raises(SettingsError, match="limits must be Limits"):
            guard.set_limits("payments", 5)  # type: ignore[arg-type]


def test_limits_must_be_limits() -> None:
    """A number alone does not say of what."""
    with pytest.raises(SettingsError, match="limits must be Limits, got 10"):
        Dependency("payments", limits=10)  # type: ignore[arg-type]
    assert isinstance(Guard(), Guard)


@pytest.mark.parametrize(("calls", "order"), [(1, "source"), (2, "source"), (2, "key")])
@in_virtual_time
async def test_calls_of_one_source_starve_no_message_of_another(calls: int, order: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has declared what the handler calls. A message that was refused waits, the others of its source behind it, and another
    source calls again and again: they take turns, and nothing is said to stand still."""
    broker, payments, service, done = broker_with(0, partitions=4), limited(), Bucket(10.0), dict.fromkeys(range(4), 0)
    for number in range(1200):
        broker.produce("orders", b"", b"%d" % (number % 12), partition=number % 4)
    idle_for, clock = dict.fromkeys(range(4), 0.0), service.clock
    last = dict.fromkeys(range(4), clock())

    async def handler(delivery: Delivery[Any]) -> None:
        for _ in range(calls):
            await payments.call(service.call)
        assert isinstance(delivery.source, Partition)
        number = delivery.source.number
        done[number] += 1
        idle_for[number], last[number] = max(idle_for[number], clock() - last[number]), clock()

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, order=order)):
        await asyncio.sleep(100)

    assert max(idle_for.values()) < 6.0
    assert min(done.values()) > max(done.values()) / 1.5
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
