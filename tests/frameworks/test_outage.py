"""The patient form in real workers of other frameworks, on real brokers: an outage, a restart in it, and an order's own failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from tests.examples.payments import Payments
from tests.frameworks.workers import FrameworkWorker, run, worker
from tests.servers.rabbitmq_address import QUORUM, RabbitMQAddress
from tests.servers.redis_server import RedisServer

MakeQueue = Callable[..., Awaitable[str]]

# How long an outage is looked at (seconds). The circuit waits for three and a half, and then a tenth of the outage's age.
HOLD = 15.0
MOST_CALLS = 26
MOST_CPU = 0.02


class Bench:
    """One framework on its broker: how orders come to it, and how its worker is started."""

    def __init__(self, payments: Payments, send: Callable[[list[str]], Awaitable[None]], start: Callable[[], object]) -> None:
        self.payments = payments
        self.send = send
        self._start = start

    def worker(self) -> AbstractAsyncContextManager[FrameworkWorker]:
        """Start a worker of it."""
        started = self._start()
        assert isinstance(started, AbstractAsyncContextManager)
        return started

    @property
    def charged(self) -> list[str]:
        return [body.decode() for body in self.payments.charged]


EVENTIQ_QUEUE = "charger:on_order"
EVENTIQ_SEND = "import runpy, sys; sys.argv[1:] = {arguments!r}; runpy.run_path({app!r}, run_name='__main__')"
DRAMATIQ_SEND = "import sys; from examples.patient_dramatiq import charge; [charge.send(each) for each in {orders!r}]"
ARQ_SEND = """
import asyncio
from arq import create_pool
from examples.patient_arq import WorkerSettings
async def main():
    pool = await create_pool(WorkerSettings.redis_settings)
    for each in {orders!r}:
        await pool.enqueue_job("charge", each)
    await pool.aclose()
asyncio.run(main())
"""


@asynccontextmanager
async def dramatiq(frameworks: Path, rabbitmq: RabbitMQAddress, queue: MakeQueue) -> AsyncIterator[Bench]:
    """dramatiq, in one process of eight threads. It makes its own queue."""
    name = f"{await queue()}-dramatiq"
    async with Payments() as payments:
        where = {"RABBITMQ": rabbitmq.url, "QUEUE": name, "PAYMENTS_HOST": payments.host}
        yield Bench(
            payments,
            lambda orders: run(frameworks, DRAMATIQ_SEND.format(orders=orders), **where),
            lambda: worker(frameworks, "-m", "dramatiq", "examples.patient_dramatiq", "--processes", "1", "--threads", "8", **where),
        )
    for each in (name, f"{name}.DQ", f"{name}.XQ"):
        await rabbitmq.delete(each)


@asynccontextmanager
async def pika(frameworks: Path, rabbitmq: RabbitMQAddress, queue: MakeQueue) -> AsyncIterator[Bench]:
    """pika, with eight threads."""
    name = await queue(QUORUM)
    async with Payments() as payments:
        where = {"RABBITMQ": rabbitmq.url, "QUEUE": name, "PAYMENTS_HOST": payments.host}
        yield Bench(
            payments,
            lambda orders: rabbitmq.publish(name, [each.encode() for each in orders]),
            lambda: worker(frameworks, "examples/patient_pika.py", **where),
        )


@asynccontextmanager
async def eventiq(frameworks: Path, rabbitmq: RabbitMQAddress, queue: MakeQueue) -> AsyncIterator[Bench]:
    """eventiq, with eight tasks. It binds its queue when it starts, and what is sent before is lost."""
    name = await queue()
    await rabbitmq.declare(EVENTIQ_QUEUE)
    app = "tests/frameworks/eventiq_app.py"
    async with Payments() as payments:
        where = {"RABBITMQ": rabbitmq.url, "QUEUE": name, "PAYMENTS_HOST": payments.host}
        async with worker(frameworks, app, "run", **where) as first:
            await rabbitmq.becomes(EVENTIQ_QUEUE, consumers=1)
            await first.terminate()
        yield Bench(
            payments,
            lambda orders: run(frameworks, EVENTIQ_SEND.format(arguments=["send", *orders], app=app), **where),
            lambda: worker(frameworks, app, "run", **where),
        )
    await rabbitmq.delete(EVENTIQ_QUEUE)


@asynccontextmanager
async def arq(frameworks: Path, redis: RedisServer) -> AsyncIterator[Bench]:
    """arq, with ten jobs at a time."""
    async with Payments() as payments:
        where = {"REDIS_PORT": str(redis.port), "PAYMENTS_HOST": payments.host}
        yield Bench(
            payments,
            lambda orders: run(frameworks, ARQ_SEND.format(orders=orders), **where),
            lambda: worker(frameworks, "-m", "arq", "examples.patient_arq.WorkerSettings", **where),
        )


@pytest.fixture(params=["dramatiq-rabbitmq", "pika-rabbitmq", "eventiq-rabbitmq", "arq-redis"])
def framework(request: pytest.FixtureRequest, frameworks: Path) -> AbstractAsyncContextManager[Bench]:
    """Each framework in turn."""
    name = request.param.partition("-")[0]
    if name == "arq":
        return arq(frameworks, request.getfixturevalue("redis"))
    make = {"dramatiq": dramatiq, "pika": pika, "eventiq": eventiq}[name]
    return make(frameworks, request.getfixturevalue("rabbitmq"), request.getfixturevalue("queue"))


def orders(first: int, last: int) -> list[str]:
    return [f"order {number}" for number in range(first, last + 1)]


@pytest.mark.slow
async def test_an_outage_loses_nothing_and_costs_few_calls(framework: AbstractAsyncContextManager[Bench]) -> None:
    """Orders wait in the worker's threads or tasks and in the broker, nearly without work, and each is charged once afterwards."""
    async with framework as bench, bench.worker() as held:
        payments = bench.payments
        payments.retry_after = None
        await bench.send(orders(1, 5))
        await held.until(lambda: len(payments.charged) == 5)
        payments.is_up = False
        await bench.send(orders(6, 65))
        await held.until(lambda: payments.refused >= 5)
        share = await held.cpu_share(HOLD)
        print(f"calls into the outage: {payments.refused}, CPU of the held worker: {share:.2%}")
        assert payments.refused <= MOST_CALLS
        payments.is_up = True
        await held.until(lambda: len(payments.charged) >= 65)
        assert sorted(bench.charged) == sorted(orders(1, 65))
        assert share < MOST_CPU


@pytest.mark.slow
async def test_a_worker_that_is_ended_in_an_outage_leaves_its_orders_to_the_next(framework: AbstractAsyncContextManager[Bench]) -> None:
    """SIGTERM while all of its threads or tasks wait: it ends soon, and the next worker charges every order."""
    async with framework as bench:
        payments = bench.payments
        payments.is_up = False
        async with bench.worker() as held:
            await bench.send(orders(1, 12))
            await held.until(lambda: payments.refused >= 5)
            await held.terminate()
        payments.is_up = True
        async with bench.worker() as other:
            await other.until(lambda: len(payments.charged) >= 12)
            assert sorted(bench.charged) == sorted(orders(1, 12))
