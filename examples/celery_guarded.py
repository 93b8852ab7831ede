"""A Celery app that charges each order, and holds its tasks while the payment service is down.

    pip install '.[celery]'
    celery -A examples.celery_guarded worker

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are.
"""

# region app
import os
from urllib.request import urlopen

from celery import Celery

from holdgate import Dependency, http
from holdgate.integrations.celery import CeleryGuard

PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

app = Celery("shop", broker=os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/"))
app.conf.task_default_queue = os.environ.get("QUEUE", "orders")
app.conf.task_acks_late = True
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
guarded = CeleryGuard(app, needs={"shop.charge": [payments]})


@app.task(name="shop.charge")
def charge(order: str) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order.encode(), timeout=5).close()


# endregion
