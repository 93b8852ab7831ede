"""A Prometheus and an Alertmanager of our own, for tests: on free ports of 127.0.0.1, with their data in a folder of the test's."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.servers.guardian import guardian
from tests.servers.ports import release_port, reserve_port

PATIENCE = 60.0  # only a failing test waits so long
BETWEEN_LOOKS = 0.2


class Server:
    """One that answers at `address`."""

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self._log = log

    async def get(self, path: str, **query: str) -> Any:
        """Return what it answers, read from JSON."""
        url = f"http://{self.address}{path}" + (f"?{urlencode(query)}" if query else "")
        with await asyncio.to_thread(urlopen, url, timeout=PATIENCE) as answer:
            return json.load(answer)

    async def query(self, expression: str) -> list[Any]:
        """Return what Prometheus finds for this expression now."""
        found = await self.get("/api/v1/query", query=expression)
        return list(found["data"]["result"])

    async def until(self, look: Callable[[], Any]) -> Any:
        """Wait until `await look()` is something true, and return it; fails with the server's log when it does not come to that."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (seen := await look()):
                    await asyncio.sleep(BETWEEN_LOOKS)
                return seen
        except TimeoutError:
            raise AssertionError(f"it does not come to that:\n{self._log.read_text()}") from None

    async def is_ready(self) -> bool:
        try:
            (await asyncio.to_thread(urlopen, f"http://{self.address}/-/ready", timeout=PATIENCE)).close()
        except (URLError, OSError):
            return False
        return True


@asynccontextmanager
async def prometheus_at(program: Path, configuration: Path, folder: Path) -> AsyncIterator[Server]:
    """Run Prometheus with this configuration."""
    async with _running([program, f"--config.file={configuration}", f"--storage.tsdb.path={folder}/data"], folder) as server:
        yield server


@asynccontextmanager
async def alertmanager_at(program: list[str], configuration: Path, folder: Path) -> AsyncIterator[Server]:
    """Run Alertmanager with this configuration, alone."""
    command = [*program, f"--config.file={configuration}", f"--storage.path={folder}/data", "--cluster.listen-address="]
    async with _running(command, folder) as server:
        yield server


@asynccontextmanager
async def _running(command: Sequence[str | Path], folder: Path) -> AsyncIterator[Server]:
    port = reserve_port()
    process, server = _start(command, folder, f"127.0.0.1:{port}")
    try:
        await server.until(server.is_ready)
        yield server
    finally:
        process.kill()
        process.wait()
        guardian.process_ended(process.pid)
        release_port(port)


def _start(command: Sequence[str | Path], folder: Path, address: str) -> tuple[subprocess.Popen[bytes], Server]:
    folder.mkdir(exist_ok=True)
    log = folder / "server.log"
    with log.open("wb") as output:
        # A session of its own: Ctrl-C in the terminal must reach the tests first, and the server only by them.
        process = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
    guardian.watch_process(process.pid)
    return process, Server(address, log)
