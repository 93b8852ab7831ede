"""The real intake passes the cases that every intake must pass, on both queue types and with a single active consumer."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.flow.message import Queue
from holdgate.testing.conformance import Capability, IntakeCase, cases_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tests.servers.proxy import Proxy
    from tests.servers.rabbitmq import RabbitMQServer

    from holdgate.flow.message import Source

pytestmark = pytest.mark.versions

CAPABILITIES: frozenset[Capability] = frozenset({"loss", "prefetch", "reject", "batches"})

KINDS: Mapping[str, Mapping[str, Any]] = {
    "classic": {},
    "quorum": QUORUM,
    "classic-single-active": SINGLE_ACTIVE,
    "quorum-single-active": {**QUORUM, **SINGLE_ACTIVE},
}


class RabbitMQBed:
    """Two queues of their own."""

    capabilities = CAPABILITIES
    patience = 60.0
    quiet = 0.5  # five polls, hundreds of round trips

    def __init__(self, rabbitmq: RabbitMQServer, proxy: Proxy, queues: Sequence[str], *, single_active: bool) -> None:
        self.sources: Sequence[Source] = [Queue(name) for name in queues]
        self._rabbitmq = rabbitmq
        self._proxy = proxy
        self._single_active = single_active or None
        self._open: list[RabbitMQIntake] = []

    def intake(self, *, inbox: int = 50) -> RabbitMQIntake:
        return self._make(*(source.name for source in self.sources), prefetch=inbox)

    def stranger(self) -> RabbitMQIntake:
        return self._make(f"nowhere-{uuid.uuid4().hex}")

    async def produce(self, source: Source, bodies: Sequence[bytes]) -> None:
        await self._rabbitmq.publish(source.name, bodies)

    async def left(self, source: Source) -> Sequence[bytes]:
        return [message.body for message in await self._rabbitmq.waiting_once_free(source.name)]

    async def join(self) -> None:
        raise NotImplementedError

    async def leave(self) -> None:
        raise NotImplementedError

    async def cut(self) -> None:
        """Every connection breaks, as by a network fault; the client notices at once, and comes back."""
        self._proxy.reset()

    def _make(self, *names: str, **settings: Any) -> RabbitMQIntake:
        url = f"{self._rabbitmq.url_through(self._proxy)}?reconnect_interval=0.2"
        self._open.append(RabbitMQIntake(url, *names, single_active=self._single_active, **settings))
        return self._open[-1]


@pytest.fixture(params=KINDS)
async def bed(own_rabbitmq: RabbitMQServer, request: pytest.FixtureRequest) -> AsyncIterator[RabbitMQBed]:
    arguments = KINDS[request.param]
    names = [await own_rabbitmq.declare(f"conformance-{uuid.uuid4().hex}", arguments) for _ in range(2)]
    async with own_rabbitmq.proxy() as proxy:
        made = RabbitMQBed(own_rabbitmq, proxy, names, single_active="single-active" in request.param)
        yield made
        for intake in made._open:
            await intake.close()
    for name in names:
        await own_rabbitmq.delete(name)


@pytest.mark.parametrize("case", cases_for(CAPABILITIES), ids=str)
async def test_rabbitmq(case: IntakeCase, bed: RabbitMQBed) -> None:
    """Each case on fresh queues of a real broker."""
    await case(bed)
