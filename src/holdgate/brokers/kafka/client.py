"""The consumer as holdgate uses it: a typed view of it, and a second consumer for questions. All of aiokafka's private names are here.

`Client` calls public names where there are any. Behind them are settings without a getter (auto-commit, the reset policy, time limits),
four facts that no public call returns (whether the group evicted this member, whether it still knows it, whether an assignment is the one
seen before, and whether the background tasks are alive), two ways to end what waits for a broker, and polls that hand records on as they
lie in the fetch. aiokafka 0.12 to 0.14 were read for it.

`SideConsumer` asks for log starts, log ends and topic names. The consumer itself would answer only after its long poll: log ends take
450 ms while it polls, or as long as `fetch_max_wait_ms` is, and a millisecond from here. It belongs to no group and reads nothing.

What is ugly: the private names. Each has its reason beside it.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from copy import copy
from types import FunctionType
from typing import Any, TypeVar, cast

from aiokafka import AIOKafkaConsumer, TopicPartition, __version__
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from holdgate.brokers.kafka.deliveries import Record
from holdgate.errors import AlreadySettled, IntakeError
from holdgate.tasks import begin_later

# A partition that no topic can have. A poll that names it alone hands out nothing and keeps every buffer. A poll without names means all
# partitions, and throws away the buffers of those that are paused.
NO_PARTITION = TopicPartition("", -1)

_NO_GENERATION = -1

# From aiokafka 0.13 on a request for the end of a log has an isolation level. Before, every answer is the end of all records.
_ASKS_BY_LEVEL = tuple(map(int, __version__.split(".")[:2])) >= (0, 13)

# Seconds to wait for a cancelled task of the client. It ends within a step of the loop.
_CANCELLED_WITHIN = 0.25

_COMMIT = (
    "consumer.commit() was called while a guard owns the consumer, which would commit work that is not processed or rewind what is: "
    "remove the call, the guard commits what its handlers have finished"
)


class Client:
    """Show one AIOKafkaConsumer through typed names."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer: Any = consumer
        self._polls = 0
        self._own_commit: Any = None
        self._refusing: Any = None

    # -- Settings ------------------------------------------------------------------------------------------------------------------------

    @property
    def consumer(self) -> AIOKafkaConsumer:
        return self._consumer

    @property
    def group_id(self) -> str | None:
        group: str | None = self._consumer._group_id
        return group

    @property
    def instance_id(self) -> str | None:
        name: str | None = self._consumer._group_instance_id
        return name

    @property
    def reads_committed(self) -> bool:
        """Whether the consumer waits for the end of a transaction before it reads the transaction's records."""
        return str(self._consumer._isolation_level) == "read_committed"

    @property
    def auto_commit(self) -> bool:
        return bool(self._consumer._enable_auto_commit)

    @property
    def reset_policy(self) -> str:
        return str(self._consumer._auto_offset_reset)

    @property
    def deserializers(self) -> dict[str, Any]:
        """The deserializers that are set, by the name of their argument."""
        found = {"key_deserializer": self._consumer._key_deserializer, "value_deserializer": self._consumer._value_deserializer}
        return {name: function for name, function in found.items() if function is not None}

    @property
    def bootstrap_servers(self) -> str:
        servers = self._consumer._client._bootstrap_servers
        return servers if isinstance(servers, str) else ",".join(servers)

    @property
    def rebalance_timeout(self) -> float:
        """The seconds that the group waits for this member to give its partitions back."""
        return float(self._consumer._rebalance_timeout_ms) / 1000

    @property
    def max_poll_interval(self) -> float:
        return float(self._consumer._max_poll_interval_ms) / 1000

    @property
    def session_timeout(self) -> float:
        """The seconds without a heartbeat after which the group gives this member's partitions to others."""
        return float(self._consumer._session_timeout_ms) / 1000

    @property
    def heartbeat_interval(self) -> float:
        return float(self._consumer._heartbeat_interval_ms) / 1000

    @property
    def is_started(self) -> bool:
        return self._consumer._fetcher is not None

    @property
    def is_stopped(self) -> bool:
        return bool(self._consumer._closed)

    # -- Subscription, start and stop ----------------------------------------------------------------------------------------------------

    @property
    def pattern(self) -> str | None:
        """The pattern that the consumer is subscribed by. None means by topics, or not at all."""
        pattern = self._consumer._subscription.subscribed_pattern
        return None if pattern is None else str(pattern.pattern)

    @property
    def topics(self) -> frozenset[str]:
        """The topics that the consumer is subscribed or assigned to now."""
        return frozenset(self._consumer.subscription())

    @property
    def is_assigned_by_hand(self) -> bool:
        return bool(self._consumer.assignment()) and not self._consumer._subscription.partitions_auto_assigned()

    @property
    def listener(self) -> Any:
        """The rebalance listener that the consumer is subscribed with. None means that there is none."""
        return self._consumer._subscription.listener

    def subscribe(self, topics: Collection[str] | None, pattern: str | None, listener: Any) -> None:
        if pattern is not None:
            self._consumer.subscribe(pattern=pattern, listener=listener)
        else:
            self._consumer.subscribe(topics=list(topics or ()), listener=listener)

    def mark_unopened(self) -> None:
        """Mark a consumer that was never started as one that has nothing open: its destructor would log an error otherwise.

        That line would stand below the error because of which the consumer was not started. `start` undoes it. aiokafka uses the same mark
        for a consumer whose construction has failed.
        """
        if not self.is_started and not self.is_stopped:
            self._consumer._closed = None

    async def start(self) -> None:
        self._consumer._closed = False
        await self._consumer.start()

    async def stop(self) -> None:
        await self._consumer.stop()

    def close_connections(self) -> None:
        """Close the consumer's connections, so that what waits for an answer of the broker ends with an error, and `stop` ends.

        For a process that is to end while the broker does not answer.
        """
        for connection in list(self._consumer._client._conns.values()):
            connection.close()

    async def cancel_join(self) -> None:
        """Cancel a join that is under way: `stop` would wait for its answer as long as the group takes."""
        joining = getattr(self._consumer._coordinator, "_coordination_task", None)
        if joining is not None and not joining.done():
            joining.cancel()
            await asyncio.wait((joining,), timeout=_CANCELLED_WITHIN)

    def refresh_topics(self) -> None:
        """Ask the broker for the topics of the consumer again, beside what else is done. aiokafka does so every five minutes."""
        self._consumer._client.force_metadata_update()

    # -- Assignment and position ---------------------------------------------------------------------------------------------------------

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._consumer.assignment())

    def assignment_token(self) -> object | None:
        """Return an object that is another one after every assignment, even of the same partitions. None means no assignment."""
        subscription = self._consumer._subscription.subscription
        return None if subscription is None else subscription.assignment

    @property
    def is_reassigning(self) -> bool:
        """Whether a rebalance is under way. Until it ends `assignment()` names partitions that may not be ours, and polls wait."""
        return bool(self._consumer._subscription.reassignment_in_progress)

    @property
    def is_evicted(self) -> bool:
        """Whether the group does not know this member any more. The only sign is the generation, which a failed heartbeat resets.

        aiokafka calls the same `on_partitions_revoked` for an orderly rebalance, in which the member may still commit, and for an
        eviction, after which others may own the partitions already.
        """
        return self._consumer._coordinator is not None and self._consumer._coordinator.generation == _NO_GENERATION

    async def is_member(self) -> bool:
        """Ask the group with a heartbeat whether it knows this member. Returns False also if no coordinator answers.

        aiokafka acts on a heartbeat that fails as on one of its own.
        """
        coordinator = self._consumer._coordinator
        try:
            await coordinator.ensure_coordinator_known()
            return bool(await coordinator._do_heartbeat())
        except KafkaError:
            return False

    @property
    def has_died(self) -> bool:
        """Whether aiokafka's fetch task has ended without a stop. From then on every poll is empty, and nothing raises."""
        fetcher = self._consumer._fetcher
        return fetcher is not None and not self._consumer._closed and fetcher._fetch_task.done()

    def paused(self) -> frozenset[TopicPartition]:
        return frozenset(self._consumer.paused())

    def is_paused(self, tp: TopicPartition) -> bool:
        """Return whether this partition is paused. To ask for all of a thousand takes a third of a millisecond."""
        state = self._state(tp)
        return state is not None and bool(state.paused)

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Pause those of `tps` that are assigned."""
        self._consumer.pause(*self._consumer.assignment().intersection(tps))

    def resume(self, tps: Collection[TopicPartition]) -> None:
        """Resume those of `tps` that are assigned."""
        self._consumer.resume(*self._consumer.assignment().intersection(tps))

    def position(self, tp: TopicPartition) -> int | None:
        """Return the next offset that a poll would hand out, without waiting for it as the public `position` does.

        None means that the partition is not assigned, or that its position is not known yet.
        """
        state = self._state(tp)
        if state is None or not state.has_valid_position:
            return None
        position: int = state.position
        return position

    def _state(self, tp: TopicPartition) -> Any:
        assignment: Any = self.assignment_token()
        return None if assignment is None else assignment.state_value(tp)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._consumer.seek(tp, offset)

    async def getmany(self, names: tuple[TopicPartition, ...], timeout: float, most: int) -> dict[TopicPartition, list[Record]]:
        """Poll once. Must not be cancelled: the records that it has taken would be skipped.

        aiokafka counts running polls, and does not count down when one raises. With one too many `max_poll_interval_ms` would never be
        enforced again. So the count is corrected here, which is right because all polls of an owned consumer are ours.
        """
        self._polls += 1
        try:
            options = {"timeout_ms": int(timeout * 1000), "max_records": most}
            records: dict[TopicPartition, list[Record]] = await self._consumer.getmany(*names, **options)
            return records
        except Exception:
            self._consumer._subscription._fetch_count = self._polls - 1
            raise
        finally:
            self._polls -= 1

    # -- Records as they lie in the fetch ------------------------------------------------------------------------------------------------

    def keep_records_as_they_lie(self) -> None:
        """Let polls hand out aiokafka's records as they lie in the fetch from now on, and not a ConsumerRecord of each.

        To make one takes more than half of what a poll costs, and the engine needs its offset alone. A consumer whose polls are not
        aiokafka's own is left as it is: what instruments or overrides them looks at ConsumerRecords.
        """
        fetcher = self._consumer._fetcher
        if fetcher is not None and self._polls_as_aiokafka_does and isinstance(getattr(fetcher, "_records", None), OrderedDict):
            fetcher._records = AsTheyLie(fetcher._records)

    def make_consumer_records(self) -> None:
        """Undo `keep_records_as_they_lie`."""
        fetcher = self._consumer._fetcher
        if fetcher is not None and isinstance(fetcher._records, AsTheyLie):
            fetcher._records = fetcher._records.restored()

    @property
    def _polls_as_aiokafka_does(self) -> bool:
        poll: Any = cast("Any", type(self._consumer)).getmany
        is_theirs = type(poll) is FunctionType and poll.__globals__.get("__name__") == AIOKafkaConsumer.__module__  # a wrapper may lie
        return is_theirs and "getmany" not in vars(self._consumer)

    # -- Fetch sizes ---------------------------------------------------------------------------------------------------------------------

    def limit_fetches(self, per_partition: int, per_response: int) -> None:
        """Limit the bytes of one fetch, per partition and in all, below what the consumer's settings allow.

        There is no public call for it, and the settings are made before it is known how many partitions the consumer gets. The first
        record of a fetch always comes, however large.
        """
        fetcher = self._consumer._fetcher
        if fetcher is not None:
            fetcher._max_partition_fetch_bytes = min(self._consumer._max_partition_fetch_bytes, per_partition)
            fetcher._fetch_max_bytes = min(self._consumer._fetch_max_bytes, per_response)

    def restore_fetches(self) -> None:
        """Undo `limit_fetches`."""
        self.limit_fetches(self._consumer._max_partition_fetch_bytes, self._consumer._fetch_max_bytes)

    @property
    def buffered(self) -> int:
        """The bytes of fetched record batches that polls have not handed out to their end, compressed ones as they came."""
        fetched = () if self._consumer._fetcher is None else tuple(self._consumer._fetcher._records.values())
        unread = (getattr(result, "_partition_records", None) for result in fetched)  # a fetch error has no records
        return sum(records._records.size_in_bytes() for records in unread if records is not None)

    # -- Commits -------------------------------------------------------------------------------------------------------------------------

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit these offsets, past the refusal that user code meets. Waits as long as the coordinator is away."""
        try:
            await type(self._consumer).commit(self._consumer, dict(offsets))  # pyright: ignore[reportUnknownMemberType]
        except IllegalStateError:
            if self.assignment_token() is not None:
                raise
            # A new topic that matches the pattern has replaced the subscription, and the rebalance for it is about to begin. Until then
            # the client's own check refuses every commit, and what is finished would be delivered twice. The member still has its
            # generation, so the broker accepts the commit.
            await self._consumer._coordinator.commit_offsets(None, {tp: OffsetAndMetadata(at, "") for tp, at in offsets.items()})

    def refuse_commits(self, refused: Callable[[AlreadySettled], None]) -> None:
        """Make `consumer.commit()` raise AlreadySettled and pass the error to `refused`."""

        async def commit(*_args: Any, **_named: Any) -> None:
            error = AlreadySettled(_COMMIT)
            refused(error)
            raise error

        self._own_commit = self._consumer.__dict__.get("commit")
        self._refusing = self._consumer.__dict__["commit"] = commit

    def allow_commits(self) -> None:
        """Undo `refuse_commits`, and restore a wrapper that the application had put around this consumer's commit."""
        if self._refusing is not None and self._consumer.__dict__.get("commit") is self._refusing:
            del self._consumer.__dict__["commit"]
            if self._own_commit is not None:
                self._consumer.__dict__["commit"] = self._own_commit

    # -- A second connection -------------------------------------------------------------------------------------------------------------

    def make_side_consumer(self) -> AIOKafkaConsumer:
        """Make an unstarted consumer of the same cluster, without a group."""
        client = self._consumer._client
        return AIOKafkaConsumer(
            bootstrap_servers=client._bootstrap_servers,
            client_id=f"{client._client_id}-holdgate",
            isolation_level=self._consumer._isolation_level,
            request_timeout_ms=client._request_timeout_ms,
            metadata_max_age_ms=client._metadata_max_age_ms,
            connections_max_idle_ms=client._connections_max_idle_ms,
            security_protocol=client._security_protocol,
            ssl_context=client._ssl_context,
            sasl_mechanism=client._sasl_mechanism,
            sasl_plain_username=client._sasl_plain_username,
            sasl_plain_password=client._sasl_plain_password,
            sasl_kerberos_service_name=client._sasl_kerberos_service_name,
            sasl_kerberos_domain_name=client._sasl_kerberos_domain_name,
            sasl_oauth_token_provider=client._sasl_oauth_token_provider,
        )


class AsTheyLie(OrderedDict[TopicPartition, Any]):
    """What a fetcher has fetched, by partition: its results, each of which hands records out as they lie in it."""

    def __setitem__(self, tp: TopicPartition, result: Any) -> None:
        records: Any = getattr(result, "_partition_records", None)  # a fetch error has none
        if records.__class__ is PartitionRecords:
            records.__class__ = _RecordsAsTheyLie
        super().__setitem__(tp, result)

    def restored(self) -> OrderedDict[TopicPartition, Any]:
        """Return the same results, which make a ConsumerRecord of what is still in them."""
        for result in self.values():
            records: Any = getattr(result, "_partition_records", None)
            if records.__class__ is _RecordsAsTheyLie:
                records.__class__ = PartitionRecords
        return OrderedDict(self)


class _RecordsAsTheyLie(PartitionRecords):  # type: ignore[misc]  # it has no types
    """The records of one fetch of one partition. They are unpacked one by one while a poll takes them."""

    def __iter__(self) -> Iterator[Record]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Past `__next__`, which would be a call for each record. A poll that has enough leaves the iterator where it is.
        own: Any = self
        records: Iterator[Record] = own._records_iterator
        return records

    def _consumer_record(self, _tp: TopicPartition, record: Record) -> Record:  # pyright: ignore[reportIncompatibleMethodOverride]
        return record


T = TypeVar("T")

# Seconds to wait for an answer. A healthy broker takes about a millisecond, and every question is asked again later.
_ANSWER_WITHIN = 5.0
# Seconds to wait for the stop. The consumer has no group to leave and nothing to commit.
_STOP_WITHIN = 5.0


class SideConsumer:
    """Ask for log starts, log ends and topic names. An answer of None means that the broker did not answer in time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._consumer: Any = None

    async def start(self, within: float) -> None:
        """Connect. Raises IntakeError if no broker answers within `within` seconds, and immediately if none can be reached."""
        self._consumer = self._client.make_side_consumer()
        try:
            async with asyncio.timeout(within):
                await self._consumer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop()
            servers = self._client.bootstrap_servers
            silent = isinstance(error, TimeoutError)
            what = f"answers at {servers} within {within:g} s" if silent else f"can be reached at {servers} ({error!r})"
            raise IntakeError(
                f"no Kafka broker {what}: check bootstrap_servers, the listener's security settings and that the broker is up"
            ) from error

    async def stop(self, within: float = _STOP_WITHIN) -> None:
        """Disconnect, in a task of its own, so that a cancellation of the caller does not leave it half stopped."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.wait((begin_later(consumer.stop(), "kafka stop side consumer"),), timeout=within)

    async def topics(self) -> frozenset[str] | None:
        """Return all topics that this user may see."""
        return None if self._consumer is None else await self._ask(self._consumer.topics, frozenset)

    async def log_starts(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int] | None:
        return await self._ask(lambda: self._consumer.beginning_offsets(list(tps)), dict)

    async def log_ends(self, tps: Collection[TopicPartition], *, committed: bool = False) -> dict[TopicPartition, int] | None:
        """Return the ends of these logs. `committed`: where they end for a consumer that reads what is committed alone, which is before the
        first record of an open transaction. None where the broker does not answer, and for that with an aiokafka that cannot ask."""
        if committed and not _ASKS_BY_LEVEL:
            return None
        return await self._ask(lambda: self._ends(list(tps), committed=committed), dict)

    async def _ends(self, tps: list[TopicPartition], *, committed: bool) -> dict[TopicPartition, int]:
        """Ask for ends at one isolation level. The public call has that of the consumer, and no argument for another one.

        A copy of the fetcher has its own level, and shares the connections. It only asks: its background task is the original's.
        """
        fetcher = copy(self._consumer._fetcher)
        fetcher._isolation_level = int(committed)  # 0 and 1 are what the protocol has for read_uncommitted and read_committed
        ends: dict[TopicPartition, int] = await fetcher.end_offsets(tps, int(_ANSWER_WITHIN * 1000))
        return ends

    async def _ask(self, question: Callable[[], Awaitable[Any]], shape: Callable[[Any], T]) -> T | None:
        if self._consumer is None:
            return None
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                return shape(await question())
        except (KafkaError, TimeoutError):
            return None
