"""A worker whose intake a settings file describes, on a real broker."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

import holdgate
from holdgate import Delivery, Guard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.kafka_address import KafkaAddress

    from holdgate.config import Settings

# make test-lowest has the oldest client that the demo allows, which has no asyncio consumer.
pytestmark = pytest.mark.skipif(find_spec("confluent_kafka.aio") is None, reason="needs a confluent-kafka with an asyncio consumer")
PATIENCE = 60.0
BODIES = [b"1", b"2", b"3"]


def loaded(folder: Path, text: str, **environment: str) -> Settings:
    """What a file with this text says."""
    file = folder / "holdgate.toml"
    file.write_text(text, encoding="utf-8")
    return holdgate.load(file, environment=environment)


@asynccontextmanager
async def handled(settings: Settings) -> AsyncIterator[list[bytes]]:
    """A guard that runs `[intakes.orders]`, and what its handler has got."""
    got: list[bytes] = []

    async def handle(delivery: Delivery[Any]) -> None:
        got.append(delivery.body or b"")

    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(settings.intake("orders"), handle))
        yield got
        await guard.stop()
        await run


async def until_all(got: list[bytes]) -> None:
    """Wait until each is handled."""
    async with asyncio.timeout(PATIENCE):
        while sorted(got) != BODIES:
            await asyncio.sleep(0.05)


async def test_the_consumer_of_a_file_reads_and_commits(kafka: KafkaAddress, topic: Any, tmp_path: Path) -> None:
    """The broker's address and the group come from the environment, as where a container runs."""
    name, group = await topic(), f"group-{uuid.uuid4().hex[:8]}"
    await kafka.produce(name, BODIES, partition=0)
    text = f"""
        [intakes.orders]
        client = "confluent"
        topics = ["{name}"]
        settings = {{ auto.offset.reset = "earliest" }}
    """
    place = "HOLDGATE__INTAKES__ORDERS__SETTINGS__"
    variables = {f"{place}BOOTSTRAP_SERVERS": kafka.bootstrap, f"{place}GROUP_ID": group}
    async with handled(loaded(tmp_path, text, **variables)) as got:
        await until_all(got)
    assert await kafka.committed(group, name) == {0: 3}


async def test_the_share_group_of_a_file_is_read(share_kafka: KafkaAddress, topic: Any, tmp_path: Path) -> None:
    """As a queue: each record is handled once."""
    from tests.brokers.share.groups import ShareGroups  # noqa: PLC0415 - where the client has no share consumer, it cannot be imported

    name = await topic()
    groups = ShareGroups(share_kafka.bootstrap)
    group = await groups.create()
    await share_kafka.produce(name, BODIES)
    text = f"""
        [intakes.orders]
        client = "share"
        topics = ["{name}"]

        [intakes.orders.settings]
        bootstrap.servers = "{share_kafka.bootstrap}"
        group.id = "{group}"
    """
    async with handled(loaded(tmp_path, text)) as got:
        await until_all(got)
    assert await groups.drain(group, name) == {}
    await groups.close()
