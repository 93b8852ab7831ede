"""A Kafka worker that can be asked what it holds and why, and takes an operator's commands.

HOLDGATE_TOKEN=... python examples/control_worker.py
holdgate status
"""

# region worker
import asyncio
import os
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.kafka import KafkaIntake
from holdgate.control import Control

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")
PORT = int(os.environ.get("PORT", "9099"))
LISTEN = os.environ.get("LISTEN", "127.0.0.1")  # another address needs the token

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", delivery.body, timeout=5).close()


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=KAFKA, group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    control = Control(port=PORT, host=LISTEN, token=os.environ.get("HOLDGATE_TOKEN"))
    async with Guard(control=control) as guard:
        await guard.run(KafkaIntake(consumer, topics=[TOPIC]), charge, needs=[payments])


asyncio.run(main())
# endregion
