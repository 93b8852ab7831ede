"""What aio-pika 9 lacks and aio-pika 10 has, one function a difference, so that the files beside this one know a single client.

aio-pika 9 is what FastStream up to 0.6 allows, and what most lock files have. `make test-lowest` runs everything against the oldest one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiormq.exceptions import InvalidFrameError
from pamqp.exceptions import AMQPInternalError, PAMQPException

# A frame that is not the expected answer. aiormq up to 7.1 raises its codec's errors for it, which are none of its own.
FRAME_ERRORS = (InvalidFrameError, PAMQPException)
UNEXPECTED_FRAME = (InvalidFrameError, AMQPInternalError)


def close_called(connection: Any) -> bool:
    """Whether the connection's owner has called its `close()`.

    The public name came with aio-pika 9.6.0. `is_closed` does not do instead: up to 10.1, one that is closed while it is away from its
    broker stays "not closed" for ever.
    """
    return bool(connection.close_called if hasattr(connection, "close_called") else connection._close_called)  # noqa: SLF001


def on_consumer_cancel(raw: Any, tell: Callable[[str], None]) -> None:
    """Have `tell` called with the tag of a consumer that the broker takes away from this channel.

    aiormq up to 7.0 (aio-pika up to 10.0.1) has no callback for it: the consumer goes out of the channel's table in silence.
    """

    def cancelled(frame: Any) -> None:
        tell(frame.consumer_tag)

    if hasattr(raw, "on_consumer_cancel_callbacks"):
        raw.on_consumer_cancel_callbacks.add(cancelled)
    else:
        raw.consumers = _Consumers(raw.consumers, tell)


class _Consumers(dict[str, Any]):
    """A channel's table of consumers that tells who goes out of it."""

    def __init__(self, consumers: dict[str, Any], tell: Callable[[str], None]) -> None:
        super().__init__(consumers)
        self._tell = tell

    def pop(self, tag: str, *default: Any) -> Any:
        found = super().pop(tag, *default)
        self._tell(tag)
        return found
