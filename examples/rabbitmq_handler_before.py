"""A worker as it is often written. During an outage it rejects one good message after the other, and RabbitMQ drops them."""

import asyncio
import os
from urllib.request import urlopen

# region worker
import aio_pika
from aio_pika.abc import AbstractIncomingMessage

RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")


async def on_order(message: AbstractIncomingMessage) -> None:
    async with message.process():
        await asyncio.to_thread(urlopen, f"http://{PAYMENTS_HOST}/charges", message.body, 5)


async def main() -> None:
    connection = await aio_pika.connect_robust(RABBITMQ)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        queue = await channel.get_queue(QUEUE)
        await queue.consume(on_order)
        await asyncio.Future()


# endregion
asyncio.run(main())
