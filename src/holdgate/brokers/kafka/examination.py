"""An examination of a consumer group through aiokafka: `holdgate doctor kafka` shows it.

It asks the broker and changes nothing: it joins no group and commits nothing. What is worth saying of the answers is decided by
brokers/group_facts.py and brokers/group_costs.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
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

from holdgate.brokers.group_costs import Membership
from holdgate.brokers.group_examiner import GroupExaminer
from holdgate.brokers.group_facts import Diagnosis
from holdgate.errors import IntakeError

# How long a person at a terminal waits before a broker counts as unreachable (seconds).
_REACH_WITHIN = 15.0
# How long to wait for the oldest record of each partition; what has not come by then is not said (seconds).
_READ_WITHIN = 5.0


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
        return await GroupExaminer(_Answers(admin, reader, group), group, now, outage).examine(topics)
    except GroupAuthorizationFailedError:
        text = f"this user is not authorised for group {group!r}: allow it Describe on the group"
        return [Diagnosis(group, text, refused=True)]
    except (IntakeError, KafkaError) as error:
        return [Diagnosis(bootstrap, str(error) or type(error).__name__, refused=True)]
    finally:
        await reader.stop()
        await admin.close()


class _Answers:
    """Asks with two clients that are started."""

    def __init__(self, admin: Any, reader: Any, group: str) -> None:
        self._admin = admin
        self._reader = reader
        self._group = group

    async def committed(self) -> dict[Any, int]:
        try:
            places: dict[Any, Any] = await self._admin.list_consumer_group_offsets(self._group)
        except GroupCoordinatorNotAvailableError:  # a broker without any group has nobody to ask
            return {}
        return {at: place.offset for at, place in places.items() if place.offset >= 0}

    async def topics(self) -> set[str]:
        return set(await self._admin.list_topics())

    async def logs(self, topic: str) -> dict[Any, tuple[int, int]]:
        numbers: set[int] = self._reader.partitions_for_topic(topic) or set()
        if not numbers:
            await self._reader._client.force_metadata_update()  # noqa: SLF001 - a client without a subscription has asked for none
            numbers = self._reader.partitions_for_topic(topic) or set()
        places = [TopicPartition(topic, number) for number in sorted(numbers)]
        begins, ends = await self._reader.beginning_offsets(places), await self._reader.end_offsets(places)
        return {at: (begins[at], ends[at]) for at in places}

    async def ages(self, first: Mapping[Any, int], now: float) -> dict[Any, float]:
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
                ages.setdefault(at, max(0.0, now - records[0].timestamp / 1000))
                self._reader.pause(at)
        return ages

    async def offsets_since(self, places: Collection[Any], since: float) -> dict[Any, int] | None:
        try:
            found: dict[Any, Any] = await self._reader.offsets_for_times(dict.fromkeys(places, int(since * 1000)))
        except KafkaError:
            return None
        return {at: place.offset for at, place in found.items() if place is not None}

    async def membership(self) -> Membership:
        try:
            (answer,) = await self._admin.describe_consumer_groups([self._group])
        except KafkaError:
            return Membership("unknown", None)
        error, _, state, *_, members = answer.groups[0][:6]
        # "Dead" is what the older versions of this call say of a group that they do not know.
        return Membership(state, None if error or state == "Dead" else len(members))

    async def topic_settings(self, topic: str) -> dict[str, str]:
        return await self._settings(ConfigResourceType.TOPIC, topic)

    async def broker_settings(self) -> dict[str, str]:
        brokers = [broker.nodeId for broker in self._reader._client.cluster.brokers()]  # noqa: SLF001 - any one will do
        return await self._settings(ConfigResourceType.BROKER, str(min(brokers))) if brokers else {}

    async def _settings(self, kind: ConfigResourceType, name: str) -> dict[str, str]:
        try:
            answers = await self._admin.describe_configs([ConfigResource(kind, name)])
        except KafkaError:
            return {}
        return {entry[0]: entry[1] for answer in answers for resource in answer.resources for entry in resource[4] if entry[1] is not None}
