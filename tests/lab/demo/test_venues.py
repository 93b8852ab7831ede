from __future__ import annotations

import asyncio
import sys

import aiokafka
import pytest

from holdgate.errors import MissingExtra, SettingsError
from holdgate_lab.demo.scenario import KINDS, ORDERS, PARTITIONS, RECEIPTS
from holdgate_lab.demo.venues import NAIVE, EmbeddedKafka, Feed, KafkaVenue, MemoryVenue, Place, behind, counting_listener, venue_for


def test_each_kind_of_broker_has_its_venue() -> None:
    """The three forms of --broker."""
    kinds = [type(venue_for(broker)) for broker in ("memory", "embedded", "localhost:9092", "[::1]:9092,other:9093")]
    assert kinds == [MemoryVenue, KafkaVenue, KafkaVenue, KafkaVenue]


def test_any_other_broker_is_refused() -> None:
    """With the forms that exist."""
    with pytest.raises(SettingsError, match="memory, embedded nor an address"):
        venue_for("rabbit")


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
    assert sum(venue.committed(NAIVE).values()) == 8


def test_what_a_group_has_passed_it_will_never_get() -> None:
    """Committed past two of three unsettled messages: two are lost, the third merely waits."""
    places = [Place(ORDERS, 0, offset) for offset in range(1, 4)]
    assert behind(places, {(ORDERS, 0): 3}) == 2


def test_without_a_commit_nothing_is_lost() -> None:
    """A partition that the group has committed nothing for comes again from its start."""
    assert behind([Place(ORDERS, 0, 0)], {}) == 0


async def test_what_was_taken_and_not_settled_is_lost_to_the_group(venue: MemoryVenue, feed: Feed) -> None:
    """By the offset that the broker in memory has."""
    places = [await venue.produce(ORDERS, number) for number in range(8)]
    await feed.take(8)
    await feed.commit()
    assert await venue.lost(NAIVE, places[:2]) == 2


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


async def test_without_aiokafka_the_venue_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact command, before a broker is looked for."""
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    with pytest.raises(MissingExtra, match=r'pip install "holdgate\[demo\]"'):
        await KafkaVenue("localhost:1").open()


def test_on_a_broker_of_somebody_else_the_topics_belong_to_one_run() -> None:
    """Two demos at once, or one on a broker with a topic called orders, do not meet."""
    first, second = KafkaVenue("localhost:9092"), KafkaVenue("localhost:9092")
    assert first.topic(ORDERS) != second.topic(ORDERS)
    assert first.topic(ORDERS).startswith("holdgate-demo-")


async def test_closing_kafka_without_having_opened_it_is_fine() -> None:
    """An interrupted start has nothing to close."""
    venue = KafkaVenue("localhost:9092")
    await venue.close()
    assert venue.topic(ORDERS)


async def test_the_first_assignment_is_no_rebalance_and_every_other_one_is() -> None:
    """A group that hands out its partitions three times has rebalanced twice; what is revoked counts for nothing."""
    rebalances: list[str] = []
    listener = counting_listener(aiokafka, lambda: rebalances.append("rebalance"))
    counts = []
    for _ in range(3):
        await listener.on_partitions_revoked(set())
        await listener.on_partitions_assigned(set())
        counts.append(len(rebalances))
    assert counts == [0, 1, 2]
    assert isinstance(listener, aiokafka.ConsumerRebalanceListener)


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
        lost = await venue.lost(NAIVE, [place])
    finally:
        await venue.close()
    assert [(record.kind, record.number) for record in records] == [(ORDERS, 7)]
    assert place == Place(ORDERS, place.partition, 0)
    assert place.partition in range(PARTITIONS)
    assert (committed[ORDERS, place.partition], lost) == (1, 1)
    assert feed.rebalances == 0


def test_without_confluent_kafka_the_embedded_broker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact command, as for every missing extra."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(MissingExtra, match=r'pip install "holdgate\[demo\]"'):
        EmbeddedKafka().open()


def test_closing_the_embedded_kafka_is_fine_at_any_time() -> None:
    """Never opened, or twice."""
    embedded = EmbeddedKafka()
    embedded.close()
    address = embedded.open()
    embedded.close()
    embedded.close()
    assert address.startswith("127.0.0.1:")
