"""The handler of rabbitmq_handler_before.py behind a guard, which acks: `message.process()` has to go."""

import asyncio
import os
from urllib.request import urlopen

# region worker
import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from holdgate import Dependency, Guard, http
from holdgate.brokers.rabbitmq import RabbitMQIntake

RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


async def on_order(message: AbstractIncomingMessage) -> None:
    await asyncio.to_thread(urlopen, f"http://{PAYMENTS_HOST}/charges", message.body, 5)


async def main() -> None:
    connection = await aio_pika.connect_robust(RABBITMQ)
    async with connection, Guard() as guard:
        await guard.run(RabbitMQIntake(connection, QUEUE, prefetch=10), lambda delivery: on_order(delivery.message), needs=[payments])


# endregion
asyncio.run(main())
