"""An examination of a consumer group and its topics: what would hurt in an outage, before there is one. `holdgate doctor kafka` shows it.

`examine` asks the broker and changes nothing: it joins no group and commits nothing. `diagnose` decides what is worth saying, by the facts
alone. What a consumer's own settings would do wrong is refused when its run starts (checks.py); this looks at what is outside of the
process: whether a topic keeps its records for as long as a hold may last, and from where a group would go on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from holdgate.brokers.kafka.costs import Membership, Traffic, of_group, of_topic
from holdgate.errors import IntakeError

# How long a person at a terminal waits before a broker counts as unreachable (seconds).
_REACH_WITHIN = 15.0
# How long to wait for the oldest record of each partition; what has not come by then is not said (seconds).
_READ_WITHIN = 5.0
_HOUR, _DAY = 3600.0, 86400.0
# An outage that begins on Friday evening and is dealt with on Monday morning, and some hours to drain what waits.
_LONG_HOLD = 3 * _DAY


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Something that would hurt in an outage.

    `about` is a topic, a group, or the broker's address. `text` says why, and the remedy. `refused` says whether a run could not start.
    `cost` says whether it is what an outage costs without a guard (costs.py), and no defect.
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


def diagnose(group: str, topics: Sequence[TopicFacts], offsets_kept: float | None) -> list[Diagnosis]:
    """Return what would hurt, by the facts. `offsets_kept`: seconds for which a group without members keeps its offsets; None: unknown."""
    found: list[Diagnosis] = []
    for topic in topics:
        found += [Diagnosis(topic.name, text, refused=False) for text in _of_topic(group, topic)]
    if offsets_kept is not None and offsets_kept < _LONG_HOLD:
        text = (
            f"the broker forgets the offsets of a group that has had no member for {_lasting(offsets_kept)}: workers that are down for "
            "longer begin anew. Raise offsets.retention.minutes"
        )
        found.append(Diagnosis(group, text, refused=False))
    return found


def _of_topic(group: str, topic: TopicFacts) -> list[str]:
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
            "auto_offset_reset='latest' these would be skipped. Use 'earliest', or commit where it should begin"
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


# -- asking ---------------------------------------------------------------------------------------------------------------------------


async def examine(
    bootstrap: str, group: str, topics: Collection[str], options: Mapping[str, Any], now: float, *, outage: float | None = None
) -> list[Diagnosis]:
    """Return everything about this group and these topics that would hurt in an outage. Nothing is joined, committed or changed.

    `topics`: empty means those in which the group has committed something. `options` are more settings of aiokafka's clients. `now` is in
    seconds since the epoch. `outage`: of how many seconds an outage is whose costs are returned too; None means that they are not.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **options)
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none", **options)
    try:
        try:
            async with asyncio.timeout(_REACH_WITHIN):
                await admin.start()
                await reader.start()
        except (KafkaError, OSError, TimeoutError) as error:
            raise IntakeError(f"no Kafka broker answers within {_REACH_WITHIN:g} s ({type(error).__name__}): check the address") from None
        return await _Examiner(admin, reader, group, now, outage).examine(topics)
    except GroupAuthorizationFailedError:
        text = f"this user is not authorised for group {group!r}: allow it Describe on the group"
        return [Diagnosis(group, text, refused=True)]
    except (IntakeError, KafkaError) as error:
        return [Diagnosis(bootstrap, str(error) or type(error).__name__, refused=True)]
    finally:
        await reader.stop()
        await admin.close()


class _Examiner:
    """Collects the facts with two clients that are started."""

    def __init__(self, admin: Any, reader: Any, group: str, now: float, outage: float | None) -> None:
        self._admin = admin
        self._reader = reader
        self._group = group
        self._now = now
        self._outage = outage

    async def examine(self, topics: Collection[str]) -> list[Diagnosis]:
        committed = await self._committed()
        names = sorted(topics or {at.topic for at in committed})
        if not names:
            text = f"group {self._group!r} has committed nothing here, so its topics are not known: name them with --topic"
            return [Diagnosis(self._group, text, refused=True)]
        existing: set[str] = set(await self._admin.list_topics())
        missing = [
            Diagnosis(name, "there is no such topic: create it, correct the name, or allow this user to describe it", refused=True)
            for name in names
            if name not in existing
        ]
        facts = [await self._topic(name, committed) for name in names if name in existing]
        costs = [] if self._outage is None else await self._costs(facts, self._outage)
        return missing + diagnose(self._group, facts, await self._offsets_kept()) + costs

    async def _costs(self, topics: Sequence[TopicFacts], outage: float) -> list[Diagnosis]:
        found = [(each.name, text) for each in topics for text in of_topic(await self._traffic(each, outage), outage)]
        found += [(self._group, text) for text in of_group(await self._membership(), outage)]
        return [Diagnosis(about, text, refused=False, cost=True) for about, text in found]

    async def _traffic(self, topic: TopicFacts, outage: float) -> Traffic:
        ages = [each.oldest_age for each in topic.partitions if each.oldest_age is not None]
        return Traffic(
            topic.name,
            await self._came(topic, outage),
            waiting=sum(max(0, each.end - max(each.committed or 0, each.begin)) for each in topic.partitions),
            oldest_age=max(ages, default=None),
            retention=topic.retention,
        )

    async def _came(self, topic: TopicFacts, outage: float) -> int | None:
        """Return how many records came in as many seconds as the outage lasts."""
        since = int((self._now - outage) * 1000)
        try:
            places: dict[Any, Any] = await self._reader.offsets_for_times(
                {TopicPartition(topic.name, each.number): since for each in topic.partitions}
            )
        except KafkaError:
            return None
        first: dict[int, int] = {at.partition: place.offset for at, place in places.items() if place is not None}
        return sum(each.end - first.get(each.number, each.end) for each in topic.partitions)

    async def _membership(self) -> Membership:
        try:
            (answer,) = await self._admin.describe_consumer_groups([self._group])
        except KafkaError:
            return Membership("unknown", None)
        error, _, state, *_, members = answer.groups[0][:6]
        # "Dead" is what the older versions of this call say of a group that they do not know.
        return Membership(state, None if error or state == "Dead" else len(members))

    async def _committed(self) -> dict[Any, int]:
        try:
            places: dict[Any, Any] = await self._admin.list_consumer_group_offsets(self._group)
        except GroupCoordinatorNotAvailableError:  # a broker without any group has nobody to ask
            return {}
        return {at: place.offset for at, place in places.items() if place.offset >= 0}

    async def _topic(self, name: str, committed: Mapping[Any, int]) -> TopicFacts:
        numbers: set[int] = self._reader.partitions_for_topic(name) or set()
        if not numbers:
            await self._reader._client.force_metadata_update()  # noqa: SLF001 - a client without a subscription has asked for none
            numbers = self._reader.partitions_for_topic(name) or set()
        places = [TopicPartition(name, number) for number in sorted(numbers)]
        begins, ends = await self._reader.beginning_offsets(places), await self._reader.end_offsets(places)
        first = {at: max(committed.get(at, begins[at]), begins[at]) for at in places}
        ages = await self._ages({at: offset for at, offset in first.items() if offset < ends[at]})
        settings = await self._settings(ConfigResourceType.TOPIC, name)
        partitions = tuple(PartitionFacts(at.partition, begins[at], ends[at], committed.get(at), ages.get(at)) for at in places)
        deletes = "delete" in settings.get("cleanup.policy", "delete")
        return TopicFacts(
            name,
            partitions,
            retention=_milliseconds(settings.get("retention.ms")) if deletes else math.inf,
            retention_bytes=size if deletes and (size := int(settings.get("retention.bytes") or -1)) >= 0 else None,
            compacted="compact" in settings.get("cleanup.policy", ""),
        )

    async def _ages(self, first: Mapping[Any, int]) -> dict[Any, float]:
        """Return how old the record at each of these places is, as far as they come in time."""
        ages: dict[Any, float] = {}
        self._reader.assign(list(first))
        for at, offset in first.items():
            self._reader.seek(at, offset)
        end = asyncio.get_running_loop().time() + _READ_WITHIN
        while len(ages) < len(first) and asyncio.get_running_loop().time() < end:
            left = [at for at in first if at not in ages]
            try:
                batches: dict[Any, list[Any]] = await self._reader.getmany(*left, timeout_ms=200, max_records=len(left))
            except TopicAuthorizationFailedError:
                break  # this user may describe the topic, and not read it: the ages stay unknown
            for at, records in batches.items():
                ages.setdefault(at, max(0.0, self._now - records[0].timestamp / 1000))
                self._reader.pause(at)
        return ages

    async def _offsets_kept(self) -> float | None:
        brokers = [broker.nodeId for broker in self._reader._client.cluster.brokers()]  # noqa: SLF001 - any one will do
        settings = await self._settings(ConfigResourceType.BROKER, str(min(brokers))) if brokers else {}
        minutes = settings.get("offsets.retention.minutes")
        return None if minutes is None else 60.0 * int(minutes)

    async def _settings(self, kind: ConfigResourceType, name: str) -> dict[str, str]:
        """Return the settings of a topic or a broker; nothing where this user may not see them."""
        try:
            answers = await self._admin.describe_configs([ConfigResource(kind, name)])
        except KafkaError:
            return {}
        return {entry[0]: entry[1] for answer in answers for resource in answer.resources for entry in resource[4] if entry[1] is not None}


def _milliseconds(text: str | None) -> float:
    value = int(text) if text is not None else -1
    return math.inf if value < 0 else value / 1000
