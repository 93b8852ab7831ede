"""InFlight: what was delivered from one source and is not finished yet, and so how far may be committed.

It is a row of positions in the order of delivery. The row begins at the oldest unfinished one; a position that is finished out of turn
stays in the row until everything before it is finished too. Positions are compared, never counted: after compaction or an aborted
transaction a Kafka partition goes 10, 55, 56, and the numbers do not show how many messages lie between.

Nearly all traffic is finished in the order it came, so that case is one deque and nothing else. The set of unfinished positions exists
only from the first finish out of turn until the row is empty again. It is built from positions that must all leave before it can be built
another time, which keeps every call O(1) amortised.

One InFlight lives as long as one assignment of its source. After a rebalance, or on a new channel, there is a new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from operator import lt
from typing import Any

# What stands for a deque that has nothing in it, and is never changed: a deque takes 760 bytes, and ten thousand sources may be idle.
EMPTY: deque[Any] = deque()


class InFlight:
    """The unfinished deliveries of one assignment of one source.

    Positions are whole numbers from 0, strictly increasing, with any gaps. Not thread-safe.
    """

    __slots__ = ("_newest", "_row", "_unfinished")

    def __init__(self) -> None:
        self._row: deque[int] = EMPTY
        self._newest = -1  # below every position: one comparison then covers "nothing yet" as well
        self._unfinished: set[int] | None = None  # None means that everything in the row is unfinished

    def delivered(self, position: int) -> None:
        """Note one delivery.

        Raises ValueError, and changes nothing, when `position` is not above every earlier one: a watermark over a row out of order
        would commit past unfinished work.
        """
        if position <= self._newest:
            raise ValueError(f"position {position} does not come after {self._newest}; a new assignment needs a new InFlight")
        self._newest = position
        self._row_to_fill().append(position)
        if self._unfinished is not None:
            self._unfinished.add(position)

    def delivered_many(self, positions: Sequence[int]) -> None:
        """Note the deliveries of one poll in one step; the same as `delivered` for each, and all or none of them."""
        if not positions:
            return
        in_order = isinstance(positions, range) or all(map(lt, positions, islice(positions, 1, None)))  # ranges here go up
        if positions[0] <= self._newest or not in_order:
            raise ValueError(f"{len(positions)} positions from {positions[0]} are not in increasing order after {self._newest}")
        self._newest = positions[-1]
        self._row_to_fill().extend(positions)
        if self._unfinished is not None:
            self._unfinished.update(positions)

    def finished(self, position: int) -> None:
        """Note that the work on `position` is over; in any order. One that is unknown or finished already is ignored."""
        row = self._row
        if self._unfinished is None and row and row[0] == position:
            row.popleft()
        else:
            self._finished_out_of_turn(position)

    def finished_many(self, positions: Sequence[int]) -> None:
        """Note in one step that the work on these is over; the same as `finished` for each. They were delivered, and come in that order."""
        row, count = self._row, len(positions)
        if self._unfinished is None and count and len(row) >= count and row[0] == positions[0] and row[count - 1] == positions[-1]:
            # Both are strictly increasing, and the row has nothing else between the two: these are the first positions of the row.
            if count == len(row):
                row.clear()
            else:
                for _ in range(count):
                    row.popleft()
            return
        for position in positions:
            self.finished(position)

    def _finished_out_of_turn(self, position: int) -> None:
        row = self._row
        unfinished = self._unfinished
        if unfinished is None:
            if not row or not row[0] < position <= self._newest:
                return  # certainly not in the row: no reason to leave the fast case
            unfinished = self._unfinished = set(row)
        if position not in unfinished:
            return
        unfinished.remove(position)
        while row and row[0] not in unfinished:
            row.popleft()
        if not row:
            self._unfinished = None

    @property
    def next_position(self) -> int | None:
        """Return what may be committed: the oldest unfinished position, or one past the newest delivered if nothing is unfinished.

        None means that there was no delivery yet, and nothing to commit.
        """
        if self._row:
            return self._row[0]
        self._row = EMPTY  # here, because it is asked for once a second and not for each message
        return self._newest + 1 if self._newest >= 0 else None

    @property
    def unfinished(self) -> int:
        """Return how many deliveries are not finished."""
        return len(self._row) if self._unfinished is None else len(self._unfinished)

    def _row_to_fill(self) -> deque[int]:
        if self._row is EMPTY:
            self._row = deque()
        return self._row

    def span(self) -> int:
        """Return how many deliveries lie from the oldest unfinished to the newest one, both counted; 0 if nothing is unfinished."""
        return len(self._row)
