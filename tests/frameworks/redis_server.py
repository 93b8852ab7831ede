"""A Redis (or Valkey) of our own, in memory alone."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Self

from tests.servers.guardian import guardian
from tests.servers.ports import release_port, reserve_port

TIMEOUT = 60.0


class RedisServer:
    """`async with` starts it on `port` of 127.0.0.1 and ends it."""

    def __init__(self, program: str) -> None:
        self.port = reserve_port()
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp"]  # noqa: S108 - it writes nothing
        self._process = subprocess.Popen([self._program, *arguments], stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - it begins in milliseconds
        guardian.watch_process(self._process.pid)
        async with asyncio.timeout(TIMEOUT):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        await asyncio.to_thread(self._process.wait)
        guardian.process_ended(self._process.pid)
        release_port(self.port)
