"""A dramatiq worker that charges each order, and waits with it while the payment service is down.

    pip install '.' 'dramatiq[rabbitmq]'
    dramatiq examples.patient_dramatiq

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM ends it; orders that wait go back.
"""

# region actor
import os
from urllib.request import urlopen

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Shutdown

from holdgate import Dependency, Guard, http
from holdgate.errors import WaitedTooLong

QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

dramatiq.set_broker(RabbitmqBroker(url=os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")))
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
guard = Guard()


def comes_again(retries: int, error: BaseException) -> bool:
    return isinstance(error, WaitedTooLong | Shutdown) or retries < 5


@dramatiq.actor(queue_name=QUEUE, time_limit=20 * 60_000, retry_when=comes_again, notify_shutdown=True)
@guard.patient(needs=[payments], wait_at_most=12 * 60)
def charge(order: str) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order.encode(), timeout=5).close()


# endregion
