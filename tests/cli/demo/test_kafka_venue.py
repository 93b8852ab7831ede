from __future__ import annotations

import asyncio
import sys

import pytest

from holdgate.cli.demo.kafka_venue import KafkaVenue
from holdgate.cli.demo.ledger import Place
from holdgate.cli.demo.scenario import ORDERS, PARTITIONS
from holdgate.cli.demo.venue import NAIVE
from holdgate.errors import MissingExtra


async def test_without_aiokafka_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact command, before a broker is looked for."""
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    with pytest.raises(MissingExtra, match=r'pip install "holdgate\[demo\]"'):
        await KafkaVenue("localhost:1").open()


def test_on_a_broker_of_somebody_else_the_topics_belong_to_one_run() -> None:
    """Two demos at once, or one on a broker with a topic called orders, do not meet."""
    first, second = KafkaVenue("localhost:9092"), KafkaVenue("localhost:9092")
    assert first.topic(ORDERS) != second.topic(ORDERS)
    assert first.topic(ORDERS).startswith("holdgate-demo-")


async def test_closing_it_without_having_opened_it_is_fine() -> None:
    """An interrupted start has nothing to close."""
    venue = KafkaVenue("localhost:9092")
    await venue.close()
    assert venue.topic(ORDERS)


@pytest.mark.integration
async def test_a_message_goes_through_the_embedded_broker_and_its_commit_comes_back() -> None:
    """Produced, taken by the bare client, committed, and read back as the group's offset by somebody else."""
    venue = KafkaVenue()
    try:
        await venue.open()
        place = await venue.produce(ORDERS, 7)
        feed = venue.feed()
        try:
            await feed.open()
            async with asyncio.timeout(60):
                while not (records := await feed.take(16)):
                    pass
            await feed.commit()
            await feed.bury(records[0])
        finally:
            await feed.close()
        committed = await venue.committed(NAIVE)
    finally:
        await venue.close()
    assert [(record.kind, record.number) for record in records] == [(ORDERS, 7)]
    assert place == Place(ORDERS, place.partition, 0)
    assert place.partition in range(PARTITIONS)
    assert committed[ORDERS, place.partition] == 1
    assert feed.rebalances == 0
