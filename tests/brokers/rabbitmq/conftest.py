"""What the RabbitMQ tests share: intakes that come back quickly, the three kinds of queue, and what the version under test counts."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

from holdgate.brokers.rabbitmq import RabbitMQIntake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from tests.servers.rabbitmq import RabbitMQServer
    from tests.servers.rabbitmq_address import RabbitMQAddress

KINDS: Mapping[str, Mapping[str, Any]] = {
    "classic": {},
    "quorum": QUORUM,
    "classic-single-active": SINGLE_ACTIVE,
    "quorum-single-active": {**QUORUM, **SINGLE_ACTIVE},
}


class Kind:
    """One kind of queue on the broker under test."""

    def __init__(self, name: str, version: tuple[int, int]) -> None:
        self.name = name
        self.arguments = KINDS[name]
        self.single_active = "single-active" in name
        self.counts = "quorum" in name  # how often messages come back
        self.nacks = name == "quorum" and version >= (4, 3)  # they go back uncounted
        self.times_out = version < (4, 3) or self.counts

    @property
    def returned(self) -> int:
        """The x-delivery-count of a message after one give-back."""
        return 1 if self.counts and not self.nacks else 0


@pytest.fixture(params=KINDS)
async def kind(rabbitmq: RabbitMQAddress, request: pytest.FixtureRequest) -> Kind:
    """Each kind of queue in turn."""
    await rabbitmq.answers()
    major, _, minor = (rabbitmq.version or "").partition(".")
    return Kind(request.param, (int(major), int(minor)))


@pytest.fixture
async def intake(rabbitmq: RabbitMQAddress) -> AsyncIterator[Callable[..., RabbitMQIntake]]:
    """Make intakes on the shared broker, or at `url`; closed at the end.

    `heartbeat`, in seconds: with few, broker and client give each other up when one of them stands still for as long."""
    made: list[RabbitMQIntake] = []

    def make(*queues: str, url: str | None = None, heartbeat: int = 60, **settings: Any) -> RabbitMQIntake:
        made.append(RabbitMQIntake(f"{url or rabbitmq.url}?reconnect_interval=0.2&heartbeat={heartbeat}", *queues, **settings))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
async def let_in(own_rabbitmq: RabbitMQServer) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Make users with the permissions that are asked for (`RabbitMQServer.let_in`), and return their addresses.

    Each has a name of its own, and none is left: others use the node, too.
    """
    made: list[str] = []

    async def let_one_in(*patterns: str) -> str:
        made.append(f"user-{uuid.uuid4().hex[:8]}")
        return await own_rabbitmq.let_in(made[-1], *patterns)

    yield let_one_in
    for name in made:
        await own_rabbitmq.remove_user(name)
