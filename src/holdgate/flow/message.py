"""What crosses the port between a broker and the engine: sources, deliveries, and dead letters.

A *source* is where messages come from: a partition of a Kafka topic, or a RabbitMQ queue. A *delivery* is one message on its way through a
worker: what the broker gave, and marks in which the engine keeps what it knows of the message. A *dead letter* is a message that was
rejected, and what is known of the reason.

Body and key of a dead letter go to the target as they are, and so do the message's own headers. What we know is added as headers whose
names begin with `PREFIX`. All of them are text, so that any tool of the broker shows them. A replay takes them off again and leaves one,
the number of replays, so that a message that comes back for ever is noticed.

What is ugly: the engine's marks of a delivery are typed `Any`, because their classes stand above this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, TypeVar

from holdgate.core.validation import seconds
from holdgate.errors import SettingsError, UnknownAttribute

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of a Kafka topic.

    `topic` is the topic's name, `number` the partition's number from 0.
    """

    topic: str
    number: int

    @property
    def name(self) -> str:
        """Return the topic: `needs` and a mapping of handlers are keyed by it."""
        return self.topic

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


@dataclass(frozen=True, slots=True, order=True)
class Queue:
    """One RabbitMQ queue, by its name."""

    name: str

    def __str__(self) -> str:
        return self.name


Source = Partition | Queue


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits in one source, by the broker's figures.

    `messages` counts what is not settled yet, those in hand included; None means that the broker does not know.
    `oldest_age` is the age of the oldest of them in seconds; None means that it is unknown, or that nothing waits.
    `readable` counts those of `messages` that a consumer can get now; None means that nothing keeps any back, or that it is unknown.
    `blocked_for` is for how many seconds an open transaction has kept the rest back, and nothing has become readable; 0 while none does.
    `delayed` counts those of `messages` that the broker keeps back for a later retry; None means that this cannot be known.
    """

    messages: int | None
    oldest_age: float | None = None
    readable: int | None = None
    blocked_for: float = 0.0
    delayed: int | None = None


M = TypeVar("M")


class Settlement(Enum):
    """How a delivery ends at the broker. What is not settled keeps its place, and comes again.

    ACK: processed, never send it again. REJECT: the broker's own way of refusing (RabbitMQ: the queue's dead letter exchange); an intake
    whose broker has none is never asked.
    """

    ACK = "ack"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class HandlerRequest:
    """What a handler has asked for its delivery: to be rejected for a `reason`, or to be tried again.

    `reason` None means to be tried again, `after` seconds; `after` None means after the policy's next backoff.
    """

    reason: str | None = None
    after: float | None = None


# What people look for in a delivery who know their client's own message, and where it is.
_INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(("value", "payload", "data", "content", "text", "json"), "`delivery.body` is the payload, in bytes"),
    **dict.fromkeys(("record", "msg", "raw"), "`delivery.message` is the client's own object"),
    **dict.fromkeys(("offset", "delivery_tag"), "`delivery.position` is Kafka's offset, or RabbitMQ's delivery tag"),
    **dict.fromkeys(("topic", "partition", "queue"), "`delivery.source` is the partition or queue, and `delivery.source.name` its name"),
    **dict.fromkeys(("attempts", "retries", "delivery_count"), "`delivery.attempt` counts the handler's starts in this process"),
    **dict.fromkeys(
        ("ack", "nack", "process", "commit", "settle", "done"),
        "return to settle it, raise or `delivery.retry()` to try again, `delivery.reject()` to give up; the guard tells the broker",
    ),
}


def unknown_attribute(owner: object, name: str, message: object) -> UnknownAttribute:
    """Return the error for an attribute that a delivery does not have. `message` is the client's own object; None means that there is none.

    Nothing of the message is quoted, and nothing but its type is looked at.
    """
    kind = type(owner).__name__
    if hasattr(type(owner), name):  # a property that has met the same, or what is not set yet
        return UnknownAttribute(f"{kind}.{name} cannot be read: its message, of type {type(message).__name__}, lacks what it is read from")
    meant = _INSTEAD.get(name)
    known = not name.startswith("_") and (hasattr(type(message), name) or name in getattr(type(message), "__annotations__", ()))
    remedies = [meant] * (meant is not None) + [f"`delivery.message.{name}` is the client's own"] * known
    has = "it has source, message, body, key, headers, timestamp, position, attempt, redelivered, reject() and retry()"
    return UnknownAttribute(f"{kind} has no attribute {name!r}: {'; '.join(filter(None, remedies)) or has}")


class Elsewhere:
    """A name that a delivery does not have, and whose error says what is meant.

    It is a descriptor and no `__getattr__`: in a class with that method CPython 3.11 looks up every attribute the long way, which made the
    engine a fifth slower per message. For names that nobody foresaw, the log has the remedy (runtime/failures.py).
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, delivery: AnyDelivery | None, kind: type) -> NoReturn:
        if delivery is None:
            raise AttributeError(f"{kind.__name__} has no attribute {self._name!r}")
        raise unknown_attribute(delivery, self._name, delivery.message)


class Delivery(Generic[M]):
    """One message as the handler sees it; read-only by convention.

    `source` is the partition or queue, `message` the client library's own object. `attempt` counts the handler's starts in this process
    (1 = first; those made during an outage are included, those in which a call was refused are not). `redelivered` is True if the broker
    has handed the message out before; None means that the broker does not say. Brokers subclass it; the properties are read from `message`
    when asked.

    Not frozen: a frozen dataclass costs a microsecond a message.
    """

    __slots__ = (
        "assignment", "attempt", "history", "message", "needs", "order_key", "permits", "redelivered", "request", "serial", "source",
    )  # fmt: skip

    source: Source
    message: M
    attempt: int
    redelivered: bool | None
    needs: Any

    def __init__(self, source: Source, message: M, redelivered: bool | None = None) -> None:
        self.source = source
        self.message = message
        self.redelivered = redelivered
        self.attempt = 0
        # The engine's own marks. An intake leaves them alone.
        self.assignment: Any = None  # the one it came in with: if that is dead, the delivery's late result is stale
        self.serial = 0  # its number within that assignment, in the order of arrival
        self.order_key: Any = None  # with order="key": what it is kept in order by; None means that it has no order to keep
        self.permits: Any = None  # what it holds while its handler runs
        self.history: Any = None  # its FailureHistory; None until it fails for the first time
        self.request: HandlerRequest | None = None  # what its handler has asked for in this attempt
        # `needs`, its MessageNeeds, is set only where messages of a source need different things: no other message pays for it.

    @property
    def position(self) -> int:
        """Return where it stands in its source: Kafka's offset, RabbitMQ's delivery tag (which means nothing on another channel)."""
        raise NotImplementedError

    @property
    def body(self) -> bytes | None:
        """Return the payload; None for a Kafka tombstone."""
        raise NotImplementedError

    @property
    def key(self) -> bytes | None:
        """Return the key of a Kafka record; None means that it has none, as every message on RabbitMQ."""
        raise NotImplementedError

    @property
    def headers(self) -> Mapping[str, Any]:
        """Return the headers by name; if a name comes twice, the last one wins."""
        raise NotImplementedError

    @property
    def timestamp(self) -> float | None:
        """Return when it was produced, in seconds since the epoch; None means that the broker does not say."""
        raise NotImplementedError

    def whereabouts(self) -> dict[str, str]:
        """Return the headers that say in a dead letter where the message was."""
        source, position = self.source, str(self.position)
        if isinstance(source, Partition):
            return {SOURCE: source.topic, PARTITION: str(source.number), OFFSET: position}
        return {SOURCE: source.name, DELIVERY_TAG: position}

    def reject(self, reason: str = "rejected by the handler") -> None:
        """Reject this message, from its handler: it can never be processed. It goes where rejected messages go when the handler has ended.

        The same as `raise Reject(reason)`, for a handler that goes on. `reason` goes to the dead letter and to events: no payload in it.
        """
        self.request = HandlerRequest(reason=reason)

    def retry(self, after: float | timedelta | None = None) -> None:
        """Try this message again, from its handler, though the handler may return. It keeps its position, and nothing is charged.

        `after` is in seconds, above 0, or a timedelta; None means the policy's next backoff. Raises SettingsError.
        """
        try:
            self.request = HandlerRequest(after=None if after is None else seconds("after", after))
        except SettingsError:
            raise SettingsError(f"retry(after={after!r}) must be a number of seconds above 0, or a timedelta") from None

    def __repr__(self) -> str:
        # No payload, key or header: a repr ends up in logs.
        return f"<{type(self).__name__} {self.source}@{self.position} attempt={self.attempt}>"


AnyDelivery: TypeAlias = Delivery[Any]

for _name in _INSTEAD:  # not in the class itself: a type checker refuses these names, and a subclass may have them
    setattr(Delivery, _name, Elsewhere(_name))

V = TypeVar("V")

# Lower case with dashes, as HTTP has it and as Kafka Connect, AMQP tools and tracing headers can carry it.
PREFIX = "holdgate-"

SOURCE = PREFIX + "source"
PARTITION = PREFIX + "partition"
OFFSET = PREFIX + "offset"
DELIVERY_TAG = PREFIX + "delivery-tag"
FIRST_FAILURE = PREFIX + "first-failure"
LAST_FAILURE = PREFIX + "last-failure"
ATTEMPTS = PREFIX + "attempts"
EXCEPTION = PREFIX + "exception"
EXCEPTION_TEXT = PREFIX + "exception-text"
REASON = PREFIX + "reason"
WORKER = PREFIX + "worker"
REPLAYS = PREFIX + "replays"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One rejected message.

    `delivery` is the message itself. `attempts` is how often its handler was started in this process, attempts made in an outage included.
    `first_failure` and `last_failure` are seconds since the epoch. `exception` is the type that the last attempt raised, with its module;
    None means that it was rejected without an exception. `text` is that of the exception, which may quote the message. `reason` is that of
    `Reject`; None means that there was no `Reject`. `worker` names the process.
    """

    delivery: Delivery[Any]
    attempts: int
    first_failure: float
    last_failure: float
    exception: str | None
    text: str
    reason: str | None
    worker: str

    @property
    def source(self) -> Source:
        """Return the partition or queue that it came from."""
        return self.delivery.source

    @property
    def body(self) -> bytes | None:
        """Return the payload, unchanged."""
        return self.delivery.body

    @property
    def key(self) -> bytes | None:
        """Return the key, unchanged; None means that there is none."""
        return self.delivery.key

    def facts(self, *, text: bool = False) -> dict[str, str]:
        """Return the headers to add. `text` adds that of the exception, which may hold data that the target's readers should not see."""
        facts = {**self.delivery.whereabouts(), FIRST_FAILURE: _iso(self.first_failure), LAST_FAILURE: _iso(self.last_failure)}
        facts |= {ATTEMPTS: str(self.attempts), WORKER: self.worker}
        if self.exception is not None:
            facts[EXCEPTION] = self.exception
        if self.reason is not None:
            facts[REASON] = self.reason
        if text and self.text:
            facts[EXCEPTION_TEXT] = self.text
        return facts


def type_name(kind: type) -> str:
    """Return `module.Name`; a builtin type has no module in front."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def own_headers(headers: Iterable[tuple[str, V]]) -> list[tuple[str, V]]:
    """Return a message's own headers, in their order: without those of an earlier dead letter, but with the number of replays."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX) or name == REPLAYS]


def replays_of(headers: Iterable[tuple[str, Any]]) -> int:
    """Return how often the message has been replayed; 0 if the header is missing, or is not a number."""
    found = [value for name, value in headers if name == REPLAYS]
    text = found[-1] if found else 0
    try:
        return int(text)
    except (TypeError, ValueError):
        return 0


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - two milliseconds of each start, and only a dead letter needs it

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
