"""A Redis or a Valkey of our own on 127.0.0.1, for one test: to be stopped, killed, frozen and started again."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.servers.freezing import wait_until_frozen
from tests.servers.guardian import guardian
from tests.servers.ports import release_port, reserve_port
from tests.servers.redis_install import NAMES, command

# It begins in milliseconds; other tests may have the two cores.
START_TIMEOUT = 60.0
BETWEEN_LOOKS = 0.02
# Given with every URL of a user: what the product shows must not have it.
PASSWORD = "canary-password"  # noqa: S105 - of servers of ours


class RedisServer:
    """`async with` starts a "redis" or a "valkey", with further settings of its command line, and removes it with its data.

    Between them `stop()`, `kill()` and `start()` as often as wanted: the port stays, and so do the data, each command of which is on disk
    before it is answered. Raises Unavailable on making when it cannot be had here.
    """

    def __init__(self, server: str, *settings: str) -> None:
        self._command = command(server)
        self.name = NAMES[server]
        self.port = reserve_port()
        self._folder = Path(tempfile.mkdtemp(prefix=f"holdgate-{server}-"))
        guardian.watch_folder(self._folder)
        self._settings: Sequence[str] = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for the user who may do everything."""
        return f"redis://127.0.0.1:{self.port}/0"

    def as_user(self, name: str, password: str = PASSWORD) -> str:
        """The address for another user."""
        return f"redis://{name}:{password}@127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it, and return when it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        arguments += ["--save", "", "--appendonly", "yes", "--appendfsync", "always", *self._settings]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([*self._command, *arguments], stdout=log, stderr=log, start_new_session=True)  # noqa: ASYNC220 - it begins in milliseconds
        guardian.watch_process(self._process.pid)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await self._answers():
                    if self._process.poll() is not None:
                        raise RuntimeError(f"{self.name} ended while it started:\n{self._last_words()}")
                    await asyncio.sleep(BETWEEN_LOOKS)
        except TimeoutError:
            raise RuntimeError(f"{self.name} was not up within {START_TIMEOUT} s:\n{self._last_words()}") from None

    async def stop(self) -> None:
        """End it in order (SIGTERM)."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        await self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and nobody answers. Returns when it has stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            wait_until_frozen(self._process.pid)

    def thaw(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def ask(self, *words: str | bytes) -> Any:
        """Send one command on a connection of its own, and return the answer: texts as bytes. Raises RuntimeError with a refusal."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            command = [word if isinstance(word, bytes) else word.encode() for word in words]
            writer.write(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in command))
            return await _answer(reader)
        finally:
            writer.close()

    async def close(self) -> None:
        """End it, remove the folder, give the port back."""
        await self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        release_port(self.port)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def version(self) -> str:
        """Return its version, as "8.1"."""
        lines = (await self.ask("INFO", "server")).decode().splitlines()
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        return ".".join(str(facts.get("valkey_version") or facts["redis_version"]).split(".")[:2])

    async def _answers(self) -> bool:
        try:
            return bool(await self.ask("PING") == b"PONG")
        except (RuntimeError, OSError, EOFError):  # it refuses everything while it reads its data
            return False

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self.thaw()
        await asyncio.to_thread(self._process.wait)
        guardian.process_ended(self._process.pid)
        self._process = None

    def _last_words(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")[-2000:]


async def _answer(reader: asyncio.StreamReader) -> Any:
    line = (await reader.readuntil(b"\r\n"))[:-2]
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else (await reader.readexactly(int(rest) + 2))[:-2]
    if kind == b"*":
        return [await _answer(reader) for _ in range(int(rest))]
    return rest
