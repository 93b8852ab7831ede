"""A Celery app that charges each order, without a guard: while the payment service is down its tasks fail, and are gone.

    pip install celery
    celery -A examples.celery_before worker

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are.
"""

# region app
import os
from urllib.request import urlopen

from celery import Celery

PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

app = Celery("shop", broker=os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/"))
app.conf.task_default_queue = os.environ.get("QUEUE", "orders")


@app.task(name="shop.charge")
def charge(order: str) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order.encode(), timeout=5).close()


# endregion
