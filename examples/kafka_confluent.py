"""The worker of kafka_worker.py on confluent-kafka.

    pip install '.[confluent]'
    python examples/kafka_confluent.py

KAFKA, TOPIC and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM drains.
"""

# region imports
import asyncio
import logging
import os
from urllib.request import urlopen

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.confluent import ConfluentIntake

# endregion
# region places
KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
# endregion

# region worker
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", delivery.body, timeout=5).close()


async def main() -> None:
    settings = {"bootstrap.servers": KAFKA, "group.id": "charger", "auto.offset.reset": "earliest"}
    async with Guard() as guard:
        await guard.run(ConfluentIntake(settings, topics=[TOPIC]), charge, needs=[payments])


asyncio.run(main())
# endregion
