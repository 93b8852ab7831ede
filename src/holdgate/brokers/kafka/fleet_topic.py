"""The topic of a fleet's log: what it must be, how it is made, and how one that exists is compared with that.

A fleet of twenty workers writes at most some twenty records of 130 bytes a second, and reads half a minute of them. So the topic keeps ten
minutes, in two or three files of a mebibyte. Its times are the broker's: a newcomer finds the last half minute by time, and the clock of
another worker must not change what it finds.

What an existing topic has otherwise is either an obstacle (FleetLogError) or a note. Nothing of it is changed: it may be somebody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from holdgate.errors import FleetLogError

# The settings of the topic, as Kafka writes them, and why.
NEEDED: Mapping[str, str] = {
    "cleanup.policy": "delete",  # records have no key, and a compacted topic refuses those
    "message.timestamp.type": "LogAppendTime",  # the broker's clock alone decides what is half a minute old
    "retention.ms": "600000",  # ten minutes: a newcomer reads half a minute, a person who looks wants a few
    "retention.bytes": "3145728",  # 3 MiB, whatever somebody writes: an hour of a fleet at rest is below 1
    "segment.ms": "600000",  # what is over goes by whole segments
    "segment.bytes": "1048576",  # the smallest that Kafka 4 takes
    "segment.index.bytes": "65536",  # 10 MiB by default, reserved for each segment; one of a mebibyte needs some KiB
    "max.message.bytes": "131072",  # twice the largest batch that is written here; nobody else's records belong here
}
# Below, no batch of ours fits into the topic (bytes).
_SMALLEST_BATCH = 66_000
# Below, a newcomer would not find the last half minute (milliseconds).
_SHORTEST_RETENTION = 60_000
# More copies than that help nobody: without a majority of three brokers Kafka itself stands still.
_COPIES = 3

# How long a person at a terminal waits before a broker counts as unreachable (seconds).
_REACH_WITHIN = 15.0
# Seconds for a new topic to get a leader: milliseconds on a healthy cluster.
_LED_WITHIN = 15.0
_LOOK_AGAIN_AFTER = 0.05


@dataclass(frozen=True, slots=True)
class TopicMade:
    """What `KafkaFleetLog.create` came to.

    `is_new` says whether the topic was made. `notes` say what of an existing one is otherwise than a new one would be.
    """

    is_new: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicFound:
    """A topic as it is. `copies` are the brokers that have it, `settings` what it was given; empty means that this user may not see it."""

    partitions: int
    copies: int
    settings: Mapping[str, str]


def compare(name: str, found: TopicFound, brokers: int) -> tuple[str, ...]:
    """Return what of an existing topic is otherwise than a new one would be. Raises FleetLogError where a fleet cannot use it."""
    obstacles = list(_obstacles(found))
    if obstacles:
        raise FleetLogError(
            f"topic {name!r} exists and cannot be the log of a fleet: {'; '.join(obstacles)}. Name another one, or make it anew"
        )
    notes = [f"{key} is {found.settings[key]}, and {wanted} would do" for key, wanted in NEEDED.items() if _differs(found, key, wanted)]
    if found.copies < min(brokers, _COPIES):
        notes.append(f"it has {found.copies} copies on {brokers} brokers: with fewer than {min(brokers, _COPIES)} it goes with its broker")
    if not found.settings:
        notes.append("its settings are not shown to this user (DescribeConfigs on the topic), so they were not compared")
    return tuple(notes)


def _obstacles(found: TopicFound) -> Iterable[str]:
    settings = found.settings
    if found.partitions != 1:
        yield f"it has {found.partitions} partitions, and must have 1, because there is no order across them"
    if "compact" in settings.get("cleanup.policy", ""):
        yield f"its cleanup.policy is {settings['cleanup.policy']}, and must be delete, because records of a fleet have no key"
    if int(settings.get("max.message.bytes", _SMALLEST_BATCH)) < _SMALLEST_BATCH:
        yield f"its max.message.bytes is {settings['max.message.bytes']}, and must be at least {_SMALLEST_BATCH}"
    if 0 <= int(settings.get("retention.ms", -1)) < _SHORTEST_RETENTION:
        yield f"its retention.ms is {settings['retention.ms']}, and must be at least {_SHORTEST_RETENTION}"


def _differs(found: TopicFound, key: str, wanted: str) -> bool:
    return found.settings.get(key, wanted) != wanted


class TopicAdmin:
    """Makes and describes topics. `settings` are those of the log's clients, bootstrap_servers included."""

    def __init__(self, name: str, place: str, settings: Mapping[str, Any]) -> None:
        self._name = name
        self._place = place
        # A person waits for it, and a new topic takes a cluster longer than a record.
        own: dict[str, Any] = {**settings, "request_timeout_ms": int(_REACH_WITHIN * 1000)}
        self._admin: Any = AIOKafkaAdminClient(**own)

    async def create(self) -> TopicMade:
        """Make the topic, or compare the one that exists. Raises FleetLogError."""
        try:
            async with asyncio.timeout(_REACH_WITHIN):
                await self._admin.start()
            brokers = len((await self._admin.describe_cluster())["brokers"])
            if await self._make(min(brokers, _COPIES)):
                await self._wait_for_leader()
                return TopicMade(is_new=True)
            return TopicMade(is_new=False, notes=compare(self._name, await self._describe(), brokers))
        except TopicAuthorizationFailedError as error:
            raise self._refused("this user is not authorised: allow it Create, Describe and DescribeConfigs on the topic") from error
        except AuthenticationFailedError as error:
            raise self._refused(f"the broker refuses this user ({type(error).__name__}): check the SASL settings") from error
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._refused(f"no Kafka broker answers ({error!r}): check the address, the security settings and the broker") from error
        finally:
            await self._admin.close()

    async def _make(self, copies: int) -> bool:
        """Make the topic, and return whether it is new. The broker decides that: two people may make it in the same moment."""
        answer = await self._admin.create_topics([NewTopic(self._name, 1, copies, topic_configs=dict(NEEDED))])
        for _, code, *words in answer.topic_errors:
            kind = for_code(code)
            if kind is TopicAlreadyExistsError:
                return False
            if kind is TopicAuthorizationFailedError:
                raise kind(self._name)
            if code:
                raise self._refused(f"the broker refuses to make it: {' '.join(str(word) for word in (kind.__name__, *words) if word)}")
        return True

    async def _wait_for_leader(self) -> None:
        async with asyncio.timeout(_LED_WITHIN):
            while not any(partition["leader"] >= 0 for partition in await self._partitions()):  # noqa: ASYNC110 - the broker does not call
                await asyncio.sleep(_LOOK_AGAIN_AFTER)

    async def _describe(self) -> TopicFound:
        partitions = await self._partitions()
        copies = min((len(partition["replicas"]) for partition in partitions), default=0)
        return TopicFound(len(partitions), copies, await self._settings())

    async def _partitions(self) -> list[Any]:
        # Asked only of a topic that exists: a broker that creates topics by itself would make one of this name
        # (findings/aiokafka_describing_a_topic_creates_it.sh).
        (described,) = await self._admin.describe_topics([self._name])
        kind = for_code(described["error_code"])
        if kind is TopicAuthorizationFailedError:
            raise kind(self._name)
        partitions: list[Any] = described["partitions"]
        return partitions

    async def _settings(self) -> dict[str, str]:
        """Return the topic's settings; nothing where this user may not see them."""
        answers = await self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, self._name)])
        return {entry[0]: entry[1] for answer in answers for resource in answer.resources for entry in resource[4] if entry[1] is not None}

    def _refused(self, why: str) -> FleetLogError:
        return FleetLogError(f"{self._place} cannot be made: {why}")
