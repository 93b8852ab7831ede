"""How much waits in the broker, how much of it we are willing to drain now, and how long that will take.

*Willing.* An autoscaler that reads the lag starts workers in an outage, and the new ones hold as well; then they all come back together. So
it should read what this worker is willing to drain: nothing of a held source, all of one whose circuits are closed, and a share of one that
is coming back, as large as the ramp's share of its full limit. With several needs the smallest share counts. Where each message has needs
of its own, it is all but what waits for a circuit and is passed by the others. Of what waits behind a pace it is a minute's worth: a
dependency that takes ten calls a second takes no more of them from twenty workers.

*Draining.* An estimate needs a rate. What ends per second is measured between two looks at the broker, by topic or queue, and so is what
arrives. A rate that was measured while everything was closed and messages were left over is what the worker can do; a ramp allows its share
of that. Without such a rate, what was measured last is taken. A pace allows no more than it says, whatever was measured before, and each
topic or queue its part of it. What arrives meanwhile is taken off. If more arrives than ends, there is no estimate, and neither is there
one in a hold, nor while messages are passed because they wait for a circuit: nobody knows when it ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdgate.core import Override

if TYPE_CHECKING:
    from holdgate.flow.message import Backlog, Source
    from holdgate.flow.snapshot import Snapshot, SourceSnapshot

# A new measurement counts for so much: a few looks at the broker make an estimate steady, and a minute makes it a new one.
_NEWEST = 0.3
# Of what waits behind a pace so many seconds' worth are demand: an autoscaler looks every half a minute or so, and must find some.
_WORTH = 60.0


@dataclass(frozen=True, slots=True)
class SourceBacklog:
    """How much waits in one source, as of `at` (monotonic seconds).

    - `group`: the consumer group that reads it. Empty means that its broker has no groups.
    - `waiting`: the broker's figures.
    - `willing`: how many of its messages we would drain now: 0 while it is held. None means that the broker does not know.
    - `drained_in`: in about how many seconds the whole topic or queue will be drained here. None means that it cannot be told now.
    """

    source: Source
    group: str
    waiting: Backlog
    at: float
    willing: int | None
    drained_in: float | None = None


def share_of(seen: SourceSnapshot | None, snapshot: Snapshot) -> float:
    """Return the share of a source that may be worked on now, from 0 (held) to 1. None for `seen` means that the source is not ours."""
    if seen is None or seen.held:
        return 0.0
    if seen.falling_back or (seen.partly is not None and seen.partly.by_message):  # others pass what waits for a circuit
        return 1.0
    circuits = [snapshot.dependencies[name] for name in seen.needs]
    return min((circuit.limit / circuit.full for circuit in circuits if circuit.limit is not None), default=1.0)


def paced(waits: Mapping[Source, int], snapshot: Snapshot) -> dict[Source, float]:
    """Return for each source that waits for a dependency with a pace which share of its messages the pace lets through in a second.

    `waits` is how much waits in each source. All that wait for a dependency share its pace, each by how much waits there; of several needs
    the slowest counts. Costs next to nothing while no dependency has a pace.
    """
    found: dict[Source, float] = {}
    for name, circuit in snapshot.dependencies.items():
        pace = None if circuit.limits is None or circuit.override is Override.METRICS_ONLY else circuit.limits.pace
        if pace is None:
            continue
        needing = [source for source in waits if source in snapshot.sources and name in snapshot.sources[source].needs]
        waiting = sum(waits[source] for source in needing)
        if waiting:
            found |= {source: min(pace / waiting, found.get(source, math.inf)) for source in needing}
    return found


def _willing(waiting: int, source: Source, snapshot: Snapshot, pace: float) -> int:
    seen = snapshot.sources.get(source)
    passed = 0 if seen is None or seen.partly is None else seen.partly.waiting
    return int(max(0, waiting - passed) * share_of(seen, snapshot) * min(1.0, _WORTH * pace))


def demand_of(backlogs: Iterable[SourceBacklog]) -> dict[str, int]:
    """Return what an autoscaler should see, by group or by queue: what we are willing to drain, and at least 1.

    At least 1, because nothing may be scaled to zero while it is held: nobody would be left to find out that the outage is over.
    """
    demand: dict[str, int] = {}
    for each in backlogs:
        name = each.group or each.source.name
        demand[name] = demand.get(name, 0) + (each.willing or 0)
    return {name: max(1, willing) for name, willing in demand.items()}


class DrainRate:
    """What ends and what arrives per second in one topic or queue, between looks at it."""

    __slots__ = ("_arriving", "_at", "_ended", "_ending", "_full", "_waiting")

    def __init__(self) -> None:
        self._at: float | None = None  # of the last look
        self._ended = 0
        self._waiting = 0
        self._ending: float | None = None  # per second, measured last
        self._arriving = 0.0  # per second
        self._full: float | None = None  # what ends per second while nothing holds it back and more is there

    def look(self, now: float, ended: int, waiting: int, share: float, *, same: bool = True) -> None:
        """Note how many messages have ended ever, and how many wait now. `share` is how much of them may be worked on.

        `same`: they wait in the same partitions as at the last look, so that a difference has arrived or has ended.
        """
        before, self._at = self._at, now
        gone, grown = ended - self._ended, waiting - self._waiting
        busy = bool(self._waiting and waiting)
        self._ended, self._waiting = ended, waiting
        if before is None or now <= before:
            return
        took = now - before
        self._ending = gone / took
        if same:
            self._arriving += _NEWEST * (max(0.0, (grown + gone) / took) - self._arriving)
        if share == 1.0 and busy and gone:
            self._full = self._ending if self._full is None else self._full + _NEWEST * (self._ending - self._full)

    def drained_in(self, share: float, pace: float = math.inf) -> float | None:
        """Return in about how many seconds nothing will wait. None means that it cannot be told.

        `pace` is how many may end in a second at most.
        """
        if not self._waiting:
            return 0.0
        measured = self._ending if self._full is None else self._full * share
        rate = pace if measured is None else min(measured, pace)
        left = rate - self._arriving if share else 0.0
        return self._waiting / left if 0 < left < math.inf else None


class BacklogBook:
    """What was found when one run was last looked at."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._rates: dict[str, DrainRate] = {}
        self._looked_at: dict[str, set[Source]] = {}  # by topic or queue: whose figures were known at its last look
        self._found: Mapping[Source, Backlog] = {}
        self._at = 0.0

    def note(self, found: Mapping[Source, Backlog], snapshot: Snapshot, ended: Mapping[str, int]) -> None:
        """Keep what the broker has answered. `ended` is how many messages have ended ever, by topic or queue."""
        self._found, self._at = found, snapshot.at
        by_name = self._by_name(snapshot)
        self._rates = {source.name: self._rates.get(source.name) or DrainRate() for source in found}
        known: dict[str, set[Source]] = {}
        for source, backlog in found.items():
            if backlog.messages is not None:
                known.setdefault(source.name, set()).add(source)
        for name, (waiting, share) in by_name.items():
            self._rates[name].look(snapshot.at, ended.get(name, 0), waiting, share, same=known[name] == self._looked_at.get(name))
        self._looked_at = {name: known.get(name) or self._looked_at.get(name, set()) for name in self._rates}

    def read(self, snapshot: Snapshot) -> dict[Source, SourceBacklog]:
        """Return what is known, and what we are willing to drain now."""
        by_name = self._by_name(snapshot)
        paces = paced(self._waits(), snapshot)
        passed = {source.name for source, seen in snapshot.sources.items() if seen.partly is not None and seen.partly.waiting}
        together = self._together(paces)
        drained = {
            name: self._rates[name].drained_in(share, together.get(name, math.inf))
            for name, (_, share) in by_name.items()
            if name in self._rates
        }
        return {
            source: SourceBacklog(
                source,
                self._group,
                waiting,
                self._at,
                None if waiting.messages is None else _willing(waiting.messages, source, snapshot, paces.get(source, math.inf)),
                None if source.name in passed else drained.get(source.name),
            )
            for source, waiting in self._found.items()
            if source in snapshot.sources
        }

    def _together(self, paces: Mapping[Source, float]) -> dict[str, float]:
        """Return how many messages of each topic or queue may start in a second, where all that wait there wait for a pace."""
        found: dict[str, float] = {}
        for source, count in self._waits().items() if paces else ():
            if count:
                found[source.name] = found.get(source.name, 0.0) + count * paces.get(source, math.inf)
        return found

    def _waits(self) -> dict[Source, int]:
        """Return how much waits in each source of which that is known."""
        return {source: backlog.messages for source, backlog in self._found.items() if backlog.messages is not None}

    def _by_name(self, snapshot: Snapshot) -> dict[str, tuple[int, float]]:
        """Return how much waits in each topic or queue, and which share of that may be worked on; nothing where all of it is unknown."""
        waits: dict[str, int] = {}
        willing: dict[str, float] = {}
        shares: dict[str, list[float]] = {}
        for source, count in self._waits().items():
            share = share_of(snapshot.sources.get(source), snapshot)
            waits[source.name] = waits.get(source.name, 0) + count
            willing[source.name] = willing.get(source.name, 0.0) + count * share
            shares.setdefault(source.name, []).append(share)
        return {name: (count, willing[name] / count if count else min(shares[name])) for name, count in waits.items()}
