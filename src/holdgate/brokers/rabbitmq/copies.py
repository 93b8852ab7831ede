"""A message written again: its properties and headers go along, with three exceptions.

`expiration` would let a dead letter vanish by itself. `user_id` must be the name of who publishes, or the broker refuses the message and
closes the channel. What a broker has written about its life in other queues is untrue of the copy, and yet looks like the broker's word: a
delivery count shows until the copy has one of its own, and up to 3.13 a copied `x-death` is counted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aio_pika import IncomingMessage, Message

from holdgate.brokers.rabbitmq.counts import BROKERS_OWN

_PROPERTIES = (
    "content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to", "message_id", "timestamp", "type",
    "app_id",
)  # fmt: skip


def copy_of(message: IncomingMessage, headers: Mapping[str, Any]) -> Message:
    """The same message with these headers, without what a broker wrote."""
    return Message(message.body, headers=portable(headers), **{name: getattr(message, name) for name in _PROPERTIES})


def portable(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers without what a broker wrote."""
    return {name: value for name, value in headers.items() if name not in BROKERS_OWN}
