"""One message on its way through a worker: what the broker gave, and what the engine knows of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from holdgate.flow.sources import Source

M = TypeVar("M")


class Settlement(Enum):
    """What the broker is told about a delivery.

    ACK: processed, never send it again. REQUEUE: give it back, its place kept. REJECT: the broker's own way of refusing
    (RabbitMQ: the queue's dead letter exchange); an intake whose broker has none is never asked.
    """

    ACK = "ack"
    REQUEUE = "requeue"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a handler has asked for its delivery: to be rejected for a `reason`, or, None, tried again `after` seconds (None: a backoff)."""

    reason: str | None = None
    after: float | None = None


class Delivery(Generic[M]):
    """One message as the handler sees it; read-only by convention.

    `source` is the partition or queue, `message` the client library's own object, `attempt` counts the handler's starts in this
    process (1 = first, attempts made during an outage included), `redelivered` is the broker's word that it was handed out before
    (None where the broker does not say). Brokers subclass it; the properties are read from `message` when asked.

    Not frozen: a frozen dataclass costs a microsecond a message.
    """

    __slots__ = ("attempt", "message", "order_key", "permits", "place", "redelivered", "serial", "source", "trial")

    source: Source
    message: M
    attempt: int
    redelivered: bool | None

    def __init__(self, source: Source, message: M, redelivered: bool | None = None) -> None:
        self.source = source
        self.message = message
        self.redelivered = redelivered
        self.attempt = 0
        # The engine's own marks. An intake leaves them alone.
        self.place: Any = None  # the assignment it came in with; a dead one makes every late result stale
        self.serial = 0  # its number within that assignment, in the order of arrival
        self.order_key: Any = None  # with order="key": what it is kept in order by; None has no order to keep
        self.permits: Any = None  # what it holds while its handler runs
        self.trial: Any = None  # what is known of its failures; None until the first one

    @property
    def position(self) -> int:
        """Where it stands in its source: Kafka's offset, RabbitMQ's delivery tag (which means nothing on another channel)."""
        raise NotImplementedError

    @property
    def body(self) -> bytes | None:
        """The payload; None for a Kafka tombstone."""
        raise NotImplementedError

    @property
    def key(self) -> bytes | None:
        """Kafka: the record's key. None where there is none, and always on RabbitMQ."""
        raise NotImplementedError

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers by name; the last one wins where a name comes twice."""
        raise NotImplementedError

    @property
    def timestamp(self) -> float | None:
        """When it was produced, in seconds since the epoch, as the broker tells it; None when it does not."""
        raise NotImplementedError

    def reject(self, reason: str = "rejected by the handler") -> None:
        """Say in its handler that this message can never be processed; it goes where rejected messages go when the handler has ended.

        The same as `raise Reject(reason)`, for a handler that goes on. `reason` goes to the dead letter and to events: no payload in it.
        """
        self._trial().wish = Wish(reason=reason)

    def retry(self, after: float | None = None) -> None:
        """Say in its handler that this message is to be tried again though the handler may return: it keeps its place, and nothing is
        charged for it. `after`: seconds, above 0; None: the policy's next backoff. Raises SettingsError.
        """
        if after is not None and not 0 < after < math.inf:
            raise SettingsError(f"retry(after={after!r}) must be a number of seconds above 0")
        self._trial().wish = Wish(after=after)

    def _trial(self) -> Any:
        from holdgate.flow.verdicts import trial_of  # noqa: PLC0415 - it knows deliveries, and this is for the few that fail

        return trial_of(self)

    def __repr__(self) -> str:
        # No payload, key or header: a repr ends up in logs.
        return f"<{type(self).__name__} {self.source}@{self.position} attempt={self.attempt}>"
