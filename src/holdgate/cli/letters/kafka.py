"""Dead letters in a Kafka topic: where they begin and end, and a look at them.

A look reads and leaves no trace: it joins no group and commits nothing. Where the letters begin is what the group of `holdgate replay` has
committed: what was moved before is in the topic until its retention ends, and does not wait any more.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from holdgate.cli.letters.letter import Letter, read_letter
from holdgate.errors import IntakeError, MissingExtra, SettingsError

# How long a person at a terminal waits before a broker counts as unreachable (seconds).
REACH_WITHIN = 15.0
_POLL = 0.2
# The index of the members in the description of a group.
_MEMBERS = 5


class LetterRange(NamedTuple):
    """Where one partition's letters begin and end."""

    begin: int
    end: int


class DeadTopic:
    """A topic with dead letters, at `bootstrap`, as the group of a replay sees it.

    `group` remembers what was moved. None means a group that is named after the topic. `options` are more settings of aiokafka's clients.
    """

    def __init__(self, bootstrap: str, name: str, *, group: str | None = None, options: Mapping[str, Any] | None = None) -> None:
        try:
            import aiokafka
        except ImportError as error:
            raise MissingExtra("aiokafka is not installed: pip install 'holdgate[kafka,cli]'") from error
        self.client: Any = aiokafka
        self.settings: dict[str, Any] = {"bootstrap_servers": bootstrap, **client_options(options or {})}
        self.bootstrap = bootstrap
        self.name = name
        self.group = group or f"holdgate-replay-{name}"

    async def reach(self, starting: Any) -> None:
        """Wait for a client to start. Raises IntakeError where no broker answers."""
        try:
            async with asyncio.timeout(REACH_WITHIN):
                await starting
        except (self.client.errors.KafkaError, OSError, TimeoutError) as error:
            raise IntakeError(f"no Kafka broker answers at {self.bootstrap} within {REACH_WITHIN:g} s ({error!r})") from error

    async def check(self, *others: str) -> None:
        """Raise IntakeError unless this topic and the others exist."""
        admin = await self._admin()
        try:
            existing = set(await admin.list_topics())
        finally:
            await admin.close()
        missing = sorted({self.name, *others} - existing)
        if missing:
            raise IntakeError(
                f"no topic {', '.join(map(repr, missing))} at {self.bootstrap}: correct the name, or allow this user to see it"
            )

    async def reader(self) -> Any:
        """Return a consumer without a group, started."""
        reader = self.client.AIOKafkaConsumer(auto_offset_reset="none", isolation_level="read_committed", **self.settings)
        await self.reach(reader.start())
        return reader

    async def find_places(self, consumer: Any, partitions: tuple[Any, ...] | None = None, *, whole: bool = False) -> dict[Any, LetterRange]:
        """Return where the letters begin and end in each partition: from the commit, or the log's start, to the log's end now.

        `partitions` None means all, which are assigned to the consumer. `whole` means from the log's start.
        """
        if partitions is None:
            numbers: set[int] = consumer.partitions_for_topic(self.name) or set(await self._numbers())
            partitions = tuple(self.client.TopicPartition(self.name, number) for number in sorted(numbers))
            consumer.assign(partitions)
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        committed = {} if whole else await self.committed()
        begins = {at: min(max(starts[at], committed.get(at, 0)), ends[at]) for at in partitions}
        return {at: LetterRange(begins[at], ends[at]) for at in partitions}

    async def committed(self) -> dict[Any, int]:
        """Return up to where letters were moved, by partition."""
        admin = await self._admin()
        try:
            offsets: Mapping[Any, Any] = await admin.list_consumer_group_offsets(self.group)
        except self.client.errors.GroupCoordinatorNotAvailableError:  # no group has ever been on this cluster
            return {}
        finally:
            await admin.close()
        return {at: found.offset for at, found in offsets.items() if found.offset >= 0}

    async def has_members(self) -> bool:
        """Return whether a replay of this group runs."""
        admin = await self._admin()
        try:
            answers = await admin.describe_consumer_groups([self.group])
        except self.client.errors.GroupCoordinatorNotAvailableError:
            return False
        finally:
            await admin.close()
        return any(group[_MEMBERS] for answer in answers for group in answer.groups)

    async def _admin(self) -> Any:
        from aiokafka.admin import AIOKafkaAdminClient

        admin: Any = AIOKafkaAdminClient(**self.settings)
        await self.reach(admin.start())
        return admin

    async def _numbers(self) -> list[int]:
        admin = await self._admin()
        try:
            described = (await admin.describe_topics([self.name]))[0]
        finally:
            await admin.close()
        return [partition["partition"] for partition in described["partitions"]]


@dataclass(slots=True)
class KafkaLook:
    """What a look at a topic came to. `waiting` is by offsets: where the log has gaps there may be fewer."""

    letters: list[Letter] = field(default_factory=list[Letter])
    waiting: int = 0
    notes: list[str] = field(default_factory=list[str])


class KafkaShelf:
    """Shows the letters of one topic. `moved` means: those as well that a replay has moved."""

    def __init__(self, topic: DeadTopic, *, moved: bool = False) -> None:
        self._topic = topic
        self._moved = moved
        self._reader: Any = None

    async def look(self, limit: int) -> KafkaLook:
        """Read the first so many letters, the oldest first: of each partition as many, since any may have the oldest."""
        await self._topic.check()
        self._reader = await self._topic.reader()
        places = await self._topic.find_places(self._reader, whole=self._moved)
        found: list[tuple[int, int, int, Letter]] = []
        done = await self._topic.committed() if self._moved else {}
        async for at, record in _read(self._reader, places, limit):
            place = {"topic": at.topic, "partition": at.partition, "offset": record.offset}
            letter = read_letter(place, record.headers, moved=record.offset < done.get(at, 0))
            found.append((record.timestamp, at.partition, record.offset, letter))
        found.sort(key=lambda each: each[:3])
        return KafkaLook([letter for *_, letter in found[:limit]], sum(place.end - place.begin for place in places.values()))

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()


async def _read(reader: Any, places: Mapping[Any, LetterRange], limit: int) -> AsyncIterator[tuple[Any, Any]]:
    """Yield the first `limit` records of each partition, with the partition."""
    left = {at: place for at, place in places.items() if place.begin < place.end}
    for at, place in places.items():
        reader.seek(at, place.begin)
    seen: Counter[Any] = Counter()
    while left:
        reader.pause(*(at for at in places if at not in left))
        batches: dict[Any, list[Any]] = await reader.getmany(*left, timeout_ms=int(_POLL * 1000), max_records=limit)
        for at, records in batches.items():
            for record in records:
                if record.offset < left[at].end and seen[at] < limit:
                    seen[at] += 1
                    yield at, record
        # The position passes aborted transactions and what compaction has removed, too.
        left = {at: place for at, place in left.items() if seen[at] < limit and await reader.position(at) < place.end}


def client_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings for every client: numbers as numbers, and a context for TLS where the protocol needs one."""
    options: dict[str, Any] = {name: int(value) if name.endswith("_ms") else value for name, value in given.items()}
    reserved = {"bootstrap_servers", "group_id", "acks", "enable_auto_commit", "auto_offset_reset", "isolation_level"} & set(options)
    if reserved:
        raise SettingsError(f"--option {min(reserved)} is set by the command itself: leave it out")
    if "SSL" in str(options.get("security_protocol", "")) and "ssl_context" not in options:
        options["ssl_context"] = ssl.create_default_context(cafile=options.pop("cafile", None))
    return options
