"""FastStream's Kafka subscribers under a guard: a hold is a pause and a seek, and a return is a resume.

Theory of operation. FastStream fetches a record and wants it handled. The usual one starts in the same step, and is done when its handler
has returned: nothing is kept of it but where it came from (`MetSource`). If the engine does not let the record start, or it fails, it
becomes the `Head` of its partition, which is paused, and the consumer is sought back to it. FastStream goes on with the other partitions,
and goes on polling. The engine keeps the delivery, with all that it knows of it. When the engine grants it, the partition is resumed,
FastStream fetches the record once more, and this time it starts, with the permits that wait for it. A partition has at most one record in
the engine's hands.

    a record comes      it is offered, and the handler runs in FastStream's task; the next record may come when it is DONE
    it may not start    pause, seek; it is the head, and waits in the engine
    granted             resume; the record comes again, is the head's, and starts
    failed: AGAIN       pause, seek; as above
    failed: REJECT      pause, seek; when its letter is confirmed, seek behind it and resume

A rebalance needs no memory. A new assignment fetches from the committed offset, unpaused. If the record is the head's, the head knows
whether it may start; if it is another one, the head is forgotten and the record is offered. So a rebalance ends no hold, and costs each
partition one fetch. With `listener=` the guard also lets running handlers end, and commits, before partitions go.

Which races matter. 1. A partition goes to another member while its head is granted: the record never comes, and nobody would give the
permits back. `_look_after` does, every second, for heads whose partition is gone or whose record does not come. 2. The engine may grant a
head while its failed attempt still settles, before the pause: then there is a seek and no pause. 3. A seek in a partition that is gone
raises; the new owner reads from the commit, and the head is forgotten. 4. With several consumers, one may get a partition while the handler
of another one still runs: what runs there is of no use any more, and is interrupted.

A batch is one delivery with one verdict. It may span partitions, so it is its subscriber's: all partitions of the consumer are paused.
FastStream decides how large a batch is, so a batch that fails cannot be tried in halves. It is never dead-lettered, as there is no telling
which of its records is bad.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

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

# KafkaDelivery has none of its own, and a list of the fields here would miss the next one.
_deliver: Callable[..., None] = vars(Delivery)["__init__"]


class FetchedRecord(KafkaDelivery):
    """A record that FastStream has fetched, by this consumer.

    `lane` is where it may start, or runs; None means that it waits. `head` is how it is held; None means that it never was.
    """

    __slots__ = ("consumer", "head", "lane", "place")

    def __init__(self, place: MetSource, record: Record, consumer: Consumer) -> None:
        _deliver(self, place.source, record)
        self.place = place
        self.consumer = consumer
        self.assignment = place.assignment
        self.lane: GuestLane | None = None
        self.head: Head | None = None

    @property
    def starts(self) -> dict[TopicPartition, int]:
        """Of each partition the offset to go back to."""
        return {self.place.tp: self.record.offset}

    @property
    def ends(self) -> dict[TopicPartition, int]:
        """Of each partition the offset behind it."""
        return {self.place.tp: self.record.offset + 1}


class FetchedBatch(Delivery[Sequence[Record]]):
    """A batch that FastStream has fetched, as one delivery of its subscriber. It has no single body, key, header or time."""

    __slots__ = ("consumer", "head", "lane", "place")

    def __init__(self, place: MetSource, records: Sequence[Record], consumer: Consumer) -> None:
        super().__init__(place.source, records)
        self.place = place
        self.consumer = consumer
        self.assignment = place.assignment
        self.lane: GuestLane | None = None
        self.head: Head | None = None

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

    @property
    def starts(self) -> dict[TopicPartition, int]:
        """Of each partition its earliest offset."""
        starts: dict[TopicPartition, int] = {}
        for record in self.message:
            tp = TopicPartition(record.topic, record.partition)
            starts[tp] = min(record.offset, starts.get(tp, record.offset))
        return starts

    @property
    def ends(self) -> dict[TopicPartition, int]:
        """Of each partition the offset behind its last record."""
        ends: dict[TopicPartition, int] = {}
        for record in self.message:
            tp = TopicPartition(record.topic, record.partition)
            ends[tp] = max(record.offset + 1, ends.get(tp, 0))
        return ends


Fetched: TypeAlias = FetchedRecord | FetchedBatch
_FETCHED = (FetchedRecord, FetchedBatch)
# Topic and number of a partition; None for a subscriber that takes batches. A Partition hashes more slowly, and this is done per record.
Key: TypeAlias = tuple[str, int] | None


class MetSource:
    """A source of which records have come, and what of it is in hand: a record that runs, a head, or nothing."""

    __slots__ = ("assignment", "head", "running", "source", "spare", "tp")

    def __init__(self, source: Source, tp: TopicPartition) -> None:
        self.source = source
        self.tp = tp
        self.spare: FetchedRecord | None = None  # its last record's delivery, if nothing of that comes again: the next one's
        self.assignment: Any = None  # that of its last record, which saves looking it up for the next
        self.running: Fetched | None = None
        self.head: Head | None = None  # held, or resumed to start

    @property
    def in_hand(self) -> Fetched | None:
        """What the engine has of it."""
        return self.running if self.head is None else self.head.delivery


class Head:
    """A record that may not start yet: its partition is paused at it, or was resumed to have it fetched once more."""

    __slots__ = ("delivery", "paused", "resumed_at")

    def __init__(self, delivery: Fetched) -> None:
        self.delivery = delivery
        delivery.head = delivery.place.head = self
        self.paused: tuple[TopicPartition, ...] = ()
        self.resumed_at: float | None = None  # when it was resumed to start; None before that, and once it has come

    @property
    def is_alive(self) -> bool:
        """Whether it has not been forgotten."""
        return self.delivery.place.head is self

    def hold(self) -> bool:
        """Fetch it again later: pause unless it may start already, and go back to it. False means that a partition of it is gone."""
        delivery, consumer = self.delivery, self.delivery.consumer
        starts = delivery.starts
        try:
            if delivery.lane is None:
                self.paused = tuple(starts) if isinstance(delivery, FetchedRecord) else tuple(consumer.assignment())
                consumer.pause(*self.paused)
            for tp, offset in starts.items():
                consumer.seek(tp, offset)
        except IllegalStateError:
            return False
        return True

    def resume(self) -> None:
        """Let its partitions be fetched again, those that are still ours."""
        paused, self.paused = self.paused, ()
        ours = self.delivery.consumer.assignment()
        self.delivery.consumer.resume(*(tp for tp in paused if tp in ours))


# The engine has nothing more to do with a record, and the broker need not be asked for it again.
_SETTLED = (Verdict.DONE, Verdict.STALE)
_NO_RECORD: Any = None
_DONE = Verdict.DONE  # an enum's member costs more to look up than most steps here


class KafkaStation:
    """One subscriber under the guard: FastStream brings its records, and the engine decides about them. It is the run's intake, too."""

    order: Order = "source"
    inbox = 500  # never more than one comes, and a full inbox would be a new plan for each
    concurrency = None
    rebalance_timeout = _REBALANCE_TIMEOUT

    def __init__(self, subscriber: Any, names: Collection[str] | None, *, in_batches: bool) -> None:
        self.names = names
        self.name = "+".join(subscriber.topic_names)
        self.group: str = subscriber.group_id
        self.can_dead_letter = not in_batches
        self._subscriber = subscriber
        self._in_batches = in_batches
        self._has_several = hasattr(subscriber, "consumer_subgroup")  # consumers: then each record has its own
        self._places: dict[Key, MetSource] = {}  # those that were met
        self._orphans: list[Head] = []  # forgotten while they were paused
        self._run: GuestRun | None = None
        self._offsets = Offsets(self.name)
        self._ended = asyncio.Event()
        self._now: Callable[[], float] = asyncio.get_running_loop().time

    # -- what FastStream brings -------------------------------------------------------------------------------------------------------

    def met(self, raw: Any) -> bool:
        """Return whether a record came from a broker."""
        return isinstance(getattr(raw, "consumer", None) if self._has_several else self._subscriber.consumer, AIOKafkaConsumer)

    def consume(self, visit: GuardMiddleware, call_next: CallNext, message: StreamMessage[Any]) -> Awaitable[Any]:
        """Begin the attempt, and return the handler's coroutine, if the record may start. Raises Held if not."""
        lane = visit.lane = self._admit(message.raw_message)
        lane.begin()
        return call_next(message)

    def ended(self, visit: GuardMiddleware, message: StreamMessage[Any], error: BaseException | None) -> None:
        lane = visit.lane
        if lane is None:
            return
        delivery = lane.delivery
        if error is not None or message.committed is not None:
            error = meant_by(delivery, message.committed, error)
        elif type(delivery) is FetchedRecord and delivery.head is None:  # nearly always
            place = delivery.place
            if place.running is delivery:
                place.running = None  # first: the end may begin a turn of the guard, which looks at that
                verdict = lane.end_plainly()
                if verdict is _DONE:
                    place.spare = delivery
                    delivery.record, delivery.lane = _NO_RECORD, None  # it may be large, and there is one for each partition
                if verdict is not None:
                    return
                place.running = delivery
        self._end(lane, error)

    async def unreadable(self, raw: Any, error: Exception) -> None:
        lane = self._admit(raw)
        with suppress(NeedsError, Reject):
            lane.begin()
        self._end(lane, error)

    def _end(self, lane: GuestLane, error: BaseException | None) -> None:
        delivery = lane.delivery
        if not isinstance(delivery, _FETCHED):
            lane.leave(error)
            return
        place, head = delivery.place, delivery.head
        if place.running is delivery:
            place.running = None
        if delivery.lane is lane:
            delivery.lane = None
        if head is None:
            if error is None and lane.end_plainly() is not None:
                return
            if not delivery.assignment.alive:  # nothing of it comes again here
                lane.leave(error)
                return
            head = Head(delivery)  # before the end: the engine may grant it in there
        verdict = lane.leave(error)
        if not head.is_alive:
            return
        if verdict in _SETTLED:
            self._drop(head)
        elif not head.hold():
            self._forget(head)

    def _admit(self, raw: Any) -> GuestLane:
        """Return the lane in which this record starts. Raises Held when it may not: it is paused then, and will be fetched again."""
        first: Record = raw
        key: Key = None
        if self._in_batches:
            first = raw[0]
        else:
            key = (raw.topic, raw.partition)
        consumer: Consumer = first.consumer if self._has_several else self._subscriber.consumer
        place = self._places.get(key) or self._met(key, first, consumer)
        head, spare, run = place.head, place.spare, self._run
        if spare is not None and head is None and run is not None:  # nearly always
            place.spare = None
            spare.record, spare.consumer, spare.attempt = raw, consumer, 0
            lane = run.start(spare, len(raw.value or b""))
            if lane is not None:
                place.running = spare
                return lane
            delivery: Fetched = spare
            lane = spare.lane
        elif head is None or not self._is_its_record(head, first, consumer):
            delivery = FetchedBatch(place, raw, consumer) if self._in_batches else FetchedRecord(place, raw, consumer)
            lane = self._offer(delivery, first)
        else:
            delivery = head.delivery
            delivery.message = raw  # the same record, fetched once more
            lane = delivery.lane
        if lane is None or lane.delivery is not delivery:
            self._hold(delivery)
        if delivery.head is not None:
            delivery.head.resumed_at = None
        place.running = delivery
        return lane

    def _is_its_record(self, head: Head, first: Record, consumer: Consumer) -> bool:
        """Return whether what has come is the head's, once more. Otherwise the head is forgotten: after a rebalance it begins elsewhere."""
        delivery = head.delivery
        if delivery.consumer is consumer and (self._in_batches or delivery.position == first.offset):
            return True
        self._forget(head)
        return False

    def _hold(self, delivery: Fetched) -> NoReturn:
        delivery.lane = None
        head = delivery.head or Head(delivery)
        if not head.hold():
            self._forget(head)
        raise Held

    def _offer(self, delivery: Fetched, first: Record) -> GuestLane | None:
        """Hand a record to the engine that it does not have yet. Returns the lane in which it starts now."""
        run, place = self._run, delivery.place
        if run is None:
            raise CommandError(f"{self.name}: the guard has not been started; `await guarded.start()` comes before the broker starts")
        if place.running is not None:  # another consumer of ours had the partition, and its handler has not ended
            place.running = None
            run.worker.lost((place.source,))
        lane = run.start(delivery) if self._in_batches else run.start(delivery, len(first.value or b""))
        place.assignment = delivery.assignment
        return lane or delivery.lane

    def _met(self, key: Key, first: Record, consumer: Consumer) -> MetSource:
        source: Source = Queue(self.name) if key is None else Partition(*key)
        tp = TopicPartition(first.topic, first.partition)
        # Where the group begins is committed, too. Under `auto_offset_reset="latest"`, FastStream's default, a group that has committed
        # nothing begins at the end again: a restart in its first hold would pass over what is held.
        self._offsets.finished(consumer, tp, first.offset)
        found = self._places[key] = MetSource(source, tp)
        return found

    # -- what the engine decides ------------------------------------------------------------------------------------------------------

    def granted(self, lane: GuestLane) -> None:
        """Let FastStream fetch what may start now. If it is the record that FastStream has in hand, there is nothing to do."""
        delivery = lane.delivery
        if not isinstance(delivery, _FETCHED):
            return
        delivery.lane = lane
        head = delivery.head
        if head is None:
            return
        if not head.is_alive:  # never: the engine forgets what is forgotten here
            if self._run is not None:
                self._run.worker.lost((delivery.source,))
            return
        head.resumed_at = self._now()
        if head.paused:
            head.resume()

    def settle(self, delivery: AnyDelivery, settlement: Settlement) -> None:  # noqa: ARG002 - Kafka has one way to settle
        if isinstance(delivery, FetchedRecord):
            self._offsets.finished(delivery.consumer, delivery.place.tp, delivery.record.offset + 1)
        elif isinstance(delivery, FetchedBatch):
            for tp, end in delivery.ends.items():
                self._offsets.finished(delivery.consumer, tp, end)
        else:
            return
        head = delivery.head
        if head is not None and head.is_alive:
            delivery.place.head = None
            if head.paused:  # settled while it waited: dead-lettered, or skipped by an operator
                self._pass_over(head)

    def _pass_over(self, head: Head) -> None:
        """Go on behind a record that is paused."""
        try:
            for tp, end in head.delivery.ends.items():
                head.delivery.consumer.seek(tp, end)
        except IllegalStateError:
            return  # others have it
        head.resume()

    def _drop(self, head: Head) -> None:
        """Have nothing more to do with a head."""
        place = head.delivery.place
        if place.head is head:
            place.head = None
        if head.paused:
            self._orphans.append(head)

    def _forget(self, head: Head) -> None:
        self._drop(head)
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
        for delivery in self._in_hand():
            starts = delivery.starts
            try:
                ends = await delivery.consumer.end_offsets(list(starts))
            except (KafkaError, IllegalStateError):
                continue
            found[delivery.source] = Backlog(sum(max(0, end - starts[tp]) for tp, end in ends.items() if tp in starts))
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
        heads = [place.head for place in self._places.values() if place.head is not None]
        held = {tp for head in heads for tp in head.paused}
        for orphan in orphans:
            orphan.paused = tuple(tp for tp in orphan.paused if tp not in held)
            orphan.resume()
        now = self._now()
        at_work = {id(place.running.consumer) for place in self._places.values() if place.running is not None}
        for head in heads:
            if head.resumed_at is not None and id(head.delivery.consumer) in at_work:
                head.resumed_at = now
            late = head.resumed_at is not None and now - head.resumed_at > _COMES_WITHIN
            if late or _is_gone(head.delivery):
                self._forget(head)
        for place in self._places.values():
            if place.head is None and place.running is not None and _is_gone(place.running):
                place.running = None
                if self._run is not None:
                    self._run.worker.lost((place.source,))

    # -- what a listener reports ------------------------------------------------------------------------------------------------------

    async def revoked(self, tps: Collection[TopicPartition]) -> None:
        """Let what runs for these partitions end, and commit what is finished."""
        if self._run is None:
            return
        await self._run.worker.revoked([delivery.source for delivery in self._in_hand(tps)])
        for delivery in self._in_hand(tps):
            if delivery.head is not None and delivery.head.is_alive:
                self._forget(delivery.head)
        await self._offsets.flush(_FLUSH_WITHIN)
        self._offsets.forget(tps)

    def _in_hand(self, tps: Collection[TopicPartition] | None = None) -> list[Fetched]:
        """Return what the engine has in hand of these partitions, running or held. None means of all."""
        found = (place.in_hand for place in self._places.values())
        return [one for one in found if one is not None and (tps is None or any(tp in tps for tp in one.starts))]

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


def _is_gone(delivery: Fetched) -> bool:
    """Return whether one of its partitions is no longer its consumer's."""
    ours = delivery.consumer.assignment()
    return any(tp not in ours for tp in delivery.starts)


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

    def check(self, subscriber: Any, names: Collection[str] | None) -> None:
        if not subscriber.group_id:
            raise SettingsError(
                f"the subscriber of {'+'.join(subscriber.topic_names)} has no group_id, so it commits nothing, and its next start would"
                ' pass over what is held: give it group_id="..."'
            )
        if _takes_batches(subscriber) and (names is None or len(names) > 1):
            raise SettingsError(
                f"the subscriber of {'+'.join(subscriber.topic_names)} takes batches of several topics, which have one verdict:"
                " give each topic a subscriber of its own, or leave batch=True out"
            )

    def station(self, subscriber: Any, names: Collection[str] | None, consumer_timeout: float) -> KafkaStation:  # noqa: ARG002 - RabbitMQ's
        return KafkaStation(subscriber, names, in_batches=_takes_batches(subscriber))


def _takes_batches(subscriber: Any) -> bool:
    return hasattr(subscriber, "batch_timeout_ms")


KAFKA = _Kafka()
