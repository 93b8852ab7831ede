"""A taskiq worker that charges each order, and holds its tasks while the payment service is down.

    pip install '.[taskiq]'
    taskiq worker examples.taskiq_app:broker --receiver holdgate.integrations.taskiq:GuardReceiver

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM ends it; tasks that wait go back.
"""

# region app
import os
from urllib.request import urlopen

from taskiq_aio_pika import AioPikaBroker, Queue

from holdgate import Dependency, http
from holdgate.integrations.taskiq import TaskiqGuard

QUEUE = os.environ.get("QUEUE", "taskiq")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

broker = AioPikaBroker(os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/"), task_queues=[Queue(name=QUEUE)])
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
TaskiqGuard(broker, needs=[payments])


@broker.task
def charge(order: str) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order.encode(), timeout=5).close()


# endregion
