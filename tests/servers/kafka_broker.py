"""One Kafka broker as a process of ours: started, stopped, killed and frozen; its folder and ports stay its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers.freezing import wait_until_frozen
from tests.servers.guardian import guardian
from tests.servers.kafka_archive import archive_of
from tests.servers.kafka_settings import LOG4J, properties
from tests.servers.ports import release_port, reserve_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# A small heap, and the compiler and collector that start quickest: a test's broker lives for seconds.
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
# An orderly stop moves leaders away first; 3 s was seen for one of three brokers on two busy cores.
STOP_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class BrokerPorts:
    """The four ports of a broker. Nothing of ours listens on `proxy` until a test puts a Proxy there, in front of `behind_proxy`."""

    client: int
    proxy: int
    behind_proxy: int
    controller: int

    @classmethod
    def reserve(cls) -> BrokerPorts:
        """Four ports that stay ours until released."""
        return cls(reserve_port(), reserve_port(), reserve_port(), reserve_port())

    def release(self) -> None:
        """Give them back."""
        for port in (self.client, self.proxy, self.behind_proxy, self.controller):
            release_port(port)


class KafkaBroker:
    """The broker with this number (from 1) of a cluster; `folder` is made here and removed by the cluster."""

    def __init__(self, number: int, cluster: Sequence[BrokerPorts], folder: Path, classpath: str, settings: Mapping[str, str]) -> None:
        self.number = number
        self.ports = cluster[number - 1]
        self._folder = folder
        self._classpath = classpath
        self._text = properties(number, cluster, folder, settings)
        self._process: subprocess.Popen[bytes] | None = None
        self.archives_to: Path | None = None  # where it leaves what it has loaded, when it ends in order

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"127.0.0.1:{self.ports.client}"

    @property
    def is_running(self) -> bool:
        """Whether its process runs; a frozen one does."""
        return self._process is not None and self._process.poll() is None

    def format(self, cluster_id: str) -> None:
        """Write its settings and its empty storage."""
        self._folder.mkdir()
        (self._folder / "server.properties").write_text(self._text)
        (self._folder / "log4j2.properties").write_text(LOG4J)
        # With "=": one id in sixty-four begins with a dash, and would be taken for an option.
        settings = str(self._folder / "server.properties")
        command = self._java([], "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", settings)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"Kafka broker {self.number}: formatting its storage failed: {(done.stdout + done.stderr)[-2000:]}")

    def launch(self) -> None:
        """Start the process; it is up some seconds later."""
        if self.is_running:
            return
        options = [] if self.archives_to is None else [f"-XX:ArchiveClassesAtExit={self.archives_to}"]
        command = self._java(options, "kafka.Kafka", str(self._folder / "server.properties"))
        with (self._folder / "server.log").open("ab") as log:
            # A session of its own: Ctrl-C in the terminal must reach the tests first, and the broker only by them.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        guardian.watch_process(self._process.pid)

    async def stop(self) -> None:
        """End it in order (SIGTERM): leaders move away first. Its data stays."""
        if self._process is None:
            return
        self.thaw()
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, STOP_TIMEOUT)
        self._ended()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would. Its data stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._ended()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and nobody answers. Returns when it has stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            wait_until_frozen(self._process.pid)

    def thaw(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def last_words(self) -> str:
        """The end of its log."""
        log = self._folder / "server.log"
        return log.read_text(errors="replace")[-3000:] if log.exists() else "no log"

    def _java(self, options: Sequence[str], *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"
        archive = archive_of(self._classpath, JVM)
        shared = [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []
        return ["java", *JVM, *shared, *options, log4j, "-cp", self._classpath, *arguments]

    def _ended(self) -> None:
        if self._process is not None:
            guardian.process_ended(self._process.pid)
            self._process = None
