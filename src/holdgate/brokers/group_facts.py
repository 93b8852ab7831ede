"""A consumer group and its topics as the broker shows them, and what of that would hurt in an outage, before there is one.

What a consumer's own settings would do wrong is refused when its run starts. This looks at what is outside of the process: whether a topic
keeps its records for as long as a hold may last, and from where a group would go on. `holdgate doctor` shows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_HOUR, _DAY = 3600.0, 86400.0
# An outage that begins on Friday evening and is dealt with on Monday morning, and some hours to drain what waits.
_LONG_HOLD = 3 * _DAY


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Something that would hurt in an outage.

    `about` is a topic, a group, or the broker's address. `text` says why, and the remedy. `refused` says whether a run could not start.
    `cost` says whether it is what an outage costs without a guard (group_costs.py), and no defect.
    """

    about: str
    text: str
    refused: bool
    cost: bool = False


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """One partition: where its log begins and ends, and what the group has committed.

    `committed` None means that the group has committed nothing. `oldest_age` is the age of the first record that is not processed, in
    seconds; None means that there is none, or that it is unknown.
    """

    number: int
    begin: int
    end: int
    committed: int | None
    oldest_age: float | None = None


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """One topic: its partitions, and how long it keeps records. `retention` is in seconds, infinite without a limit.

    `retention_bytes` None means that size deletes nothing. `compacted` says whether older records of a key are deleted.
    """

    name: str
    partitions: tuple[PartitionFacts, ...]
    retention: float = math.inf
    retention_bytes: int | None = None
    compacted: bool = False

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, str], partitions: tuple[PartitionFacts, ...] = ()) -> TopicFacts:
        """Return a topic by its settings as the broker names them. Those that are missing are taken as the broker's usual ones."""
        deletes = "delete" in settings.get("cleanup.policy", "delete")
        return cls(
            name,
            partitions,
            retention=from_milliseconds(settings.get("retention.ms")) if deletes else math.inf,
            retention_bytes=size if deletes and (size := int(settings.get("retention.bytes") or -1)) >= 0 else None,
            compacted="compact" in settings.get("cleanup.policy", ""),
        )


def diagnose(group: str, topics: Sequence[TopicFacts], offsets_kept: float | None, *, reset: str = "auto_offset_reset") -> list[Diagnosis]:
    """Return what would hurt, by the facts.

    `offsets_kept` is for how many seconds a group without members keeps its offsets; None means that this is unknown. `reset` is what the
    client calls the setting that says where a group without offsets begins.
    """
    found: list[Diagnosis] = []
    for topic in topics:
        found += [Diagnosis(topic.name, text, refused=False) for text in _of_topic(group, topic, reset)]
    if offsets_kept is not None and offsets_kept < _LONG_HOLD:
        text = (
            f"the broker forgets the offsets of a group that has had no member for {_lasting(offsets_kept)}: workers that are down for "
            "longer begin anew. Raise offsets.retention.minutes"
        )
        found.append(Diagnosis(group, text, refused=False))
    return found


def _of_topic(group: str, topic: TopicFacts, reset: str) -> list[str]:
    texts = [_lost(each) for each in topic.partitions if each.committed is not None and each.committed < each.begin]
    ages = [each.oldest_age for each in topic.partitions if each.oldest_age is not None]
    left = topic.retention - max(ages, default=0.0)
    if ages and left < topic.retention / 2:
        texts.append(
            f"the oldest record that group {group!r} has not processed is {_lasting(max(ages))} old, and records are kept for "
            f"{_lasting(topic.retention)}: it is deleted in {_lasting(max(0.0, left))}. Raise retention.ms, or process it before"
        )
    elif topic.retention < _LONG_HOLD:
        texts.append(
            f"records are kept for {_lasting(topic.retention)}, so an outage over a weekend loses some: raise retention.ms to "
            f"{_lasting(_LONG_HOLD)} or more"
        )
    if topic.retention_bytes is not None:
        texts.append(
            f"retention.bytes={topic.retention_bytes} deletes by size, too: what comes in while a partition is held may push out what "
            "waits. Set it to -1, or see that it has room for the longest outage"
        )
    if topic.compacted:
        texts.append(
            "it is compacted: of a key that changes during a hold only the last record is processed. Is that enough for the handler?"
        )
    unknown = [each.number for each in topic.partitions if each.committed is None and each.end > each.begin]
    if unknown:
        texts.append(
            f"group {group!r} has committed nothing in {len(unknown)} of {len(topic.partitions)} partitions that have records: with "
            f"{reset}='latest' these would be skipped. Use 'earliest', or commit where it should begin"
        )
    return texts


def _lost(partition: PartitionFacts) -> str:
    return (
        f"retention has deleted offsets {partition.committed} to {partition.begin - 1} of partition {partition.number} before they were "
        "processed: they are lost. Raise retention.ms above the longest outage"
    )


def _lasting(seconds: float) -> str:
    if seconds >= 2 * _DAY:
        return f"{seconds / _DAY:.3g} days"
    return f"{seconds / _HOUR:.3g} hours"


def from_milliseconds(text: str | None) -> float:
    """Return a broker's setting in seconds, infinite for -1 or where there is none."""
    value = int(text) if text is not None else -1
    return math.inf if value < 0 else value / 1000
