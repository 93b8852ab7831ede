"""Orders for the tutorial: one a second until Ctrl-C."""

import asyncio
import os

from aiokafka import AIOKafkaProducer

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")


async def main() -> None:
    async with AIOKafkaProducer(bootstrap_servers=KAFKA) as producer:
        number = 0
        while True:
            number += 1
            await producer.send_and_wait(TOPIC, f"order {number}".encode())
            print("ordered", number, flush=True)
            await asyncio.sleep(1)


asyncio.run(main())
