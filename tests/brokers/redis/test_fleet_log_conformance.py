"""The log on Redis and on Valkey passes the cases that every log of a fleet must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from holdgate.brokers.redis import RedisFleetLog
from holdgate.testing.conformance import LogCapability, LogCase, log_cases_for

if TYPE_CHECKING:
    from tests.servers.redis_server import RedisServer

# Not `absent`: the server makes the stream with the first record.
CAPABILITIES: frozenset[LogCapability] = frozenset({"past", "permission", "wipe", "restart", "freeze"})
KEY = "fleet"
# Seconds of the server's clock: twice what a newcomer looks back.
OLD = 60


class RedisBed:
    """A server of its own."""

    capabilities = CAPABILITIES
    patience = 60.0
    quiet = 0.5  # hundreds of round trips

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def log(self) -> RedisFleetLog:
        return RedisFleetLog(self._server.url, KEY)

    async def store_old(self, record: bytes) -> None:
        seconds, _ = await self._server.ask("TIME")
        await self._server.ask("XADD", KEY, f"{(int(seconds) - OLD) * 1000}-0", "r", record)

    def stranger(self) -> RedisFleetLog:
        raise NotImplementedError

    def read_only(self) -> RedisFleetLog:
        return RedisFleetLog(self._server.as_user("reader"), KEY)

    async def wipe(self) -> None:
        await self._server.ask("FLUSHALL")

    async def restart(self) -> None:
        await self._server.stop()
        await self._server.start()

    async def freeze(self) -> None:
        self._server.freeze()

    async def thaw(self) -> None:
        self._server.thaw()


@pytest.fixture
async def bed(redis_server: RedisServer) -> RedisBed:
    """A bed with a user who may only read."""
    await redis_server.ask("ACL", "SETUSER", "reader", "on", ">canary-password", f"~{KEY}", "+time", "+xread", "+xrevrange")
    return RedisBed(redis_server)


@pytest.mark.parametrize("case", log_cases_for(CAPABILITIES), ids=str)
async def test_redis(case: LogCase, bed: RedisBed) -> None:
    """Each case on a server of its own."""
    await case(bed)
