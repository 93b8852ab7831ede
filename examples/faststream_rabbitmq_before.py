"""A FastStream app that charges each order, without a guard: while the payment service is down it drops them.

    pip install 'faststream[rabbit]'
    python examples/faststream_rabbitmq_before.py

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are. `faststream run` works as well.
"""

# region app
import asyncio
import os
from urllib.request import urlopen

from faststream import FastStream
from faststream.rabbit import RabbitBroker, RabbitQueue

QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

broker = RabbitBroker(os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/"))
app = FastStream(broker)


@broker.subscriber(RabbitQueue(QUEUE, durable=True))
def charge(order: bytes) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order, timeout=5).close()


# endregion
if __name__ == "__main__":
    asyncio.run(app.run())
