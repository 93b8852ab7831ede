"""The Celery examples as workers of their own, on a real RabbitMQ and through a real outage: with a guard, and without."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("celery", reason="celery is not installed: pip install 'holdgate[celery]'")

from celery import Celery
from docs.generate.snippets import diff
from tests.examples.payments import Payments
from tests.frameworks.workers import worker

from examples import celery_control_test

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.rabbitmq_address import RabbitMQAddress

BEFORE = [b"order %d" % number for number in range(1, 4)]
DURING = [b"order %d" % number for number in range(4, 8)]
AFTER = [b"order 8"]


def on(rabbitmq: RabbitMQAddress, queue: str, payments: Payments) -> dict[str, str]:
    """The environment that tells an example where things are."""
    return {"RABBITMQ": rabbitmq.url, "QUEUE": queue, "PAYMENTS_HOST": payments.host}


def start(example: str) -> tuple[Any, ...]:
    """What is typed to start it, and one pool process: charges are in order then."""
    return (Path(sys.executable), "-m", "celery", "-A", f"examples.{example}", "worker", "--concurrency", "1", "-l", "WARNING")


async def send(rabbitmq: RabbitMQAddress, queue: str, orders: list[bytes]) -> None:
    """Send orders as a web process does, which is not guarded."""

    def publish() -> None:
        with Celery("web", broker=rabbitmq.url, set_as_current=False) as app:
            for order in orders:
                app.send_task("shop.charge", (order.decode(),), queue=queue)

    await asyncio.to_thread(publish)


async def test_an_outage_is_waited_out(rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]]) -> None:
    """Every order is charged once, the outage costs a call or two, and SIGTERM leaves nothing behind."""
    orders = await queue()
    async with Payments() as payments, worker(*start("celery_guarded"), **on(rabbitmq, orders, payments)) as shop:
        await send(rabbitmq, orders, BEFORE)
        await shop.until(lambda: payments.charged == BEFORE)
        payments.is_up = False
        await send(rabbitmq, orders, DURING)
        await shop.until(lambda: payments.refused >= 2)
        payments.is_up = True
        await shop.until(lambda: len(payments.charged) == len(BEFORE + DURING))
        assert sorted(payments.charged) == BEFORE + DURING
        assert payments.refused < 6  # a hot loop would have made thousands
        assert await shop.terminate() == 0
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_the_app_before_loses_orders(rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]]) -> None:
    """Which is why there is a diff: a task that fails is acked, and gone."""
    orders = await queue()
    async with Payments() as payments, worker(*start("celery_before"), **on(rabbitmq, orders, payments)) as shop:
        await send(rabbitmq, orders, BEFORE)
        await shop.until(lambda: payments.charged == BEFORE)
        payments.is_up = False
        await send(rabbitmq, orders, DURING)
        await shop.until(lambda: payments.refused == len(DURING))
        payments.is_up = True
        await send(rabbitmq, orders, AFTER)
        await shop.until(lambda: payments.charged == BEFORE + AFTER)
        assert await shop.terminate() == 0
    assert await rabbitmq.waiting_once_free(orders) == []


def test_the_test_of_an_app_with_a_control_passes() -> None:
    """The page's example of a guard of one's own."""
    celery_control_test.test_the_guard_is_there_before_a_worker_begins()


def test_an_app_needs_five_lines() -> None:
    """Imports included."""
    changed = diff("examples/celery_before.py", "examples/celery_guarded.py", "app").splitlines()
    assert len([line for line in changed if line.startswith("+") and line[1:].strip()]) == 5
    assert not [line for line in changed if line.startswith("-")]
