"""One worker on both brokers, with one circuit for what both need: the worker of docker-compose.yml.

    docker compose up
    http://localhost:9099

KAFKA, TOPIC, RABBITMQ, QUEUE and PAYMENTS_HOST say where things are, PORT and LISTEN where it shows itself.
"""

import asyncio
import logging
import os
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.control import Control

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "refunds")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")
PORT = int(os.environ.get("PORT", "9099"))
LISTEN = os.environ.get("LISTEN", "127.0.0.1")  # another address needs the token

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
logging.getLogger("aiokafka").setLevel(logging.ERROR)

# region worker
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", delivery.body, timeout=5).close()


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=KAFKA, group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    queue = RabbitMQIntake(RABBITMQ, QUEUE, declare={"x-queue-type": "quorum"})
    control = Control(port=PORT, host=LISTEN, token=os.environ.get("HOLDGATE_TOKEN"))
    async with Guard(control=control) as guard, asyncio.TaskGroup() as runs:
        runs.create_task(guard.run(KafkaIntake(consumer, topics=[TOPIC]), charge, needs=[payments]))
        runs.create_task(guard.run(queue, charge, needs=[payments]))


asyncio.run(main())
# endregion
