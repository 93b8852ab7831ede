"""One partition: an append-only log whose offsets have gaps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from holdgate.simulator.message import Message

_POSITION = attrgetter("position")


class Log:
    """The messages of one partition.

    `start` is the first offset that may still be read, `end` the one the next message will get. Offsets in between may hold nothing:
    compaction and aborted transactions leave gaps, and who reads learns only the offsets that are there.
    """

    __slots__ = ("_messages", "end", "start")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self.start = 0
        self.end = 0

    def append(self, body: bytes | None, now: float, *, key: bytes | None = None, headers: Mapping[str, Any] | None = None) -> Message:
        """Store one message at the end."""
        message = Message(self.end, body, key, dict(headers or {}), now)
        self._messages.append(message)
        self.end += 1
        return message

    def skip(self, places: int = 1) -> None:
        """Use up offsets that no reader will ever see: a transaction's marker, or what an aborted one had written."""
        self.end += places

    def compact(self) -> None:
        """Keep only the newest message of each key; messages without a key stay."""
        newest = {message.key: message.position for message in self._messages}
        self._messages = [message for message in self._messages if message.key is None or newest[message.key] == message.position]

    def trim(self, start: int) -> None:
        """Delete what lies before `start`, as retention does."""
        self.start = min(max(self.start, start), self.end)
        del self._messages[: self._index(self.start)]

    def read(self, position: int, limit: int) -> Sequence[Message]:
        """At most `limit` messages from `position` on; what is no longer there is skipped."""
        first = self._index(position)
        return self._messages[first : first + limit]

    def count_from(self, position: int) -> int:
        """How many messages there are from `position` on; less than the difference of the offsets where there are gaps."""
        return len(self._messages) - self._index(position)

    def _index(self, position: int) -> int:
        return bisect_left(self._messages, position, key=_POSITION)
