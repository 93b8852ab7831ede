"""A framework on its broker, for a test: how orders come to it, and how its worker is started, with the guard and without.

Without it the worker is the same program, less the line that has the guard. What becomes of the orders then is the framework's own doing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from tests.examples.payments import Payments
from tests.frameworks.workers import ROOT, FrameworkWorker, run, worker
from tests.servers.rabbitmq_address import QUORUM, RabbitMQAddress
from tests.servers.redis_server import RedisServer

MakeQueue = Callable[..., Awaitable[str]]


class Bench:
    """One framework on its broker. `start` starts a worker of a program: of its path, and of the module that it is in its folder."""

    def __init__(
        self,
        payments: Payments,
        send: Callable[[list[str]], Awaitable[None]],
        program: str,
        start: Callable[[Path, str], AbstractAsyncContextManager[FrameworkWorker]],
    ) -> None:
        self.payments = payments
        self.send = send
        self._program = ROOT / program
        self._start = start

    def worker(self) -> AbstractAsyncContextManager[FrameworkWorker]:
        """Start a worker of it."""
        return self._start(self._program, ".".join(self._program.relative_to(ROOT).with_suffix("").parts))

    def unguarded(self, folder: Path) -> AbstractAsyncContextManager[FrameworkWorker]:
        """Start a worker of the same program without its line `@guard.patient(...)`, which is written into a folder."""
        code, lines = re.subn(r"^@guard\.patient\(.*\)\n", "", self._program.read_text(), flags=re.MULTILINE)
        assert lines == 1
        program = folder / "unguarded.py"
        program.write_text(code)
        return self._start(program, program.stem)

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

        def start(program: Path, module: str) -> AbstractAsyncContextManager[FrameworkWorker]:
            folder = program.parents[module.count(".")]
            return worker(frameworks, "-m", "dramatiq", module, "--processes", "1", "--threads", "8", folder=folder, **where)

        yield Bench(
            payments, lambda orders: run(frameworks, DRAMATIQ_SEND.format(orders=orders), **where), "examples/patient_dramatiq.py", start
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
            "examples/patient_pika.py",
            lambda program, _: worker(frameworks, str(program), **where),
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
            app,
            lambda program, _: worker(frameworks, str(program), "run", **where),
        )
    await rabbitmq.delete(EVENTIQ_QUEUE)


@asynccontextmanager
async def arq(frameworks: Path, redis: RedisServer) -> AsyncIterator[Bench]:
    """arq, with ten jobs at a time."""
    async with Payments() as payments:
        where = {"REDIS_PORT": str(redis.port), "PAYMENTS_HOST": payments.host}

        def start(program: Path, module: str) -> AbstractAsyncContextManager[FrameworkWorker]:
            folder = program.parents[module.count(".")]
            return worker(frameworks, "-m", "arq", f"{module}.WorkerSettings", folder=folder, **where)

        yield Bench(payments, lambda orders: run(frameworks, ARQ_SEND.format(orders=orders), **where), "examples/patient_arq.py", start)


def orders(first: int, last: int) -> list[str]:
    return [f"order {number}" for number in range(first, last + 1)]
