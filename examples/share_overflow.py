"""A worker on a share group whose records go elsewhere before their last delivery, and whose poison goes to dead letters.

    pip install '.[confluent,kafka]'
    python examples/share_overflow.py

KAFKA, TOPIC, GROUP and PAYMENTS_HOST say where things are. The topics orders.overflow and orders.dead must exist.
"""

import asyncio
import os
from urllib.request import urlopen

from aiokafka import AIOKafkaProducer

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.kafka import KafkaDeadLetters
from holdgate.brokers.share import ShareIntake

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
GROUP = os.environ.get("GROUP", "orders-queue")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", delivery.body, timeout=5).close()


# region overflow
async def main() -> None:
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA, acks="all")
    overflow = KafkaDeadLetters(producer, "{topic}.overflow")
    dead_letters = KafkaDeadLetters(producer, "{topic}.dead")
    settings = {"bootstrap.servers": KAFKA, "group.id": GROUP}
    async with Guard() as guard:
        await producer.start()
        try:
            await guard.run(ShareIntake(settings, TOPIC, overflow=overflow), charge, needs=[payments], dead_letters=dead_letters)
        finally:
            await producer.stop()


# endregion

asyncio.run(main())
