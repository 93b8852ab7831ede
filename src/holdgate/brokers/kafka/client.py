"""The second, group-less consumer: for questions about logs and topics that must not wait behind the first one's long poll.

Asking the consumer itself for log ends takes 450 ms while it polls, and as long as `fetch_max_wait_ms` says; asked from here it takes
about a millisecond. It belongs to no group and reads nothing, so it disturbs nobody.

The consumer as holdgate uses it: every look behind aiokafka's public names is in this file, with its reason.

aiokafka 0.12 to 0.14 were read for it. What has a public name is called by it; the rest are settings without a getter (auto-commit, the
reset policy, time limits), four facts that no public call tells (whether the group threw this member out, whether it still knows it,
whether an assignment is the one seen before, and whether the background tasks are alive), and two ways to end what waits for a broker.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from holdgate.brokers.kafka.assignments import Record
from holdgate.errors import AlreadySettled, IntakeError
from holdgate.tasks import begin_later

# A partition that no topic can have: a poll that names it alone hands out nothing and keeps every buffer, while a poll without names
# means all partitions and throws away the buffers of those paused.
NOWHERE = TopicPartition("", -1)

_NO_GENERATION = -1

# A cancelled task of the client's lets go within a step.
_LET_GO_WITHIN = 0.25

_COMMIT = (
    "consumer.commit() while a guard owns this consumer would commit work that is not processed, or rewind what is: "
    "remove the call, the guard commits what its handlers finished"
)


class Client:
    """A thin, typed view of one AIOKafkaConsumer."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer: Any = consumer
        self._polls = 0
        self._own_commit: Any = None
        self._refusing: Any = None

    # Settings

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
    def auto_commit(self) -> bool:
        return bool(self._consumer._enable_auto_commit)

    @property
    def reset_policy(self) -> str:
        return str(self._consumer._auto_offset_reset)

    @property
    def deserializers(self) -> dict[str, Any]:
        """Those that are set, by the name of their argument."""
        found = {"key_deserializer": self._consumer._key_deserializer, "value_deserializer": self._consumer._value_deserializer}
        return {name: function for name, function in found.items() if function is not None}

    @property
    def bootstrap_servers(self) -> str:
        servers = self._consumer._client._bootstrap_servers
        return servers if isinstance(servers, str) else ",".join(servers)

    @property
    def rebalance_timeout(self) -> float:
        """Seconds that the group waits for this member to give its partitions back."""
        return float(self._consumer._rebalance_timeout_ms) / 1000

    @property
    def max_poll_interval(self) -> float:
        return float(self._consumer._max_poll_interval_ms) / 1000

    @property
    def session_timeout(self) -> float:
        """Seconds without a heartbeat after which the group gives this member's partitions to others."""
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

    # Subscription

    @property
    def pattern(self) -> str | None:
        """The pattern it is subscribed by; None when by topics, or not at all."""
        pattern = self._consumer._subscription.subscribed_pattern
        return None if pattern is None else str(pattern.pattern)

    @property
    def topics(self) -> frozenset[str]:
        """The topics it is subscribed or assigned to now."""
        return frozenset(self._consumer.subscription())

    @property
    def is_assigned_by_hand(self) -> bool:
        return bool(self._consumer.assignment()) and not self._consumer._subscription.partitions_auto_assigned()

    @property
    def listener(self) -> Any:
        """The rebalance listener that it reports to now, or None."""
        return self._consumer._subscription.listener

    def subscribe(self, topics: Collection[str] | None, pattern: str | None, listener: Any) -> None:
        if pattern is not None:
            self._consumer.subscribe(pattern=pattern, listener=listener)
        else:
            self._consumer.subscribe(topics=list(topics or ()), listener=listener)

    def write_off(self) -> None:
        """A consumer that was never started will not be: it has nothing open, and its destructor need not say that it was not closed."""
        if not self.is_started:
            self._consumer._closed = True

    async def start(self) -> None:
        await self._consumer.start()

    async def stop(self) -> None:
        await self._consumer.stop()

    def cut(self) -> None:
        """Close its connections without another word: what waits for an answer of the broker ends with an error, and `stop` comes to its
        end. For a process that is to go while the broker says nothing."""
        for connection in list(self._consumer._client._conns.values()):
            connection.close()

    async def give_up_joining(self) -> None:
        """Let a join that is under way go, so that `stop` does not wait for its answer, as it would for as long as the group takes."""
        joining = getattr(self._consumer._coordinator, "_coordination_task", None)
        if joining is not None and not joining.done():
            joining.cancel()
            await asyncio.wait((joining,), timeout=_LET_GO_WITHIN)

    # Assignment

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._consumer.assignment())

    def assignment_token(self) -> object | None:
        """An object that is another one after every assignment, also one of the same partitions. None while there is none."""
        subscription = self._consumer._subscription.subscription
        return None if subscription is None else subscription.assignment

    @property
    def is_reassigning(self) -> bool:
        """Whether a rebalance is under way: `assignment()` then still names what may not be ours, and polls wait for its end."""
        return bool(self._consumer._subscription.reassignment_in_progress)

    @property
    def is_evicted(self) -> bool:
        """Whether the group does not know this member any more. Told only by the generation that heartbeats have reset.

        aiokafka calls the same `on_partitions_revoked` for an orderly rebalance, in which the member may still commit, and for an
        eviction, in which others may own the partitions already.
        """
        return self._consumer._coordinator is not None and self._consumer._coordinator.generation == _NO_GENERATION

    async def is_member(self) -> bool:
        """Ask the group by a heartbeat of its own. False: not any more, which aiokafka then acts on, or nobody answers."""
        coordinator = self._consumer._coordinator
        try:
            await coordinator.ensure_coordinator_known()
            return bool(await coordinator._do_heartbeat())
        except KafkaError:
            return False

    @property
    def has_died(self) -> bool:
        """Whether aiokafka's fetch task has ended without being stopped: from then on polls are empty for ever, and nothing raises."""
        fetcher = self._consumer._fetcher
        return fetcher is not None and not self._consumer._closed and fetcher._fetch_task.done()

    def paused(self) -> frozenset[TopicPartition]:
        return frozenset(self._consumer.paused())

    def is_paused(self, tp: TopicPartition) -> bool:
        """Whether this one is paused; asking for all of a thousand takes a third of a millisecond."""
        state = self._state(tp)
        return state is not None and bool(state.paused)

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Pause those of `tps` that are assigned."""
        self._consumer.pause(*self._consumer.assignment().intersection(tps))

    def resume(self, tps: Collection[TopicPartition]) -> None:
        """Resume those of `tps` that are assigned."""
        self._consumer.resume(*self._consumer.assignment().intersection(tps))

    def position(self, tp: TopicPartition) -> int | None:
        """The next offset a poll would hand out; None when not assigned, or not known yet. The public `position` waits, this one not."""
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
        """Poll once. Never cancel it: nobody would know what it handed out.

        A poll that raises leaves a count of running polls behind, with which `max_poll_interval_ms` would never be enforced again, so the
        count is set right here: all polls of an owned consumer are ours.
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

    # What it fetches

    def limit_fetches(self, per_partition: int, per_response: int) -> None:
        """Ask the broker for at most so many bytes at a time, per partition and in all; and for no more than the consumer's settings say.

        No public call does, and a consumer's settings are made before anybody knows how many partitions it gets. A first record always
        comes, however large.
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
        """The bytes of fetched record batches that no poll has handed out to the end; compressed ones as they came."""
        fetched = () if self._consumer._fetcher is None else tuple(self._consumer._fetcher._records.values())
        unread = (getattr(result, "_partition_records", None) for result in fetched)  # an error has none
        return sum(records._records.size_in_bytes() for records in unread if records is not None)

    # Offsets

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit an explicit map, past the refusal that user code meets. Waits as long as the coordinator is away."""
        try:
            await type(self._consumer).commit(self._consumer, dict(offsets))  # pyright: ignore[reportUnknownMemberType]
        except IllegalStateError:
            if self.assignment_token() is not None:
                raise
            # A topic that appeared under a pattern has replaced the subscription; its partitions are given back in a moment. The member
            # still has its generation, so the broker accepts the commit that the client's own check refuses.
            await self._consumer._coordinator.commit_offsets(None, {tp: OffsetAndMetadata(at, "") for tp, at in offsets.items()})

    def refuse_commits(self, refused: Callable[[AlreadySettled], None]) -> None:
        """From now on `consumer.commit()` raises AlreadySettled, and tells `refused`."""

        async def commit(*_args: Any, **_named: Any) -> None:
            error = AlreadySettled(_COMMIT)
            refused(error)
            raise error

        self._own_commit = self._consumer.__dict__.get("commit")
        self._refusing = self._consumer.__dict__["commit"] = commit

    def allow_commits(self) -> None:
        """Undo `refuse_commits`, down to a wrapper that somebody had put around this consumer's commit."""
        if self._refusing is not None and self._consumer.__dict__.get("commit") is self._refusing:
            del self._consumer.__dict__["commit"]
            if self._own_commit is not None:
                self._consumer.__dict__["commit"] = self._own_commit

    # A second connection

    def make_aside(self) -> AIOKafkaConsumer:
        """An unstarted consumer of the same cluster, without a group: its questions wait behind nobody's long poll."""
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


T = TypeVar("T")

# A question is worth asking again in a few seconds, not worth waiting for: the answer of a healthy broker takes about a millisecond.
_ANSWER_WITHIN = 5.0
_STOP_WITHIN = 5.0


class SideConsumer:
    """Log starts, log ends and topic names. Answers are None when the broker does not answer in time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._consumer: Any = None

    async def start(self, within: float) -> None:
        """Connect. Raises IntakeError when no broker answers within `within` seconds, or at once when none can be reached."""
        self._consumer = self._client.make_aside()
        try:
            await asyncio.wait_for(self._consumer.start(), within)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop()
            servers = self._client.bootstrap_servers
            silent = isinstance(error, TimeoutError)
            what = f"answers at {servers} within {within:g} s" if silent else f"can be reached at {servers} ({error!r})"
            raise IntakeError(
                f"no Kafka broker {what}: check bootstrap_servers, the listener's security settings and that the broker is up"
            ) from error

    async def stop(self, within: float = _STOP_WITHIN) -> None:
        """Disconnect, in a task of its own so that nobody's cancellation leaves it half stopped."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.wait((begin_later(consumer.stop(), "kafka stop aside"),), timeout=within)

    async def topics(self) -> frozenset[str] | None:
        """All topics this user may see."""
        return await self._ask(self._consumer.topics, frozenset)

    async def log_starts(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int] | None:
        return await self._ask(lambda: self._consumer.beginning_offsets(list(tps)), dict)

    async def log_ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int] | None:
        return await self._ask(lambda: self._consumer.end_offsets(list(tps)), dict)

    async def _ask(self, question: Callable[[], Awaitable[Any]], shape: Callable[[Any], T]) -> T | None:
        if self._consumer is None:
            return None
        try:
            return shape(await asyncio.wait_for(question(), _ANSWER_WITHIN))
        except (KafkaError, TimeoutError):
            return None
