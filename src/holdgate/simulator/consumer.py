"""The client's half of a Kafka consumer: positions and pauses, which the broker knows nothing of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Literal

from holdgate.flow.message import Partition
from holdgate.simulator.group import Group
from holdgate.simulator.ledger import Ledger
from holdgate.simulator.log import Log
from holdgate.simulator.message import Message

Reset = Literal["earliest", "latest"]


class Consumer:
    """Reads the partitions it was given, each from its position on.

    `reset` is where it starts without a committed offset, and where it goes when the log's start has passed its position.
    A new assignment forgets every pause, as aiokafka does: who holds must pause again before the next poll.
    """

    def __init__(self, logs: Mapping[str, Sequence[Log]], group: Group, ledger: Ledger, reset: Reset = "earliest") -> None:
        self._logs = logs
        self._group = group
        self._ledger = ledger
        self._reset = reset
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()

    @property
    def assigned(self) -> Collection[Partition]:
        """The partitions that a poll reads from, paused ones included."""
        return self._positions.keys()

    @property
    def paused(self) -> Collection[Partition]:
        """The partitions that a poll leaves alone."""
        return frozenset(self._paused)

    def position(self, partition: Partition) -> int:
        """The offset that the next poll begins at; past a gap at the end, so it can be more than the last message's plus one."""
        return self._positions[partition]

    def assign(self, partitions: Collection[Partition]) -> None:
        """Begin with these partitions at their committed offsets, nothing paused."""
        self._paused.clear()
        self._positions = {}
        for partition in partitions:
            committed = self._group.committed.get(partition)
            self._positions[partition] = self._starting_point(partition) if committed is None else committed
            self._ledger.note("assigned", partition, self._positions[partition])

    def unassign(self, *, lost: bool = False) -> None:
        """Have nothing any more: given back in order, or `lost`."""
        for partition, position in self._positions.items():
            self._ledger.note("lost" if lost else "revoked", partition, position)
        self._positions = {}
        self._paused.clear()

    def pause(self, partition: Partition) -> None:
        """Leave this partition alone from the next poll on; survives until resumed or assigned again."""
        self._paused.add(partition)

    def resume(self, partition: Partition) -> None:
        """Read this partition again."""
        self._paused.discard(partition)

    def seek(self, partition: Partition, position: int) -> None:
        """Go to `position`; what was read from there on comes again."""
        self._positions[partition] = position

    def poll(self, limit: int, size: int | None = None) -> Sequence[tuple[Partition, Sequence[Message]]]:
        """At most `limit` messages of each partition that is not paused, and at most `size` bytes of them, or one message; those with none
        are left out. `size` None: bytes are not counted."""
        return [(partition, messages) for partition in self._positions if (messages := self._read(partition, limit, size))]

    def _read(self, partition: Partition, limit: int, size: int | None) -> Sequence[Message]:
        if partition in self._paused:
            return ()
        log = self._log(partition)
        if self._positions[partition] < log.start:
            self._positions[partition] = self._starting_point(partition)
        found = log.read(self._positions[partition], limit)
        messages = found if size is None else found[: max(1, _fitting(found, size))]
        # Read to the end, the position stands behind a gap there too. Only committing it then makes the lag zero.
        self._positions[partition] = messages[-1].position + 1 if len(found) == limit or len(messages) < len(found) else log.end
        for message in messages:
            self._ledger.note("delivered", partition, message.position)
        return messages

    def _starting_point(self, partition: Partition) -> int:
        log = self._log(partition)
        return log.start if self._reset == "earliest" else log.end

    def _log(self, partition: Partition) -> Log:
        return self._logs[partition.topic][partition.number]


def _fitting(messages: Sequence[Message], size: int) -> int:
    """How many of the first are no more than so many bytes together."""
    sizes = accumulate(len(message.body or b"") for message in messages)
    return sum(1 for total in sizes if total <= size)
