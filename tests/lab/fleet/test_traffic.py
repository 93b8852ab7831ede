"""Messages that are worked out from their numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from holdgate.flow.message import Partition, Queue
from holdgate_lab.fleet.scenario import QueueSpec, TopicSpec
from holdgate_lab.fleet.traffic import CountedLog, StreamTraffic


def logs_of(spec: TopicSpec, produced: int) -> tuple[StreamTraffic, list[CountedLog]]:
    traffic = StreamTraffic(replace(spec, backlog=produced), seed=1)
    traffic.produced = produced
    logs = [CountedLog(traffic, partition) for partition in traffic.partitions_of_topic]
    for log in logs:
        log.grow()
    return traffic, logs


def numbers(traffic: StreamTraffic, logs: list[CountedLog]) -> list[list[int]]:
    partitions = traffic.partitions_of_topic
    return [
        [traffic.number_at(partition, message.position) for message in log.read(0, 100)]
        for partition, log in zip(partitions, logs, strict=True)
    ]


def test_messages_are_dealt_to_partitions_in_turn() -> None:
    """Eleven to three."""
    assert numbers(*logs_of(TopicSpec(name="orders", partitions=3), 11)) == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]


def test_a_key_stays_in_its_partition() -> None:
    """Five keys on two partitions: the even keys here, the odd ones there, each in the order produced."""
    traffic, logs = logs_of(TopicSpec(name="orders", partitions=2, keys=5), 12)
    assert numbers(traffic, logs) == [[0, 2, 4, 5, 7, 9, 10], [1, 3, 6, 8, 11]]
    assert [traffic.facts(number).key for number in (4, 9, 11)] == [4, 4, 1]


def test_the_message_of_the_same_key_before_it() -> None:
    """Three keys live in the partition, so it is three places before."""
    traffic, _ = logs_of(TopicSpec(name="orders", partitions=2, keys=5), 12)
    assert traffic.previous_of_key(Partition("orders", 0), 3) == 0
    assert traffic.previous_of_key(Partition("orders", 0), 2) < 0


def test_offsets_have_gaps_when_they_should() -> None:
    """One offset after each message holds nothing."""
    _, (log,) = logs_of(TopicSpec(name="orders", gap=1), 3)
    assert [message.position for message in log.read(0, 10)] == [0, 2, 4]
    assert [message.position for message in log.read(1, 10)] == [2, 4]
    assert (log.end, log.count_from(1), log.count_from(6)) == (6, 2, 0)


def test_growing_tells_how_much_has_come() -> None:
    """And nothing the second time."""
    traffic, (log,) = logs_of(TopicSpec(name="orders", rate=2.0), 3)
    traffic.produced = traffic.arrived_by(2.0)
    assert (log.grow(), log.grow()) == (4, 0)


def test_a_message_knows_when_it_was_produced() -> None:
    """The backlog at the beginning, the others in even steps."""
    traffic = StreamTraffic(TopicSpec(name="orders", backlog=2, rate=4.0), seed=1)
    assert [traffic.time_of(number) for number in (1, 2, 5)] == [0.0, 0.25, 1.0]
    assert [traffic.arrived_by(now) for now in (0.0, 0.24, 0.25, 1.0)] == [2, 2, 3, 6]


def test_poison_is_named_or_drawn() -> None:
    """The share is met by chance, and is the same whoever asks first."""
    traffic = StreamTraffic(TopicSpec(name="orders", poison=(7,), poison_ratio=0.1), seed=5)
    drawn = Counter(traffic.facts(number).is_poison for number in range(10_000))
    assert traffic.facts(7).is_poison
    assert 900 < drawn[True] < 1100
    assert [traffic.facts(number).is_poison for number in range(50)] == [traffic.facts(number).is_poison for number in range(50)]


def test_a_queue_has_one_source_and_its_numbers_are_its_places() -> None:
    """No partitions."""
    traffic = StreamTraffic(QueueSpec(name="tasks", keys=2), seed=1)
    assert traffic.sources == (Queue("tasks"),)
    assert traffic.facts_at(Queue("tasks"), 3).number == 3
