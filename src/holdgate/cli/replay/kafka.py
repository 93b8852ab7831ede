"""A replay through Kafka. A consumer group of its own remembers in its committed offsets what was moved, and the next run goes on there.

Kafka does not delete a record that was read: the dead letters stay in their topic until its retention ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdgate.cli.letters.kafka import REACH_WITHIN, DeadTopic, LetterRange
from holdgate.cli.replay.route import Survey, replayed
from holdgate.errors import IntakeError
from holdgate.flow.message import PARTITION, SOURCE, replays_of

if TYPE_CHECKING:
    from holdgate.brokers.kafka.dead_letters import Producer

# So many letters are read to find out what kinds there are: a second's work, and enough to see them.
_LOOK_AT = 1000
# Seconds between two commits: after a kill -9 one second's letters may be moved twice.
_COMMIT_EVERY = 1.0
_POLL = 0.2
# aiokafka's session timeout is 10 s: a replay that was killed counts as a member until then (seconds).
_GONE_WITHIN = 12.0
# A poll takes the letters of ten seconds, so that at any rate the next poll comes long before max_poll_interval_ms is over (seconds).
_READ_AHEAD = 10.0
_READ_AT_MOST = 500


class KafkaRoute:
    """The route from topic `dead` to topic `to` at `bootstrap`.

    `rate` is in letters a second. `options` are more settings of aiokafka's clients. `group` remembers what was moved. None means a group
    that is named after `dead`. A letter whose source is `to` goes back to its own partition if that exists. Any other goes by its key.
    """

    def __init__(
        self, bootstrap: str, dead: str, to: str, *, rate: float, group: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        self._dead = DeadTopic(bootstrap, dead, group=group, options=options)
        self._aiokafka: Any = self._dead.client
        self._to = to
        self._ahead = max(1, min(_READ_AT_MOST, int(rate * _READ_AHEAD)))
        self._producer: Producer | None = None
        self._consumer: Any = None
        self._taken_away = False
        self._places: dict[Any, LetterRange] = {}
        self._letters: deque[Any] = deque()
        self._moved: dict[Any, int] = {}
        self._next_commit = 0.0

    async def survey(self) -> Survey:
        await self._dead.check(self._to)
        reader = await self._dead.reader()
        try:
            places = await self._dead.find_places(reader)
            found = Survey(sum(place.end - place.begin for place in places.values()))
            await _look(reader, places, found)
        finally:
            await reader.stop()
        return found

    async def begin(self) -> None:
        """Join the group, alone: two replays in parallel would share the letters, and each would end too early."""
        await self._refuse_a_second_one()
        await self._start_producer()
        self._consumer = self._aiokafka.AIOKafkaConsumer(
            group_id=self._dead.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            **self._dead.settings,
        )
        self._consumer.subscribe([self._dead.name], listener=self._listener())
        await self._dead.reach(self._consumer.start())
        async with asyncio.timeout(REACH_WITHIN):
            while not self._consumer.assignment():
                await self._consumer.getmany(timeout_ms=int(_POLL * 1000), max_records=1)
        self._places = await self._dead.find_places(self._consumer, tuple(self._consumer.assignment()))
        for at, place in self._places.items():
            self._consumer.seek(at, place.begin)

    async def take(self) -> object | None:
        while not self._letters:
            if self._taken_away:
                raise IntakeError(f"another replay with group {self._dead.group!r} has begun: let one of them end, then run this again")
            if not await self._goes_on():
                return None
            batches: dict[Any, list[Any]] = await self._consumer.getmany(timeout_ms=int(_POLL * 1000), max_records=self._ahead)
            for at, records in batches.items():
                self._letters.extend(record for record in records if record.offset < self._places[at].end)
        letter: object = self._letters.popleft()
        return letter

    async def put(self, letter: Any) -> None:
        if self._producer is None:
            raise IntakeError("the replay has not begun")
        headers = replayed(letter.headers, str(replays_of(letter.headers) + 1).encode())
        partition = await self._own_partition(letter)
        await self._producer.send(self._to, letter.value, letter.key, headers, partition)

    async def done(self, letter: Any) -> None:
        self._moved[self._aiokafka.TopicPartition(letter.topic, letter.partition)] = letter.offset + 1
        now = asyncio.get_running_loop().time()
        if now >= self._next_commit:
            self._next_commit = now + _COMMIT_EVERY
            await self._commit()

    async def end(self) -> None:
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        try:
            if consumer is not None:
                await self._commit(consumer)
        finally:
            if consumer is not None:
                await consumer.stop()
            if producer is not None:
                await producer.stop()

    async def _commit(self, consumer: Any = None) -> None:
        moved, self._moved = self._moved, {}
        if moved and not self._taken_away:
            await (consumer or self._consumer).commit(moved)

    async def _goes_on(self) -> bool:
        """Return whether letters are left that waited at the beginning. Called when those that were taken are done.

        A partition is through when its position has passed its end. The records that it skipped (aborted transactions, compacted ones) are
        no letters.
        """
        through = {at: await self._consumer.position(at) >= place.end for at, place in self._places.items()}
        self._moved.update({at: place.end for at, place in self._places.items() if through[at]})
        return not all(through.values())

    async def _own_partition(self, letter: Any) -> int | None:
        told: dict[str, bytes] = dict(letter.headers)
        number = told.get(PARTITION, b"")
        if told.get(SOURCE) != self._to.encode() or not number.isdigit() or self._producer is None:
            return None
        return int(number) if int(number) in await self._producer.partitions(self._to) else None

    async def _start_producer(self) -> None:
        from holdgate.brokers.kafka.dead_letters import Producer

        self._producer = Producer(self._aiokafka.AIOKafkaProducer(acks="all", **self._dead.settings))
        await self._dead.reach(self._producer.start())

    def _listener(self) -> Any:
        route = self

        class Listener(self._aiokafka.ConsumerRebalanceListener):  # type: ignore[misc,name-defined]
            """Notices that another replay has joined."""

            async def on_partitions_revoked(self, revoked: Any) -> None:
                route._taken_away = route._taken_away or bool(revoked)

            async def on_partitions_assigned(self, assigned: Any) -> None:
                pass

        return Listener()

    async def _refuse_a_second_one(self) -> None:
        """Raise IntakeError while another replay runs. One that was killed stays a member for a session timeout, which is waited for."""
        patience = asyncio.get_running_loop().time() + _GONE_WITHIN
        while await self._dead.has_members():
            if asyncio.get_running_loop().time() >= patience:
                raise IntakeError(
                    f"a replay with group {self._dead.group!r} is running already: let it end, or give this one another --group"
                )
            await asyncio.sleep(_POLL)


async def _look(reader: Any, places: Mapping[Any, LetterRange], found: Survey) -> None:
    """Read the first of the letters into the survey, from where the replay would begin."""
    left = {at: place for at, place in places.items() if place.begin < place.end}
    for at, place in places.items():
        reader.seek(at, place.begin)
        if at not in left:
            reader.pause(at)
    while left and found.looked_at < _LOOK_AT:
        batches: dict[Any, list[Any]] = await reader.getmany(*left, timeout_ms=int(_POLL * 1000), max_records=_LOOK_AT - found.looked_at)
        for at, records in batches.items():
            for record in records:
                if record.offset < left[at].end:
                    found.saw(record.headers, record.timestamp / 1000)
        left = {at: place for at, place in left.items() if await reader.position(at) < place.end}
