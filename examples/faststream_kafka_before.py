"""A FastStream app that charges each order, without a guard: while the payment service is down it loses them.

    pip install 'faststream[kafka]'
    python examples/faststream_kafka_before.py

KAFKA, TOPIC and PAYMENTS_HOST say where things are. `faststream run` works as well.
"""

# region app
import asyncio
import os
from urllib.request import urlopen

from faststream import FastStream
from faststream.kafka import KafkaBroker

TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

broker = KafkaBroker(os.environ.get("KAFKA", "localhost:9092"))
app = FastStream(broker)


@broker.subscriber(TOPIC, group_id="charger", auto_offset_reset="earliest")
def charge(order: bytes) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order, timeout=5).close()


# endregion
if __name__ == "__main__":
    asyncio.run(app.run())
