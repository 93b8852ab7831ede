"""A test of yours: one worker's page shows the others, too. Each has an address that the worker can reach, and the same `read_token`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from holdgate import Delivery, Dependency, Guard
from holdgate.control import Control
from holdgate.testing import MemoryBroker, MemoryIntake

TOKEN, READ_TOKEN = "only-for-commands", "only-for-reading"


async def charge(delivery: Delivery) -> None: ...


# region fleet
def control_of(peers: list[str]) -> Control:
    # They look like this: ["http://worker-2:9099", "http://worker-3:9099"]
    return Control(port=0, token=TOKEN, read_token=READ_TOKEN, peers=peers)


# endregion


@asynccontextmanager
async def worker(control: Control) -> AsyncIterator[str]:
    """Run one worker, and give its address."""
    payments = Dependency("payments", failures=ConnectionError)
    async with Guard(control=control, signals=False) as guard:
        run = asyncio.create_task(guard.run(MemoryIntake(MemoryBroker(topics={"orders": 1}), topics=["orders"]), charge, needs=[payments]))
        yield str(control.url)
        await guard.stop()
        await run


async def read(url: str, path: str) -> dict[str, list[dict[str, Any]]]:
    """Ask as any client does."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {READ_TOKEN}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def test_a_worker_knows_how_its_peers_are() -> None:
    async with worker(control_of([])) as second, worker(control_of([])) as third, worker(control_of([second, third])) as first:
        found = await read(first, "/peers")
        assert [peer["url"] for peer in found["peers"]] == [f"{second}/", f"{third}/"]
        assert all(peer["status"]["dependencies"][0]["name"] == "payments" for peer in found["peers"])
