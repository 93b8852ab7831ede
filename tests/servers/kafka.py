"""A Kafka of our own, one broker or a cluster, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.servers.guardian import guardian
from tests.servers.kafka_address import KafkaAddress
from tests.servers.kafka_archive import archive_of, to_be_made
from tests.servers.kafka_broker import JVM, BrokerPorts, KafkaBroker
from tests.servers.kafka_jars import classpath
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# 2.7 s for one broker on a quiet machine; a cluster on two cores that other tests load needs much more.
START_TIMEOUT = 120.0
BETWEEN_LOOKS = 0.1


class KafkaServer(KafkaAddress):
    """A cluster of `brokers` (default one), with `settings` over the quick ones; `version` None: what HOLDGATE_TEST_KAFKA_VERSION says.

    `async with` starts it and removes it; or `start()` and `close()`. Between them `stop()`, `kill()` and `start()` as often as wanted:
    data and ports stay. Raises Unavailable on making when Kafka cannot be had here.
    """

    def __init__(self, brokers: int = 1, settings: Mapping[str, str] | None = None, version: str | None = None) -> None:
        jars = classpath(version)
        self._version = version
        self._archive = archive_of(jars, JVM)
        self._ports = [BrokerPorts.reserve() for _ in range(brokers)]
        self._folder = Path(tempfile.mkdtemp(prefix="holdgate-kafka-"))
        guardian.watch_folder(self._folder)
        self.brokers: Sequence[KafkaBroker] = [
            KafkaBroker(number, self._ports, self._folder / str(number), jars, settings or {}) for number in range(1, brokers + 1)
        ]
        self._is_formatted = False
        super().__init__(",".join(broker.address for broker in self.brokers))

    @property
    def proxied_bootstrap(self) -> str:
        """The address of clients that go through the `proxies`."""
        return ",".join(f"127.0.0.1:{ports.proxy}" for ports in self._ports)

    def proxies(self) -> list[Proxy]:
        """A new Proxy before each broker, not started: they belong to the event loop of one test."""
        return [Proxy(("127.0.0.1", ports.behind_proxy), port=ports.proxy) for ports in self._ports]

    async def start(self) -> None:
        """Start the brokers that do not run, and return when all of them answer. Raises RuntimeError with the log of one that does not."""
        if not self._is_formatted:
            await self._make_archive()
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            await asyncio.gather(*(asyncio.to_thread(broker.format, cluster_id) for broker in self.brokers))
            self._is_formatted = True
        for broker in self.brokers:
            broker.launch()
        await self._wait_until_up()

    async def stop(self) -> None:
        """End all brokers in order. Data and ports stay for a `start()`."""
        await asyncio.gather(*(broker.stop() for broker in self.brokers))

    def kill(self) -> None:
        """End all brokers at once, with kill -9. Data and ports stay for a `start()`."""
        for broker in self.brokers:
            broker.kill()

    async def restart(self) -> None:
        """Stop in order and start again, with the same data on the same ports."""
        await self.stop()
        await self.start()

    async def close(self) -> None:
        """End everything, remove the folders, give the ports back."""
        # Nobody will read the data: an orderly stop would only take seconds.
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        for ports in self._ports:
            ports.release()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _make_archive(self) -> None:
        # Once on a machine: another broker starts, does a little, and ends in order, which is when its JVM writes the archive.
        with to_be_made(self._archive) as path:
            if path is not None:
                first = KafkaServer(version=self._version)
                first.brokers[0].archives_to = path
                async with first:
                    await first.create_topic("first", 1)
                    await first.stop()

    async def _wait_until_up(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                for broker in self.brokers:
                    await self._wait_for_port(broker)
                while await self.count_brokers() < len(self.brokers):
                    await asyncio.sleep(BETWEEN_LOOKS)
        except TimeoutError:
            words = "\n".join(broker.last_words() for broker in self.brokers)
            raise RuntimeError(f"Kafka was not up within {START_TIMEOUT} s:\n{words}") from None

    async def _wait_for_port(self, broker: KafkaBroker) -> None:
        while True:
            if not broker.is_running:
                raise RuntimeError(f"Kafka broker {broker.number} ended while it started:\n{broker.last_words()}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", broker.ports.client)
            except OSError:
                await asyncio.sleep(BETWEEN_LOOKS)
            else:
                writer.close()
                await writer.wait_closed()
                return
