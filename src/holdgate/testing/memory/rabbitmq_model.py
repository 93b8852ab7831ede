"""One RabbitMQ queue: what is ready, what is unacked on which channel, and how often each message has come back.

The order of what comes back, and whether it is counted, depends on the broker's version and the queue's type; the table in
`QueueSettings` names the cases. Acks, nacks and the closing of a channel act at once: the model has no wire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from holdgate.flow.message import Queue
from holdgate.testing.memory.message import Ledger, Message


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What kind of queue it is.

    `delivery_limit`: a message that has come back more often is dead (quorum queues from 4.0 on have 20 unless told otherwise; None: no
    limit, the classic queue). `nack_counts`: whether a nack or reject with requeue counts (RabbitMQ 3.10 to 4.2: yes; 4.3: no); a closed
    channel always counts. `returns_to`: where a nacked message goes (quorum without a limit up to 4.2: the back; else the front).
    `single_active`: only the oldest channel gets messages. `dead_letters`: the queue for the dead and the rejected; None drops them.
    """

    delivery_limit: int | None = None
    nack_counts: bool = True
    returns_to: Literal["front", "back"] = "front"
    single_active: bool = False
    dead_letters: str | None = None


@dataclass(slots=True)
class Queued:
    """A message in the queue, with its history: `delivery_count` is RabbitMQ's `x-delivery-count`."""

    message: Message
    delivery_count: int = 0
    redelivered: bool = False


class MessageQueue:
    """The broker's state of one queue.

    `bury` is called with every dead or rejected message; it publishes to the dead letter queue, or drops.
    """

    def __init__(self, name: str, settings: QueueSettings, ledger: Ledger, bury: Callable[[Message], None]) -> None:
        self.source = Queue(name)
        self.settings = settings
        self._ledger = ledger
        self._bury = bury
        self._published = 0
        self._ready: deque[Queued] = deque()
        # What came back waits in front of the rest, first back first out: nacked in order, it comes again in that order.
        self._returned: deque[Queued] = deque()
        self._channels: list[Channel] = []

    @property
    def ready(self) -> int:
        """How many messages wait for a channel with room."""
        return len(self._returned) + len(self._ready)

    @property
    def unacked(self) -> int:
        """How many messages are out on channels."""
        return sum(len(channel.unacked) for channel in self._channels)

    def publish(self, body: bytes | None, now: float, *, headers: Mapping[str, Any] | None = None) -> Message:
        """Store one message at the back."""
        message = Message(self._published, body, None, dict(headers or {}), now)
        self._published += 1
        self._ready.append(Queued(message))
        return message

    def open(self, prefetch: int) -> Channel:
        """A new channel with one consumer that may have `prefetch` messages unacked."""
        channel = Channel(self, prefetch, self._ledger)
        self._channels.append(channel)
        return channel

    def is_active(self, channel: Channel) -> bool:
        """Whether this channel gets messages: any open one, or under a single active consumer the oldest."""
        return channel in (self._channels[:1] if self.settings.single_active else self._channels)

    def waiting(self) -> Sequence[Message]:
        """Every message that is not settled, in the order in which one new consumer would get them all."""
        out = [queued for channel in self._channels for queued in channel.unacked.values()]
        return [queued.message for queued in (*self._returned, *out, *self._ready)]

    def pop(self) -> Queued | None:
        """The next message to deliver; for channels only."""
        if self._returned:
            return self._returned.popleft()
        return self._ready.popleft() if self._ready else None

    def put_back(self, queued: Queued, *, counts: bool, to: Literal["front", "back"]) -> None:
        """Take a delivered message back; for channels only. Over the delivery limit it is dead instead."""
        queued.redelivered = True
        queued.delivery_count += counts
        limit = self.settings.delivery_limit
        if limit is not None and queued.delivery_count > limit:
            self._ledger.note("dead", self.source, queued.message.position)
            self._bury(queued.message)
            return
        self._ledger.note("requeued", self.source, queued.message.position)
        (self._returned if to == "front" else self._ready).append(queued)

    def reject(self, queued: Queued) -> None:
        """Refuse a message for good; for channels only."""
        self._ledger.note("rejected", self.source, queued.message.position)
        self._bury(queued.message)

    def forget(self, channel: Channel) -> None:
        """The channel is closed; for channels only."""
        self._channels.remove(channel)


class Channel:
    """One channel with one consumer on one queue. Delivery tags count from 1 and mean nothing on another channel."""

    def __init__(self, queue: MessageQueue, prefetch: int, ledger: Ledger) -> None:
        self.unacked: dict[int, Queued] = {}
        self.is_open = True
        self._queue = queue
        self._prefetch = prefetch
        self._ledger = ledger
        self._last_tag = 0
        self._consuming = True

    def take(self) -> Sequence[tuple[int, Queued]]:
        """What the broker delivers now, by delivery tag: as much as is ready and the prefetch has room for."""
        fresh: list[tuple[int, Queued]] = []
        while self._may_deliver() and (queued := self._queue.pop()) is not None:
            self._last_tag += 1
            self.unacked[self._last_tag] = queued
            self._ledger.note("delivered", self._queue.source, queued.message.position)
            fresh.append((self._last_tag, queued))
        return fresh

    def cancel(self) -> None:
        """Get no more messages; what is unacked stays so, and can still be settled."""
        self._consuming = False

    def ack(self, tag: int) -> None:
        """Done. Raises KeyError for a tag that is settled or not of this channel: a broker closes the channel then."""
        queued = self.unacked.pop(tag)
        self._ledger.note("acked", self._queue.source, queued.message.position)

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Give one message back, or with `requeue=False` refuse it for good. Raises as `ack` does."""
        queued = self.unacked.pop(tag)
        if requeue:
            self._queue.put_back(queued, counts=self._queue.settings.nack_counts, to=self._queue.settings.returns_to)
        else:
            self._queue.reject(queued)

    def give_back(self) -> None:
        """Stop consuming and nack everything unacked in the order it came."""
        self.cancel()
        for tag in tuple(self.unacked):
            self.nack(tag)

    def close(self) -> None:
        """The channel ends, by either side: what is unacked comes again, in front, in its order, and counted. Idempotent."""
        if not self.is_open:
            return
        self.is_open = False
        self._queue.forget(self)
        for queued in self._take_all():
            self._queue.put_back(queued, counts=True, to="front")

    def _take_all(self) -> Collection[Queued]:
        everything = tuple(self.unacked.values())
        self.unacked.clear()
        return everything

    def _may_deliver(self) -> bool:
        return self._consuming and len(self.unacked) < self._prefetch and self._queue.is_active(self)
