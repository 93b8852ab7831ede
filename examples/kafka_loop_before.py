"""A loop as it is often written. During an outage it crashes at its first message, is started again, and crashes again."""

import asyncio
import os
from urllib.request import urlopen

# region loop
from aiokafka import AIOKafkaConsumer

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")


async def charge(body: bytes | None) -> None:
    await asyncio.to_thread(urlopen, f"http://{PAYMENTS_HOST}/charges", body, 5)


async def main() -> None:
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=KAFKA, group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async for record in consumer:
            await charge(record.value)
            await consumer.commit()
    finally:
        await consumer.stop()


# endregion
asyncio.run(main())
