"""FastStream's Kafka subscribers under a guard: a hold is a pause and a seek, and a return is a resume.

Theory of operation. FastStream fetches a record and wants it handled. If the engine does not let the record start, its partition is paused
and the consumer sought back to it. FastStream goes on with the other partitions, and goes on polling. The engine keeps the delivery, with
all that it knows of it. When the engine grants it, the partition is resumed, FastStream fetches the record once more, and this time it
starts, with the permits that wait for it. So a partition has at most one record in the engine's hands: its `Head`.

    a record comes      and there is no head: it becomes the head, and is offered
    it starts           the handler runs in FastStream's task; DONE ends the head, and the next record may come
    it does not         pause, seek; the head waits in the engine
    granted             resume; the record comes again, finds its head, and starts
    failed: AGAIN       pause, seek; as above
    failed: REJECT      pause, seek; when its letter is confirmed, seek behind it and resume

A rebalance needs no memory. A new assignment fetches from the committed offset, unpaused. If the record is the head's, the head knows
whether it may start; if it is another one, the head is forgotten and the record is offered. So a hold ends with no rebalance, and costs
each partition one fetch. With `listener=` the guard also lets running handlers end, and commits, before partitions go.

Which races matter. 1. A partition goes to another member while its head is granted: the record never comes, and nobody would give the
permits back. `_look_after` does, every second, for heads whose partition is gone or whose record does not come. 2. The engine may grant a
head while its failed attempt still settles, before the pause: then there is a seek and no pause. 3. A seek in a partition that is gone
raises; the new owner reads from the commit, and the head is forgotten.

A batch is one delivery with one verdict. It may span partitions, so it is its subscriber's: all partitions of the consumer are paused.
FastStream decides how large a batch is, so a batch that fails cannot be tried in halves. It is never dead-lettered, as there is no telling
which of its records is bad.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream.kafka import KafkaBroker
from faststream.message import StreamMessage

from holdgate.brokers.kafka import KafkaDelivery
from holdgate.errors import CommandError, NeedsError, Reject, SettingsError
from holdgate.flow.inbox import OVERHEAD, Order
from holdgate.flow.message import AnyDelivery, Backlog, Delivery, Partition, Queue, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.flow.policy import Verdict
from holdgate.integrations.faststream.middleware import CallNext, GuardMiddleware, Held, meant_by
from holdgate.integrations.faststream.offsets import Offsets
from holdgate.ports import IntakeListener
from holdgate.runtime.guests import GuestLane, GuestRun

Record: TypeAlias = Any  # aiokafka's ConsumerRecord, and below its consumer: they have no types
Consumer: TypeAlias = Any

# Once a second, as KafkaIntake does: what a crash repeats is at most the work of that time.
_EVERY = 1.0
# A record that was resumed comes within a fetch, which waits for half a second at most, unless its consumer is at work on another one.
# After this its partition is somebody else's, or the broker is gone, and its permits are needed (seconds).
_COMES_WITHIN = 10.0
# aiokafka's own default: FastStream shows no consumer's settings before it starts (seconds).
_REBALANCE_TIMEOUT = 10.0
# A broker in reach answers a commit in milliseconds (seconds).
_FLUSH_WITHIN = 5.0


class FetchedRecord(KafkaDelivery):
    """A record that FastStream has fetched."""

    __slots__ = ("head",)

    head: Head

    def __init__(self, source: Source, record: Record) -> None:
        # Delivery's own: KafkaDelivery has none, and a list of the fields here would miss the next one.
        super(KafkaDelivery, self).__init__(source, record)


class FetchedBatch(Delivery[Sequence[Record]]):
    """A batch that FastStream has fetched, as one delivery of its subscriber. It has no single body, key, header or time."""

    __slots__ = ("head",)

    head: Head

    @property
    def position(self) -> int:
        offset: int = self.message[0].offset
        return offset

    @property
    def body(self) -> bytes | None:
        return None

    @property
    def key(self) -> bytes | None:
        return None

    @property
    def headers(self) -> Mapping[str, Any]:
        return {}

    @property
    def timestamp(self) -> float | None:
        return None


Fetched: TypeAlias = FetchedRecord | FetchedBatch
# Topic and number of a partition; None for a subscriber that takes batches. A Partition hashes more slowly, and this is done per record.
Key: TypeAlias = tuple[str, int] | None


class Head:
    """What the engine has in hand of one source."""

    __slots__ = ("consumer", "delivery", "key", "lane", "paused", "places", "resumed_at")

    def __init__(self, key: Key, delivery: Fetched, consumer: Consumer, places: dict[TopicPartition, int]) -> None:
        self.key = key
        self.delivery = delivery
        delivery.head = self
        self.consumer = consumer
        self.places = places  # of each partition the offset to go back to
        self.lane: GuestLane | None = None  # where it may start, or runs
        self.paused: tuple[TopicPartition, ...] = ()
        self.resumed_at: float | None = None  # when it was resumed to start; None before that, and once it has come

    def hold(self) -> bool:
        """Fetch it again later: pause unless it may start already, and go back to it. False means that a partition of it is gone."""
        consumer = self.consumer
        try:
            if self.lane is None:
                self.paused = tuple(self.places) if isinstance(self.delivery, FetchedRecord) else tuple(consumer.assignment())
                consumer.pause(*self.paused)
            for tp, offset in self.places.items():
                consumer.seek(tp, offset)
        except IllegalStateError:
            return False
        return True

    def resume(self) -> None:
        """Let its partitions be fetched again, those that are still ours."""
        paused, self.paused = self.paused, ()
        ours = self.consumer.assignment()
        self.consumer.resume(*(tp for tp in paused if tp in ours))

    @property
    def runs(self) -> bool:
        """Whether its handler runs, so that its consumer fetches nothing."""
        return self.lane is not None and self.resumed_at is None

    @property
    def is_gone(self) -> bool:
        """Whether one of its partitions is no longer its consumer's."""
        ours = self.consumer.assignment()
        return any(tp not in ours for tp in self.places)


# The engine has nothing more to do with a record, and the broker need not be asked for it again.
_SETTLED = (Verdict.DONE, Verdict.STALE)


class KafkaStation:
    """One subscriber under the guard: FastStream brings its records, and the engine decides about them. It is the run's intake, too."""

    order: Order = "source"
    inbox = 500  # never more than one comes, and a full inbox would be a new plan for each
    concurrency = None
    rebalance_timeout = _REBALANCE_TIMEOUT

    def __init__(self, subscriber: Any, names: Collection[str] | None, *, in_batches: bool) -> None:
        self.names = names
        self.name = "+".join(subscriber.topic_names)
        self.group: str = subscriber.group_id or ""
        self.can_dead_letter = not in_batches
        self._subscriber = subscriber
        self._in_batches = in_batches
        self._heads: dict[Key, Head] = {}
        self._sources: dict[Key, tuple[Source, TopicPartition]] = {}  # those that were met
        self._orphans: list[Head] = []  # forgotten while they were paused
        self._run: GuestRun | None = None
        self._offsets = Offsets(self.name)
        self._ended = asyncio.Event()
        self._now: Callable[[], float] = asyncio.get_running_loop().time

    # -- what FastStream brings -------------------------------------------------------------------------------------------------------

    async def consume(self, visit: GuardMiddleware, call_next: CallNext, message: StreamMessage[Any]) -> Any:
        """Run the handler if the record may start. Raises Held if not."""
        lane = visit.lane = self._admit(message.raw_message)
        lane.begin()
        return await call_next(message)

    async def ended(self, visit: GuardMiddleware, message: StreamMessage[Any], error: BaseException | None) -> None:
        if visit.lane is not None:
            self._end(visit.lane, meant_by(visit.lane.delivery, message.committed, error))

    async def unreadable(self, raw: Any, error: Exception) -> None:
        lane = self._admit(raw)
        with suppress(NeedsError, Reject):
            lane.begin()
        self._end(lane, error)

    def _end(self, lane: GuestLane, error: BaseException | None) -> None:
        head = self._head_of(lane.delivery)
        if head is not None and head.lane is lane:
            head.lane = None
        verdict = lane.leave(error)
        if head is None or verdict in _SETTLED:
            return
        if self._heads.get(head.key) is head and not head.hold():
            self._forget(head)

    def _admit(self, raw: Any) -> GuestLane:
        """Return the lane in which this record starts. Raises Held when it may not: it is paused then, and will be fetched again."""
        first: Record = raw[0] if self._in_batches else raw
        consumer: Consumer = getattr(first, "consumer", None) or self._subscriber.consumer
        key = None if self._in_batches else (first.topic, first.partition)
        head = self._heads.get(key)
        if head is not None and (head.consumer is not consumer or not (self._in_batches or head.delivery.position == first.offset)):
            self._forget(head)  # a rebalance: it begins elsewhere now
            head = None
        if head is None:
            head = self._offer(key, raw, first, consumer)
        else:
            head.delivery.message = raw  # the same record, fetched once more
            if self._in_batches:
                head.places = _places(raw)
        lane = head.lane
        if lane is None or lane.delivery is not head.delivery:
            head.lane = None
            if not head.hold():
                self._forget(head)
            raise Held
        head.resumed_at = None
        return lane

    def _offer(self, key: Key, raw: Any, first: Record, consumer: Consumer) -> Head:
        run = self._started()
        source, tp = self._sources.get(key) or self._met(key, first)
        if self._in_batches:
            head = Head(key, FetchedBatch(source, raw), consumer, _places(raw))
        else:
            head = Head(key, FetchedRecord(source, raw), consumer, {tp: first.offset})
        self._heads[key] = head
        if not run.is_over:
            if not run.takes(source):
                run.assigned((source,))
            run.offer(head.delivery)
        return head

    def _met(self, key: Key, first: Record) -> tuple[Source, TopicPartition]:
        source: Source = Queue(self.name) if key is None else Partition(*key)
        found = self._sources[key] = (source, TopicPartition(first.topic, first.partition))
        return found

    def _head_of(self, delivery: AnyDelivery | None) -> Head | None:
        """Return the head of a delivery. None means that it has been forgotten."""
        if not isinstance(delivery, FetchedRecord | FetchedBatch):
            return None
        head = delivery.head
        return head if self._heads.get(head.key) is head else None

    def _started(self) -> GuestRun:
        if self._run is None:
            raise CommandError(f"{self.name}: the guard has not been started; `await guarded.start()` comes before the broker starts")
        return self._run

    # -- what the engine decides ------------------------------------------------------------------------------------------------------

    def granted(self, lane: GuestLane) -> None:
        """Let FastStream fetch what may start now. If it is the record that FastStream has in hand, there is nothing to do."""
        head = self._head_of(lane.delivery)
        if head is None:  # never: the engine forgets what is forgotten here
            if self._run is not None and lane.delivery is not None:
                self._run.worker.lost((lane.delivery.source,))
            return
        head.lane = lane
        head.resumed_at = self._now()
        if head.paused:
            head.resume()

    def settle(self, delivery: AnyDelivery, settlement: Settlement) -> None:  # noqa: ARG002 - Kafka has one way to settle
        head = self._head_of(delivery)
        if head is None:
            return
        del self._heads[head.key]
        if isinstance(head.delivery, FetchedBatch):
            ends = _ends(head.delivery.message)
        else:
            ends = {tp: offset + 1 for tp, offset in head.places.items()}
        for tp, end in ends.items():
            self._offsets.finished(head.consumer, tp, end)
        if head.paused:  # settled while it waited: dead-lettered, or skipped by an operator
            try:
                for tp, end in ends.items():
                    head.consumer.seek(tp, end)
            except IllegalStateError:
                return  # others have it
            head.resume()

    def _forget(self, head: Head) -> None:
        if self._heads.get(head.key) is head:
            del self._heads[head.key]
        if head.paused:
            self._orphans.append(head)
        if self._run is not None:
            self._run.worker.lost((head.delivery.source,))

    # -- the run's intake -------------------------------------------------------------------------------------------------------------

    def joined(self, run: GuestRun) -> None:
        """Take the run to which the records go."""
        self._run = run

    async def open(self, listener: IntakeListener) -> None:
        """Nothing: FastStream opens its consumers."""

    async def receive(self) -> Sequence[AnyDelivery]:
        """Wait for a second, look after the heads, and commit what is finished. The records come another way."""
        try:
            async with asyncio.timeout(_EVERY):
                await self._ended.wait()
        except TimeoutError:
            self._look_after()
            self._offsets.begin()
        else:
            await asyncio.sleep(0)
        return ()

    def apply(self, plan: Plan) -> None:
        """Nothing: a partition is paused when a record of it has come that may not start, and resumed when it may."""

    def weigh(self, deliveries: Sequence[Delivery[Any]]) -> int:
        """Return the bytes of the record that has come; of a batch, by its first one."""
        message = deliveries[0].message
        size = (len(message) * len(message[0].value or b"")) if self._in_batches else len(message.value or b"")
        return OVERHEAD + size

    async def flush(self) -> bool:
        self._ended.set()
        return await self._offsets.flush(_FLUSH_WITHIN)

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Return how much waits in the partitions of which records have come."""
        found: dict[Source, Backlog] = {}
        for head in tuple(self._heads.values()):
            try:
                ends = await head.consumer.end_offsets(list(head.places))
            except (KafkaError, IllegalStateError):
                continue
            found[head.delivery.source] = Backlog(sum(max(0, end - head.places[tp]) for tp, end in ends.items() if tp in head.places))
        return found

    async def close(self) -> None:
        self._ended.set()

    def released(self) -> None:
        """Nothing: what waits is paused."""

    def _look_after(self) -> None:
        """Forget the heads whose partitions are gone, and those whose record does not come although it was resumed.

        What was forgotten while it was paused, and is still ours and paused, has nobody else to resume it.
        """
        orphans, self._orphans = self._orphans, []
        held = {tp for head in self._heads.values() for tp in head.paused}
        for orphan in orphans:
            orphan.paused = tuple(tp for tp in orphan.paused if tp not in held)
            orphan.resume()
        now = self._now()
        at_work = {id(head.consumer) for head in self._heads.values() if head.runs}
        for head in tuple(self._heads.values()):
            if head.resumed_at is not None and id(head.consumer) in at_work:
                head.resumed_at = now
            late = head.resumed_at is not None and now - head.resumed_at > _COMES_WITHIN
            if late or head.is_gone:
                self._forget(head)

    # -- what a listener reports ------------------------------------------------------------------------------------------------------

    async def revoked(self, tps: Collection[TopicPartition]) -> None:
        """Let what runs for these partitions end, and commit what is finished."""
        if self._run is None:
            return
        await self._run.worker.revoked([head.delivery.source for head in self._heads_of(tps)])
        for head in self._heads_of(tps):
            self._forget(head)
        await self._offsets.flush(_FLUSH_WITHIN)
        self._offsets.forget(tps)

    def _heads_of(self, tps: Collection[TopicPartition]) -> list[Head]:
        return [head for head in self._heads.values() if any(tp in tps for tp in head.places)]

    def reads(self, topic: str) -> bool:
        """Return whether records of this topic have come here, or may come."""
        return self.names is None or topic in self._subscriber.topic_names


class GuardListener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no type information
    """Reports to the guard which partitions go, before they do: `listener=` of each guarded subscriber.

    `stations` gives those that run. One listener serves all subscribers of an app.
    """

    def __init__(self, stations: Callable[[], Iterable[KafkaStation]]) -> None:
        self._stations = stations

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Let what runs for these partitions end, within half of the rebalance timeout, and commit what is finished."""
        concerned = [station for station in self._stations() if any(station.reads(tp.topic) for tp in revoked)]
        if revoked:
            await asyncio.gather(*(station.revoked(revoked) for station in concerned))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Nothing: a partition that must be held is paused again by its first record."""


def _ends(records: Iterable[Record]) -> dict[TopicPartition, int]:
    """Return the offset behind the last record of each partition."""
    ends: dict[TopicPartition, int] = {}
    for record in records:
        tp = TopicPartition(record.topic, record.partition)
        ends[tp] = max(record.offset + 1, ends.get(tp, 0))
    return ends


def _places(records: Iterable[Record]) -> dict[TopicPartition, int]:
    """Return the earliest offset of each partition."""
    places: dict[TopicPartition, int] = {}
    for record in records:
        tp = TopicPartition(record.topic, record.partition)
        places[tp] = min(record.offset, places.get(tp, record.offset))
    return places


class _Kafka:
    """What FastStream's Kafka subscribers are, by their public names."""

    def is_for(self, broker: object) -> bool:
        return isinstance(broker, KafkaBroker)

    def names_of(self, subscriber: Any) -> Collection[str] | None:
        if subscriber.pattern is not None:
            return None
        return sorted({tp.topic for tp in subscriber.partitions}) or subscriber.topic_names

    def is_real(self, subscriber: Any, raw: Any) -> bool:
        return isinstance(getattr(raw, "consumer", None) or subscriber.consumer, AIOKafkaConsumer)

    def station(self, subscriber: Any, names: Collection[str] | None, consumer_timeout: float) -> KafkaStation:  # noqa: ARG002 - RabbitMQ's
        in_batches = hasattr(subscriber, "batch_timeout_ms")
        if in_batches and (names is None or len(names) > 1):
            raise SettingsError(
                f"the subscriber of {'+'.join(subscriber.topic_names)} takes batches of several topics, which have one verdict:"
                " give each topic a subscriber of its own, or leave batch=True out"
            )
        return KafkaStation(subscriber, names, in_batches=in_batches)


KAFKA = _Kafka()
