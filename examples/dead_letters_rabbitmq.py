"""A worker that charges each order; one that can never be charged goes to the queue orders.dead, and the others go on.

    pip install '.[rabbitmq]'
    python examples/dead_letters_rabbitmq.py

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are. The queue for dead letters must exist. Ctrl-C or SIGTERM drains.
"""

import asyncio
import json
import logging
import os
from urllib.request import urlopen

from holdgate import Delivery, Dependency, Guard, Reject, http
from holdgate.brokers.rabbitmq import RabbitMQDeadLetters, RabbitMQIntake

RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    try:
        order = json.loads(delivery.body or b"")
    except ValueError as error:
        raise Reject("not JSON") from error
    body = str(order["amount"]).encode()
    urlopen(f"http://{PAYMENTS_HOST}/charges", body, timeout=5).close()


# region main
async def main() -> None:
    async with Guard() as guard:
        await guard.run(
            RabbitMQIntake(RABBITMQ, QUEUE),
            charge,
            needs=[payments],
            dead_letters=RabbitMQDeadLetters(RABBITMQ),  # a connection of its own: an alarm that stops publishers stops no acknowledgement
        )


# endregion
asyncio.run(main())
