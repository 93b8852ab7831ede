"""The loop of rabbitmq_loop_before.py behind a guard: a message whose charge failed comes again when the payment service is back."""

import asyncio
import os
from urllib.request import urlopen

# region loop
import aio_pika

from holdgate import Dependency, Guard, http
from holdgate.brokers.rabbitmq import RabbitMQIntake

RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


async def charge(body: bytes | None) -> None:
    await asyncio.to_thread(urlopen, f"http://{PAYMENTS_HOST}/charges", body, 5)


async def main() -> None:
    connection = await aio_pika.connect_robust(RABBITMQ)
    intake = RabbitMQIntake(connection, QUEUE, prefetch=10)
    async with connection, Guard() as guard, guard.deliveries(intake, needs=[payments]) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                await charge(delivery.body)


# endregion
asyncio.run(main())
