"""The web app with two workers, under a real uvicorn, on a real Kafka and a real RabbitMQ: its requests, an outage, and its stop."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.examples.payments import Payments
from tests.frameworks.workers import PATIENCE, FrameworkWorker, worker
from tests.servers.kafka_address import KafkaAddress
from tests.servers.ports import release_port, reserve_port
from tests.servers.rabbitmq_address import RabbitMQAddress

GROUP = "charger"
ORDERS = [b"order %d" % number for number in range(8)]
REFUNDS = [b"refund %d" % number for number in range(8)]
SIGTERM = -15  # uvicorn raises it again when all is done


class App:
    """The app under way."""

    def __init__(self, running: FrameworkWorker, port: int) -> None:
        self.running = running
        self._port = port

    async def open(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Begin a request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"GET %s HTTP/1.1\r\nHost: my.example\r\nConnection: close\r\n\r\n" % path.encode())
        return reader, writer

    async def health(self) -> str:
        """Ask how the workers are."""
        reader, writer = await self.open("/healthz")
        answer = await reader.read()
        writer.close()
        return str(json.loads(answer.partition(b"\r\n\r\n")[2])["status"])


@asynccontextmanager
async def app(python: str, module: str, **where: str) -> AsyncIterator[App]:
    """Start it, and wait until it is up."""
    port = reserve_port()
    arguments = ("-m", "uvicorn", module, "--port", str(port), "--timeout-graceful-shutdown", "2")
    async with worker(Path(python), *arguments, **where) as running:
        await running.until(lambda: "Application startup complete" in running.log)
        yield App(running, port)
    release_port(port)


@dataclass(frozen=True)
class Brokers:
    """Where orders and refunds come from."""

    kafka: KafkaAddress
    topic: str
    rabbitmq: RabbitMQAddress
    queue: str


async def play(python: str, module: str, brokers: Brokers) -> None:
    """Let it work, hold through an outage, answer requests meanwhile, and end by SIGTERM with one open; the next one does the rest."""
    kafka, orders, rabbitmq, refunds = brokers.kafka, brokers.topic, brokers.rabbitmq, brokers.queue
    async with Payments() as payments:
        where = {"KAFKA": kafka.bootstrap, "TOPIC": orders, "RABBITMQ": rabbitmq.url, "QUEUE": refunds, "PAYMENTS_HOST": payments.host}
        async with app(python, module, **where) as first:
            await kafka.produce(orders, ORDERS[:4])
            await rabbitmq.publish(refunds, REFUNDS[:4])
            await first.running.until(lambda: len(payments.charged) == 8)
            assert await first.health() == "ok"
            payments.is_up = False
            await kafka.produce(orders, ORDERS[4:])
            await rabbitmq.publish(refunds, REFUNDS[4:])
            await first.running.until(lambda: payments.refused >= 5)
            async with asyncio.timeout(PATIENCE):  # the worker hears of the refusal after the service has counted it
                while await first.health() != "degraded":
                    await asyncio.sleep(0.05)
            stream, writer = await first.open("/ticks")
            await stream.readuntil(b"tick")
            assert await first.running.terminate() == SIGTERM
            writer.close()
            assert "handlers were cut off" not in first.running.log
        assert await kafka.committed(GROUP, orders) == {0: 4}
        payments.is_up = True
        async with app(python, module, **where) as second:
            await second.running.until(lambda: len(payments.charged) == 16)
            assert sorted(payments.charged) == sorted(ORDERS + REFUNDS)
            assert await second.running.terminate() == SIGTERM
        assert await kafka.committed(GROUP, orders) == {0: 8}
    assert await rabbitmq.waiting_once_free(refunds) == []


async def test_a_starlette_app_works_holds_and_ends_on_kafka_and_rabbitmq(
    kafka: KafkaAddress, topic: Callable[..., Awaitable[str]], rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]]
) -> None:
    """Nothing is lost or done twice, and a stream that does not end keeps neither the workers nor the app."""
    await play(sys.executable, "examples.asgi_app:app", Brokers(kafka, await topic(), rabbitmq, await queue()))
