"""A FastStream app that charges each order, and holds its partitions while the payment service is down.

    pip install '.[faststream,kafka]'
    python examples/faststream_kafka.py

KAFKA, TOPIC and PAYMENTS_HOST say where things are. `faststream run` works as well. Ctrl-C or SIGTERM drains.
"""

# region app
import asyncio
import os
from urllib.request import urlopen

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

from holdgate import Dependency, http
from holdgate.integrations.faststream import FastStreamGuard

TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

broker = KafkaBroker(os.environ.get("KAFKA", "localhost:9092"))
app = FastStream(broker)
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
guarded = FastStreamGuard(app, needs={TOPIC: [payments]})


@broker.subscriber(TOPIC, group_id="charger", auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL, listener=guarded.listener)
def charge(order: bytes) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order, timeout=5).close()


# endregion
if __name__ == "__main__":
    asyncio.run(app.run())
