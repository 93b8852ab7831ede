"""An arq worker that charges each order, and waits with it while the payment service is down.

    pip install '.' arq
    arq examples.patient_arq.WorkerSettings

REDIS_PORT and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM ends it; orders that wait go back.
"""

# region worker
import asyncio
import os
from typing import Any, ClassVar
from urllib.request import urlopen

from arq import Retry, func
from arq.connections import RedisSettings

from holdgate import Dependency, Guard, http
from holdgate.errors import WaitedTooLong

PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
guard = Guard()


def post(order: str) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order.encode(), timeout=5).close()


@guard.patient(needs=[payments], wait_at_most=20 * 60)
async def charge(order: str) -> None:
    await asyncio.to_thread(post, order)


async def charge_job(ctx: dict[str, Any], order: str) -> None:
    try:
        await charge(order)
    except WaitedTooLong as error:
        raise Retry(defer=60) from error


class WorkerSettings:
    """What arq reads."""

    functions: ClassVar = [func(charge_job, name="charge", timeout=28 * 60, max_tries=1000)]
    redis_settings = RedisSettings(port=int(os.environ.get("REDIS_PORT", "6379")))


# endregion
