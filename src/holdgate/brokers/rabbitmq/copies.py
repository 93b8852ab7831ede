"""A message written again: its properties go along, with two exceptions.

`expiration` would let a dead letter vanish by itself. `user_id` must be the name of who publishes, or the broker refuses the message and
closes the channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aio_pika import IncomingMessage, Message

_PROPERTIES = (
    "content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to", "message_id", "timestamp", "type",
    "app_id",
)  # fmt: skip


def copy_of(message: IncomingMessage, headers: Mapping[str, Any]) -> Message:
    """The same message with other headers."""
    return Message(message.body, headers=dict(headers), **{name: getattr(message, name) for name in _PROPERTIES})
