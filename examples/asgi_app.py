"""A web app with two workers in its process: orders from Kafka and refunds from RabbitMQ, held while the payment service is down.

    pip install '.[kafka,rabbitmq,web]'
    uvicorn examples.asgi_app:app --timeout-graceful-shutdown 5

KAFKA, TOPIC, RABBITMQ, QUEUE and PAYMENTS_HOST say where things are. SIGTERM drains the workers, beside the app's own shutdown.
"""

# region app
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.integrations.asgi import consuming

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "refunds")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", delivery.body, timeout=5).close()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    consumer = AIOKafkaConsumer(bootstrap_servers=KAFKA, group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    async with (
        Guard() as guard,
        consuming(
            guard,
            guard.run(KafkaIntake(consumer, topics=[TOPIC]), charge, needs=[payments]),
            guard.run(RabbitMQIntake(RABBITMQ, QUEUE), charge, needs=[payments]),
        ),
    ):
        app.state.guard = guard
        yield


async def healthz(request: Request) -> JSONResponse:
    health = request.app.state.guard.health()
    return JSONResponse({"status": health.status, "reasons": health.reasons}, status_code=200 if health.live else 503)


app = Starlette(routes=[Route("/healthz", healthz)], lifespan=lifespan)


# endregion
async def ticks(request: Request) -> object:
    """Answer without an end, as a stream of events does: what makes a server wait at its stop."""
    from asyncio import sleep  # noqa: PLC0415 - for the tests alone, as all of this

    from starlette.responses import StreamingResponse  # noqa: PLC0415

    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b"tick\n"
            await sleep(0.1)

    return StreamingResponse(forever())


app.router.routes.append(Route("/ticks", ticks))
