"""A worker that charges each order, and holds its partitions while the payment service is down.

    pip install '.[kafka]'
    python examples/kafka_worker.py

KAFKA, TOPIC and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM drains.
"""

# region imports
import asyncio
import logging
import os
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.kafka import KafkaIntake

# endregion
# region places
KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
logging.getLogger("aiokafka").setLevel(logging.ERROR)
# endregion

# region worker
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", delivery.body, timeout=5).close()


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=KAFKA, group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    async with Guard() as guard:
        await guard.run(KafkaIntake(consumer, topics=[TOPIC]), charge, needs=[payments])


asyncio.run(main())
# endregion
