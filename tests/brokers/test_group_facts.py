"""What would hurt a consumer group in an outage, by the facts."""

from __future__ import annotations

import math
from typing import Any

from holdgate.brokers.group_facts import PartitionFacts, TopicFacts, diagnose, from_milliseconds

DAY = 86400.0


def texts(*partitions: PartitionFacts, offsets_kept: float | None = None, **topic: Any) -> list[str]:
    return [each.text for each in diagnose("charger", [TopicFacts("orders", partitions, **topic)], offsets_kept)]


def partition(committed: int | None = 5, age: float | None = None, **more: int) -> PartitionFacts:
    return PartitionFacts(**{"number": 0, "begin": 0, "end": 10, **more}, committed=committed, oldest_age=age)


def test_a_topic_that_outlasts_any_outage_needs_no_word() -> None:
    """A week, as Kafka's default; or without end."""
    assert texts(partition(age=60.0), retention=7 * DAY, offsets_kept=7 * DAY) == []
    assert texts(partition()) == []


def test_what_was_deleted_unprocessed_is_named() -> None:
    """With its range: it is lost."""
    (text,) = texts(partition(committed=5, begin=8))
    assert text.startswith("retention has deleted offsets 5 to 7 of partition 0 before they were processed")


def test_a_topic_that_forgets_over_a_weekend_is_named() -> None:
    """And one whose oldest waiting record is soon deleted, with how soon."""
    assert texts(partition(), retention=DAY) == [
        "records are kept for 24 hours, so an outage over a weekend loses some: raise retention.ms to 3 days or more"
    ]
    (text,) = texts(partition(age=5 * DAY), partition(age=60.0), retention=7 * DAY)
    assert text.startswith("the oldest record that group 'charger' has not processed is 5 days old, and records are kept for 7 days: it is")
    assert "deleted in 2 days" in text
    assert "deleted in 0 hours" in texts(partition(age=9 * DAY), retention=7 * DAY)[0]


def test_deletion_by_size_and_by_key_are_named() -> None:
    """Both take what a hold keeps waiting."""
    assert texts(partition(), retention_bytes=1000)[0].startswith("retention.bytes=1000 deletes by size, too")
    assert texts(partition(), compacted=True)[0].startswith("it is compacted")


def test_a_group_that_begins_anew_is_named() -> None:
    """Where there are records that it might skip; and one whose offsets the broker forgets too soon."""
    (text,) = texts(partition(None), partition(None, end=0), partition())
    assert text.startswith("group 'charger' has committed nothing in 1 of 3 partitions that have records")
    (text,) = texts(partition(), offsets_kept=DAY)
    assert text.startswith("the broker forgets the offsets of a group that has had no member for 24 hours")


def test_no_limit_is_for_ever() -> None:
    """As the broker says it: -1."""
    assert (from_milliseconds("-1"), from_milliseconds(None), from_milliseconds("60000")) == (math.inf, math.inf, 60.0)
