"""A worker of a fleet: all that share a log see an outage together, and one of them asks for all whether it is over.

    pip install '.[kafka,web]'
    holdgate fleet create kafka://localhost:9092/holdgate-fleet
    python examples/fleet_worker.py 3

The number starts so many workers, each a process of its own; without one it is a single worker. KAFKA, TOPIC, FLEET_TOPIC and
PAYMENTS_HOST say where things are. With PORT each worker has a page, the first one at this port. Ctrl-C or SIGTERM drains.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from urllib.request import urlopen

# region worker
from aiokafka import AIOKafkaConsumer

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.kafka import KafkaFleetLog, KafkaIntake
from holdgate.control import Control

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
FLEET_TOPIC = os.environ.get("FLEET_TOPIC", "holdgate-fleet")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")
PORT = os.environ.get("PORT")

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", delivery.body, timeout=5).close()


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=KAFKA, group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    log = KafkaFleetLog(bootstrap_servers=KAFKA, topic=FLEET_TOPIC)
    control = None if PORT is None else Control(port=int(PORT), token=os.environ.get("HOLDGATE_TOKEN"))
    async with Guard(fleet=log, control=control) as guard:
        await guard.run(KafkaIntake(consumer, topics=[TOPIC]), charge, needs=[payments])


# endregion


def start(count: int) -> int:
    """Start so many workers, and end with the worst of their exit codes."""
    workers = [
        subprocess.Popen([sys.executable, __file__], env={**os.environ, **({} if PORT is None else {"PORT": str(int(PORT) + number)})})  # noqa: S603 - this file
        for number in range(count)
    ]

    def pass_on(number: int, _: object) -> None:
        for worker in workers:
            worker.send_signal(number)

    signal.signal(signal.SIGINT, pass_on)
    signal.signal(signal.SIGTERM, pass_on)
    return max(abs(worker.wait()) for worker in workers)


if len(sys.argv) > 1:
    sys.exit(start(int(sys.argv[1])))
logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {os.getpid()} %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
logging.getLogger("aiokafka").setLevel(logging.ERROR)
asyncio.run(main())
