"""KafkaIntake: one aiokafka consumer behind the `Intake` port.

What happens when

- `receive` is called: look whether the assignment is still the one we were told of, assert the plan's pauses if anything changed, poll
  once (poll.py), hand out what came. Offsets are noted in the same step in which the client's position moves (assignments.py).
- the plan changes: `apply` pauses and resumes in the same step; a hold also commits what is finished. A source that was held is resumed
  only after its place was compared with the log's start (retention.py), a millisecond later.
- a rebalance begins: no poll without waiting, no commit by itself; the guard ends what runs; the watermarks of what goes away are
  committed inside the callback; its assignments die, and whatever comes late for them is ignored.
- it ends: first of all, before any await, everything that the plan does not fetch is paused.
- the group has thrown us out: nothing is committed, the guard is told that the sources are lost.

Non-obvious rules: the group may say `assignment()` while it is not ours (a rebalance, an eviction), so only the callbacks and the
identity of aiokafka's assignment object count. A poll is never cancelled. A commit is never sent between the two callbacks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError

from holdgate.brokers.kafka.aside import Aside
from holdgate.brokers.kafka.assignments import Assignments, Rewound
from holdgate.brokers.kafka.checks import check_consumer, check_numbers, check_subscription, check_topics
from holdgate.brokers.kafka.client import Client
from holdgate.brokers.kafka.commits import Commits
from holdgate.brokers.kafka.delivery import KafkaDelivery, Record
from holdgate.brokers.kafka.failures import Failing, end_of_intake
from holdgate.brokers.kafka.pauses import Pauses
from holdgate.brokers.kafka.poll import Poll
from holdgate.brokers.kafka.rebalance import OwnedListener
from holdgate.brokers.kafka.retention import RecordsLost, Retention
from holdgate.errors import IntakeError
from holdgate.flow.delivery import Delivery, Settlement
from holdgate.flow.plan import Plan
from holdgate.flow.sources import Backlog, Source

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener

log = logging.getLogger(__name__)

# A consumer has one listener, one poll loop and one owner of its commits.
_owned: WeakSet[AIOKafkaConsumer] = WeakSet()

# A client with a broker in reach connects in milliseconds; request_timeout_ms is 40 s by default, too long to find a wrong address.
_CONNECT_WITHIN = 15.0
# A join waits for the slowest member to give its partitions back: rebalance_timeout_ms, 10 s by default here, a minute with Java's.
_START_WITHIN = 90.0
# The longest commit seen while a coordinator or leader was killed took 12.6 s (19 s with all brokers down).
_FLUSH_WITHIN = 15.0
# stop() took 3.8 s in the middle of a join; without a coordinator it would never return.
_STOP_WITHIN = 10.0
# How often the pauses and the assignment are compared without a reason to.
_LOOK_EVERY = 0.1


class KafkaIntake:
    """Deliveries from one AIOKafkaConsumer, which it owns while open: listener, polls and commits.

    `topics` (a list) or `pattern` (a regular expression) subscribe a consumer that has no subscription; left out, the consumer's own
    subscription, or its `assign()`, is used. A consumer that is not started is started, and stopped at the end. A started one is
    subscribed again with our listener, so what it had taken and not committed comes again; its `stop()` stays the caller's, and at the
    end it is put back to the first record that was not finished. `listener` is a ConsumerRebalanceListener of yours, called after ours;
    one that the consumer was subscribed with is kept without naming it.

    `inbox` is how many deliveries may wait per partition, and the most one poll hands out; `commit_every` and `poll_timeout` are seconds.
    `allow_latest` allows `auto_offset_reset="latest"`, which skips what waits for a new group. `on_records_lost` is called when the
    broker deleted records during a hold before they were read.

    Raises SettingsError for settings that would lose or repeat messages; `open` raises IntakeError where the broker says no.
    """

    order: Literal["source"] = "source"

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        *,
        topics: Collection[str] | None = None,
        pattern: str | None = None,
        inbox: int = 500,  # half a megabyte of 1 kB messages per partition, and enough that a poll costs nothing per message
        commit_every: float = 1.0,  # a crash repeats at most about this much; a commit costs the broker a write
        allow_latest: bool = False,  # skipping silently is loss
        poll_timeout: float = 0.1,  # how long stopping may wait for a poll
        listener: ConsumerRebalanceListener | None = None,
        on_records_lost: Callable[[RecordsLost], None] | None = None,
    ) -> None:
        self._client = Client(consumer)
        check_subscription(self._client, topics, pattern)
        check_consumer(self._client, allow_latest=allow_latest, poll_timeout=poll_timeout)
        check_numbers(inbox=inbox, commit_every=commit_every)
        self._topics = topics
        self._pattern = pattern
        self._chained = listener
        self._on_records_lost = on_records_lost
        self.inbox = inbox
        self._poll_timeout = poll_timeout
        self._is_ours = not self._client.is_started
        self._assignments = Assignments()
        self._pauses = Pauses(self._client, self._assignments)
        self._poll = Poll(self._client, self._take, poll_timeout, inbox)
        self._commits = Commits(self._client, self._assignments, commit_every, self._note_failure)
        self._aside = Aside(self._client)
        self._retention = Retention(
            self._client, self._assignments, self._pauses, self._aside, lost=self._tell_lost, released=self._assert_plan
        )
        self._guard: IntakeListener | None = None
        self._owned_listener: OwnedListener | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._ready: list[KafkaDelivery] = []
        self._failing = Failing()
        self._fault: BaseException | None = None
        self._token: object | None = None
        self._next_look = 0.0
        self._rebalancing = True  # nothing is ours before the first assignment

    # The port

    @property
    def names(self) -> Collection[str] | None:
        if self._pattern is not None or self._client.pattern is not None:
            return None
        return tuple(sorted(self._topics if self._topics is not None else self._client.topics))

    @property
    def rebalance_timeout(self) -> float:
        return self._client.rebalance_timeout

    async def open(self, listener: IntakeListener) -> None:
        """Connect, check, subscribe. Raises IntakeError before anything is consumed."""
        if self._client.consumer in _owned:
            raise IntakeError("another guard owns this consumer: give every intake a consumer of its own")
        if self._closing is not None or self._client.is_stopped:
            raise IntakeError("this intake, or its consumer, was closed already: make new ones")
        _owned.add(self._client.consumer)
        self._guard = listener
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise

    async def receive(self) -> Sequence[Delivery[Record]]:
        if self._fault is not None:
            raise self._fault
        self._look()
        try:
            if await self._poll.more(now=not self._rebalancing and not self._client.is_reassigning):
                await asyncio.sleep(0)  # a full buffer answers without a wait: let the handlers run
        except (KafkaError, ConsumerStoppedError) as error:
            await self._poll_failed(error)
        ready, self._ready = self._ready, []
        return ready

    def apply(self, plan: Plan) -> None:
        if self._pauses.store(plan):
            self._commits.soon()
        self._assert_plan()

    def settle(self, delivery: Delivery[Record], settlement: Settlement) -> None:
        # REQUEUE and REJECT leave it unfinished: its place is kept by not committing past it.
        if settlement is Settlement.ACK and isinstance(delivery, KafkaDelivery):
            delivery.assignment.inflight.finished(delivery.message.offset)

    async def flush(self) -> None:
        await self._commits.flush(_FLUSH_WITHIN)

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Counts by offsets: gaps of transactions and compaction count as messages until they are passed."""
        ends = await self._aside.log_ends(self._assignments.tps()) if len(self._assignments) else None
        now = time.time()
        found: dict[Source, Backlog] = {}
        for assignment in self._assignments:
            end, next_offset, oldest = (ends or {}).get(assignment.tp), self._next_offset(assignment), assignment.oldest_timestamp()
            messages = None if end is None or next_offset is None else max(0, end - next_offset)
            found[assignment.source] = Backlog(messages, None if oldest is None else max(0.0, now - oldest / 1000))
        return found

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="holdgate kafka close")
        await asyncio.shield(self._closing)

    # Rebalances: called by OwnedListener

    def begin_rebalance(self) -> None:
        self._rebalancing = True
        self._commits.suspend()

    async def give_back(self, revoked: frozenset[TopicPartition]) -> None:
        sources = self._assignments.sources(revoked)
        if not sources or self._guard is None:
            return
        end = asyncio.get_running_loop().time() + self.rebalance_timeout * 0.9  # the answer must reach the group in time
        try:
            if not self._client.is_evicted:
                await self._guard.revoked(sources)
        finally:
            if self._client.is_evicted:
                self._lose(revoked)
            else:
                await self._commits.revoke(revoked, max(1.0, end - asyncio.get_running_loop().time()))
                self._drop(revoked)

    def take_over(self, assigned: frozenset[TopicPartition]) -> None:
        self._token = self._client.assignment_token()
        self._lose(self._assignments.tps() - assigned)  # only after callbacks that did not come
        self._assignments.add(assigned)
        self._pauses.take_over(Plan())  # before the guard is asked, so that its failure leaves everything paused
        if self._guard is not None:
            self._pauses.store(self._guard.assigned(self._assignments.sources(assigned)))
        self._rebalancing = False
        self._commits.resume()
        self._assert_plan()

    # Opening and closing

    async def _open(self) -> None:
        client = self._client
        await self._aside.start(_CONNECT_WITHIN)
        if self.names is not None:
            check_topics(self.names, await self._aside.topics(), client.bootstrap_servers)
        client.refuse_commits()
        self._commits.start()
        self._retention.start()
        by_hand = client.is_assigned_by_hand
        if not by_hand:
            self._subscribe()
        if not client.is_started:
            await self._start()
        if by_hand:
            self.take_over(client.assignment())

    def _subscribe(self) -> None:
        client = self._client
        if self._chained is None:
            self._chained = client.listener
        self._owned_listener = OwnedListener(self, self._chained, self._note_failure)
        pattern = self._pattern if self._pattern is not None else client.pattern
        client.subscribe(self.names, pattern, self._owned_listener)

    async def _start(self) -> None:
        self._starting = asyncio.create_task(self._client.start(), name="holdgate kafka start")
        await asyncio.wait((self._starting,), timeout=_START_WITHIN)
        if not self._starting.done():
            raise IntakeError(
                f"group {self._client.group_id!r} gave no assignment within {_START_WITHIN:g} s: is its coordinator up, "
                "and does every member answer a rebalance in time (rebalance_timeout_ms, Java: max.poll.interval.ms)?"
            )
        try:
            self._starting.result()
        except KafkaError as error:
            fallback = IntakeError(f"the consumer could not start at {self._client.bootstrap_servers}: {error!r}")
            raise end_of_intake(error, self._client) or fallback from error

    async def _close(self) -> None:
        self._commits.stop()
        self._retention.stop()
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
        await self._commits.flush(_FLUSH_WITHIN)
        await self._poll.end(self._poll_timeout * 2)
        self._client.allow_commits()
        if self._is_ours:
            await self._stop()
        else:
            self._hand_back()
        if self._owned_listener is not None:
            self._owned_listener.retire()
        self._drop(self._assignments.tps())
        await self._aside.stop()
        _owned.discard(self._client.consumer)

    async def _stop(self) -> None:
        """In a task of its own: cancelled at its first step, stop() leaves a member that keeps its partitions as long as we live."""
        stopping = asyncio.create_task(self._client.stop(), name="holdgate kafka stop")
        done, _ = await asyncio.wait((stopping,), timeout=_STOP_WITHIN)
        if not done:
            log.warning("the consumer did not stop within %g s; the group will notice after its session timeout", _STOP_WITHIN)
        self._poll.abandon()

    def _hand_back(self) -> None:
        """The caller goes on with the consumer: at the first record that is not finished, with nothing of ours paused."""
        if self._client.is_stopped:
            return
        self._pauses.give_up()
        for assignment in self._assignments:
            next_offset = self._next_offset(assignment)
            if next_offset is not None and assignment.tp in self._client.assignment():
                self._client.seek(assignment.tp, next_offset)

    # Inside

    def _take(self, records: dict[TopicPartition, list[Record]]) -> None:
        for tp, batch in records.items():
            assignment = self._assignments.get(tp)
            if assignment is None:
                self._client.seek(tp, batch[0].offset)  # not ours, or not any more: whoever polls next gets it
                continue
            try:
                self._ready += assignment.delivered(batch)
            except Rewound as error:
                log.warning("%s: %s; what was in hand of it is dropped and comes again", assignment.source, error)
                self._begin_anew(tp, batch)

    def _begin_anew(self, tp: TopicPartition, batch: list[Record]) -> None:
        self._lose([tp])
        self._assignments.add([tp])
        fresh = self._assignments.get(tp)
        if fresh is None or self._guard is None:
            return
        self._pauses.store(self._guard.assigned([fresh.source]))
        self._ready += fresh.delivered(batch)
        self._assert_plan()

    def _look(self) -> None:
        """Level-triggered: whatever undid a pause or changed the assignment, and whoever did it, is seen here."""
        now = asyncio.get_running_loop().time()
        token = self._client.assignment_token()
        if now < self._next_look and token is self._token:
            return
        self._next_look = now + _LOOK_EVERY
        if self._client.has_died:
            raise IntakeError("aiokafka's fetch task has died: this consumer will deliver nothing any more, make a new one")
        if self._owned_listener is not None and self._client.listener is not self._owned_listener:
            raise IntakeError("consumer.subscribe() was called while a guard uses the consumer: name all topics in KafkaIntake")
        if self._client.is_reassigning or self._rebalancing:
            return
        if token is not self._token:
            log.warning("the assignment changed without a word: what was in hand is dropped")
            self._lose(self._assignments.tps())
            self.take_over(self._client.assignment())
        else:
            self._assert_plan()

    def _assert_plan(self) -> None:
        if self._rebalancing:
            return
        if self._pauses.match():
            self._poll.wake()
        self._poll.name(self._assignments.tps(), self._pauses.paused)
        self._retention.soon()

    def _lose(self, tps: Collection[TopicPartition]) -> None:
        sources = self._assignments.sources(tps)
        self._commits.abandon()
        self._drop(tps)
        if sources and self._guard is not None:
            self._guard.lost(sources)

    def _drop(self, tps: Collection[TopicPartition]) -> None:
        self._assignments.drop(tps)
        self._ready = [delivery for delivery in self._ready if delivery.assignment.alive]

    def _next_offset(self, assignment: Any) -> int | None:
        next_offset: int | None = assignment.inflight.next_position
        if assignment.inflight.unfinished:
            return next_offset
        position = self._client.position(assignment.tp)
        return next_offset if position is None else position

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
        """What a callback or a commit met: raised by the next receive if it ends the intake."""
        if isinstance(error, KafkaError):
            self._fault = self._fault or end_of_intake(error, self._client)
        else:
            self._fault = self._fault or error

    def _tell_lost(self, loss: RecordsLost) -> None:
        if self._on_records_lost is not None:
            try:
                self._on_records_lost(loss)
            except Exception:
                log.exception("on_records_lost raised")
