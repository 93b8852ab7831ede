"""Orders for the RabbitMQ tutorial: one a second until Ctrl-C."""

import asyncio
import os

import aio_pika

RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "orders")


async def main() -> None:
    async with await aio_pika.connect_robust(RABBITMQ) as connection:
        channel = await connection.channel()
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        number = 0
        while True:
            number += 1
            message = aio_pika.Message(f"order {number}".encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key=QUEUE)
            print("ordered", number, flush=True)
            await asyncio.sleep(1)


asyncio.run(main())
