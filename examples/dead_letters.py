"""A worker that charges each order; one that can never be charged goes to the topic orders.dead, and its partition goes on.

    pip install '.[kafka]'
    python examples/dead_letters.py

KAFKA, TOPIC and PAYMENTS_HOST say where things are. The topic for dead letters must exist. Ctrl-C or SIGTERM drains.
"""

import asyncio
import json
import logging
import os
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from holdgate import Delivery, Dependency, Guard, Reject, http
from holdgate.brokers.kafka import KafkaDeadLetters, KafkaIntake

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
logging.getLogger("aiokafka").setLevel(logging.ERROR)

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


# region worker
def charge(delivery: Delivery) -> None:
    try:
        order = json.loads(delivery.body or b"")
    except ValueError as error:
        raise Reject("not JSON") from error
    body = str(order["amount"]).encode()  # a KeyError is the message's own fault, too: rejected after five attempts
    urlopen(f"http://{PAYMENTS_HOST}/charges", body, timeout=5).close()


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=KAFKA, group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA, acks="all")
    async with Guard() as guard:
        await guard.run(
            KafkaIntake(consumer, topics=[TOPIC]),
            charge,
            needs=[payments],
            dead_letters=KafkaDeadLetters(producer),
        )


# endregion
asyncio.run(main())
