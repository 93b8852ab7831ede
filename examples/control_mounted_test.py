"""A test of yours: the control plane as a part of a web app that you have, here one of FastAPI."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from holdgate import Delivery, Dependency, Guard
from holdgate.control import Control
from holdgate.testing import MemoryBroker, MemoryIntake

broker = MemoryBroker(topics={"orders": 1})
payments = Dependency("payments", failures=ConnectionError)


async def charge(delivery: Delivery) -> None: ...


# region app
control = Control()  # it does not listen: the app's own server does


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # The server of the app takes SIGTERM and ends the lifespan; so the guard leaves the signal alone.
    async with Guard(control=control, signals=False) as guard:
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), charge, needs=[payments]))
        yield
        await guard.stop()
        await run


app = FastAPI(lifespan=lifespan)
app.mount("/holdgate", control.app)
# endregion


@app.get("/")
async def home() -> str:
    return "my own page"


async def answer_to(path: str) -> int:
    """Call the app as a server does."""
    sent: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            sent.append(int(str(message["status"])))

    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "query_string": b"", "headers": [(b"host", b"my.example")]}
    await app(scope, receive, send)
    return sent[0]


async def test_the_worker_answers_under_a_path_of_the_app() -> None:
    async with app.router.lifespan_context(app):
        while await answer_to("/holdgate/readyz") != 200:  # noqa: ASYNC110 - in memory that is a step or two
            await asyncio.sleep(0)
        assert await answer_to("/holdgate/status") == 200
        assert await answer_to("/") == 200
