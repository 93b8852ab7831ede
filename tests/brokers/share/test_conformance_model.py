"""The intake of share groups passes the cases that every intake must pass, and those of locks, on the model of a share group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.brokers.share.model import ModelBroker

from holdgate.flow.message import Queue
from holdgate.testing import run_virtual
from holdgate.testing.conformance import Capability, IntakeCase, cases_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdgate.brokers.share import ShareIntake
    from holdgate.flow.message import Source

CAPABILITIES: frozenset[Capability] = frozenset({"locks", "peek"})


class ModelBed:
    """Two topics, and a share group on each."""

    capabilities = CAPABILITIES
    sources: Sequence[Source] = (Queue("orders"), Queue("mails"))
    patience = 60.0
    quiet = 1.0
    lock = 15.0
    limit = 5

    def __init__(self) -> None:
        self.broker = ModelBroker("orders", "mails", lock=self.lock, limit=self.limit)

    def intake(self, *, inbox: int = 50) -> ShareIntake:
        return self.broker.intake("orders", "mails", in_hand=inbox)

    def stranger(self) -> ShareIntake:
        return self.broker.intake("nowhere")

    async def produce(self, source: Source, bodies: Sequence[bytes]) -> None:
        self.broker.produce(source.name, *bodies)

    async def left(self, source: Source) -> Sequence[bytes]:
        return [record.message.body or b"" for record in self.broker.groups[source.name].waiting()]

    async def deliveries(self, source: Source) -> Mapping[bytes, int]:
        return {record.message.body or b"": record.deliveries for record in self.broker.groups[source.name].waiting()}

    async def join(self) -> None:
        raise NotImplementedError

    async def leave(self) -> None:
        raise NotImplementedError

    async def cut(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("case", cases_for(CAPABILITIES), ids=str)
def test_share_group_model(case: IntakeCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each case in virtual time."""
    bed = ModelBed()
    bed.broker.install(monkeypatch)
    run_virtual(case(bed))
