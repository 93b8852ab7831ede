"""FastStream's command line, which starts and ends processes by itself: `faststream run` with `--reload`, and with `--workers 2`.

A reload must lose no message, leave no process behind, and leave nothing held that the next process does not know of.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from tests.examples.payments import Payments
from tests.frameworks.workers import MOST_CALLS, MOST_CPU, PATIENCE, ROOT, FrameworkWorker, worker
from tests.servers.kafka_address import KafkaAddress
from tests.servers.rabbitmq_address import RabbitMQAddress

PARTITIONS = 4
CHILD = re.compile(r"Started child process \d? ?\[(\d+)\]")

pytestmark = pytest.mark.slow


class Shop:
    """An app of the examples, in a folder of its own, where it can be edited, and where its orders come from."""

    def __init__(self, python: Path, folder: Path, example: str, payments: Payments) -> None:
        self.payments = payments
        self._python = python
        self._program = folder / "shop.py"
        # Each test has a group of its own: a member that was killed is waited for by those of its group.
        self._program.write_text((ROOT / "examples" / example).read_text().replace('group_id="charger"', "group_id=TOPIC"))
        self.where: dict[str, str] = {"PAYMENTS_HOST": payments.host}
        self.has_done_all: Callable[[], Awaitable[bool]]
        self.send: Callable[[list[bytes]], Awaitable[None]]

    def run(self, *options: str) -> AbstractAsyncContextManager[FrameworkWorker]:
        """`faststream run shop:app OPTIONS`."""
        return worker(self._python, "-m", "faststream", "run", "shop:app", *options, folder=self._program.parent, **self.where)

    def edit(self) -> None:
        """Let the app name each order that it charges from now on."""
        before = self._program.read_text()
        after = before.replace('/charges", order,', '/charges", b"edited " + order,')
        assert after != before
        self._program.write_text(after)


@asynccontextmanager
async def on_kafka(frameworks: Path, folder: Path, kafka: KafkaAddress, topic: Callable[..., Awaitable[str]]) -> AsyncIterator[Shop]:
    """Orders in four partitions."""
    orders = await topic(PARTITIONS)
    async with Payments() as payments:
        shop = Shop(frameworks, folder, "faststream_kafka.py", payments)
        shop.where |= {"KAFKA": kafka.bootstrap, "TOPIC": orders}

        async def send(bodies: list[bytes]) -> None:
            for partition in range(PARTITIONS):
                await kafka.produce(orders, bodies[partition::PARTITIONS], partition=partition)

        async def has_done_all() -> bool:
            return await kafka.committed(orders, orders) == await kafka.end_offsets(orders)

        shop.send, shop.has_done_all = send, has_done_all
        yield shop


@asynccontextmanager
async def on_rabbitmq(
    frameworks: Path, folder: Path, rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]]
) -> AsyncIterator[Shop]:
    """Orders in a queue."""
    orders = await queue()
    async with Payments() as payments:
        shop = Shop(frameworks, folder, "faststream_rabbitmq.py", payments)
        shop.where |= {"RABBITMQ": rabbitmq.url, "QUEUE": orders}

        async def has_done_all() -> bool:
            return await rabbitmq.waiting_once_free(orders) == []

        shop.send, shop.has_done_all = lambda bodies: rabbitmq.publish(orders, bodies), has_done_all
        yield shop


@pytest.fixture(params=["kafka", "rabbitmq"])
def shop(request: pytest.FixtureRequest, frameworks: Path, tmp_path: Path) -> AbstractAsyncContextManager[Shop]:
    """The app on each broker."""
    if request.param == "kafka":
        return on_kafka(frameworks, tmp_path, request.getfixturevalue("kafka"), request.getfixturevalue("topic"))
    return on_rabbitmq(frameworks, tmp_path, request.getfixturevalue("rabbitmq"), request.getfixturevalue("queue"))


def orders(first: int, last: int) -> list[bytes]:
    return [b"order %d" % number for number in range(first, last + 1)]


def edited(bodies: list[bytes]) -> list[bytes]:
    return [b"edited " + body for body in bodies]


async def leaves_nothing(app: FrameworkWorker) -> None:
    """Wait until no process of an app lives that has ended."""
    async with asyncio.timeout(PATIENCE):
        while app.left():
            await asyncio.sleep(0.05)


async def test_a_reload_in_an_outage_loses_nothing(shop: AbstractAsyncContextManager[Shop]) -> None:
    """The app is edited while it holds: the new process charges what the old one held, each order once, in every partition."""
    async with shop as bench, bench.run("--reload") as app:
        payments = bench.payments
        await bench.send(orders(1, 8))
        await app.until(lambda: len(payments.charged) == 8)
        payments.is_up = False
        await bench.send(orders(9, 40))
        await app.until(lambda: payments.refused >= 2)
        before = app.left()
        bench.edit()
        await app.until(lambda: "Process successfully reloaded" in app.log)
        refused = payments.refused
        await app.until(lambda: payments.refused >= refused + 2)  # the new process has found out, and holds
        assert len(app.left()) == len(before)
        payments.is_up = True
        await bench.send(orders(41, 48))
        await app.until(lambda: len(payments.charged) >= 48)
        assert sorted(payments.charged) == sorted(orders(1, 8) + edited(orders(9, 48)))
        assert payments.refused <= MOST_CALLS
        app.interrupt()
        assert await app.ended() in {0, 1}
        await leaves_nothing(app)
        assert await bench.has_done_all()


async def test_a_reload_in_the_middle_of_work_repeats_nothing(shop: AbstractAsyncContextManager[Shop]) -> None:
    """What runs may end, and what is done is settled before the next process begins: each order is charged once."""
    async with shop as bench, bench.run("--reload") as app:
        payments = bench.payments
        payments.seconds = 0.05
        await bench.send(orders(1, 200))
        sent = 200
        await app.until(lambda: len(payments.charged) >= 20)
        bench.edit()
        async with asyncio.timeout(PATIENCE):
            while "Process successfully reloaded" not in app.log:  # a machine may need longer for that than 200 orders take
                await bench.send(orders(sent + 1, sent + 20))
                sent += 20
                await asyncio.sleep(0.25)
        await bench.send(orders(sent + 1, sent + 20))
        sent += 20
        await app.until(lambda: len(payments.charged) >= sent)
        assert sorted(body.removeprefix(b"edited ") for body in payments.charged) == sorted(orders(1, sent))
        assert b"edited " in b"".join(payments.charged)
        assert await app.terminate() == 0
        await leaves_nothing(app)
        assert await bench.has_done_all()


async def test_two_workers_hold_and_one_is_killed(shop: AbstractAsyncContextManager[Shop]) -> None:
    """`--workers 2`, each with a guard: few calls into the outage, and no work. One is killed and comes again; nothing is lost."""
    async with shop as bench, bench.run("--workers", "2") as app:
        payments = bench.payments
        payments.retry_after = None
        await bench.send(orders(1, 40))
        await app.until(lambda: len(payments.charged) == 40)
        payments.is_up = False
        await bench.send(orders(41, 100))
        await app.until(lambda: payments.refused >= 5)
        assert await app.rest(5.0, 2 * MOST_CPU) < 2 * MOST_CPU
        first, second = (int(pid) for pid in CHILD.findall(app.log))
        os.kill(first, signal.SIGKILL)
        await app.until(lambda: len(CHILD.findall(app.log)) == 3)
        assert second in app.left()
        payments.is_up = True
        await app.until(lambda: len(payments.charged) >= 100)
        assert sorted(payments.charged) == sorted(orders(1, 100))
        assert payments.refused <= 3 * MOST_CALLS  # each of the three has found out by itself
        assert await app.terminate() == 0
        await leaves_nothing(app)
        assert await bench.has_done_all()
