"""The log in a stream passes the cases that every log of a fleet must pass."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest

from holdgate.brokers.rabbitmq import RabbitMQFleetLog, fleet_log
from holdgate.testing.conformance import LogCapability, LogCase, log_cases_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers.rabbitmq import RabbitMQServer

pytestmark = pytest.mark.versions

CAPABILITIES: frozenset[LogCapability] = frozenset({"past", "absent", "permission", "wipe", "restart", "freeze"})
CASES = [case for case in log_cases_for(CAPABILITIES) if not case.requires & {"past", "restart"}]
RESTARTS = [case for case in log_cases_for(CAPABILITIES) if "restart" in case.requires]
PAST = [case for case in log_cases_for(CAPABILITIES) if "past" in case.requires]
# Seconds for the cases with old records, which must become old: what a newcomer looks back then, and how long they wait.
LOOK_BACK, OLD = 6.0, 7.5


class RabbitMQBed:
    """A stream of its own."""

    capabilities = CAPABILITIES
    patience = 60.0
    quiet = 0.5  # hundreds of round trips

    def __init__(self, server: RabbitMQServer) -> None:
        self.stream = f"fleet-{uuid.uuid4().hex[:8]}"
        self._server = server
        self.reader = server.url

    async def make(self) -> None:
        await self._server.declare(self.stream, fleet_log.STREAM)

    async def remove(self) -> None:
        await self._server.delete(self.stream)

    def log(self) -> RabbitMQFleetLog:
        return RabbitMQFleetLog(self._server.url, self.stream)

    async def store_old(self, record: bytes) -> None:
        await self._server.publish(self.stream, [record])
        await asyncio.sleep(OLD)

    def stranger(self) -> RabbitMQFleetLog:
        return RabbitMQFleetLog(self._server.url, f"nowhere-{self.stream}")

    def read_only(self) -> RabbitMQFleetLog:
        return RabbitMQFleetLog(self.reader, self.stream)

    async def wipe(self) -> None:
        await self.remove()
        await self.make()

    async def restart(self) -> None:
        await self._server.restart()

    async def freeze(self) -> None:
        self._server.freeze()

    async def thaw(self) -> None:
        self._server.thaw()


@pytest.fixture
async def bed(own_rabbitmq: RabbitMQServer) -> AsyncIterator[RabbitMQBed]:
    """A bed on the node that the tests share."""
    bed = RabbitMQBed(own_rabbitmq)
    await bed.make()
    yield bed
    await bed.remove()


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_rabbitmq(case: LogCase, bed: RabbitMQBed, let_in: Callable[..., Awaitable[str]]) -> None:
    """Each case on a stream of its own."""
    if "permission" in case.requires:
        bed.reader = await let_in("^$", "^$", ".*")
    await case(bed)


@pytest.mark.parametrize("case", RESTARTS, ids=str)
async def test_a_node_that_is_started_again(case: LogCase, fresh_rabbitmq: RabbitMQServer) -> None:
    """The cases that end the node, on one of their own."""
    bed = RabbitMQBed(fresh_rabbitmq)
    await bed.make()
    await case(bed)


@pytest.mark.slow
@pytest.mark.parametrize("case", PAST, ids=str)
async def test_old_records(case: LogCase, bed: RabbitMQBed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases with old records, which nobody can put into a stream: what a newcomer looks back is shortened."""
    monkeypatch.setattr(fleet_log, "LOOK_BACK", LOOK_BACK)
    await case(bed)
