"""What is in flight of a partition that is read in batches: whole polls, not looked into as long as each is finished as a whole.

That is the way of nearly every poll, and then 500 records cost what one does. A poll that is finished in parts is taken apart into the row
of single positions that `InFlight` is, together with every poll before it: the row holds what is older than the first whole poll.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import overload

from holdgate.brokers.kafka.delivery import Record
from holdgate.flow.inflight import InFlight


class WholePolls(InFlight):
    """An `InFlight` of polls. What a poll has is in increasing order, as the log that it was read from."""

    __slots__ = ("_last", "_polls")

    def __init__(self) -> None:
        super().__init__()
        self._polls: deque[list[Record]] = deque()
        self._last = -1

    def delivered_poll(self, records: list[Record]) -> None:
        """Note what one poll gave. Raises ValueError, and changes nothing, when it does not come after every earlier one."""
        first, last = records[0].offset, records[-1].offset
        if first <= self._last or last - first < len(records) - 1:
            raise ValueError(f"{len(records)} positions from {first} to {last} are not in increasing order after {self._last}")
        self._last = last
        self._polls.append(records)

    def finished_records(self, records: list[Record]) -> None:
        """The work on these is over. They come in their order; a list that is a poll's own is that poll."""
        if self._polls and self._polls[0] is records:
            self._polls.popleft()
            return
        self._take_apart(records[-1].offset)
        self.finished_many([record.offset for record in records])

    def finished(self, position: int) -> None:
        self._take_apart(position)
        super().finished(position)

    @property
    def next_position(self) -> int | None:
        if self._row:
            return self._row[0]
        if self._polls:
            first: int = self._polls[0][0].offset
            return first
        return self._last + 1 if self._last >= 0 else None

    @property
    def unfinished(self) -> int:
        return super().unfinished + sum(map(len, self._polls))

    def _take_apart(self, position: int) -> None:
        while self._polls and self._polls[0][0].offset <= position:
            self.delivered_many([record.offset for record in self._polls.popleft()])


class Column(Sequence[int]):
    """One number of each record, read when asked."""

    __slots__ = ("_name", "_records")

    def __init__(self, records: list[Record], name: str) -> None:
        self._records = records
        self._name = name

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> list[int]: ...

    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [getattr(record, self._name) for record in self._records[index]]
        number: int = getattr(self._records[index], self._name)
        return number
