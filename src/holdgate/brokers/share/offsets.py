"""How much waits in a share group: a question that confluent-kafka cannot ask, and aiokafka can be taught.

A broker knows the lag of a share group: what lies between the group's start and the log's end, without what is accepted or archived in
between. `kafka-share-groups.sh --describe --offsets` shows it. The request is DescribeShareGroupOffsets (KIP-932), whose answer has the lag
from version 1 on (KIP-1226); Kafka 4.2 is the first to have it. librdkafka 2.16 neither has that request nor sends one that it is given.
aiokafka 0.14 has no such request either, but its client sends any that can describe itself. So this file describes it, and needs aiokafka;
where that is not installed, or where its settings cannot say what librdkafka's do, what waits stays unknown, and the log says why, once.

Everything that calls aiokafka in this package is here. It is imported when somebody wants to know how much waits, and not before.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any, ClassVar

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, for_code
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import AbstractType, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from holdgate.tasks import begin_later

# Seconds to wait for an answer. A healthy broker takes a millisecond, and the question is asked again later.
_ANSWER_WITHIN = 5.0
_STOP_WITHIN = 5.0
# What aiokafka can do with a user and a password.
_MECHANISMS = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})
# librdkafka's settings of a connection that have a counterpart here. Others that begin like them have none.
_KNOWN = frozenset(
    {
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.password",
        "sasl.username",
        "security.protocol",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
    }
)
_OF_CONNECTIONS = ("enable.ssl.", "oauth", "sasl.", "security.", "ssl", "https.")


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka has no types
    """Sixteen bytes, as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _Answer(Response):  # type: ignore[misc]
    API_KEY = 90  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    API_VERSION = 1  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    SCHEMA: ClassVar[Schema] = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(
                ("group", CompactString("utf-8")),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString("utf-8")),
                        ("topic_id", _Uuid),
                        (
                            "partitions",
                            CompactArray(
                                ("partition", Int32),
                                ("start_offset", Int64),
                                ("leader_epoch", Int32),
                                ("lag", Int64),
                                ("error_code", Int16),
                                ("error_message", CompactString("utf-8")),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 90
    API_VERSION = 1
    RESPONSE_TYPE = _Answer
    SCHEMA: ClassVar[Schema] = Schema(
        (
            "groups",
            CompactArray(
                ("group", CompactString("utf-8")),
                (
                    "topics",
                    CompactArray(("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeShareGroupOffsets(Request[_Question]):  # type: ignore[misc]
    """The question about all topics of one group."""

    API_KEY = 90

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([(self._group, None, {})], {})


def client_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return librdkafka's settings of a connection as aiokafka's. Raises ValueError for one that has no counterpart, with its name."""
    for name in settings:
        if name.startswith(_OF_CONNECTIONS) and name not in _KNOWN:
            raise ValueError(f"aiokafka has no counterpart of {name}")
    mechanism = str(settings.get("sasl.mechanism") or settings.get("sasl.mechanisms") or "PLAIN").upper()
    protocol = str(settings.get("security.protocol", "plaintext")).upper()
    if protocol.startswith("SASL") and mechanism not in _MECHANISMS:
        raise ValueError(f"aiokafka needs more than these settings for {mechanism}")
    return {
        "bootstrap_servers": str(settings["bootstrap.servers"]).split(","),
        "security_protocol": protocol,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": settings.get("sasl.username"),
        "sasl_plain_password": settings.get("sasl.password"),
        "ssl_context": _ssl_context(settings) if protocol.endswith("SSL") else None,
        "request_timeout_ms": int(_ANSWER_WITHIN * 1000),
    }


def _ssl_context(settings: Mapping[str, Any]) -> Any:
    names = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password")
    cafile, certfile, keyfile, password = (settings.get(name) for name in names)
    return create_ssl_context(cafile=cafile, certfile=certfile, keyfile=keyfile, password=password)


class GroupOffsets:
    """Asks how much waits in the topics of one share group. Raises ValueError for settings that aiokafka has no counterpart of."""

    def __init__(self, settings: Mapping[str, Any], group: str) -> None:
        self._options = client_options(settings)
        self._group = group
        self._client: Any = None  # an AIOKafkaClient, which has no types
        self._is_connected = False

    async def lags(self, topics: Collection[str]) -> dict[str, int]:
        """Return how many records of each topic are neither accepted nor archived.

        The broker counts a partition from the first accept in it on: before that it has stored no beginning. A topic without such a
        partition is left out.

        Raises KafkaError, NotImplementedError for a broker that does not know the question, and TimeoutError.
        """
        found: Counter[str] = Counter()
        for (topic, _), lag in (await self.waiting(topics)).items():
            found[topic] += lag
        return dict(found)

    async def waiting(self, topics: Collection[str]) -> dict[tuple[str, int], int]:
        """Return the same by topic and partition. Raises as `lags` does."""
        async with asyncio.timeout(_ANSWER_WITHIN):
            if self._client is None:
                self._client = AIOKafkaClient(**self._options)  # kept here: a question that is cancelled leaves it to `close`
            client = self._client  # `close` may take it away between two of these steps, which then end by its errors
            if not self._is_connected:
                await client.bootstrap()
                self._is_connected = True
            coordinator = await client.coordinator_lookup(CoordinationType.GROUP, self._group)
            answer: Any = await client.send(coordinator, _DescribeShareGroupOffsets(self._group))
        ((_, found, error, _, _),) = answer.groups
        if error:
            raise for_code(error)
        return {
            (topic, number): lag
            for topic, _, partitions, _ in found
            for number, _, _, lag, failed, *_ in partitions
            if topic in topics and lag >= 0 and not failed
        }

    async def close(self) -> None:
        """Disconnect. A question that is under way ends."""
        client, self._client = self._client, None
        if client is not None:
            await asyncio.wait((begin_later(client.close(), "kafka stop client of share offsets"),), timeout=_STOP_WITHIN)


__all__ = ["GroupOffsets", "KafkaError", "client_options"]
