"""A FastStream app that charges each order, and leaves the others in the queue while the payment service is down.

    pip install '.[faststream,rabbitmq]'
    python examples/faststream_rabbitmq.py

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are. `faststream run` works as well. Ctrl-C or SIGTERM drains.
"""

# region app
import asyncio
import os
from urllib.request import urlopen

from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from holdgate import Dependency, http
from holdgate.integrations.faststream import FastStreamGuard

QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

broker = RabbitBroker(os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/"))
app = FastStream(broker)
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
guarded = FastStreamGuard(app, needs={QUEUE: [payments]})


@broker.subscriber(RabbitQueue(QUEUE, durable=True), channel=Channel(prefetch_count=50), ack_policy=AckPolicy.MANUAL)
def charge(order: bytes) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order, timeout=5).close()


# endregion
if __name__ == "__main__":
    asyncio.run(app.run())
