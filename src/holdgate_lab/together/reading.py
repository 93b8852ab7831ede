"""Reads a fleet's log by two rules alone, and not as the product does.

Of an epoch one worker gives verdicts, and of all verdicts those of the newest epoch count. A record that comes again is none.
"""

from __future__ import annotations

from typing import NamedTuple

from holdgate.fleet.records import Lead, decode
from holdgate.fleet.settings import FleetSettings


class LogVerdict(NamedTuple):
    """What counted from second `at` on: whose it is, the phase ("wait", "ramp" or "up") and the fleet's limit."""

    at: float
    epoch: int
    worker: str
    phase: str
    limit: int


class LogReader:
    """What the log says of one dependency. `verdicts` are those that counted, in order; `stale` is how many did not."""

    def __init__(self, dependency: str) -> None:
        self.verdicts: list[LogVerdict] = []
        self.stale = 0
        self.writers: dict[int, set[str]] = {}  # of verdicts, by epoch
        self._numbers: dict[str, int] = {}
        self._dependency = dependency
        self._fleet = FleetSettings().name

    @property
    def conductor(self) -> str | None:
        """Who has given the newest verdict. None: there is none."""
        return self.verdicts[-1].worker if self.verdicts else None

    def read(self, data: bytes, now: float) -> None:
        """Take the next record."""
        record = decode(self._fleet, data)
        said = None if record is None else record.said
        if record is None or not isinstance(said, Lead) or said.dependency != self._dependency:
            return
        if record.number <= self._numbers.get(record.worker, -1):
            return  # it comes again
        self._numbers[record.worker] = record.number
        self.writers.setdefault(said.epoch, set()).add(record.worker)
        if self.verdicts and said.epoch < self.verdicts[-1].epoch:
            self.stale += 1
        else:
            self.verdicts.append(LogVerdict(now, said.epoch, record.worker, said.phase, said.limit))

    def limit_since(self, at: float) -> int:
        """Return the highest limit that was in force at some time since then. A probe is one call."""
        most = 1
        for verdict in reversed(self.verdicts):
            most = max(most, verdict.limit if verdict.phase == "ramp" else 1)
            if verdict.at < at:
                break
        return most
