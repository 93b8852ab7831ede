"""A loop as it is often written. During an outage it rejects one good message after the other, and its first failure ends it."""

import asyncio
import os
from urllib.request import urlopen

# region loop
import aio_pika

RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")


async def charge(body: bytes | None) -> None:
    await asyncio.to_thread(urlopen, f"http://{PAYMENTS_HOST}/charges", body, 5)


async def main() -> None:
    connection = await aio_pika.connect_robust(RABBITMQ)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        queue = await channel.get_queue(QUEUE)
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    await charge(message.body)


# endregion
asyncio.run(main())
