"""The budget of each worker: how many of its records are read, so that one that floods the log costs the others little.

A worker of ours writes at most ten records a second, and in the last thirty seconds of the log, which whoever comes reads at once, it may have
three hundred. So a budget is large and fills slowly: it never skips a record of a worker that keeps to the rules. What is skipped, others
may have read, so two workers that read a flood may disagree until the next verdict.

A worker numbers its records. One that comes again, because a writer was told that it is lost, or because somebody writes what it has read,
would be a verdict of a minute ago in force once more. So a number must be above the last one. One that is far below is none of these:
somebody has made up a large one, and a worker must not fall silent for that.
"""

from __future__ import annotations

# What a worker may have in the log at once, and what it gains per second: several times what it writes.
RECORDS = 1000.0
RECORDS_PER_SECOND = 30.0

# How far back a number says that its record comes again: a worker writes a tenth of them in the half minute that whoever comes reads.
FAR_BACK = 3000

# The workers that are remembered, and for how many seconds those that write nothing are. A stranger may make up as many as it likes.
MOST_WORKERS = 1000
FORGOTTEN_AFTER = 60.0


class Budgets:
    """How much of each worker's budget is left, and the number of its last record."""

    __slots__ = ("_last", "_left")

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._left: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._left)

    def take(self, worker: str, now: float) -> bool:
        """Return whether one more record of `worker` is read."""
        known = self._left.get(worker)
        if known is None:
            if not self._has_room(now):
                return False
            known = (RECORDS, now)
        left, at = known
        left = min(RECORDS, left + max(0.0, now - at) * RECORDS_PER_SECOND)
        if left < 1:
            return False
        self._left[worker] = (left - 1, now)
        return True

    def is_new(self, worker: str, number: int) -> bool:
        """Return whether a record with this number has not been read before. Its budget must have been taken."""
        last = self._last.get(worker)
        if last is not None and last - FAR_BACK <= number <= last:
            return False
        self._last[worker] = number
        return True

    def _has_room(self, now: float) -> bool:
        if len(self._left) < MOST_WORKERS:
            return True
        for worker in [worker for worker, (_, at) in self._left.items() if now - at > FORGOTTEN_AFTER]:
            del self._left[worker]
            self._last.pop(worker, None)
        return len(self._left) < MOST_WORKERS
