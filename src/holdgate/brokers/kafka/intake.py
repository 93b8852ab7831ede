"""KafkaIntake: one aiokafka consumer behind the `Intake` port. It composes; the rules are in the files beside it.

What happens when

- `receive` is called: pauses and assignment are compared with what they should be, one poll is made (fetching.py), what came is handed out.
  Offsets are noted in the same step in which the client's position moves (assignments.py).
- the plan changes: `apply` pauses and resumes in the same step (fetching.py); a hold also commits what is finished (commits.py). A source
  that was held is resumed only after its place was compared with the log's start, a millisecond later (retention.py).
- a rebalance begins or ends, or the group throws us out: membership.py, called by the listener of membership.py.
- it opens and closes: checks.py refuses, membership.py takes the consumer in hand and lets it go.

Non-obvious rules: a poll is never cancelled, nor a commit whose assignment lives. Nothing is committed between the two callbacks of a
rebalance. `assignment()` is no evidence of what is ours. A delivery finds its assignment by reference, so a late one settles nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakSet

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError

from holdgate.brokers.kafka.assignments import AssignedPartition, AssignedPartitions, KafkaBatch, KafkaDelivery, Record, Rewound, weigh
from holdgate.brokers.kafka.checks import STOPPED, Failing, check_consumer, check_subscription, check_topics, check_types, end_of_intake
from holdgate.brokers.kafka.client import Client, SideConsumer
from holdgate.brokers.kafka.commits import Commits
from holdgate.brokers.kafka.fetching import Pauses, Poll
from holdgate.brokers.kafka.membership import GIVE_UP_WITHIN, Membership, Opening, OwnedListener
from holdgate.brokers.kafka.retention import RecordsLost, Retention
from holdgate.brokers.tasks import run_beside
from holdgate.core.validation import count, seconds
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.batch import Batch
from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, Delivery, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.tasks import begin_later, is_being_cancelled

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener

log = logging.getLogger(__name__)

# A consumer has one listener, one poll loop and one owner of its commits.
_owned: WeakSet[AIOKafkaConsumer] = WeakSet()

_OWNED = "a guard owns this consumer already: give every intake a consumer of its own"

_ACK = Settlement.ACK

# A client with a broker in reach connects in milliseconds; request_timeout_ms is 40 s by default, too long to find a wrong address.
_CONNECT_WITHIN = 15.0
# The longest commit seen while a coordinator or leader was killed took 12.6 s (19 s with all brokers down).
_FLUSH_WITHIN = 15.0
# How often pauses and assignment are compared when nothing is known to have changed.
_LOOK_EVERY = 0.1
# The most one poll hands out: 250 records and their deliveries stay below the 700 new objects at which Python's collector runs, which
# costs 0.3 us a record with 500; below 200 the poll itself begins to cost.
_POLL_AT_MOST = 250
# aiokafka may have a quarter of the guard's bound in its buffers, half of that by one response.
_READ_AHEAD = 4
# However many partitions there are, a fetch is worth its round trip.
_FETCH_AT_LEAST = 16_384
# What is a sixteenth of that quarter is much for one partition and poll: it waits for the plan before it fetches again.
_MUCH = 16


class KafkaIntake:
    """Deliveries from one AIOKafkaConsumer, which it owns while open: listener, polls and commits.

    `topics` (a list) or `pattern` (a regular expression) subscribe a consumer that has no subscription; left out, the consumer's own
    subscription, or its `assign()`, is used. A consumer that is not started is started, and stopped at the end. A started one is
    subscribed again with our listener, so what it had taken and not committed comes again; its `stop()` stays the caller's, and at the
    end it is put back to the first record that was not finished. `listener` is a ConsumerRebalanceListener of yours, called after ours;
    one that the consumer was subscribed with is kept without naming it.

    `inbox` is how many deliveries may wait per partition before fetching stops; polls that are under way, at most three, may each add
    250, or `inbox` where that is less, or as many as a batch of `guard.run(batch=)` has. `commit_every` and `poll_timeout` are seconds.
    `allow_latest` allows `auto_offset_reset="latest"`, which skips what waits for a new group. `on_records_lost` is called when the
    broker deleted records during a hold before they were read.

    Raises SettingsError for settings that would lose or repeat messages, and then an unstarted consumer is of no use any more: make a new
    one. IntakeError for a consumer that another intake owns; `open` raises it where the broker says no.
    """

    order: Order = "source"

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        *,
        topics: Collection[str] | None = None,
        pattern: str | None = None,
        inbox: int = 500,  # half a megabyte of 1 kB messages per partition, and enough that a poll costs little per message
        commit_every: float | timedelta = 1.0,  # what a crash repeats; each commit is a write on the broker
        allow_latest: bool = False,  # skipping silently is loss
        poll_timeout: float | timedelta = 0.1,  # what a stop or a change behind our back may wait for
        listener: ConsumerRebalanceListener | None = None,
        on_records_lost: Callable[[RecordsLost], None] | None = None,
    ) -> None:
        check_types(consumer, listener, on_records_lost)
        if consumer in _owned:
            raise IntakeError(_OWNED)
        client = self._client = Client(consumer)
        try:
            self.inbox = count("inbox", inbox)
            self._poll_timeout = seconds("poll_timeout", poll_timeout)
            every = seconds("commit_every", commit_every)
            check_consumer(client, allow_latest=allow_latest, poll_timeout=self._poll_timeout)
            check_subscription(client, topics, pattern)
        except SettingsError:
            client.write_off()
            raise
        self._topics = topics
        self._pattern = pattern
        self._chained = listener
        self._on_records_lost = on_records_lost
        self._most = min(inbox, _POLL_AT_MOST)
        self._compose(client, every)
        self._in_batches = False
        self._ahead: int | None = None  # bytes that aiokafka may have in its buffers; None: as its settings say
        self._failing = Failing()
        self._fault: BaseException | None = None
        self._ready: list[KafkaDelivery | KafkaBatch] = []
        self._epoch = 0
        self._next_look = 0.0
        self._looked_at = 0
        self._looking: asyncio.Task[None] | None = None
        self._owns = False
        self._given_up = False  # while it was being opened, or with the loop: nobody waits for an answer of the broker
        self._closing: asyncio.Task[None] | None = None

    def _compose(self, client: Client, commit_every: float) -> None:
        self._assignments = AssignedPartitions()
        self._pauses = Pauses(client, self._assignments)
        self._opening = Opening(client, self._assignments, self._pauses)
        self._aside = SideConsumer(client)
        self._commits = Commits(client, self._assignments, commit_every, self._note_failure)
        self._retention = Retention(
            client,
            self._assignments,
            self._pauses,
            self._aside,
            lost=self._tell_lost,
            released=self._assert_plan,
            failed=self._note_failure,
        )
        self._membership = Membership(
            client, self._assignments, self._pauses, self._commits, changed=self._assert_plan, failed=self._note_failure
        )
        self._poll = Poll(client, self._take, self._poll_timeout, self._most)

    @property
    def names(self) -> Collection[str] | None:
        if self._pattern is not None or self._client.pattern is not None:
            return None
        return tuple(sorted(self._topics if self._topics is not None else self._client.topics))

    @property
    def rebalance_timeout(self) -> float:
        return self._client.rebalance_timeout

    @property
    def evicted_after(self) -> float:
        # The last heartbeat may have been sent an interval before the process stood still.
        session = self._client.session_timeout
        return math.inf if self._client.is_assigned_by_hand else max(session - self._client.heartbeat_interval, session / 2)

    def deliver_in_batches(self, most: int) -> None:
        """What one poll gives of a partition comes as one `Batch`, and a poll hands out at least `most` records where they are there."""
        self._in_batches = self._assignments.in_batches = True
        # A poll that gives less than a batch would make the handler's batches smaller, and nothing is made of a record here that would
        # wake the collector.
        self._most = max(self._most, most)
        self._poll = Poll(self._client, self._take, self._poll_timeout, self._most)

    @property
    def sends_unasked(self) -> bool:
        return False

    @property
    def read_ahead(self) -> int:
        return self._client.buffered

    def bound(self, memory: int) -> None:
        self._ahead = memory // _READ_AHEAD

    def weigh(self, deliveries: Sequence[Delivery[Record]]) -> int:
        return weigh(deliveries)

    def stood_still(self) -> None:
        self._membership.doubt()

    async def open(self, listener: IntakeListener) -> None:
        """Check, connect and subscribe. Raises IntakeError before anything is consumed; the intake is closed then."""
        if self._client.consumer in _owned:
            raise IntakeError(_OWNED)
        if self._closing is not None or self._client.is_stopped:
            raise IntakeError("this intake was closed, or its consumer was stopped: make new ones")
        _owned.add(self._client.consumer)
        self._owns = True
        self._membership.guard = listener
        try:
            await self._open()
        except BaseException as error:
            self._given_up = isinstance(error, asyncio.CancelledError)
            await self.close()
            raise

    async def receive(self) -> Sequence[Delivery[Record]]:
        if self._fault is not None:
            raise self._fault
        if self._pauses.rests and not self._ready:  # what a late poll gave is no part of the plan yet
            self._pauses.rested()
            self._assert_plan()
        self._look()
        if not self._ready:
            try:
                if self._in_batches:
                    await asyncio.sleep(0)  # before the poll: a batch that is worked off at once frees its records for those of the next
                if await self._poll.more(now=self._membership.may_poll) and not self._in_batches:
                    await asyncio.sleep(0)  # a full buffer answers without a wait: let the handlers run
            except (KafkaError, ConsumerStoppedError) as error:
                await self._poll_failed(error)
        return self._hand_out()

    def apply(self, plan: Plan) -> None:
        if self._pauses.store(plan):
            self._commits.soon()
        self._assert_plan()

    def settle(self, delivery: Delivery[Record], settlement: Settlement) -> None:
        # REQUEUE leaves it unfinished: its place is kept by never committing past it.
        if settlement is _ACK and type(delivery) is KafkaDelivery:  # isinstance costs twice as much, and this is once a message
            delivery.assigned.inflight.finished(delivery.message.offset)
        elif settlement is _ACK and isinstance(delivery, Batch) and isinstance(delivery.origin, AssignedPartition):
            delivery.origin.finished_together(delivery.message)
        elif settlement is Settlement.REJECT:
            raise IntakeError(f"{delivery.source}@{delivery.position}: Kafka cannot reject a record; give the run dead_letters")

    async def flush(self) -> None:
        await self._commits.flush(_FLUSH_WITHIN)
        self._poll.wake()

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Counts by offsets: gaps of transactions and compaction count as messages until they are passed."""
        ends = await self._aside.log_ends(self._assignments.tps()) or {}
        now = time.time()
        found: dict[Source, Backlog] = {}
        for assignment in self._assignments:
            end = ends.get(assignment.tp)
            next_offset = assignment.next_offset(self._client.position(assignment.tp))
            oldest = assignment.oldest_timestamp()
            found[assignment.source] = Backlog(
                None if end is None or next_offset is None else max(0, end - next_offset),
                None if oldest is None else max(0.0, now - oldest / 1000),
            )
        return found

    async def close(self) -> None:
        if self._closing is None:
            self._given_up = self._given_up or is_being_cancelled()
            self._closing = begin_later(self._close(), "kafka close")
        await asyncio.shield(self._closing)

    async def _open(self) -> None:
        client = self._client
        names = self.names
        await self._aside.start(_CONNECT_WITHIN)
        if names is not None:
            check_topics(names, await self._aside.topics(), client.bootstrap_servers)
        # The run ends with it: in the handler alone it would look like a failure that nobody can judge, and be retried for ever.
        client.refuse_commits(self._note_failure)
        self._commits.start()
        self._retention.start()
        by_hand = client.is_assigned_by_hand
        if not by_hand:
            chained = self._chained if self._chained is not None else client.listener
            self._opening.subscribe(names, self._pattern, OwnedListener(self._membership, chained, self._note_failure))
        await self._opening.start()
        if by_hand:
            self._membership.take_over(client.assignment())

    async def _close(self) -> None:
        if self._client.consumer in _owned and not self._owns:
            return  # refused at open: the other guard's consumer is not ours to stop
        self._commits.stop()
        self._retention.stop()
        self._membership.stop()
        if self._given_up:
            self._commits.abandon()
        else:
            await self._commits.flush(_FLUSH_WITHIN)
        await self._poll.end(self._poll_timeout * 2)
        self._client.allow_commits()
        self._client.restore_fetches()
        await self._opening.let_go(given_up=self._given_up)
        self._assignments.drop(self._assignments.tps())
        await self._poll.abandon()
        if self._given_up:
            await self._aside.stop(GIVE_UP_WITHIN)
        else:
            await self._aside.stop()
        _owned.discard(self._client.consumer)

    def _take(self, records: dict[TopicPartition, list[Record]]) -> None:
        for tp, batch in records.items():
            assignment = self._assignments.get(tp)
            if assignment is None:
                self._put_back(tp, batch)
                continue
            try:
                self._ready += assignment.delivered(batch)
            except Rewound as error:
                log.warning("%s: %s; what was in hand of it is dropped and comes again", assignment.source, error)
                self._ready += self._membership.begin_anew(tp, batch)
            if self._ahead is not None and len(batch) * batch[0].serialized_value_size >= self._ahead // _MUCH:
                self._pauses.rest(tp)
        if self._pauses.rests:
            self._assert_plan()

    def _put_back(self, tp: TopicPartition, batch: list[Record]) -> None:
        """Records that a late poll handed out after we had let go: whoever polls the consumer next gets them."""
        if tp in self._client.assignment():
            self._client.seek(tp, batch[0].offset)

    def _hand_out(self) -> list[KafkaDelivery | KafkaBatch]:
        ready = self._ready
        if self._epoch != self._assignments.epoch:
            self._epoch = self._assignments.epoch
            ready = [delivery for delivery in ready if delivery.assigned.alive]
        # Two polls may have ended at the same time; one receive never gives more than a poll does.
        self._ready = ready[self._most :]
        return ready[: self._most] if self._ready else ready

    def _look(self) -> None:
        """Level-triggered: whatever undid a pause or changed the assignment, and whoever did it, is seen here."""
        now = asyncio.get_running_loop().time()
        if now < self._next_look and not self._membership.has_changed:
            return
        self._next_look = now + _LOOK_EVERY
        if self._client.is_stopped:
            raise IntakeError(STOPPED)
        if self._client.has_died:
            raise IntakeError("aiokafka's fetch task has died: this consumer will deliver nothing any more, make a new one")
        if self._opening.is_subscribed_by_others:
            raise IntakeError("consumer.subscribe() was called while a guard uses the consumer: name all topics in KafkaIntake")
        self._membership.verify()
        self._assert_plan(look=True)
        if not self._membership.is_rebalancing:
            self._look_for_deleted_topics()

    def _look_for_deleted_topics(self) -> None:
        """After a rebalance: a topic of which we have nothing may be another member's, or be gone. Only the broker knows."""
        if self._looked_at == self._assignments.epoch:
            return
        self._looked_at = self._assignments.epoch
        if not {tp.topic for tp in self._assignments.tps()}.issuperset(self.names or ()):
            self._looking = run_beside(self._check_topics(), "kafka topics", self._note_failure)

    async def _check_topics(self) -> None:
        topics = await self._aside.topics()
        if topics is not None:
            check_topics(self.names or (), topics, self._client.bootstrap_servers)

    def _assert_plan(self, *, look: bool = False) -> None:
        if self._membership.is_rebalancing:
            return
        if self._pauses.look() if look else self._pauses.match():
            self._poll.wake()
        self._poll.name(self._assignments.tps(), self._pauses.paused)
        self._limit_fetches()
        self._retention.soon()

    def _limit_fetches(self) -> None:
        if self._ahead is not None:
            partitions = max(1, len(self._assignments))
            self._client.limit_fetches(max(_FETCH_AT_LEAST, self._ahead // partitions), self._ahead // 2)

    async def _poll_failed(self, error: BaseException) -> None:
        end = end_of_intake(error, self._client)
        if end is not None:
            raise end from error
        if isinstance(error, OffsetOutOfRangeError):
            self._pauses.suspect(error.args[0])
            self._assert_plan()
        elif self._failing.lasts(asyncio.get_running_loop().time()):
            raise IntakeError(f"polls have failed for a minute without a break, now with {error!r}") from error
        else:
            log.warning("a poll failed: %r", error)
        await asyncio.sleep(self._poll_timeout)  # an error comes back at once: no hot loop

    def _note_failure(self, error: BaseException) -> None:
        """What a callback or a commit met; the next receive raises it if it ends the intake."""
        fault = end_of_intake(error, self._client) if isinstance(error, KafkaError) else error
        self._fault = self._fault or fault

    def _tell_lost(self, loss: RecordsLost) -> None:
        if self._on_records_lost is not None:
            try:
                self._on_records_lost(loss)
            except Exception:
                log.exception("on_records_lost raised")
