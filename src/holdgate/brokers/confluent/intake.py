"""ConfluentIntake: one consumer of confluent-kafka behind the `Intake` port. This file composes the parts; the rules are beside it.

What happens when

- `receive` is called: what was kept back and may be delivered is handed out. Without any, one poll is made (fetching.py), between whose
  calls librdkafka is told what to pause, to resume, to seek and to commit.
- the plan changes: `apply` stores it, and nothing that it forbids is handed out from then on, whatever librdkafka brings. A hold also
  commits what is finished (brokers/commits.py).
- a rebalance begins or ends, or the group evicts this member: the callbacks of membership.py.
- retention passes a partition: while it delivers nothing, brokers/retention.py sees that; while it is read, its offsets show a gap, and the
  log's start tells a gap of retention from one of a transaction.
- a topic is deleted: librdkafka says so within five minutes; brokers/topic_watch.py asks more often. One that was made anew is noticed by
  messages that come again, or, while its partition is paused, by the end of its log (brokers/retention.py).
- somebody asks how much waits: brokers/backlog.py asks the broker, by a second client.

Invariants that a change must keep:

- A poll is never cancelled: librdkafka has moved its position before anybody has the messages.
- What is committed goes by our own position, never by librdkafka's, which has passed what is kept back.
- A delivery refers to its `AssignedPartition`, so a late result settles nothing in a newer one.

What is ugly: callbacks and tasks beside `receive` cannot raise into it, so they leave their error in `_fault`, and the next one raises it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message

from holdgate.brokers.backlog import PartitionBacklogs
from holdgate.brokers.bell import give_to_user
from holdgate.brokers.commits import Commits
from holdgate.brokers.confluent.checks import end_of_intake, is_missing_topic, tell
from holdgate.brokers.confluent.client import Asker, Client, CommitTooLate
from holdgate.brokers.confluent.deliveries import MESSAGES, ConfluentBatch, ConfluentDelivery, TopicPartition, offset_of, weigh
from holdgate.brokers.confluent.fetching import Ahead, Poller, Taps
from holdgate.brokers.confluent.membership import Membership
from holdgate.brokers.confluent.settings import ConsumerSettings, check_settings
from holdgate.brokers.letters import no_reject
from holdgate.brokers.lifetime import Lifetime
from holdgate.brokers.partitions import AssignedPartition, AssignedPartitions, OutOfSequence, Ready, in_sequence
from holdgate.brokers.retention import RecordsLost, Retention
from holdgate.brokers.topic_watch import TopicWatch
from holdgate.brokers.topics import ErrorStreak, check_given, check_topics
from holdgate.core.validation import count, seconds
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.batch import Batch
from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, Delivery, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.slips import suggest_keywords
from holdgate.tasks import GIVE_UP_WITHIN, begin_later, run_beside

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener

log = logging.getLogger(__name__)

_ACK = Settlement.ACK

# librdkafka's own errors have names like these.
_END = KafkaError._PARTITION_EOF  # noqa: SLF001
_MAX_POLL = KafkaError._MAX_POLL_EXCEEDED  # noqa: SLF001

_LISTENED = ("on_partitions_revoked", "on_partitions_assigned")

# Seconds to connect. With a broker in reach it takes milliseconds; librdkafka itself would try for ever.
_CONNECT_WITHIN = 15.0
# The longest commit seen while a coordinator or leader was killed took 12.6 s.
_FLUSH_WITHIN = 15.0
# Seconds to leave the group. It took 30 ms; without a broker librdkafka waits for its session.
_CLOSE_WITHIN = 10.0
# Messages that one receive hands out at most of a partition: as with aiokafka, fewer new objects than the 700 at which Python's garbage
# collector runs.
_POLL_AT_MOST = 250
# librdkafka may fetch ahead an eighth of the guard's bound on memory, and as much may be kept back of each partition before it is paused.
_READ_AHEAD = 8

_ANEW = "its partitions go on at the beginning of the new one"


class ConfluentIntake:
    """Receive deliveries from one consumer of confluent-kafka, which the intake makes, owns and closes.

    librdkafka's consumer cannot be asked for its settings, so the intake takes them, and not a consumer.

    - `settings`: librdkafka's settings by their names with dots, with `bootstrap.servers`, `group.id` and `auto.offset.reset`. What is left
      out of `enable.auto.commit` and others is set so that nothing is lost; `group.protocol`, `partition.assignment.strategy` and
      `group.instance.id` are as librdkafka has them.
    - `topics`: the topics to subscribe to. None means `pattern`.
    - `pattern`: a regular expression to subscribe by, instead of `topics`, from the beginning of a name. None means `topics`.
    - `inbox`: how many deliveries may wait per partition before fetching stops, from 1. At most three polls are under way then, and each
      may add 250, or `inbox` if that is less, or as many as a batch of `guard.run(batch=)` has. The default is half a megabyte of 1 kB
      messages per partition.
    - `commit_every`: seconds between two commits, above 0, or a timedelta. A crash repeats what was finished in that time.
    - `allow_latest`: whether `auto.offset.reset` may be "latest". It skips messages that wait for a new group.
    - `poll_timeout`: seconds that a poll waits for messages, above 0 and at most half of `max.poll.interval.ms`, or a timedelta. A stop, or
      a change of what is paused, may wait as long.
    - `listener`: an object with `on_partitions_revoked` and `on_partitions_assigned`, plain or async, as aiokafka's listeners have them;
      and with `on_partitions_lost`, if it wants to know that apart. Each is called after ours with a set of (topic, partition). None means
      that there is none.
    - `on_records_lost`: called with a `RecordsLost` when the broker deleted records before they were read. None means that the loss is
      logged and nothing else.

    Raises SettingsError for settings that would lose or repeat messages. `open` raises it for what librdkafka refuses, and IntakeError if
    the broker refuses.
    """

    order: Order = "source"

    @suggest_keywords
    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        topics: Collection[str] | None = None,
        pattern: str | None = None,
        inbox: int = 500,  # half a megabyte of 1 kB messages per partition, and enough that a poll costs little per message
        commit_every: float | timedelta = 1.0,  # a crash repeats one second of work; each commit is a write on the broker
        allow_latest: bool = False,  # to skip messages silently is to lose them
        poll_timeout: float | timedelta = 0.1,  # a stop, or a change of what is paused, may wait as long
        listener: object | None = None,
        on_records_lost: Callable[[RecordsLost], None] | None = None,
    ) -> None:
        read = self._settings = ConsumerSettings(settings)
        self.inbox = count("inbox", inbox)
        self._poll_timeout = seconds("poll_timeout", poll_timeout)
        every = seconds("commit_every", commit_every)
        check_settings(read, allow_latest=allow_latest, poll_timeout=self._poll_timeout)
        check_given(topics, pattern)
        if topics is None and pattern is None:
            raise SettingsError("neither topics nor pattern is given: give topics=[...]")
        if listener is not None and not all(callable(getattr(listener, name, None)) for name in _LISTENED):
            raise SettingsError(f"listener must have {' and '.join(_LISTENED)}, got {listener!r}")
        if on_records_lost is not None and not callable(on_records_lost):
            raise SettingsError(f"on_records_lost must be callable, got {on_records_lost!r}: give a function that takes a RecordsLost")
        self._topics = None if topics is None else tuple(sorted(topics))
        self._pattern = pattern
        self._on_records_lost = on_records_lost
        self._most = min(inbox, _POLL_AT_MOST)
        self._compose(read, every)
        self._membership.chained = listener
        self._in_batches = False
        self._ahead: int | None = None  # bytes that librdkafka may fetch ahead; None means as the settings say
        self._errors = ErrorStreak()
        self._fault: BaseException | None = None
        self._watch: TopicWatch | None = None
        self._beside: dict[str, asyncio.Task[None]] = {}  # questions under way, by what they ask
        self._lifetime = Lifetime(self._close, "confluent")

    def _compose(self, settings: ConsumerSettings, commit_every: float) -> None:
        self._client = Client(settings, self._told)
        self._asker = Asker(settings)
        self._partitions = AssignedPartitions(MESSAGES)
        self._ready: Ready[ConfluentDelivery | ConfluentBatch] = Ready(self._partitions)
        self._taps = Taps(self._client, self._most, settings.partition_fetch)
        self._client.position_of = self._taps.position
        self._commits = Commits(self._client, self._partitions, commit_every, self._note_failure, (CommitTooLate,))
        self._membership = Membership(
            self._client,
            self._asker,
            self._partitions,
            self._taps,
            self._commits,
            changed=self._wake,
            failed=self._note_failure,
        )
        self._retention = Retention(
            Ahead(self._taps),
            self._partitions,
            self._taps,
            self._asker,
            lost=self._report_lost,
            anew=self._begin_anew,
            released=self._wake,
            failed=self._note_failure,
        )
        self._poller = Poller(self._client, self._taps, self._take, self._poll_timeout, self._most)
        self._backlogs = PartitionBacklogs(self._client, self._partitions, self._asker)

    @property
    def names(self) -> Collection[str] | None:
        return self._topics

    @property
    def group(self) -> str:
        return self._settings.group_id

    @property
    def rebalance_timeout(self) -> float:
        return self._settings.rebalance_timeout

    @property
    def evicted_after(self) -> float:
        # The process may have stood still from just before a heartbeat was due, an interval after the last one was sent.
        session = self._settings.session_timeout
        return min(max(session - self._settings.heartbeat_interval, session / 2), self._settings.max_poll_interval)

    def deliver_in_batches(self, most: int) -> None:
        """Deliver what one poll gives of a partition as one `Batch`. A poll hands out up to `most` messages, or 250 if that is more."""
        self._in_batches = self._partitions.in_batches = True
        self._most = self._poller.most = max(self._most, most)
        self._taps.give_at_most(self._most)

    @property
    def sends_unasked(self) -> bool:
        return False

    @property
    def read_ahead(self) -> int:
        """What is kept back here. librdkafka does not say how much it has fetched ahead: `queued.max.messages.kbytes` at most."""
        return self._taps.kept

    def bound(self, memory: int) -> None:
        self._ahead = memory // _READ_AHEAD
        self._taps.bound(self._ahead)

    def weigh(self, deliveries: Sequence[Delivery[Message]]) -> int:
        return weigh(deliveries)

    def stood_still(self) -> None:
        self._membership.doubt()

    async def open(self, listener: IntakeListener) -> None:
        """Connect, check and subscribe. Raises SettingsError or IntakeError before anything is consumed, and closes the intake first."""
        await self._lifetime.open(partial(self._open, listener))

    async def receive(self) -> Sequence[Delivery[Message]]:
        if self._fault is not None:
            raise self._fault
        if not self._ready.deliveries:
            self._deliver(self._taps.release())
        if not self._ready.deliveries:
            await self._ready.let_handlers_run()
            await self._poll()
        return self._ready.hand_out()

    def apply(self, plan: Plan) -> None:
        if self._taps.store(plan):
            self._commits.soon()
        self._wake()

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        if settlement is _ACK and type(delivery) is ConfluentDelivery:  # isinstance costs twice as much, and this runs once per message
            delivery.assigned.inflight.finished(offset_of(delivery.message))
        elif settlement is _ACK and isinstance(delivery, Batch) and isinstance(delivery.origin, AssignedPartition):
            delivery.origin.finished_batch(delivery.message)
        elif settlement is Settlement.REJECT:
            raise no_reject(delivery, "Kafka has no reject")

    async def flush(self) -> bool:
        committed = await self._flush()
        self._wake()
        return committed

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Return the backlog by offsets. Gaps of transactions and compaction count as messages until they are passed."""
        return await self._backlogs.ask()

    async def close(self) -> None:
        await self._lifetime.close()

    # -- Begin and end -------------------------------------------------------------------------------------------------------------------

    async def _open(self, listener: IntakeListener) -> None:
        self._membership.guard = listener
        existing = await self._asker.start(_CONNECT_WITHIN)
        if self._topics is not None:
            check_topics(self._topics, existing, self._settings.bootstrap_servers)
            self._watch = TopicWatch(self._asker, self._topics, self._settings.bootstrap_servers, self._note_failure, anew=_ANEW)
            self._watch.start()
        self._client.make(self._ahead)
        self._commits.start()
        self._retention.start()
        await self._membership.subscribe(self._topics if self._topics is not None else [_anchored(self._pattern or "")])

    async def _flush(self) -> bool:
        """Commit everything that is finished. Polls bring the answer to what is under way, and nothing else polls at an end."""
        if not self._client.is_made:
            return True
        with self._client.directly():
            flushing = begin_later(self._commits.flush(_FLUSH_WITHIN), "confluent flush")
            while self._client.awaits_commit and not flushing.done():
                await self._poller.poll_until(flushing)
            return await flushing

    async def _close(self) -> None:
        self._commits.stop()
        self._retention.stop()
        if self._watch is not None:
            self._watch.stop()
        within = GIVE_UP_WITHIN if self._lifetime.given_up else _CLOSE_WITHIN
        if self._lifetime.given_up:
            self._commits.abandon()
        else:
            try:
                await self._flush()
            except KafkaException as error:
                log.warning("the last poll failed: %r", error)
        self._membership.retire()
        for task in self._beside.values():
            task.cancel()
        await self._poller.end(self._poll_timeout * 2)
        self._partitions.drop(self._partitions.tps())
        closing = begin_later(self._client.close(), "confluent close consumer")
        done, _ = await asyncio.wait((closing,), timeout=within)
        if not done:
            log.warning("the consumer did not close within %g s; the group will notice after its session timeout", within)
        self._asker.stop()

    # -- What comes ----------------------------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        try:
            await self._poller.poll()
        except KafkaException as error:
            self._poll_failed(error.args[0])
            await asyncio.sleep(self._poll_timeout)  # the next poll would fail immediately too: no hot loop

    def _take(self, messages: list[Message]) -> None:
        """Note what a poll has brought, in the step in which it comes."""
        events = [error for error in map(Message.error, messages) if error is not None]
        if events:
            messages = [message for message in messages if self._is_of_log(message)]
            if not messages:
                return
        self._deliver(self._taps.sort(messages, events=bool(events)))
        if self._taps.gaps:
            self._ask("gaps", self._look_at_gaps)

    def _is_of_log(self, message: Message) -> bool:
        """Return whether it is a message, or the event of a log's end. Every other error is told, or ends the intake."""
        error = message.error()
        if error is None or error.code() == _END:
            return True
        self._poll_failed(error)
        return False

    def _deliver(self, runs: Any) -> None:
        latest: list[AssignedPartition] = []
        for tp, run in runs:
            partition = self._partitions.get(tp)
            if partition is None:
                continue
            try:
                self._ready.add(partition.delivered(run))
            except OutOfSequence as error:
                partition = self._deliver_anew(partition, run, error)
            latest.append(partition)
        self._ready.latest = latest

    def _deliver_anew(self, partition: AssignedPartition, run: list[Message], error: OutOfSequence) -> AssignedPartition:
        """Deliver messages that go back to offsets before. Returns the partition to which the last of them belong.

        librdkafka goes on by itself in a topic that was made anew. So one poll may bring messages of both, as may what was kept back.
        """
        log.warning("%s: %s; its unfinished messages are dropped and come again", partition.source, error)
        for part in in_sequence(run, offset_of):
            try:
                self._ready.add(partition.delivered(part))
            except OutOfSequence:
                partition = self._membership.start_over(partition.tp)
                self._ready.add(partition.delivered(part))
        return partition

    def _wake(self) -> None:
        self._poller.wake()

    # -- Losses and errors ---------------------------------------------------------------------------------------------------------------

    def _ask(self, what: str, question: Callable[[], Any]) -> None:
        """Ask something beside the polls, unless it is asked already."""
        asked = self._beside.get(what)
        if asked is None or asked.done():
            self._beside[what] = run_beside(question(), f"confluent {what}", self._note_failure)

    async def _look_at_gaps(self) -> None:
        """Tell gaps that retention has made from those of transactions and compaction: the log starts behind the former."""
        while self._taps.gaps:
            gaps = dict(self._taps.gaps)
            starts = await self._asker.log_starts(gaps) or {}
            for tp, (expected, first) in gaps.items():
                if self._taps.gaps.get(tp) == (expected, first):
                    del self._taps.gaps[tp]
                partition = self._partitions.get(tp)
                start = min(starts.get(tp, 0), first)
                if partition is not None and start > expected:
                    self._retention.report(partition, expected, start)

    async def _check_topics(self) -> None:
        topics = await self._asker.topics()
        if topics is not None:
            check_topics(self._topics or (), topics, self._settings.bootstrap_servers)

    def _poll_failed(self, error: KafkaError) -> None:
        self._told(error)
        # With an error that may pass librdkafka goes on; one that comes for a minute does not pass.
        if error.code() != _MAX_POLL and self._errors.record(asyncio.get_running_loop().time()):
            self._note_failure(IntakeError(f"every poll has failed for a minute, the last with {error.str()}: check the broker's log"))

    def _told(self, error: KafkaError) -> None:
        """Take an error that librdkafka reports, with a poll or beside it."""
        end = end_of_intake(error, self._settings)
        if end is not None:
            self._note_failure(end)
        elif is_missing_topic(error):
            self._ask("topics", self._check_topics)
        else:
            tell(error, self._settings)

    def _note_failure(self, error: BaseException) -> None:
        """Keep the error of a callback, a commit or a task. The next receive raises it if it ends the intake."""
        fault: BaseException | None = error
        if isinstance(error, KafkaException):
            fault = end_of_intake(error.args[0], self._settings) if isinstance(error.args[0], KafkaError) else None
        self._fault = self._fault or fault
        self._wake()

    def _begin_anew(self, tp: TopicPartition, start: int) -> None:
        self._taps.seek(tp, start)
        self._membership.start_over(tp)

    def _report_lost(self, loss: RecordsLost) -> None:
        give_to_user("on_records_lost", self._on_records_lost, loss)


def _anchored(pattern: str) -> str:
    """Return a pattern as librdkafka wants it: a name that begins with ^ is one. It looks from a name's beginning, as aiokafka does."""
    return pattern if pattern.startswith("^") else f"^{pattern}"
