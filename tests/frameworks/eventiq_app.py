"""An eventiq service that charges each order, and waits with it while the payment service is down. `send ORDER ...` publishes orders."""

import asyncio
import os
import sys
from urllib.request import urlopen

from eventiq import CloudEvent, Service
from eventiq.backends.rabbitmq import RabbitmqBroker

from holdgate import Dependency, Guard, http

QUEUE = os.environ["QUEUE"]
PAYMENTS_HOST = os.environ["PAYMENTS_HOST"]

service = Service(name="charger", broker=RabbitmqBroker(url=os.environ["RABBITMQ"], exchange_name=QUEUE))
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
guard = Guard()


def post(order: str) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order.encode(), timeout=5).close()


@guard.patient(needs=[payments], wait_at_most=12 * 60)
async def charge(order: str) -> None:
    await asyncio.to_thread(post, order)


@service.subscribe(topic="orders", timeout=20 * 60, concurrency=8)
async def on_order(message: CloudEvent) -> None:
    await charge(message.data)


async def send(orders: list[str]) -> None:
    await service.broker.connect()
    for order in orders:
        await service.publish(CloudEvent.new(order, topic="orders"))
    await service.broker.disconnect()


if __name__ == "__main__":
    asyncio.run(send(sys.argv[2:]) if sys.argv[1] == "send" else service.run())
