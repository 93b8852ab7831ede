"""The brokers of the demo: what it needs of one, the one in memory, and Kafka, embedded or at an address.

A venue produces for both sides, and gives a bare client to the one and an intake to the other. aiokafka and confluent-kafka are imported
when a venue on Kafka opens: the demo in memory does without them.

The embedded Kafka is the mock cluster inside librdkafka, which the confluent-kafka wheel brings along. It speaks the real protocol over TCP
on 127.0.0.1, so a real aiokafka consumer can join it. It lives in threads of this process and ends with its producer object. Right for a
demo, no proof of anything: one member per group is reliable, a first join takes about three seconds, and topics are made on first use with
four partitions.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

from holdgate.errors import IntakeError, MissingExtra, SettingsError
from holdgate.flow.message import Partition
from holdgate.ports import Intake
from holdgate.testing import MemoryBroker, MemoryIntake, Message
from holdgate_lab.demo.scenario import KEYS, KINDS, PARTITIONS

# What --broker may say beside an address.
MEMORY = "memory"
EMBEDDED = "embedded"
ADDRESS = re.compile(r"[^\s,]+:\d{1,5}(,[^\s,]+:\d{1,5})*")

GUARDED = "guarded"  # the consumer group of the side with holdgate
NAIVE = "naive"  # the consumer group of the side without

# Seconds that an empty poll of the broker in memory waits.
IDLE_TIMEOUT = 0.05
# The embedded broker's address is known immediately; the bound is for a machine that swaps, or that others keep busy.
METADATA_TIMEOUT = 15.0
# A broker that does not answer in this time is not there, as far as somebody at a terminal is concerned. As for the other commands: one
# that has just started may take more than five seconds.
REACH_TIMEOUT = 15.0
# Seconds that one poll waits: short, so that the end of the demo is not waited for.
POLL_TIMEOUT = 0.1
# Seconds to wait for a batch to fill: a few round trips on one machine.
REFILL_TIMEOUT = 0.02


def venue_for(broker: str) -> Venue:
    """The broker that `--broker` names. Raises `SettingsError` for anything but memory, embedded or an address."""
    if broker == MEMORY:
        return MemoryVenue()
    if broker == EMBEDDED:
        return KafkaVenue()
    if not ADDRESS.fullmatch(broker):
        raise SettingsError(f"--broker {broker!r} is neither memory, embedded nor an address like localhost:9092, nor share")
    return KafkaVenue(broker)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a produced message stands: topic, partition number and offset."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """One message as the side without the guard sees it: its kind of work, its number, and the client's own object."""

    kind: str
    number: int
    raw: Any


class Feed(Protocol):
    """A bare client: what people write a loop around."""

    @property
    def rebalances(self) -> int:
        """How often the partitions were handed out again after the first time."""
        ...

    async def open(self) -> None:
        """Join the group; returns when messages can be taken."""
        ...

    async def take(self, most: int) -> Sequence[Record]:
        """The next messages, at most `most`; waits a moment and may be empty."""
        ...

    async def commit(self) -> None:
        """Everything that was taken counts as processed."""
        ...

    @property
    def comes_again(self) -> bool:
        """Whether a message that failed comes again by itself, so that it is neither tried again in place nor buried."""
        ...

    async def bury(self, record: Record) -> None:
        """Write the record to the dead letter topic, or have it come again; returns when the broker has it."""
        ...

    async def close(self) -> None:
        """Leave the group. Idempotent."""
        ...


class Venue(Protocol):
    """One broker with the demo's topics on it."""

    async def open(self) -> None:
        """Reach the broker and make the topics. Raises `IntakeError` when it is not there, `MissingExtra` without its client."""
        ...

    def topic(self, kind: str) -> str:
        """The name that the topic for this kind of work has on this broker."""
        ...

    async def produce(self, kind: str, number: int) -> Place:
        """Produce message `number`; returns where it stands once the broker has it."""
        ...

    def feed(self) -> Feed:
        """A bare client in the group `NAIVE`."""
        ...

    def intake(self, on_rebalance: Callable[[], None]) -> Intake[Any]:
        """An intake in the group `GUARDED`; `on_rebalance` is called after each assignment but the first."""
        ...

    async def lost(self, group: str, places: Collection[Place]) -> int:
        """How many of the messages at these places a group will never get, by what the broker has. The group's members have left."""
        ...

    async def close(self) -> None:
        """Remove the topics where they are the demo's own, and end what was started. Idempotent."""
        ...


class MemoryVenue:
    """The demo's topics in memory; they are gone with the process."""

    def __init__(self) -> None:
        self._broker = MemoryBroker(topics=dict.fromkeys(KINDS, PARTITIONS))

    def topic(self, kind: str) -> str:
        return kind

    async def open(self) -> None:
        for kind in KINDS:
            self._broker.create_topic(_grave(kind))

    async def produce(self, kind: str, number: int) -> Place:
        source, message = self._broker.produce(kind, b"%d" % number, b"%d" % (number % KEYS))
        return Place(kind, source.number if isinstance(source, Partition) else 0, message.position)

    def feed(self) -> Feed:
        return MemoryFeed(self._broker)

    def intake(self, on_rebalance: Callable[[], None]) -> Intake[Any]:  # noqa: ARG002 - nobody else is in the group: nothing to call it
        return MemoryIntake(self._broker, topics=KINDS, group=GUARDED)

    async def lost(self, group: str, places: Collection[Place]) -> int:
        return behind(places, self.committed(group))

    def committed(self, group: str) -> Mapping[tuple[str, int], int]:
        """The next offset of a group per topic name and partition."""
        return {(partition.topic, partition.number): offset for partition, offset in self._broker.committed(group).items()}

    async def close(self) -> None:
        """Nothing is open."""


class MemoryFeed:
    """The in-memory broker's bare client: polls, positions and explicit commits, as a Kafka consumer has them."""

    comes_again = False

    def __init__(self, broker: MemoryBroker) -> None:
        self.rebalances = 0
        self._broker = broker
        self._group = broker.model.group(NAIVE)
        self._consumer = broker.model.consumer(NAIVE)

    async def open(self) -> None:
        self._group.join(NAIVE, KINDS, self._broker.now())
        self._consumer.assign(self._group.assignment(NAIVE))

    async def take(self, most: int) -> Sequence[Record]:
        # One message of each partition in turn, as a fetch from several partitions brings them.
        polled = [(turn, partition, message) for partition, messages in self._consumer.poll(most) for turn, message in enumerate(messages)]
        polled.sort(key=itemgetter(0))
        for _, partition, message in reversed(polled[most:]):
            # A poll reads from every partition; what is too much for one batch is read again with the next.
            self._consumer.seek(partition, message.position)
        await asyncio.sleep(0 if polled else IDLE_TIMEOUT)
        return [_record(partition, message) for _, partition, message in polled[:most]]

    async def commit(self) -> None:
        offsets = {partition: self._consumer.position(partition) for partition in self._consumer.assigned}
        self._group.commit(NAIVE, self._group.generation, offsets)

    async def bury(self, record: Record) -> None:
        self._broker.produce(_grave(record.kind), record.raw.body, record.raw.key)

    async def close(self) -> None:
        self._group.leave(NAIVE, self._broker.now())


def _grave(topic: str) -> str:
    return f"{topic}.{NAIVE}.dead"


def behind(places: Collection[Place], committed: Mapping[tuple[str, int], int]) -> int:
    """How many of these places a group has passed. A partition that it has committed nothing for comes again from its start."""
    return sum(place.offset < committed.get((place.topic, place.partition), 0) for place in places)


def _record(partition: Partition, message: Message) -> Record:
    return Record(partition.topic, int(message.body or b""), message)


class EmbeddedKafka:
    """A one-broker mock cluster in this process.

    `open` returns its address. Nothing is written to disk. Raises `MissingExtra` without confluent-kafka.
    """

    def __init__(self) -> None:
        self._producer: Any = None

    def open(self) -> str:
        """Start the cluster; returns `HOST:PORT`."""
        try:
            from confluent_kafka import KafkaException, Producer
        except ImportError as error:
            raise MissingExtra('The embedded broker comes with: pip install "holdgate[demo]"') from error
        # log_level 0: librdkafka writes to stderr by itself, in the middle of the live screen.
        self._producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced-by-the-mock", "log_level": 0})
        try:
            brokers = self._producer.list_topics(timeout=METADATA_TIMEOUT).brokers
        except KafkaException as error:
            self.close()
            raise IntakeError(f"the embedded broker did not start within {METADATA_TIMEOUT:g} s; try --broker memory") from error
        return ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())

    def close(self) -> None:
        """End the cluster and its threads. Idempotent."""
        # The last reference: librdkafka joins its threads in the destructor.
        self._producer = None


def _client() -> Any:
    """The aiokafka module, or the command that installs it."""
    try:
        import aiokafka
    except ImportError as error:
        raise MissingExtra('The demo on Kafka needs aiokafka: pip install "holdgate[demo]"') from error
    return aiokafka


def consumer_of(aiokafka: Any, address: str, group: str) -> Any:
    """An unstarted consumer, with the same settings for both sides.

    `fetch_max_wait_ms=100`: with the default of 500 the picture would lag behind the story by half a second.
    """
    return aiokafka.AIOKafkaConsumer(
        bootstrap_servers=address,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )


def counting_listener(aiokafka: Any, on_rebalance: Callable[[], None]) -> Any:
    """A rebalance listener that calls `on_rebalance` for every assignment but the first.

    Its class is made here because its base is aiokafka's, which need not be installed for the other functions of this file.
    """
    assignments = itertools.count()

    class Reassigned(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
        async def on_partitions_revoked(self, revoked: object) -> None:
            """Nothing to do: assignments are counted."""

        async def on_partitions_assigned(self, assigned: object) -> None:  # noqa: ARG002
            """Count it."""
            if next(assignments):
                on_rebalance()

    return Reassigned()


class KafkaFeed:
    """The client of the side without the guard.

    `kinds` maps topic names to kinds of work; `bury` writes kind, body and key to a dead letter topic.
    """

    comes_again = False

    def __init__(
        self,
        aiokafka: Any,
        address: str,
        group: str,
        kinds: Mapping[str, str],
        bury: Callable[[str, bytes, bytes | None], Awaitable[None]],
    ) -> None:
        self.rebalances = 0
        self._consumer = consumer_of(aiokafka, address, group)
        self._listener = counting_listener(aiokafka, self._count)
        self._kinds = kinds
        self._bury = bury

    async def open(self) -> None:
        self._consumer.subscribe(list(self._kinds), listener=self._listener)
        await self._consumer.start()

    def _count(self) -> None:
        self.rebalances += 1

    async def take(self, most: int) -> Sequence[Record]:
        records = await self._poll(POLL_TIMEOUT, most)
        # The embedded broker answers a fetch with one produced batch per partition, so one poll brings four messages of a long backlog.
        # A real broker fills its answer: polling on makes up for it, so that this side is not slow for a reason of the demo's own.
        while 0 < len(records) < most:
            more = await self._poll(REFILL_TIMEOUT, most - len(records))
            if not more:
                break
            records += more
        return records

    async def _poll(self, timeout: float, most: int) -> list[Record]:
        batches = await self._consumer.getmany(timeout_ms=int(timeout * 1000), max_records=most)
        return [Record(self._kinds[raw.topic], int(raw.value), raw) for batch in batches.values() for raw in batch]

    async def commit(self) -> None:
        await self._consumer.commit()

    async def bury(self, record: Record) -> None:
        await self._bury(record.kind, record.raw.value, record.raw.key)

    async def close(self) -> None:
        await self._consumer.stop()


class KafkaVenue:
    """The demo's topics on one Kafka.

    `address` is `HOST:PORT`, several separated by commas. None means the embedded broker. On a broker that is not ours the topics carry
    a random part in their names and are deleted at the end. The two empty groups stay until the broker expires them.
    """

    prefix = "holdgate-demo"  # of the names of what it makes on a broker of somebody else

    def __init__(self, address: str | None = None) -> None:
        self._embedded = None if address else EmbeddedKafka()
        self.address = address or ""
        self._run = secrets.token_hex(4)
        self._aiokafka: Any = None
        self._producer: Any = None
        self._made: list[str] = []

    def topic(self, kind: str) -> str:
        return kind if self._embedded else f"{self.prefix}-{self._run}-{kind}"

    def group(self, group: str) -> str:
        """The name that a side's group has on this broker."""
        return f"{self.prefix}-{self._run}-{group}"

    async def open(self) -> None:
        self._aiokafka = _client()
        if self._embedded:
            self.address = await asyncio.to_thread(self._embedded.open)
        await self._reach()
        wanted = [name for kind in KINDS for name in (self.topic(kind), self._grave(kind))]
        if not self._embedded:
            await self._make(wanted)
        for name in wanted:  # the embedded broker makes a topic when it is asked about it
            await self._producer.partitions_for(name)

    async def _reach(self) -> None:
        # acks=all: a message that was not stored must not count as produced. linger: one request for a few messages, not one for each.
        self._producer = self._aiokafka.AIOKafkaProducer(bootstrap_servers=self.address, acks="all", linger_ms=5)
        try:
            async with asyncio.timeout(REACH_TIMEOUT):
                await self._producer.start()
        except (self._aiokafka.errors.KafkaError, OSError, TimeoutError) as error:
            raise IntakeError(
                f"no Kafka broker answers at {self.address}: start one there, or leave --broker out for the embedded one"
            ) from error

    async def _make(self, names: Sequence[str]) -> None:
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        admin: Any = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            answer = await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        finally:
            await admin.close()
        refused = [f"{topic[0]} (error code {topic[1]})" for topic in answer.topic_errors if topic[1]]
        if refused:
            raise IntakeError(f"the broker at {self.address} does not let the demo make its topics: {', '.join(refused)}")
        self._made = list(names)

    async def produce(self, kind: str, number: int) -> Place:
        key = b"%d" % (number % KEYS)
        sent = await self._producer.send_and_wait(self.topic(kind), b"%d" % number, key=key)
        return Place(sent.topic, sent.partition, sent.offset)

    async def mark(self, topic: str, partition: int, number: int) -> None:
        """Write a number to one partition, for nobody's ledger."""
        await self._producer.send_and_wait(topic, b"%d" % number, partition=partition)

    def feed(self) -> Feed:
        kinds = {self.topic(kind): kind for kind in KINDS}
        return KafkaFeed(self._aiokafka, self.address, self.group(NAIVE), kinds, self._bury)

    async def _bury(self, kind: str, body: bytes, key: bytes | None) -> None:
        await self._producer.send_and_wait(self._grave(kind), body, key=key)

    def _grave(self, kind: str) -> str:
        return _grave(self.topic(kind))

    def intake(self, on_rebalance: Callable[[], None]) -> Intake[Any]:
        from holdgate.brokers.kafka import KafkaIntake

        consumer = consumer_of(self._aiokafka, self.address, self.group(GUARDED))
        topics = [self.topic(kind) for kind in KINDS]
        return KafkaIntake(consumer, topics=topics, listener=counting_listener(self._aiokafka, on_rebalance))

    async def lost(self, group: str, places: Collection[Place]) -> int:
        return behind(places, await self.committed(group))

    async def committed(self, group: str) -> Mapping[tuple[str, int], int]:
        """The next offset of a group per topic name and partition, as the broker has it."""
        consumer = consumer_of(self._aiokafka, self.address, self.group(group))
        await consumer.start()
        places = [self._aiokafka.TopicPartition(self.topic(kind), number) for kind in KINDS for number in range(PARTITIONS)]
        try:
            offsets = [await consumer.committed(place) for place in places]
        finally:
            await consumer.stop()
        return {(place.topic, place.partition): offset for place, offset in zip(places, offsets, strict=True) if offset is not None}

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None
        if self._made:
            await self._unmake()
        if self._embedded:
            self._embedded.close()

    async def _unmake(self) -> None:
        from aiokafka.admin import AIOKafkaAdminClient

        names, self._made = self._made, []
        admin: Any = AIOKafkaAdminClient(bootstrap_servers=self.address)
        # The broker may have gone meanwhile; the demo is over, and its topics hold nothing of value.
        with contextlib.suppress(self._aiokafka.errors.KafkaError, OSError):
            await admin.start()
            await admin.delete_topics(names)
        await admin.close()
