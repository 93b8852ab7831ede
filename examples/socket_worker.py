"""A RabbitMQ worker that opens no port: probes and the command line reach it by a local socket.

    SOCKET=/tmp/holdgate.sock python examples/socket_worker.py
    holdgate health --socket /tmp/holdgate.sock

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM drains.
"""

import asyncio
import logging
import os
from urllib.request import urlopen

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.control import Control

RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "refunds")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")
SOCKET = os.environ.get("SOCKET", "/tmp/holdgate.sock")  # noqa: S108 - only this user may open it

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

# region worker
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def refund(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/refunds", delivery.body, timeout=5).close()


async def main() -> None:
    queue = RabbitMQIntake(RABBITMQ, QUEUE, declare={"x-queue-type": "quorum"})
    async with Guard(control=Control(socket=SOCKET)) as guard:
        await guard.run(queue, refund, needs=[payments])


asyncio.run(main())
# endregion
