"""A worker that charges each order, and holds its queue while the payment service is down.

    pip install '.[rabbitmq]'
    python examples/rabbitmq_worker.py

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM drains.
"""

# region imports
import asyncio
import logging
import os
from urllib.request import urlopen

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.rabbitmq import RabbitMQIntake

# endregion
# region places
RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
# endregion

# region worker
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", delivery.body, timeout=5).close()


async def main() -> None:
    async with Guard() as guard:
        await guard.run(RabbitMQIntake(RABBITMQ, QUEUE, declare={"x-queue-type": "quorum"}), charge, needs=[payments])


asyncio.run(main())
# endregion
