"""A worker that charges each order of a share group, and gives its records back once while the payment service is down.

    pip install '.[confluent]'
    python examples/share_worker.py

KAFKA, TOPIC, GROUP and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM drains.
"""

# region imports
import asyncio
import logging
import os
from urllib.request import urlopen

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.share import ShareIntake

# endregion
# region places
KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
GROUP = os.environ.get("GROUP", "orders-queue")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
# endregion

# region worker
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", delivery.body, timeout=5).close()


async def main() -> None:
    async with Guard() as guard:
        intake = ShareIntake({"bootstrap.servers": KAFKA, "group.id": GROUP}, TOPIC)
        await guard.run(intake, charge, needs=[payments])


asyncio.run(main())
# endregion
