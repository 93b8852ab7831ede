"""How many messages of a queue are out at a time, and what they weigh: the window is memory that nothing takes back.

RabbitMQ sends a consumer its whole prefetch, handlers or no handlers, and a prefetch counts for consumers that start after it was set. So
where prefetch times the mean body is more than the guard may have in hand, that is said, with the figures; and every later consumer (after
a reconnect, a message given back, or a probe) takes fewer. The running one keeps its window: cancelled under flow it would lose the order.
"""

from __future__ import annotations

import logging

from holdgate.flow.sources import Queue

log = logging.getLogger(__name__)

# The mean is one of the last few hundred: sizes change with the days, and a deployment.
_REMEMBERED = 500
_MIB = 1024 * 1024


class Window:
    """The window of one queue's consumers. `prefetch` is the most; `room` bytes are what its messages may take, None: no bound."""

    __slots__ = ("_bytes", "_count", "_prefetch", "_room", "_source", "_told")

    def __init__(self, source: Queue, prefetch: int, room: int | None) -> None:
        self._source = source
        self._prefetch = prefetch
        self._room = room
        self._count = 0
        self._bytes = 0
        self._told = False

    def saw(self, size: int) -> None:
        """A message with a body of so many bytes came."""
        if self._count >= _REMEMBERED:
            self._count //= 2
            self._bytes //= 2
        self._count += 1
        self._bytes += size

    @property
    def size(self) -> int:
        """What the next consumer's window should be."""
        if self._room is None or not self._bytes:
            return self._prefetch
        return max(1, min(self._prefetch, self._room * self._count // self._bytes))

    def warn(self) -> None:
        """Say it once when a full window is more than there is room for."""
        size = self.size
        if self._told or self._room is None or size == self._prefetch:
            return
        self._told = True
        mean = self._bytes / self._count
        log.warning(
            "%s: prefetch=%d times a mean body of %.1f MiB is %.0f MiB, and it may have %.0f MiB of Guard(memory=): RabbitMQ sends it all "
            "unasked; say prefetch=%d, or raise memory=. Consumers that start later take %d",
            self._source, self._prefetch, mean / _MIB, self._prefetch * mean / _MIB, self._room / _MIB, size, size,
        )  # fmt: skip
