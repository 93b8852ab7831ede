"""Integrations and what is for tests, as a type checker sees them. Checked, and never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from typing import Any, assert_type

import httpx
from aiokafka import ConsumerRebalanceListener
from faststream import FastStream
from faststream.kafka import KafkaBroker

import holdgate
from holdgate import Delivery, Dependency, Guard
from holdgate.integrations.asgi import consuming
from holdgate.integrations.celery import CeleryGuard
from holdgate.integrations.faststream import FastStreamGuard
from holdgate.integrations.taskiq import TaskiqGuard
from holdgate.ports import Intake
from holdgate.testing import (
    Answered,
    Hung,
    LoopClock,
    MemoryBroker,
    MemoryDeadLetters,
    MemoryDelivery,
    MemoryIntake,
    Message,
    Outage,
    Rehearsal,
    ScriptedDependency,
    in_virtual_time,
    rehearse,
    rehearse_async,
    run_virtual,
)
from holdgate.testing.scripted.httpx import AsyncScriptedTransport

payments = Dependency("payments")


def names() -> None:
    """Public modules are there after a plain `import holdgate`; a misspelt name, and one of another package, is an error."""
    assert_type(holdgate.errors.SettingsError("no"), holdgate.errors.SettingsError)
    print(holdgate.core.Outcome.SUCCESS, holdgate.events.CircuitOpened, holdgate.ports.Intake)
    print(holdgate.Gaurd)  # type: ignore[attr-defined]
    print(holdgate.KafkaIntake)  # type: ignore[attr-defined]
    print(holdgate.integrations.CeleryGuard)  # type: ignore[attr-defined]


def faststream(app: FastStream, broker: KafkaBroker) -> None:
    """An app or a broker."""
    guard = FastStreamGuard(app, needs=[payments])
    assert_type(guard.guard, Guard)
    assert_type(guard.listener, ConsumerRebalanceListener)
    FastStreamGuard(broker, needs={"orders": [payments]}, timeout=30)
    FastStreamGuard(app)  # type: ignore[call-arg]


def celery(app: Any) -> None:
    """Celery has no types of its own; what a guard takes beside the app has."""
    guard = CeleryGuard(app, needs={"charge": [payments]}, consumer_timeout=1800)
    assert_type(guard.guard, Guard)
    CeleryGuard(app, needs="payments")  # type: ignore[arg-type]
    CeleryGuard(app, need={"charge": [payments]})  # type: ignore[call-arg]


def taskiq(broker: Any) -> None:
    """A list for all tasks, or a mapping by name."""
    TaskiqGuard(broker, needs=[payments])
    TaskiqGuard(broker, needs={"charge": [payments]})
    TaskiqGuard(broker, needs=payments)  # type: ignore[arg-type]


async def lifespan(intake: Intake[Any]) -> None:
    """The runs of an ASGI app are given as they are, not awaited."""
    async with Guard() as guard, consuming(guard, guard.run(intake, handler, needs=[payments])):
        pass
    async with Guard() as guard, consuming(guard, handler):  # type: ignore[arg-type]
        pass


async def handler(delivery: Delivery[Any]) -> None:
    """As in production."""


def rehearsed() -> None:
    """The report is typed, and the outages are."""
    report = rehearse(handler, needs=[payments], deliveries=[b"1", b"2"], outage=[Outage(1, 2), Outage(3, 4, fault=Hung())])
    assert_type(report, Rehearsal)
    assert_type(report.problems, tuple[str, ...])
    assert_type(report.back_after, float | None)
    Outage(1, 2, payments, Answered(503))
    Outage(1, 2, "payments")  # type: ignore[arg-type]
    rehearse(handler, needs="payments")  # type: ignore[arg-type]


async def rehearsed_async() -> None:
    """Awaited."""
    assert_type(await rehearse_async(handler, needs=[payments]), Rehearsal)


@in_virtual_time
async def virtual_test(number: int) -> str:
    await asyncio.sleep(3600)
    return str(number)


async def answer() -> bytes:
    return b""


def virtual() -> None:
    """A decorated test is a plain function with the same parameters."""
    assert_type(virtual_test(1), str)
    assert_type(run_virtual(answer()), bytes)
    virtual_test("1")  # type: ignore[arg-type]


async def memory(broker: MemoryBroker) -> None:
    """The broker in memory is an intake as any."""
    intake = MemoryIntake(broker, topics=["orders"])
    async with Guard(clock=LoopClock()) as guard:
        await guard.run(intake, handler, needs=[payments], dead_letters=MemoryDeadLetters())


def delivered(delivery: MemoryDelivery) -> None:
    """And its deliveries have its own messages."""
    assert_type(delivery.message, Message)


async def scripted() -> None:
    """Stand-ins."""
    bank = ScriptedDependency(payments)
    assert_type(bank.is_down(), bool)
    await bank.call(timeout=5)
    httpx.AsyncClient(transport=AsyncScriptedTransport(payments, lambda request: httpx.Response(201, content=request.content)))
    ScriptedDependency("payments")  # type: ignore[arg-type]
