"""The consumer as holdgate uses it, and a second client for questions. Nothing here waits on the event loop's own thread.

Theory of operation: threads
============================

`AIOConsumer` runs each call of librdkafka in a thread of the executor that it is given. Its calls exclude each other: one that comes while
another is under way waits for it, in its thread. So a commit that waits for a coordinator would keep every poll waiting. Callbacks of a
rebalance come while `consume` runs: its thread waits until our coroutine, on the event loop, has ended. Calls from within that coroutine
are let through, because AIOConsumer knows by a context variable where they come from; they need a second thread.

`DaemonThreads` is the executor. The threads of concurrent.futures are waited for when the interpreter ends, and a `close` that a broker
does not answer would keep a process that was told to go.

Theory of operation: commits
============================

There are two ways, and both end with an answer:

    beside the polls     the offsets are handed to librdkafka, which does not wait, and its `on_commit` comes with a later poll
    directly             the call itself waits for the answer: inside of a rebalance, where no poll can come, and where polls have ended

A commit of the first kind may be under way when a rebalance begins, and then its answer comes too late for it. It is given up, and the
direct one takes its place: librdkafka keeps the order of the two.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import admin as admin_module
from confluent_kafka.admin import AdminClient
from confluent_kafka.aio import AIOConsumer

from holdgate.brokers.confluent.deliveries import TopicPartition
from holdgate.brokers.confluent.settings import ConsumerSettings
from holdgate.errors import IntakeError, SettingsError

T = TypeVar("T")

_SPEC: Any = admin_module  # OffsetSpec has no types, and no export

# librdkafka's own lines. It writes them to stderr where it has no logger.
rdkafka_log = logging.getLogger("holdgate.brokers.confluent.librdkafka")

# One call that polls, one from within its callback, one that still waits for a broker, and one to close.
_THREADS = 4
# Seconds to wait for an answer. A healthy broker takes about a millisecond, and every question is asked again later.
ANSWER_WITHIN = 5.0

# A commit that ends with one of these has lost its assignment: the callbacks of a rebalance follow, or have come.
_TOO_LATE = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001 - librdkafka's own errors have names like this
}

# What the broker answers about a topic that does not exist, or does not exist any more.
_GONE = {KafkaError.UNKNOWN_TOPIC_ID, KafkaError.UNKNOWN_TOPIC_OR_PART}


class CommitTooLate(Exception):
    """The assignment of a commit is over, or was when the answer came."""


class DaemonThreads(Executor):
    """Run calls in threads that the end of the process does not wait for."""

    def __init__(self, count: int, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._count = count
        self._name = name
        self._started = 0
        self._free = 0  # threads that have no call, those included that are about to begin
        self._waiting = 0  # calls that no thread has taken yet
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            self._waiting += 1
            if self._waiting > self._free and self._started < self._count:
                self._started += 1
                self._free += 1
                threading.Thread(target=self._work, name=f"{self._name} {self._started}", daemon=True).start()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - nothing is ever waited for
        for _ in range(self._started):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            with self._lock:
                self._waiting -= 1
                self._free -= 1
            _run(*call)
            del call  # a thread that waits keeps no result
            with self._lock:
                self._free += 1


def _run(future: Future[Any], fn: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = fn()
    except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


class Client:
    """One consumer of librdkafka. It is made by `make`, on the loop that it belongs to.

    `told` gets each error that librdkafka reports beside the polls. `position` says where a partition goes on.
    """

    def __init__(self, settings: ConsumerSettings, told: Callable[[KafkaError], None]) -> None:
        self.settings = settings
        self.is_stopped = False
        self._direct = 0  # how many want commits to wait for their answer, because no poll brings it
        self._told = told
        self._consumer: Any = None
        self._threads = DaemonThreads(_THREADS, "holdgate confluent")
        self._outbox: dict[TopicPartition, int] | None = None
        self._answer: asyncio.Future[None] | None = None
        self._sent: dict[TopicPartition, int] = {}
        self.position_of: Callable[[TopicPartition], int | None] = lambda _tp: None

    @property
    def reset_policy(self) -> str:
        return self.settings.reset_policy

    @property
    def reads_committed(self) -> bool:
        return self.settings.reads_committed

    @property
    def is_made(self) -> bool:
        return self._consumer is not None

    def position(self, tp: TopicPartition) -> int | None:
        """Return the next offset to be handed out, which is not librdkafka's: it has handed out what is kept back (fetching.py)."""
        return self.position_of(tp)

    # -- Begin and end -------------------------------------------------------------------------------------------------------------------

    def make(self, read_ahead: int | None) -> None:
        """Make the consumer. Raises SettingsError where librdkafka refuses the settings."""
        callbacks: dict[str, Any] = {"on_commit": self._committed, "error_cb": self._failed}
        for name in ("stats_cb", "throttle_cb"):
            given = self.settings.of_user(name)
            if given is not None:
                callbacks[name] = _as_coroutine(given)
        if self.settings.of_user("logger") is None:
            callbacks["logger"] = rdkafka_log
        try:
            self._consumer = AIOConsumer(self.settings.for_consumer(read_ahead, **callbacks), executor=self._threads)
        except (KafkaException, ValueError, TypeError) as error:
            raise SettingsError(f"librdkafka refuses the settings: {said(error)}") from error

    async def subscribe(self, topics: Sequence[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        """Join the group. The three are coroutine functions that take the consumer and its partitions, and must not raise."""
        await self._consumer.subscribe(list(topics), on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)

    async def close(self) -> None:
        """Leave the group. While it waits for a poll or a broker, so does this."""
        self.is_stopped = True
        try:
            if self._consumer is not None:
                await self._consumer.close()
        finally:
            self._threads.shutdown()

    # -- Polls ---------------------------------------------------------------------------------------------------------------------------

    async def consume(self, most: int, timeout: float) -> list[Message]:
        """Return up to `most` messages, and wait for the first at most `timeout` seconds. Callbacks come meanwhile.

        librdkafka waits for all of `most`, so that a topic with little traffic would wait out every timeout. So what is there is taken
        without waiting, and if there is nothing, the first one that comes is waited for.
        """
        found: list[Message] = await self._consumer.consume(most, 0)
        if not found and timeout:
            found = await self._consumer.consume(1, timeout)
        return found

    async def pause(self, tps: Collection[TopicPartition]) -> None:
        await self._consumer.pause(places(tps))

    async def resume(self, tps: Collection[TopicPartition]) -> None:
        await self._consumer.resume(places(tps))

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        await self._consumer.seek(confluent_kafka.TopicPartition(tp.topic, tp.partition, offset))

    async def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Take partitions over at these offsets. Only within `on_assign`."""
        given = [confluent_kafka.TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        await (self._consumer.incremental_assign(given) if self.settings.is_incremental else self._consumer.assign(given))

    async def committed(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Return what the group has committed of these; None means nothing. Raises KafkaException where the coordinator does not answer."""
        found = await self._consumer.committed(places(tps), timeout=ANSWER_WITHIN)
        for each in found:
            if each.error is not None:
                raise KafkaException(each.error)
        return {place(each): each.offset if each.offset >= 0 else None for each in found}

    # -- Commits -------------------------------------------------------------------------------------------------------------------------

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit. Raises CommitTooLate if the assignment is over, and KafkaException for what may pass."""
        if self._direct:
            await self._commit_directly(offsets)
            return
        answer = self._answer = asyncio.get_running_loop().create_future()
        self._outbox = dict(offsets)
        try:
            await answer
        finally:
            if self._answer is answer:
                self._answer = self._outbox = None

    @contextmanager
    def directly(self) -> Generator[None]:
        """Let commits wait for their answer meanwhile, because no poll brings it."""
        self._direct += 1
        try:
            yield
        finally:
            self._direct -= 1

    async def _commit_directly(self, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            parts: Sequence[Any] = await self._consumer.commit(offsets=_with_offsets(offsets), asynchronous=False)
        except KafkaException as error:
            raise _as_exception(error.args[0]) from error
        for each in parts:
            if each.error is not None:  # errors are values there
                raise _as_exception(each.error)

    @property
    def has_commits(self) -> bool:
        """Whether `send_commits` has something to do."""
        return self._outbox is not None

    @property
    def awaits_commit(self) -> bool:
        """Whether a poll may bring the answer to a commit."""
        return self._answer is not None

    async def send_commits(self) -> None:
        """Hand the offsets of `commit` to librdkafka. Between two polls, so that it never waits for one."""
        offsets, self._outbox = self._outbox, None
        if offsets is None or self._answer is None:
            return
        self._sent = offsets
        try:
            await self._consumer.commit(offsets=_with_offsets(offsets), asynchronous=True)
        except KafkaException as error:
            self._answered(error)

    def give_up_commit(self) -> None:
        """End the wait for an answer that no poll will bring in time."""
        self._answered(CommitTooLate("the answer would come after the rebalance"))

    async def _committed(self, error: KafkaError | None, parts: Sequence[Any]) -> None:
        if {place(each): each.offset for each in parts} != self._sent:
            return  # the answer to one that was given up
        errors = [each for each in (error, *(part.error for part in parts)) if each is not None]
        self._answered(_as_exception(errors[0]) if errors else None)

    def _answered(self, error: Exception | None) -> None:
        self._sent = {}
        if self._answer is None or self._answer.done():
            return
        if error is None:
            self._answer.set_result(None)
        else:
            self._answer.set_exception(error)

    # -- Errors beside the polls ---------------------------------------------------------------------------------------------------------

    async def _failed(self, error: KafkaError) -> None:
        self._told(error)
        given = self.settings.of_user("error_cb")
        if given is not None:
            with suppress(Exception):  # somebody else's code, which librdkafka would pass on to whatever polls
                await _as_coroutine(given)(error)


class Asker:
    """Ask for log starts, log ends and topic names, past the consumer. An answer of None means that the broker did not answer in time."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings
        self._admin: Any = None
        self._threads = DaemonThreads(1, "holdgate confluent questions")

    async def start(self, within: float) -> frozenset[str]:
        """Connect, and return all topics that this user may see. Raises IntakeError if no broker answers within so many seconds."""
        servers = self._settings.bootstrap_servers
        try:
            self._admin = await self._in_thread(lambda: AdminClient(self._settings.for_admin(), logger=rdkafka_log))
        except (KafkaException, ValueError, TypeError) as error:
            raise SettingsError(f"librdkafka refuses the settings: {said(error)}") from error
        try:
            return await self._topics(within)
        except (KafkaException, TimeoutError) as error:
            self.stop()
            raise IntakeError(
                f"no Kafka broker answers at {servers} within {within:g} s: check bootstrap.servers, the listener's security settings and "
                "that the broker is up"
            ) from error

    def stop(self) -> None:
        """Disconnect. librdkafka does it by itself when nobody has the client any more, which a thread waits for."""
        admin, self._admin = self._admin, None
        if admin is not None:
            self._threads.submit(_let_go, admin)
        del admin
        self._threads.shutdown()

    async def topics(self) -> frozenset[str] | None:
        """Return all topics that this user may see."""
        try:
            return await self._topics(ANSWER_WITHIN) if self._admin is not None else None
        except (KafkaException, TimeoutError):
            return None

    async def _topics(self, within: float) -> frozenset[str]:
        admin = self._admin
        async with asyncio.timeout(within + 1):
            found = await self._in_thread(lambda: admin.list_topics(timeout=within))
        return frozenset(found.topics)

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str | None]:
        """Return the id of each topic, None for one that does not exist. What is not known now is left out. It creates no topic."""
        found: dict[str, str | None] = {}
        if self._admin is None:
            return found
        asked = self._admin.describe_topics(confluent_kafka.TopicCollection(list(topics)), request_timeout=ANSWER_WITHIN)
        answers = await asyncio.gather(*map(asyncio.wrap_future, asked.values()), return_exceptions=True)
        for topic, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, BaseException):
                found[topic] = str(answer.topic_id)
            elif code_of(answer) in _GONE:
                found[topic] = None
        return found

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def log_starts(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int] | None:
        return await self._offsets(tps, _SPEC.OffsetSpec.earliest(), committed=False)

    async def log_ends(self, tps: Collection[TopicPartition], *, committed: bool = False) -> dict[TopicPartition, int] | None:
        return await self._offsets(tps, _SPEC.OffsetSpec.latest(), committed=committed)

    async def _offsets(self, tps: Collection[TopicPartition], spec: object, *, committed: bool) -> dict[TopicPartition, int] | None:
        if self._admin is None or not tps:
            return None if self._admin is None else {}
        level = confluent_kafka.IsolationLevel.READ_COMMITTED if committed else confluent_kafka.IsolationLevel.READ_UNCOMMITTED
        try:
            asked = self._admin.list_offsets(dict.fromkeys(places(tps), spec), isolation_level=level, request_timeout=ANSWER_WITHIN)
            async with asyncio.timeout(ANSWER_WITHIN + 1):
                answers = await asyncio.gather(*map(asyncio.wrap_future, asked.values()), return_exceptions=True)
        except (KafkaException, TimeoutError):
            return None
        found = {place(at): answer.offset for at, answer in zip(asked, answers, strict=True) if not isinstance(answer, BaseException)}
        return found or None


def _let_go(_client: object) -> None:
    """Be the last that has a client: its end waits for librdkafka's threads."""


def place(at: Any) -> TopicPartition:
    """Return the name of a partition of confluent-kafka's."""
    return TopicPartition(at.topic, at.partition)


def places(tps: Collection[TopicPartition]) -> list[confluent_kafka.TopicPartition]:
    """Return confluent-kafka's names of these partitions."""
    return [confluent_kafka.TopicPartition(tp.topic, tp.partition) for tp in tps]


def code_of(error: BaseException) -> int | None:
    """Return librdkafka's number of an error; None means that it has none."""
    inner = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return inner.code() if isinstance(inner, KafkaError) else None


def said(error: BaseException) -> str:
    """Return librdkafka's text of an error, without the object around it."""
    inner = error.args[0] if error.args else error
    return str(inner.str() if isinstance(inner, KafkaError) else inner)


def _with_offsets(offsets: Mapping[TopicPartition, int]) -> list[confluent_kafka.TopicPartition]:
    return [confluent_kafka.TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]


def _as_exception(error: KafkaError) -> Exception:
    return CommitTooLate(error.str()) if error.code() in _TOO_LATE else KafkaException(error)


def _as_coroutine(callback: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return a coroutine function that calls a user's callback, plain or not: AIOConsumer takes no plain one."""

    async def call(*args: Any) -> Any:
        answer = callback(*args)
        return await answer if inspect.isawaitable(answer) else answer

    return call
