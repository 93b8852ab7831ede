"""A dead letter: a message that was rejected, and what is known of how it came to that.

Body and key go to the target as they are, and so do the message's own headers. What we know is added as headers whose names begin with
`PREFIX`, all of them text, so that any tool of the broker shows them. A replay takes them off again and leaves one, the number of replays,
so that a message that comes back for ever can be seen to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from holdgate.flow.delivery import Delivery
from holdgate.flow.sources import Partition, Source

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

    `delivery` is the message itself. `attempts`: how often its handler was started in this process, attempts made in an outage included.
    `first_failure`, `last_failure`: seconds since the epoch. `exception` is the type of what the last attempt raised, with its module
    (None: it was rejected without one), `text` what it says, which may quote the message. `reason` is that of `Reject`; None without
    one. `worker` names the process.
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
        """The partition or queue it came from."""
        return self.delivery.source

    @property
    def body(self) -> bytes | None:
        """The payload, unchanged."""
        return self.delivery.body

    @property
    def key(self) -> bytes | None:
        """The key, unchanged; None where there is none."""
        return self.delivery.key

    def facts(self, *, text: bool = False) -> dict[str, str]:
        """The headers to add. `text`: with what the exception says, which may hold data that the target's readers should not see."""
        told = {**_whereabouts(self.delivery), FIRST_FAILURE: _iso(self.first_failure), LAST_FAILURE: _iso(self.last_failure)}
        told |= {ATTEMPTS: str(self.attempts), WORKER: self.worker}
        if self.exception is not None:
            told[EXCEPTION] = self.exception
        if self.reason is not None:
            told[REASON] = self.reason
        if text and self.text:
            told[EXCEPTION_TEXT] = self.text
        return told


def type_name(kind: type) -> str:
    """`module.Name`; the builtin ones without their module."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def own_headers(headers: Iterable[tuple[str, V]]) -> list[tuple[str, V]]:
    """A message's own headers, in their order: without those of an earlier death, and with the number of replays."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX) or name == REPLAYS]


def replays_of(headers: Iterable[tuple[str, Any]]) -> int:
    """How often the message has been replayed; 0 without the header, or when it says no number."""
    found = [value for name, value in headers if name == REPLAYS]
    text = found[-1] if found else 0
    try:
        return int(text)
    except (TypeError, ValueError):
        return 0


def _whereabouts(delivery: Delivery[Any]) -> dict[str, str]:
    source, position = delivery.source, str(delivery.position)
    if isinstance(source, Partition):
        return {SOURCE: source.topic, PARTITION: str(source.number), OFFSET: position}
    return {SOURCE: source.name, DELIVERY_TAG: position}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
