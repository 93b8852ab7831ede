"""The intake of share groups passes the cases that every intake must pass, on a real broker."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from holdgate.brokers.share import ShareIntake
from holdgate.flow.message import Queue
from holdgate.testing.conformance import Capability, IntakeCase, cases_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from tests.brokers.share.groups import ShareGroups
    from tests.servers.kafka_address import KafkaAddress

    from holdgate.flow.message import Source

pytestmark = pytest.mark.versions

# Two members share each topic record by record: no source is ever revoked for another member, or lost.
CAPABILITIES: frozenset[Capability] = frozenset({"locks"})
# The most that a broker takes: `left` and `deliveries` use some up, too.
LIMIT = 10
# Long enough for a busy machine to take three messages in; the cases wait for it.
LOCK = 6.0


class ShareBed:
    """Two topics of their own, and a share group."""

    capabilities = CAPABILITIES
    patience = 60.0
    quiet = 1.0  # three heartbeats, ten polls
    lock = LOCK
    limit = LIMIT

    def __init__(self, kafka: KafkaAddress, groups: ShareGroups, group: str, topics: Sequence[str]) -> None:
        self.sources: Sequence[Source] = [Queue(topic) for topic in topics]
        self.group = group
        self.made: list[ShareIntake] = []
        self._kafka = kafka
        self._groups = groups

    def intake(self, *, inbox: int = 50) -> ShareIntake:
        return self._make(*(source.name for source in self.sources), in_hand=inbox)

    def stranger(self) -> ShareIntake:
        return self._make(f"nowhere-{uuid.uuid4().hex}")

    async def produce(self, source: Source, bodies: Sequence[bytes]) -> None:
        await self._kafka.produce(source.name, bodies)

    async def left(self, source: Source) -> Sequence[bytes]:
        return list(await self._groups.drain(self.group, source.name))

    async def deliveries(self, source: Source) -> Mapping[bytes, int]:
        return {body: count - 1 for body, count in (await self._groups.drain(self.group, source.name)).items()}

    async def join(self) -> None:
        raise NotImplementedError

    async def leave(self) -> None:
        raise NotImplementedError

    async def cut(self) -> None:
        raise NotImplementedError

    def _make(self, *topics: str, **settings: int) -> ShareIntake:
        self.made.append(ShareIntake(self._groups.settings(self.group), *topics, **settings))
        return self.made[-1]


@pytest.fixture
async def bed(share_kafka: KafkaAddress, groups: ShareGroups, share_topic: Callable[[], Awaitable[str]]) -> AsyncIterator[ShareBed]:
    made = ShareBed(share_kafka, groups, await groups.create(lock=LOCK, limit=LIMIT), [await share_topic() for _ in range(2)])
    yield made
    for intake in made.made:
        await intake.close()


CASES = [pytest.param(case, marks=pytest.mark.slow) if "locks" in case.requires else pytest.param(case) for case in cases_for(CAPABILITIES)]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_share_group(case: IntakeCase, bed: ShareBed) -> None:
    """Each case on fresh topics of a real broker."""
    await case(bed)
