"""A taskiq worker whose tasks need different things."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any
from urllib.request import urlopen

from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq_aio_pika import AioPikaBroker, Queue

from holdgate import Dependency, Guard, http
from holdgate.integrations.taskiq import TaskiqGuard

logging.basicConfig(level=logging.INFO)
PAYMENTS_HOST = os.environ["PAYMENTS_HOST"]


class Ends(TaskiqMiddleware):
    """Prints how tasks end."""

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        print(f"ended: {message.args[0]} {type(result.error).__name__}", flush=True)


broker = AioPikaBroker(os.environ["RABBITMQ"], task_queues=[Queue(name=os.environ["QUEUE"])]).with_middlewares(Ends())
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def post(order: str) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order.encode(), timeout=5).close()


@broker.task("charge")
def charge(order: str) -> None:
    post(order)


@broker.task("charge_async")
async def charge_async(order: str) -> None:
    print(f"attempt at {order}", flush=True)
    if order == "bad":
        raise ValueError
    await asyncio.to_thread(post, order)


@broker.task("write_down")
async def write_down(note: str) -> None:
    print(f"written down: {note}", flush=True)


needs = {"charge": [payments], "charge_async": [payments]}
if "BARE" not in os.environ:
    TaskiqGuard(broker, needs=needs, guard=Guard(), consumer_timeout=float(os.environ.get("CONSUMER_TIMEOUT", "1800")))
