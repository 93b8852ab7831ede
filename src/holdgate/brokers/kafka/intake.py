"""KafkaIntake: one aiokafka consumer behind the `Intake` port. This file composes the parts; the rules are in the files beside it.

What happens when

- `receive` is called: pauses and assignment are compared with what they should be, one poll is made (fetching.py), and its records are
  handed out. Offsets are noted in the same step in which the client's position moves (partitions.py).
- the plan changes: `apply` pauses and resumes in the same step (fetching.py), and a hold also commits what is finished (commits.py). A
  source that was held is resumed a millisecond later, after its position was compared with the log's start (retention.py).
- a rebalance begins or ends, or the group evicts this member: the callbacks of membership.py.
- somebody asks how much waits: backlog.py asks the broker, by a second consumer.
- the intake opens or closes: checks.py refuses bad settings, membership.py starts the consumer, and stops it or hands it back.

Invariants that a change must keep:

- A poll is never cancelled, and neither is a commit whose assignment lives.
- Nothing is committed between the two callbacks of a rebalance.
- `assignment()` is no evidence of what is ours; see membership.py.
- A delivery refers to its `AssignedPartition`, so a late result settles nothing in a newer one.

What is ugly: several tasks run beside `receive` (commits, retention, a topic check), and the callbacks run in aiokafka's own task. None of
them can raise into `receive`, so they leave their error in `_fault`, and the next `receive` raises it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakSet

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError

from holdgate.brokers.backlog import PartitionBacklogs
from holdgate.brokers.bell import give_to_user
from holdgate.brokers.commits import Commits
from holdgate.brokers.kafka.checks import (
    STOPPED,
    TOO_LATE,
    check_consumer,
    check_subscription,
    check_types,
    end_of_intake,
)
from holdgate.brokers.kafka.client import Client, SideConsumer
from holdgate.brokers.kafka.deliveries import RECORDS, KafkaBatch, KafkaDelivery, Message, Record, weigh
from holdgate.brokers.kafka.fetching import Pauses, Poller
from holdgate.brokers.kafka.membership import GIVE_UP_WITHIN, ConsumerLifecycle, Membership, OwnedListener
from holdgate.brokers.letters import no_reject
from holdgate.brokers.lifetime import Lifetime
from holdgate.brokers.partitions import AssignedPartition, AssignedPartitions, OutOfSequence, Ready
from holdgate.brokers.retention import RecordsLost, Retention
from holdgate.brokers.topics import ErrorStreak, check_topics
from holdgate.core.validation import count, seconds
from holdgate.errors import IntakeError
from holdgate.flow.batch import Batch
from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, Delivery, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.slips import suggest_keywords
from holdgate.tasks import run_beside

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener

log = logging.getLogger(__name__)

# A consumer has one listener, one poll loop and one owner of its commits, so it can have one intake at a time.
_owned: WeakSet[AIOKafkaConsumer] = WeakSet()

_OWNED = "another intake owns this consumer: give every intake a consumer of its own"

_ACK = Settlement.ACK

# Seconds to connect. With a broker in reach it takes milliseconds; request_timeout_ms is 40 s by default, too long for a wrong address.
_CONNECT_WITHIN = 15.0
# The longest commit seen while a coordinator or leader was killed took 12.6 s (19 s with all brokers down).
_FLUSH_WITHIN = 15.0
# Seconds until the broker is asked again for its topics if it has not answered.
_ASK_AGAIN_AFTER = 1.0
# Seconds between two comparisons of pauses and assignment while nothing is known to have changed.
_LOOK_EVERY = 0.1
# Records that one poll hands out at most. 250 records and their deliveries stay below the 700 new objects at which Python's garbage
# collector runs, which costs 0.3 us a record with 500. Below 200 the poll itself begins to cost.
_POLL_AT_MOST = 250
# aiokafka may buffer a quarter of the guard's bound on memory, and half of that quarter by one response.
_READ_AHEAD = 4
# Bytes that one fetch of a partition may always have, so that it is worth its round trip however many partitions there are.
_FETCH_AT_LEAST = 16_384
# A poll that hands out a sixteenth of that quarter from one partition pauses the partition until there is a plan that counts it.
_LARGE_POLL = 16


class KafkaIntake:
    """Receive deliveries from one AIOKafkaConsumer. While it is open the intake owns the consumer's listener, polls and commits.

    A consumer that is not started is started here, and stopped at the end. A started one is subscribed again with our listener, so what it
    had taken and not committed comes again. Its `stop()` stays the caller's, and at the end it is put back to the first unfinished record.

    - `consumer`: the consumer, with a `group_id`, `enable_auto_commit=False` and no deserializers.
    - `topics`: the topics to subscribe to. None means `pattern`, or the consumer's own subscription or `assign()`.
    - `pattern`: a regular expression to subscribe by, instead of `topics`. None means `topics`, or what the consumer has.
    - `inbox`: how many deliveries may wait per partition before fetching stops, from 1. At most three polls are under way then, and each
      may add 250, or `inbox` if that is less, or as many as a batch of `guard.run(batch=)` has. The default is half a megabyte of 1 kB
      messages per partition.
    - `commit_every`: seconds between two commits, above 0, or a timedelta. A crash repeats what was finished in that time.
    - `allow_latest`: whether `auto_offset_reset="latest"` is allowed. It skips messages that wait for a new group.
    - `poll_timeout`: seconds that a poll waits for records, above 0 and at most half of the consumer's `max_poll_interval_ms`, or a
      timedelta. A stop, or a change that no callback reports, may wait as long.
    - `listener`: a ConsumerRebalanceListener of yours, called after ours. None means the one that the consumer is subscribed with, if any.
    - `on_records_lost`: called with a `RecordsLost` when the broker deleted records during a hold before they were read. None means that
      the loss is logged and nothing else.

    Raises SettingsError for settings that would lose or repeat messages, and IntakeError for a consumer that another intake owns. `open`
    raises IntakeError if the broker refuses.
    """

    order: Order = "source"

    @suggest_keywords
    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        *,
        topics: Collection[str] | None = None,
        pattern: str | None = None,
        inbox: int = 500,  # half a megabyte of 1 kB messages per partition, and enough that a poll costs little per message
        commit_every: float | timedelta = 1.0,  # a crash repeats one second of work; each commit is a write on the broker
        allow_latest: bool = False,  # to skip messages silently is to lose them
        poll_timeout: float | timedelta = 0.1,  # a stop, or a change that no callback reports, may wait as long
        listener: ConsumerRebalanceListener | None = None,
        on_records_lost: Callable[[RecordsLost], None] | None = None,
    ) -> None:
        check_types(consumer, listener, on_records_lost)
        if consumer in _owned:
            raise IntakeError(_OWNED)
        client = self._client = Client(consumer)
        client.mark_unopened()
        self.inbox = count("inbox", inbox)
        self._poll_timeout = seconds("poll_timeout", poll_timeout)
        every = seconds("commit_every", commit_every)
        check_consumer(client, allow_latest=allow_latest, poll_timeout=self._poll_timeout)
        check_subscription(client, topics, pattern)
        self._topics = topics
        self._pattern = pattern
        self._chained = listener
        self._on_records_lost = on_records_lost
        self._most = min(inbox, _POLL_AT_MOST)
        self._compose(client, every)
        self._in_batches = False
        self._ahead: int | None = None  # bytes that aiokafka may buffer; None means as its settings say
        self._poll_errors = ErrorStreak()
        self._fault: BaseException | None = None
        self._next_look = 0.0
        self._looked_at = 0
        self._looking: asyncio.Task[None] | None = None
        self._owns = False
        self._lifetime = Lifetime(self._close, "kafka")

    def _compose(self, client: Client, commit_every: float) -> None:
        self._partitions = AssignedPartitions(RECORDS)
        self._ready: Ready[KafkaDelivery | KafkaBatch] = Ready(self._partitions)
        self._pauses = Pauses(client, self._partitions)
        self._lifecycle = ConsumerLifecycle(client, self._partitions, self._pauses)
        self._side = SideConsumer(client)
        self._commits = Commits(client, self._partitions, commit_every, self._note_failure, TOO_LATE)
        self._retention = Retention(
            client,
            self._partitions,
            self._pauses,
            self._side,
            lost=self._report_lost,
            anew=self._begin_anew,
            released=self._assert_plan,
            failed=self._note_failure,
        )
        self._membership = Membership(
            client, self._partitions, self._pauses, self._commits, changed=self._assert_plan, failed=self._note_failure
        )
        self._poller = Poller(client, self._take, self._poll_timeout, self._most)
        self._backlogs = PartitionBacklogs(client, self._partitions, self._side)

    @property
    def names(self) -> Collection[str] | None:
        if self._pattern is not None or self._client.pattern is not None:
            return None
        return tuple(sorted(self._topics if self._topics is not None else self._client.topics))

    @property
    def group(self) -> str:
        return self._client.group_id or ""

    @property
    def rebalance_timeout(self) -> float:
        return self._client.rebalance_timeout

    @property
    def evicted_after(self) -> float:
        # The process may have stood still from just before a heartbeat was due, an interval after the last one was sent.
        session = self._client.session_timeout
        return math.inf if self._client.is_assigned_by_hand else max(session - self._client.heartbeat_interval, session / 2)

    def deliver_in_batches(self, most: int) -> None:
        """Deliver what one poll gives of a partition as one `Batch`. A poll hands out up to `most` records, or 250 if that is more."""
        self._in_batches = self._partitions.in_batches = True
        # Polls that are smaller than a batch would make the handler's batches smaller. The garbage collector does not call for small polls
        # here, because no delivery is made of a record.
        self._most = max(self._most, most)
        self._poller = Poller(self._client, self._take, self._poll_timeout, self._most)

    @property
    def sends_unasked(self) -> bool:
        return False

    @property
    def read_ahead(self) -> int:
        return self._client.buffered

    def bound(self, memory: int) -> None:
        self._ahead = memory // _READ_AHEAD

    def weigh(self, deliveries: Sequence[Delivery[Message]]) -> int:
        return weigh(deliveries)

    def stood_still(self) -> None:
        self._membership.doubt()

    async def open(self, listener: IntakeListener) -> None:
        """Check, connect and subscribe. Raises IntakeError before anything is consumed, and closes the intake first."""
        if self._client.consumer in _owned:
            raise IntakeError(_OWNED)
        if self._lifetime.is_closing or self._client.is_stopped:
            raise IntakeError("this intake was closed, or its consumer was stopped: make a new consumer and a new intake")
        _owned.add(self._client.consumer)
        self._owns = True
        self._membership.guard = listener
        await self._lifetime.open(self._open)

    async def receive(self) -> Sequence[Delivery[Message]]:
        if self._fault is not None:
            raise self._fault
        if self._pauses.awaits_plan and not self._ready.deliveries:  # records of a late poll are not part of the plan yet
            self._pauses.plan_is_current()
            self._assert_plan()
        self._look()
        if not self._ready.deliveries:
            try:
                await self._ready.let_handlers_run()
                await self._poller.poll(now=self._membership.may_poll)
            except (KafkaError, ConsumerStoppedError) as error:
                await self._poll_failed(error)
        # Two polls may have ended in the same step. One receive never gives more than one poll does.
        return self._ready.hand_out(self._most)

    def apply(self, plan: Plan) -> None:
        if self._pauses.store(plan):
            self._commits.soon()
        self._assert_plan()

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        if settlement is _ACK and type(delivery) is KafkaDelivery:  # isinstance costs twice as much, and this runs once per message
            delivery.assigned.inflight.finished(delivery.record.offset)
        elif settlement is _ACK and isinstance(delivery, Batch) and isinstance(delivery.origin, AssignedPartition):
            delivery.origin.finished_batch(delivery.message)
        elif settlement is Settlement.REJECT:
            raise no_reject(delivery, "Kafka has no reject")

    async def flush(self) -> bool:
        committed = await self._commits.flush(_FLUSH_WITHIN)
        self._poller.wake()
        return committed

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Return the backlog by offsets. Gaps of transactions and compaction count as messages until they are passed."""
        return await self._backlogs.ask()

    async def close(self) -> None:
        await self._lifetime.close()

    async def _open(self) -> None:
        client = self._client
        names = self.names
        await self._side.start(_CONNECT_WITHIN)
        if names is not None:
            check_topics(names, await self._side.topics(), client.bootstrap_servers)
        # A commit() in a handler ends the run. If it only raised there, it would look like a failure of the message, and be retried.
        client.refuse_commits(self._note_failure)
        self._commits.start()
        self._retention.start()
        by_hand = client.is_assigned_by_hand
        if not by_hand:
            chained = self._chained if self._chained is not None else client.listener
            self._lifecycle.subscribe(names, self._pattern, OwnedListener(self._membership, chained, self._note_failure))
        await self._lifecycle.start()
        client.keep_records_as_they_lie()
        if by_hand:
            self._membership.take_over(client.assignment())

    async def _close(self) -> None:
        if self._client.consumer in _owned and not self._owns:
            return  # `open` refused: the consumer is another intake's, and not ours to stop
        self._commits.stop()
        self._retention.stop()
        self._membership.stop()
        if self._looking is not None:
            self._looking.cancel()
        if self._lifetime.given_up:
            self._commits.abandon()
        else:
            await self._commits.flush(_FLUSH_WITHIN)
        await self._poller.end(self._poll_timeout * 2)
        self._client.allow_commits()
        self._client.restore_fetches()
        self._client.make_consumer_records()
        await self._lifecycle.release(given_up=self._lifetime.given_up)
        self._partitions.drop(self._partitions.tps())
        await self._poller.abandon()
        if self._lifetime.given_up:
            await self._side.stop(GIVE_UP_WITHIN)
        else:
            await self._side.stop()
        _owned.discard(self._client.consumer)

    def _take(self, records: dict[TopicPartition, list[Record]]) -> None:
        self._ready.latest = [partition for partition in map(self._partitions.get, records) if partition is not None]
        for tp, batch in records.items():
            partition = self._partitions.get(tp)
            if partition is None:
                self._put_back(tp, batch)
                continue
            try:
                self._ready.add(partition.delivered(batch))
            except OutOfSequence as error:
                log.warning("%s: %s; its unfinished messages are dropped and come again", partition.source, error)
                self._ready.add(self._membership.start_over(tp, batch))
            if self._ahead is not None and len(batch) * len(batch[0].value or b"") >= self._ahead // _LARGE_POLL:
                self._pauses.await_plan(tp)
        if self._pauses.awaits_plan:
            self._assert_plan()

    def _put_back(self, tp: TopicPartition, batch: list[Record]) -> None:
        """Seek back before records that a late poll handed out after the partition was dropped, so that the next poll gets them."""
        if tp in self._client.assignment():
            self._client.seek(tp, batch[0].offset)

    def _look(self) -> None:
        """Compare pauses and assignment with what they should be, whatever has changed them: the rebalance, aiokafka or the application."""
        now = asyncio.get_running_loop().time()
        if now < self._next_look and not self._membership.has_changed:
            return
        self._next_look = now + _LOOK_EVERY
        if self._client.is_stopped:
            raise IntakeError(STOPPED)
        if self._client.has_died:
            raise IntakeError("aiokafka's fetch task has died, so this consumer will deliver nothing any more: make a new one")
        if self._lifecycle.is_subscribed_by_others:
            raise IntakeError("consumer.subscribe() was called while a guard uses the consumer: name all topics in KafkaIntake instead")
        self._membership.verify()
        self._assert_plan(look=True)
        if not self._membership.is_rebalancing:
            self._look_for_deleted_topics()

    def _look_for_deleted_topics(self) -> None:
        """Ask once per assignment for topics of which we have no partition: they may be other members', or deleted."""
        if self._looked_at == self._partitions.epoch:
            return
        self._looked_at = self._partitions.epoch
        if self._looking is not None:
            self._looking.cancel()
        if not {tp.topic for tp in self._partitions.tps()}.issuperset(self.names or ()):
            self._looking = run_beside(self._check_topics(), "kafka topics", self._note_failure)

    async def _check_topics(self) -> None:
        while (topics := await self._side.topics()) is None:  # noqa: ASYNC110 - the broker answers again, and wakes nobody
            await asyncio.sleep(_ASK_AGAIN_AFTER)
        check_topics(self.names or (), topics, self._client.bootstrap_servers)
        # One may have been deleted and made anew. The consumer has noticed the first, and would notice the second after five minutes
        # (metadata_max_age_ms).
        self._client.refresh_topics()

    def _assert_plan(self, *, look: bool = False) -> None:
        if self._membership.is_rebalancing:
            return
        if self._pauses.refresh() if look else self._pauses.match():
            self._poller.wake()
        self._poller.poll_only(self._partitions.tps(), self._pauses.paused)
        self._limit_fetches()
        if self._pauses.due():
            self._retention.soon()

    def _limit_fetches(self) -> None:
        if self._ahead is not None:
            share = self._ahead // max(1, len(self._partitions))
            self._client.limit_fetches(max(_FETCH_AT_LEAST, share), self._ahead // 2)

    async def _poll_failed(self, error: BaseException) -> None:
        end = end_of_intake(error, self._client)
        if end is not None:
            raise end from error
        if isinstance(error, OffsetOutOfRangeError):
            self._pauses.recheck(error.args[0])
            self._assert_plan()
        elif self._poll_errors.record(asyncio.get_running_loop().time()):
            raise IntakeError(f"every poll has failed for a minute, the last with {error!r}: check the broker's log") from error
        else:
            log.warning("a poll failed: %r", error)
        await asyncio.sleep(self._poll_timeout)  # the next poll would fail immediately too: no hot loop

    def _note_failure(self, error: BaseException) -> None:
        """Keep the error of a callback, a commit or a task. The next receive raises it if it ends the intake."""
        fault = end_of_intake(error, self._client) if isinstance(error, KafkaError) else error
        self._fault = self._fault or fault

    def _begin_anew(self, tp: TopicPartition, start: int) -> None:
        self._client.seek(tp, start)
        self._membership.start_over(tp, [])

    def _report_lost(self, loss: RecordsLost) -> None:
        give_to_user("on_records_lost", self._on_records_lost, loss)
