"""An ordered log, and the links of workers to it: a record takes a hop there and a hop back, and faults make of that what they like.

What a log promises is kept in every fault: all readers see the same records in the same order, and each from some place on all of them.
All that a link does is to be late, to lose what is written on its way, and to tell the writer the wrong thing about it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from holdgate_lab.fleet.clock import Schedule
from holdgate_lab.together.scenario import LogFault

# What a reader that comes gets of what was before, as the ports of the product say.
LOOK_BACK = 30.0
# A writer that has heard nothing for so long takes it for lost.
GIVES_UP = 5.0
_LATE = (0.5, 5.0)
# Seconds on one way: a broker in the same region, and one that is busy.
HOP = (0.005, 0.05)

Deliver = Callable[[list[bytes]], None]

# What a writer hears.
IN_THE_LOG, LOST = True, False


class SharedLog:
    """The log, and what is wrong with it and the ways to it. `hop` is the least and the most that a record takes on one way.

    `counts` and `sizes` have, by whole second, how many records and bytes were written. `watchers` hear of each at once.
    """

    def __init__(self, schedule: Schedule, faults: Sequence[LogFault] = (), hop: tuple[float, float] = HOP) -> None:
        self.schedule = schedule
        self.faults = faults
        self.hop = hop
        self.counts: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        self.links: list[Link] = []
        self.watchers: list[Callable[[bytes], None]] = []
        self._recent: deque[tuple[float, bytes]] = deque()
        for fault in faults:
            if fault.kind == "wipe":
                schedule.at(fault.at, self.wipe)

    def append(self, data: bytes) -> None:
        """A record is in the log: from now on all see it, in this order."""
        now = self.schedule.now
        self.counts[int(now)] = self.counts.get(int(now), 0) + 1
        self.sizes[int(now)] = self.sizes.get(int(now), 0) + len(data)
        self._recent.append((now, data))
        while self._recent[0][0] < now - LOOK_BACK:
            self._recent.popleft()
        for watch in self.watchers:
            watch(data)
        for link in self.links:
            link.has_come([data])

    def take(self, records: Sequence[bytes]) -> None:
        """Records are in the log, in this order."""
        for data in records:
            self.append(data)

    def recent(self) -> list[bytes]:
        """What a reader gets that comes now."""
        return [data for at, data in self._recent if at >= self.schedule.now - LOOK_BACK]

    def wipe(self) -> None:
        """It is empty. What is on its way to readers arrives."""
        self._recent.clear()


class Link:
    """One worker's connection. `deliver` gets what was read, in order. A worker that is frozen keeps it back by itself."""

    def __init__(self, log: SharedLog, number: int, chance: Random, deliver: Deliver) -> None:
        self.number = number
        self._log = log
        self._schedule = log.schedule
        self._chance = chance
        self._deliver = deliver
        self._arrives = 0.0  # what was read last arrives then: a later record never overtakes it
        self.is_open = False

    def open(self) -> None:
        """Read from so far back on. While the log refuses, it is tried again each second, as a link must."""
        if self._fault("refuse") or self._fault("cut"):
            self._schedule.after(1.0, self.open)
            return
        self.is_open = True
        self._log.links.append(self)
        self.has_come(self._log.recent())

    def close(self) -> None:
        """Nothing is delivered any more."""
        self._deliver = _nobody
        if self in self._log.links:
            self._log.links.remove(self)

    def is_readable(self) -> bool:
        """Whether a read would be answered now, be it by waiting."""
        return self.is_open and not (self._fault("refuse") or self._fault("cut"))

    def has_come(self, records: list[bytes]) -> None:
        """The log has these for the reader."""
        now = self._schedule.now
        begins = max(
            (fault.until for fault in self._log.faults if fault.kind in {"cut", "refuse"} and fault.hits(self.number, now)), default=now
        )
        if begins == float("inf") or not records:
            return
        twice = self._fault("twice")
        if twice is not None and self._chance.random() < twice.ratio:
            records = [*records, *records]
        self._arrives = max(self._arrives, begins + self._hops())
        self._schedule.at(self._arrives, lambda: self._deliver(records))

    def send(self, records: Sequence[bytes], done: Callable[[bool], None]) -> None:
        """Write these, in order. `done` hears once what the writer knows of it: True when they are in the log."""
        if self._fault("refuse") or self._fault("read_only") or not self.is_open:
            self._schedule.after(0.001, lambda: done(LOST))
            return
        lossy = self._fault("lossy")
        if self._fault("cut") or (lossy is not None and self._chance.random() < lossy.ratio / 2):
            self._schedule.after(GIVES_UP, lambda: done(LOST))
            return
        there = self._hops()
        self._schedule.after(there, lambda: self._log.take(records))
        is_unheard = lossy is not None and self._chance.random() < lossy.ratio / 2
        back = self._hops()
        if is_unheard or there + back > GIVES_UP:
            self._schedule.after(GIVES_UP, lambda: done(LOST))
        else:
            self._schedule.after(there + back, lambda: done(IN_THE_LOG))

    def _hops(self) -> float:
        seconds = self._chance.uniform(*self._log.hop)
        slow, late = self._fault("slow"), self._fault("late")
        if slow is not None:
            seconds += slow.seconds
        if late is not None and self._chance.random() < late.ratio:
            seconds += self._chance.uniform(*_LATE)
        return seconds

    def _fault(self, kind: str) -> LogFault | None:
        now = self._schedule.now
        return next((fault for fault in self._log.faults if fault.kind == kind and fault.hits(self.number, now)), None)


def _nobody(_: list[bytes]) -> None:
    """The reader is gone."""
