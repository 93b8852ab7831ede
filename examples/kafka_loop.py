"""The loop of kafka_loop_before.py behind a guard: a message whose charge failed comes again when the payment service is back."""

import asyncio
import os
from urllib.request import urlopen

# region loop
from aiokafka import AIOKafkaConsumer

from holdgate import Dependency, Guard, http
from holdgate.brokers.kafka import KafkaIntake

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


async def charge(body: bytes | None) -> None:
    await asyncio.to_thread(urlopen, f"http://{PAYMENTS_HOST}/charges", body, 5)


async def main() -> None:
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=KAFKA, group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with Guard() as guard, guard.deliveries(KafkaIntake(consumer), needs=[payments]) as deliveries:
            async for delivery in deliveries:
                async with delivery:
                    await charge(delivery.body)
    finally:
        await consumer.stop()


# endregion
asyncio.run(main())
