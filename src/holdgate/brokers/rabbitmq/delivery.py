"""One RabbitMQ message as the handler sees it, and aio-pika's message with its own settling taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from aio_pika import IncomingMessage

from holdgate.brokers.rabbitmq.counts import returns_of
from holdgate.errors import AlreadySettled
from holdgate.flow.delivery import Delivery

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

    from holdgate.brokers.rabbitmq.channels import QueueChannel


class GuardedMessage(IncomingMessage):
    """aio-pika's message; `ack`, `nack`, `reject`, and so `process()`, raise AlreadySettled and send nothing.

    With acks that are joined into runs, a second ack of one message would close the channel, and with it everything in hand.
    """

    __slots__ = ("_guard_channel",)

    def __init__(self, message: DeliveredMessage, channel: QueueChannel) -> None:
        super().__init__(message)
        self._guard_channel = channel

    async def ack(self, multiple: bool = False) -> None:  # noqa: ARG002 - aio-pika's signature
        self._refuse("ack")

    async def nack(self, multiple: bool = False, requeue: bool = True) -> None:  # noqa: ARG002
        self._refuse("nack")

    async def reject(self, requeue: bool = False) -> None:  # noqa: ARG002
        self._refuse("reject")

    def _refuse(self, word: str) -> NoReturn:
        error = AlreadySettled(
            f"the handler called {word}() on a message of {self._guard_channel.source}, and the guard settles it: take `async with "
            "message.process()` and calls of ack, nack and reject out of the handler; to refuse a message, raise holdgate.Reject"
        )
        # Also for the intake: in the handler alone it would look like a failure of the dependency, and be held for ever.
        self._guard_channel.failed(error)
        raise error


class RabbitMQDelivery(Delivery[IncomingMessage]):
    """A message and the channel it came by.

    `message` is aio-pika's IncomingMessage, made when it is first asked for; its `ack`, `nack`, `reject` and `process()` raise: the guard
    settles. `raw` is aiormq's. `position` is the delivery tag, which means nothing on another channel. `arrived_at` is the event loop's
    second in which it came.
    """

    __slots__ = ("arrived_at", "channel", "raw")

    channel: QueueChannel

    def __init__(self, channel: QueueChannel, raw: DeliveredMessage, arrived_at: float) -> None:
        super().__init__(channel.source, cast("IncomingMessage", None), raw.redelivered)
        del self.message  # so that the first look at it makes it
        self.channel = channel
        self.raw = raw
        self.arrived_at = arrived_at

    if not TYPE_CHECKING:  # type checkers see the parent's `message`, and would take any name for granted

        def __getattr__(self, name: str) -> GuardedMessage:
            # Making one costs a sixth of what a message costs in all, and a handler that reads its body and headers has no use for it.
            if name != "message":
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)
            made = self.message = GuardedMessage(self.raw, self.channel)
            return made

    @property
    def position(self) -> int:
        return self.raw.delivery_tag or 0

    @property
    def returns(self) -> int:
        """How often it has come back to its queue, as a quorum queue counts; 0 where nobody does, or the header may be a publisher's."""
        return returns_of(self.headers, self.channel.counts, redelivered=self.raw.redelivered is True, queue=self.channel.source.name)

    @property
    def body(self) -> bytes | None:
        return self.raw.body

    @property
    def key(self) -> bytes | None:
        return None

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.raw.header.properties.headers or {}

    @property
    def timestamp(self) -> float | None:
        # Set by the producer, if at all.
        return None if self.message.timestamp is None else self.message.timestamp.timestamp()
