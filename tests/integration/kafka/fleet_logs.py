"""The logs of fleets in the fault runs: each is frozen, killed and wiped while the broker that the workers consume from goes on."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis_server import RedisServer

from holdgate.cli.fleet.places import log_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.kafka import KafkaServer


class LogInTrouble(Protocol):
    """One log. `url` is where workers find it, and `through` where those find it whose way to it `proxy` cuts."""

    url: str
    through: str
    proxy: Proxy

    def freeze(self) -> None:
        """Connected, and nobody answers."""
        ...

    def thaw(self) -> None: ...

    async def kill(self) -> None:
        """It is gone, with every connection."""
        ...

    async def start(self) -> None: ...

    async def wipe(self) -> None:
        """It is deleted with all that is in it, and made anew."""
        ...


class _OfRedis:
    def __init__(self, server: RedisServer, proxy: Proxy) -> None:
        self._server, self.proxy = server, proxy
        self.url = f"{server.url}?key=holdgate-fleet"
        self.through = self.url.replace(str(server.port), str(proxy.port))
        self.freeze, self.thaw, self.kill, self.start = server.freeze, server.thaw, server.kill, server.start

    async def wipe(self) -> None:
        assert await self._server.ask("DEL", "holdgate-fleet") == 1  # the next record makes it


class _OfRabbitMQ:
    def __init__(self, server: RabbitMQServer, proxy: Proxy) -> None:
        self._server, self.proxy = server, proxy
        self.url, self.through = (f"{url}?stream=holdgate-fleet" for url in (server.url, server.url_through(proxy)))
        self.freeze, self.thaw, self.start = server.freeze, server.thaw, server.start

    async def kill(self) -> None:
        self._server.kill()

    async def wipe(self) -> None:
        await self._server.delete("holdgate-fleet")
        await log_at(self.url, ()).create()


class _OfKafka:
    """A topic of the workers' own broker, so that it cannot be frozen or killed: what stands before it is a proxy, for all workers."""

    def __init__(self, server: KafkaServer, proxy: Proxy) -> None:
        self._server, self.proxy = server, proxy
        self._topic = f"fleet-{uuid.uuid4().hex[:8]}"
        self.through = f"kafka://{proxy.address}/{self._topic}"
        self.url = f"kafka://{server.bootstrap}/{self._topic}"
        self.freeze, self.thaw, self.start = proxy.cut, proxy.heal, proxy.accept

    async def kill(self) -> None:
        self.proxy.refuse()
        self.proxy.reset()

    async def wipe(self) -> None:
        await self._server.delete_topic(self._topic)
        await log_at(self.url, ()).create()


@asynccontextmanager
async def log_of(kind: str, kafka: KafkaServer) -> AsyncIterator[LogInTrouble]:
    """Start the server of a log, "redis", "valkey" or "rabbitmq", or take `kafka`; and a proxy before it."""
    if kind == "kafka":
        (proxy,) = kafka.proxies()
        async with proxy:
            yield _OfKafka(kafka, proxy)
    elif kind == "rabbitmq":
        async with RabbitMQServer() as node, node.proxy() as proxy:
            yield _OfRabbitMQ(node, proxy)
    else:
        async with RedisServer(kind) as server, Proxy(("127.0.0.1", server.port)) as proxy:
            yield _OfRedis(server, proxy)
