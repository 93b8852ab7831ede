from __future__ import annotations

import pytest

from holdgate.cli.demo.ledger import Place
from holdgate.cli.demo.memory_venue import MemoryVenue
from holdgate.cli.demo.scenario import KINDS, ORDERS, PARTITIONS, RECEIPTS
from holdgate.cli.demo.venue import NAIVE, Feed


@pytest.fixture
async def venue() -> MemoryVenue:
    """An open venue."""
    venue = MemoryVenue()
    await venue.open()
    return venue


@pytest.fixture
async def feed(venue: MemoryVenue) -> Feed:
    """Its bare client, in the group."""
    feed = venue.feed()
    await feed.open()
    return feed


async def numbers(feed: Feed, most: int) -> list[int]:
    return [record.number for record in await feed.take(most)]


async def test_a_batch_is_never_larger_than_asked_for_and_nothing_is_skipped(venue: MemoryVenue, feed: Feed) -> None:
    """Twenty messages over all partitions in batches of at most eight: each comes once."""
    for number in range(20):
        await venue.produce(ORDERS, number)
    batches = [await numbers(feed, 8) for _ in range(4)]
    assert max(map(len, batches)) == 8
    assert sorted(number for batch in batches for number in batch) == list(range(20))


async def test_a_batch_takes_from_every_partition_in_turn(venue: MemoryVenue, feed: Feed) -> None:
    """A backlog of orders does not push all receipts out of the batches, as it would not with a fetch from several partitions."""
    for number in range(80):
        await venue.produce(ORDERS, number)
    await venue.produce(RECEIPTS, 80)
    assert [record.kind for record in await feed.take(16)].count(RECEIPTS) == 1


async def test_only_what_was_taken_is_committed(venue: MemoryVenue, feed: Feed) -> None:
    """What did not fit into the batch is still before the group."""
    for number in range(20):
        await venue.produce(ORDERS, number)
    await feed.take(8)
    await feed.commit()
    assert sum((await venue.committed(NAIVE)).values()) == 8


async def test_nothing_to_take_is_an_empty_batch(feed: Feed) -> None:
    """After a moment, as a poll that timed out."""
    assert await numbers(feed, 8) == []


async def test_a_produced_message_stands_where_it_is_said_to(venue: MemoryVenue, feed: Feed) -> None:
    """Topic, partition and offset, in the same words as on Kafka."""
    place = await venue.produce(ORDERS, 3)
    assert place == Place(ORDERS, place.partition, 0)
    assert place.partition in range(PARTITIONS)
    assert [record.kind for record in await feed.take(1)] == [ORDERS]


async def test_a_dead_letter_does_not_come_back_to_the_work(venue: MemoryVenue, feed: Feed) -> None:
    """It stands in a topic of its own."""
    await venue.produce(ORDERS, 0)
    (record,) = await feed.take(1)
    await feed.bury(record)
    assert await numbers(feed, 8) == []


def test_topics_have_the_names_of_the_work() -> None:
    """Nobody else is on this broker."""
    assert [MemoryVenue().topic(kind) for kind in KINDS] == list(KINDS)
