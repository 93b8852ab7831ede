"""The service of `benchmarks.limits_real`: a far end of the laboratory behind uvicorn, in a process of its own.

    python -m benchmarks.limits_service NAME

Takes any request, and answers it as the world of this name does. Prints the port when it listens, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

import uvicorn

from holdgate_lab.worlds.answers import HttpAnswer
from holdgate_lab.worlds.far_ends import Servers, TokenBucket, around, steady
from holdgate_lab.worlds.world import LimitedWorld, Promise

SECONDS = 90.0
# Twenty a second in each: a busy machine of two cores has a real broker, a client and a server beside it.
A_SECOND = 20

_NOTHING = Promise(goodput=0.0, waste=1.0)


def _world(name: str, teaches: str, make: Callable[[Random], Any], burst: int = 0) -> LimitedWorld:
    return LimitedWorld(name=name, teaches=teaches, seconds=SECONDS, make=make, best=lambda end: A_SECOND * end + burst, promise=_NOTHING)


SERVICES: Mapping[str, LimitedWorld] = {
    "bucket": _world(
        "bucket", "a token bucket: 20 calls a second, 429 beyond", lambda chance: TokenBucket(chance, steady(20), 20), burst=20
    ),
    "knee": _world(
        "knee",
        "8 servers of 0.4 s with a queue: more at a time only waits longer",
        lambda chance: Servers(chance, steady(8), lambda _, chance: around(chance, 0.4)),
    ),
    "cap": _world(
        "cap",
        "6 at a time, 0.3 s each, 503 beyond",
        lambda chance: Servers(chance, steady(6), lambda _, chance: around(chance, 0.3), room=0),
    ),
}

Send = Callable[[dict[str, Any]], Awaitable[None]]


def app(world: LimitedWorld) -> Callable[[dict[str, Any], Any, Send], Awaitable[None]]:
    """Return an ASGI application that asks the world's far end."""
    far_end = world.make(Random(world.name))

    async def answer(scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        given: asyncio.Future[HttpAnswer] = asyncio.get_running_loop().create_future()
        far_end.arrive(lambda each: given.done() or given.set_result(each))
        got = await given
        headers = [(name.lower().encode(), value.encode()) for name, value in got.headers.items()]
        await send({"type": "http.response.start", "status": int(got.status_code), "headers": [*headers, (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    return answer


async def serve(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app(SERVICES[name]), lifespan="off", log_level="warning", access_log=False))
        serving = asyncio.create_task(server.serve([listening]))
        print(listening.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
