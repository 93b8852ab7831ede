"""A RabbitMQ of our own, one private node on 127.0.0.1, in any of the versions that Debian has."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.request import Request, urlopen

from tests.servers.freezing import wait_until_frozen
from tests.servers.guardian import guardian
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq_address import RabbitMQAddress
from tests.servers.rabbitmq_install import BIN, Installation, install
from tests.servers.rabbitmq_settings import ADVANCED, PASSWORD, NodePorts, configuration, environment

# 8 s on a quiet machine; other tests may have the two cores.
START_TIMEOUT = 180.0
STOP_TIMEOUT = 60.0
BETWEEN_LOOKS = 0.1


class RabbitMQServer(RabbitMQAddress):
    """A node of `version` ("3.10", "4.0", "4.3"; None: the machine's own), with `settings` (of rabbitmq.conf) over the quick ones.

    `async with` starts it and removes it; or `start()` and `close()`. Between them `stop()`, `kill()` and `start()` as often as wanted:
    data and ports stay. Raises Unavailable on making when RabbitMQ cannot be had here.
    """

    def __init__(self, version: str | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._installation: Installation = install(version)
        self._ports = NodePorts.reserve()
        self._folder = Path(tempfile.mkdtemp(prefix="holdgate-rabbitmq-"))
        guardian.watch_folder(self._folder)
        self._environment = environment(self._ports, self._installation.seen(self._folder))
        self._process: subprocess.Popen[bytes] | None = None
        self._names: subprocess.Popen[bytes] | None = None
        self._write("rabbitmq.conf", configuration(self._ports, settings or {}))
        self._write("advanced.config", ADVANCED)
        self._write("enabled_plugins", "[rabbitmq_management].\n")
        super().__init__(
            f"amqp://guest:{PASSWORD}@127.0.0.1:{self._ports.client}/",
            version=self._installation.version,
            management_url=f"http://guest:{PASSWORD}@127.0.0.1:{self._ports.management}",
        )

    @property
    def is_running(self) -> bool:
        """Whether its process runs; a frozen one does."""
        return self._process is not None and self._process.poll() is None

    def proxy(self) -> Proxy:
        """A new Proxy before the node, not started: it belongs to the event loop of one test."""
        return Proxy(("127.0.0.1", self._ports.client))

    def url_through(self, proxy: Proxy) -> str:
        """The address of clients that go through `proxy`, which has been started."""
        return self.url.replace(str(self._ports.client), str(proxy.port))

    async def start(self) -> None:
        """Start the node, and return when it answers. Raises RuntimeError with its log when it does not."""
        if not self.is_running:
            self._launch()
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not (await self._listens() and await self.answers()):
                    if not self.is_running:
                        raise RuntimeError(f"RabbitMQ ended while it started:\n{self.last_words()}")
                    await asyncio.sleep(BETWEEN_LOOKS)
        except TimeoutError:
            raise RuntimeError(f"RabbitMQ was not up within {START_TIMEOUT} s:\n{self.last_words()}") from None

    async def stop(self) -> None:
        """End it in order (SIGTERM). Data and ports stay for a `start()`."""
        if self._process is None:
            return
        self.thaw()
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, STOP_TIMEOUT)
        self._ended()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would. Data and ports stay for a `start()`.

        A quorum queue that is younger than about three seconds does not survive it: its member comes back without a term, and never
        votes.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._ended()

    async def restart(self) -> None:
        """Stop in order and start again, with the same data on the same ports."""
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and nobody answers. Returns when it has stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            wait_until_frozen(self._process.pid)

    def thaw(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def empty(self) -> None:
        """Remove all queues, exchanges and policies, by making the virtual host anew."""
        for method, what, value in (
            ("DELETE", "vhosts/%2F", None),
            ("PUT", "vhosts/%2F", {}),
            ("PUT", "permissions/%2F/guest", {"configure": ".*", "write": ".*", "read": ".*"}),
        ):
            await asyncio.to_thread(self._manage, method, what, value)

    async def close(self) -> None:
        """End everything, remove the folder, give the ports back."""
        # Nobody will read the data: an orderly stop would only take seconds.
        self.kill()
        if self._names is not None:
            self._names.kill()
            self._names.wait()
            guardian.process_ended(self._names.pid)
            self._names = None
        shutil.rmtree(self._folder, ignore_errors=True)
        self._ports.release()

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl and return what it says; a second or two. Raises RuntimeError with its words when it fails."""
        command = self._installation.command([str(BIN / "rabbitmqctl"), "--quiet", *arguments], self._folder)
        process = await asyncio.create_subprocess_exec(
            *command, env=self._environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)} failed: {output.decode(errors='replace')[-1000:]}")
        return output.decode()

    async def let_in(self, name: str, *patterns: str) -> str:
        """Let a user in with these permissions (configure, write, read; without them in no virtual host), and return the address for it.

        By the management API: each rabbitmqctl takes the processor for a second.
        """
        await asyncio.to_thread(self._manage, "PUT", f"users/{name}", {"password": PASSWORD, "tags": ""})
        if patterns:
            permissions = dict(zip(("configure", "write", "read"), patterns, strict=True))
            await asyncio.to_thread(self._manage, "PUT", f"permissions/%2F/{name}", permissions)
        return self.as_user(name, PASSWORD)

    async def remove_user(self, name: str) -> None:
        """Delete a user, with the permissions."""
        await asyncio.to_thread(self._manage, "DELETE", f"users/{name}")

    def _manage(self, method: str, what: str, value: Mapping[str, str] | None = None) -> None:
        credentials = base64.b64encode(f"guest:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self._ports.management}/api/{what}"
        content = None if value is None else json.dumps(value).encode()
        with urlopen(Request(url, content, headers, method=method), timeout=STOP_TIMEOUT):
            pass

    def last_words(self) -> str:
        """The end of its log."""
        log = self._folder / "server.log"
        return log.read_text(errors="replace")[-3000:] if log.exists() else "no log"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _listens(self) -> bool:
        # Asked first without a client, which would log every refusal.
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._ports.client)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    def _launch(self) -> None:
        if self._names is None:
            # Started here, or the node would start one that outlives it.
            self._names = self._start(["epmd"])
        self._process = self._start([str(BIN / "rabbitmq-server")])

    def _start(self, program: list[str]) -> subprocess.Popen[bytes]:
        command = self._installation.command(program, self._folder)
        with (self._folder / "server.log").open("ab") as log:
            # A session of its own: Ctrl-C in the terminal must reach the tests first, and the node only by them.
            # In its folder: a node that is killed at the wrong moment writes what it knew where it stands.
            process = subprocess.Popen(command, env=self._environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True)
        guardian.watch_process(process.pid)
        return process

    def _ended(self) -> None:
        if self._process is not None:
            guardian.process_ended(self._process.pid)
            # What a killed node started for itself (its child setup, its memory monitor) is in the same session.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process = None

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)
