"""The log of a fleet in a Kafka topic of one partition: `KafkaFleetLog`, an implementation of `holdgate.ports.FleetLog`.

Theory of operation
===================

One consumer reads the partition by assignment, without a group: nothing is committed, no rebalance comes, and a worker more or less is
noticed by nobody. One producer writes to it; it is made at the first append, so that a reader needs no permission to write.

Cancellation. Neither a poll nor a send is ever cancelled by a caller. Each runs in a task of its own, which the next call takes over:

    read      waits for the poll task. Cancelled, it leaves the task and what it will find to the next read.
    append    waits for the send task. Cancelled, it leaves the task to the producer, so the records come into the log later, or not at all.
              The next append waits for it first: at most one append's records are in this process, however often the caller gives up.

What a broker does to it:

    restart, another leader     aiokafka connects anew by itself. Reading goes on at its position. The producer sends again what was not
                                confirmed, and the broker drops what it has already (idempotence).
    frozen                      requests end after `request_timeout_ms`. A send that is not confirmed within `_SEND_WITHIN` is given up
                                with its producer: a producer without idempotence could send it twice, and one with it never gives up.
    topic deleted               a fetch is answered with an error, aiokafka asks for metadata, and the topic is not there: both calls raise,
                                with the command that makes it. Nothing is created by asking (fleet_clients.py).
    topic made anew             reading begins at its first record: our position lies behind the end of the log, or the topic was gone and
                                the last record that we read is not there any more. (A topic may look gone while a broker starts.)
    retention passed us         reading goes on at the first record that exists.
    more partitions             both calls raise: records of several partitions have no common order.

What is ugly: a reader learns nothing of a broker that is away, since aiokafka only logs that. A read waits then, as the port allows, and
the guard's own time limit says that the log is silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    OffsetOutOfRangeError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from holdgate.brokers.kafka.fleet_clients import LogConsumer, LogProducer
from holdgate.brokers.kafka.fleet_topic import TopicAdmin, TopicMade
from holdgate.errors import FleetLogError, SettingsError
from holdgate.ports import LogEntry, check_records
from holdgate.tasks import begin_later

# Seconds to connect and to find the place in the log. A broker in reach needs some ten milliseconds.
_OPEN_WITHIN = 15.0
# Seconds for all replicas to confirm an append. A leader's change took 8 to 12 s; longer, and what was to be said is no news any more.
_SEND_WITHIN = 15.0
# Seconds to wait for a stop. Neither client has anything to hand over.
_STOP_WITHIN = 3.0
# Seconds to ask once more whether a topic exists that has left the metadata.
_ASK_WITHIN = 2.0
# What the two clients are made with unless the caller says otherwise.
_DEFAULTS = {
    # 40 s by default: a fleet takes a log for silent after 6 s, and a connection that does not answer is best replaced by then.
    "request_timeout_ms": 5000,
    "client_id": "holdgate-fleet",  # what a broker's own log and quotas name
}
# aiokafka's errors that mean that there was no answer.
_NO_ANSWER = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError)
# What both clients know, and does not change what the log promises.
_ALLOWED = frozenset(
    {
        "client_id",
        "connections_max_idle_ms",
        "metadata_max_age_ms",
        "request_timeout_ms",
        "retry_backoff_ms",
        "sasl_kerberos_domain_name",
        "sasl_kerberos_service_name",
        "sasl_mechanism",
        "sasl_oauth_token_provider",
        "sasl_plain_password",
        "sasl_plain_username",
        "security_protocol",
        "ssl_context",
    }
)


class KafkaFleetLog:
    """The log of a fleet in a Kafka topic, which `holdgate fleet create kafka://HOST:PORT/TOPIC` makes. Give it to `Guard(fleet=...)`.

    Implements `holdgate.ports.FleetLog`.

    - `bootstrap_servers`: "host:port", with commas between several, or a list of such.
    - `topic`: its name. It must exist and have one partition: only `create` makes it. Workers that name the same topic are one fleet.
    - `client_options`: settings of aiokafka's clients: security_protocol, ssl_context, the sasl_ ones, client_id, request_timeout_ms and
      retry_backoff_ms among them.

    Raises SettingsError for an unknown option. The user needs Read, Write and Describe on the topic, and no group.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str | Sequence[str],
        topic: str = "holdgate-fleet",  # one fleet a cluster is the usual case
        **client_options: Any,
    ) -> None:
        _check_options(client_options)
        servers = bootstrap_servers if isinstance(bootstrap_servers, str) else list(bootstrap_servers)
        self._servers = servers if isinstance(servers, str) else ",".join(servers)
        self._topic = topic
        self._settings: dict[str, Any] = {**_DEFAULTS, **client_options, "bootstrap_servers": servers}
        self._consumer: LogConsumer | None = None
        self._producer: LogProducer | None = None
        self._polling: asyncio.Task[Sequence[Any]] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._next: int | None = None  # the position from which reading goes on; None before the first `open`
        self._last: Any = None  # the last record that was read
        self._was_gone = False  # the topic was missing: it may be another one
        self._closings = 0

    @property
    def place(self) -> str:
        return f"topic {self._topic!r} at {self._servers}"

    async def create(self) -> TopicMade:
        """Make the topic as it must be, or say what of an existing one is otherwise, which is not changed. The log need not be open.

        Raises FleetLogError: this user may not, no broker answers, or a topic of this name cannot be the log of a fleet.
        """
        return await TopicAdmin(self._topic, self.place, self._settings).create()

    async def open(self) -> None:
        """Connect, and find the last 30 seconds. Raises FleetLogError for a topic that does not exist or has several partitions, for one
        that this user may not use, and where no broker answers."""
        if self._consumer is not None:
            raise FleetLogError(f"the log in {self.place} is open already: close() comes before another open()")
        await self._connect()

    async def append(self, records: Sequence[bytes]) -> None:
        """Write records, and return when all replicas have them. Raises FleetLogError."""
        await self._usable()
        check_records(records)
        while self._sending is not None and not self._sending.done():  # one that was cancelled
            await asyncio.wait((self._sending,))
            await self._usable()
        sending = self._sending = begin_later(self._send(tuple(records)), "kafka fleet append")
        sending.add_done_callback(_forget)
        await asyncio.wait((sending,))
        if sending.cancelled():
            raise self._closed()
        sending.result()

    async def read(self) -> Sequence[LogEntry]:
        """Return what comes next. Raises FleetLogError."""
        while True:
            consumer = await self._usable()
            if self._polling is None:
                if self._was_gone:
                    await self._find_place_again(consumer)
                self._polling = begin_later(consumer.poll(), "kafka fleet poll")
                self._polling.add_done_callback(_forget)
            polling = self._polling
            await asyncio.wait((polling,))
            if self._polling is not polling:  # closed meanwhile
                continue
            self._polling = None
            records = await self._result(consumer, polling)
            if records:
                self._last = records[-1]
                self._next = self._last.offset + 1
                return [LogEntry(record.offset, record.value or b"") for record in records]

    async def close(self) -> None:
        """Disconnect, within a few seconds. What waits raises FleetLogError."""
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        self._polling, sending, self._sending = None, self._sending, None
        self._next, self._last, self._was_gone = None, None, False
        self._closings += 1
        if sending is not None:
            sending.cancel()
        stops = [consumer.stop()] if consumer is not None else []
        stops += [producer.abandon()] if producer is not None else []
        await self._end(*stops)

    # -- Open ----------------------------------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        """Make a consumer that stands where reading goes on. It is ours when all of it is done, unless the log was closed meanwhile."""
        consumer, closings = LogConsumer(self._topic, self._settings), self._closings
        try:
            async with asyncio.timeout(_OPEN_WITHIN):
                await consumer.start()
                self._check_partitions(await consumer.partitions_now())
                place = await consumer.find_look_back() if self._next is None else self._next
                consumer.go_to(place)
            if closings != self._closings:
                raise self._closed()
        except (KafkaError, OSError, TimeoutError) as error:
            await self._end(consumer.stop())
            raise self._error(error, "read") from error
        except BaseException:
            await self._end(consumer.stop())
            raise
        self._consumer, self._next = consumer, place

    def _check_partitions(self, numbers: frozenset[int]) -> None:
        if not numbers:
            raise FleetLogError(
                f"there is no {self.place}: `holdgate fleet create {self._url}` makes it; if it exists, allow this user Describe on it"
            )
        if len(numbers) > 1:
            raise FleetLogError(
                f"{self.place} has {len(numbers)} partitions, and the log of a fleet must have 1, because there is no order across them: "
                "name another topic, or delete this one and make it anew with `holdgate fleet create`"
            )

    @property
    def _url(self) -> str:
        return f"kafka://{self._servers}/{self._topic}"

    async def _usable(self) -> LogConsumer:
        """Return the consumer of an open log whose topic is as it must be. Asks the broker only when the topic has left the metadata."""
        consumer = self._consumer
        if consumer is None:
            raise self._closed()
        numbers = consumer.partitions_known()
        if not numbers:
            self._was_gone = True
            try:
                async with asyncio.timeout(_ASK_WITHIN):
                    numbers = await consumer.partitions_now()
            except (KafkaError, OSError, TimeoutError) as error:
                raise self._error(error, "read") from error
        self._check_partitions(numbers)
        return consumer

    def _closed(self) -> FleetLogError:
        return FleetLogError(f"the log in {self.place} is not open: open() comes first, and close() ends it")

    # -- Read ----------------------------------------------------------------------------------------------------------------------------

    async def _result(self, consumer: LogConsumer, polling: asyncio.Task[Sequence[Any]]) -> Sequence[Any]:
        """Return what a poll has found, after what must be done about its error."""
        try:
            records = polling.result()
        except OffsetOutOfRangeError:
            await self._go_to_beginning(consumer)
            return ()
        except KafkaError as error:
            raise self._error(error, "read") from error
        if consumer.has_died:
            await self._connect()  # at the same place
            await self._end(consumer.stop())
        return records

    async def _find_place_again(self, consumer: LogConsumer) -> None:
        """Go on where we were if the log still has the last record that we read, and otherwise at its beginning: it is another one."""
        try:
            async with asyncio.timeout(_OPEN_WITHIN):
                is_same = await self._is_same(consumer)
        except OffsetOutOfRangeError:
            is_same = False
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._error(error, "read") from error
        if is_same and self._next is not None:
            consumer.go_to(self._next)
        else:
            await self._go_to_beginning(consumer)
        self._was_gone = False

    async def _is_same(self, consumer: LogConsumer) -> bool:
        end = await consumer.find_end()
        if self._last is None:
            return self._next is not None and end >= self._next
        if end <= self._last.offset:
            return False
        consumer.go_to(self._last.offset)
        while not (records := await consumer.poll()):
            pass
        return (records[0].offset, records[0].timestamp, records[0].value) == (self._last.offset, self._last.timestamp, self._last.value)

    async def _go_to_beginning(self, consumer: LogConsumer) -> None:
        """Go on with the first record that exists. A cancelled one is made again: the next poll meets the same error."""
        try:
            async with asyncio.timeout(_OPEN_WITHIN):
                consumer.go_to(await consumer.find_beginning())
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._error(error, "read") from error

    # -- Append --------------------------------------------------------------------------------------------------------------------------

    async def _send(self, records: tuple[bytes, ...]) -> None:
        """Send, in a task of its own. After an error the producer is given up: what it has counted may not be what the broker has."""
        try:
            async with asyncio.timeout(_SEND_WITHIN):
                await (await self._started_producer()).send(records)
        except (KafkaError, OSError, TimeoutError) as error:
            producer, self._producer = self._producer, None
            if producer is not None:
                await self._end(producer.abandon())
            raise self._error(error, "write") from error

    async def _started_producer(self) -> LogProducer:
        if self._producer is None:
            self._producer = producer = LogProducer(self._topic, self._settings)
            await producer.start()
        return self._producer

    # -- Errors and ends -----------------------------------------------------------------------------------------------------------------

    def _error(self, error: BaseException, act: str) -> FleetLogError:
        return FleetLogError(f"{self.place} cannot be used to {act}: {self._meaning(error, act)}")

    def _meaning(self, error: BaseException, act: str) -> str:
        meanings = {
            TopicAuthorizationFailedError: f"this user is not authorised: allow it {act.capitalize()} and Describe on the topic",
            ClusterAuthorizationFailedError: "this user is not authorised: allow it Write on the topic, "
            "and before Kafka 2.8 IdempotentWrite on the cluster",
            AuthenticationFailedError: f"the broker refuses this user ({type(error).__name__}): check the SASL settings",
            MessageSizeTooLargeError: "the topic takes only smaller records: `holdgate fleet create` says what it must be",
            UnknownTopicOrPartitionError: f"the broker does not know it: `holdgate fleet create {self._url}` makes it",
        }
        if isinstance(error, (*_NO_ANSWER, OSError, TimeoutError)):
            return f"no Kafka broker answers ({error!r}): check bootstrap_servers, the security settings and that the broker is up"
        return next((text for kind, text in meanings.items() if isinstance(error, kind)), f"Kafka answers {error!r}")

    @staticmethod
    async def _end(*stops: Coroutine[Any, Any, None]) -> None:
        """Let clients stop, each in a task of its own: a cancellation of the caller does not leave one half stopped."""
        tasks = [begin_later(stop, "kafka fleet stop") for stop in stops]
        for task in tasks:
            task.add_done_callback(_forget)
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_WITHIN)


def _check_options(options: dict[str, Any]) -> None:
    unknown = sorted(options.keys() - _ALLOWED)
    if unknown:
        raise SettingsError(f"KafkaFleetLog takes no {unknown[0]}=: a client option must be one of {', '.join(sorted(_ALLOWED))}")


def _forget(ended: asyncio.Task[Any]) -> None:
    """Take the error of a task for which nobody may wait any more: asyncio would log it."""
    if not ended.cancelled():
        ended.exception()
