"""A FastStream subscriber within a FastAPI app: its router has the broker, and the guard is given that.

    pip install '.[faststream,kafka]' fastapi uvicorn
    uvicorn examples.faststream_fastapi:app

KAFKA, TOPIC and PAYMENTS_HOST say where things are.
"""

import os
from urllib.request import urlopen

# region app
from fastapi import FastAPI
from faststream import AckPolicy
from faststream.kafka.fastapi import KafkaRouter

from holdgate import Dependency, http
from holdgate.integrations.faststream import FastStreamGuard

TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

router = KafkaRouter(os.environ.get("KAFKA", "localhost:9092"))
app = FastAPI()
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
guarded = FastStreamGuard(router.broker, needs={TOPIC: [payments]})


@router.after_startup
async def begin(app: FastAPI) -> None:
    await guarded.start()


@router.on_broker_shutdown
async def drain(app: FastAPI) -> None:
    await guarded.stop()


@router.subscriber(TOPIC, group_id="charger", auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL, listener=guarded.listener)
def charge(order: bytes) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order, timeout=5).close()


app.include_router(router)
# endregion
