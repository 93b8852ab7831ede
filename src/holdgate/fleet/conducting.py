"""Conducting: what the worker that holds the epoch decides for all, from its own probe and from everybody's results.

Theory of operation
===================

    wait    until the fleet's next probe is due, by core/outages.py. The conductor's own circuit makes the probe
    good    the ramp begins. Its stages are judged as in a circuit alone, but by the results of all workers together, and by how long their
            calls took (climbing.py)
    failed  the next wait. After two failed probes the epoch is given back: a worker whose own network is broken must not be the one that
            asks for all. The wait goes on for the next conductor
    up      a good stage at what all workers can do together

A conductor decides, writes, and goes on when it reads its own verdict in the log: until then nothing has been decided. So it never is
ahead of the fleet, and a log that is slow makes the ramp slow: a stage lasts at least four times as long as a record needs to come back.

Results of a stage count if their calls began in it. A worker writes how many of them were good and bad so far, and the conductor counts
what has been added. In which order they ended is not known, so bad ones are spread evenly among the good: "three in a row" then means that
of what has come in lately nearly everything was bad.

A stage may wait for a worker that has just died, or that has no message any more after all. If no result comes for a while, the same
limit is given out in another order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdgate.core.guidance import Guidance, Phase
from holdgate.core.outages import Asked, Outage, middle_draw, opened_until
from holdgate.core.ramp import StageResult
from holdgate.fleet.agreement import Course, Results
from holdgate.fleet.climbing import PooledRamp
from holdgate.fleet.records import LARGEST_NUMBER, Lead
from holdgate.fleet.shares import REPORTERS, parts_of

if TYPE_CHECKING:
    from holdgate.core.guidance import OwnFacts
    from holdgate.core.settings import CircuitSettings
    from holdgate.fleet.agreement import Agreement

# A stage lasts so many round trips of the log at least: a verdict has to reach everybody, and what comes of it has to come back.
ROUND_TRIPS = 4

# And one with as many workers as report at all, or more (seconds): otherwise they would write more than twenty lines a second.
LARGE_STAGE = 0.6

# Failed probes after which the epoch is given back. One may be bad luck; with three, a sick conductor would keep a healthy fleet waiting
# for a minute and a half.
PROBES_IN_A_TERM = 2


@dataclass(frozen=True, slots=True)
class ConductorView:
    """What a conductor sees beside the agreement: its own circuit, what the fleet can do together, and the log's round trip."""

    facts: OwnFacts
    full: int
    round_trip: float
    now: float


class Conductor:
    """One term of this worker as the conductor of one dependency."""

    __slots__ = (
        "_counted",
        "_done",
        "_probes",
        "_quiet_since",
        "_ramp",
        "_settings",
        "epoch",
        "failed",
        "finished",
        "limit",
        "stage",
        "turn",
    )

    def __init__(self, agreement: Agreement, settings: CircuitSettings, relapses: int, seen: ConductorView) -> None:
        self._settings = settings
        self.epoch = agreement.epoch
        self.stage = agreement.stage
        self.turn = agreement.turn
        self.failed: int = agreement.failed
        self.limit = max(1, agreement.limit)
        self.finished = False
        self._done: int = agreement.failed + PROBES_IN_A_TERM
        self._probes = seen.facts.probes_succeeded, seen.facts.probes_failed
        self._counted: dict[str, Results] = {}
        self._quiet_since = seen.now
        self._ramp: PooledRamp | None = None
        if agreement.course is Course.RAMP:
            # Where the conductor before has been, in a stage of our own.
            self._begin_ramp(self.limit, self.limit, relapses, seen)

    def _begin_ramp(self, initial: int, gentle_from: int | None, relapses: int, seen: ConductorView) -> None:
        full = max(1, seen.full)
        settings = replace(self._settings.ramp, initial=min(initial, full), full=None)
        ramp = PooledRamp(settings, full, relapses, usual=seen.facts.usual, gentle_from=gentle_from)
        ramp.count(ramp.stage, StageResult.GOOD, seen.now)  # the probe
        self._ramp = ramp
        self._next_stage(ramp.limit, seen.now)

    def _next_stage(self, limit: int, now: float) -> None:
        self.stage = _after(self.stage)
        self.limit = limit
        self._counted = {}
        self._quiet_since = now

    # -- The verdict ---------------------------------------------------------------------------------------------------------------

    def verdict(self, agreement: Agreement, sharers: int, now: float, told: int = 0) -> Lead:
        """Return what the log is to say. Who shares matters in a ramp alone, and is not told of a wait: it changes with every newcomer."""
        phase = "up" if self.finished else "wait" if self._ramp is None else "ramp"
        sharers = sharers if phase == "ramp" else 0
        age = max(0, int(now - agreement.began))
        return Lead(agreement.dependency, self.epoch, phase, self.stage, self.limit, self.turn, sharers, self.failed, age, told)

    def is_agreed(self, agreement: Agreement) -> bool:
        """Return whether the log says what we have decided."""
        if self.finished:
            return agreement.course is Course.WELL
        if self._ramp is None:
            return agreement.course is Course.WAIT and agreement.failed == self.failed
        return agreement.course is Course.RAMP and (agreement.stage, agreement.limit) == (self.stage, self.limit)

    @property
    def is_waiting(self) -> bool:
        """Whether the fleet is to wait, by our last decision."""
        return self._ramp is None and not self.finished

    @property
    def wants_rest(self) -> bool:
        """Whether others should have a try."""
        return self.is_waiting and self.failed >= self._done

    # -- One step ------------------------------------------------------------------------------------------------------------------

    def step(self, agreement: Agreement, relapses: int, seen: ConductorView) -> None:
        """Decide what follows from the results so far, if the last decision is in the log."""
        if not self.is_agreed(agreement) or self.finished:
            return
        if self._ramp is None:
            self._judge_probe(agreement, relapses, seen)
        else:
            self._judge_stage(self._ramp, agreement, seen)

    def _judge_probe(self, agreement: Agreement, relapses: int, seen: ConductorView) -> None:
        good, failed = self._probes
        self._probes = seen.facts.probes_succeeded, seen.facts.probes_failed
        if self._probes[1] > failed:
            self.failed = min(LARGEST_NUMBER, self.failed + 1)
        elif self._probes[0] > good:
            gentle_from = agreement.broke_at // 2 if agreement.broke_at else None
            self._begin_ramp(self._settings.ramp.initial, gentle_from, relapses, seen)

    def _judge_stage(self, ramp: PooledRamp, agreement: Agreement, seen: ConductorView) -> None:
        facts, tallies = seen.facts, dict(agreement.tallies)
        if facts.stage == self.stage:
            tallies[agreement.conductor or ""] = Results(facts.stage_good, facts.stage_bad, int(1000 * facts.stage_seconds))
        ramp.set_full(max(1, seen.full))
        ramp.sample = self._sample(agreement)
        ramp.refused = bool(agreement.shares)  # who has a share has messages: there is more traffic to come
        if self._count(ramp, tallies, seen.now):
            self._ramp = None
            self.stage = _after(self.stage)
            self._probes = seen.facts.probes_succeeded, seen.facts.probes_failed
        elif ramp.is_due(seen.now) and seen.now - agreement.stage_at >= self._least(agreement, seen):
            self.finished = ramp.conclude(seen.now, 0)
            if not self.finished:
                self._next_stage(ramp.limit, seen.now)
        elif seen.now - self._quiet_since >= self._settings.ramp.stage_timeout:
            self.turn = _after(self.turn)
            self._next_stage(self.limit, seen.now)

    def _least(self, agreement: Agreement, seen: ConductorView) -> float:
        """Return how long a stage lasts at least (seconds)."""
        is_large = sum(share > 0 for share in agreement.shares.values()) >= REPORTERS
        return max(ROUND_TRIPS * seen.round_trip, LARGE_STAGE if is_large else 0.0)

    def _sample(self, agreement: Agreement) -> int:
        """Return how many results are reported, our own included; as many as the limit, while nobody has a share."""
        parts = parts_of(self.limit, agreement.shares, self.limit, self.stage)
        own = agreement.conductor or ""
        return sum({own: agreement.shares.get(own, 0), **parts}.values()) or self.limit

    def _count(self, ramp: PooledRamp, tallies: dict[str, Results], now: float) -> bool:
        """Count the results that have come in. Returns whether the ramp is over by them."""
        good = bad = 0
        for worker, results in tallies.items():
            before = self._counted.get(worker, Results(0, 0, 0))
            more = max(0, results.good - before.good)
            good += more
            bad += max(0, results.bad - before.bad)
            ramp.time(more, max(0, results.took - before.took) / 1000)
        if good or bad:
            self._counted = tallies
            self._quiet_since = now
        return any(ramp.count(ramp.stage, result, now) is not None for result in spread(good, bad))

    # -- The probe -----------------------------------------------------------------------------------------------------------------

    def guidance(self, agreement: Agreement, due: float, until: float, now: float) -> Guidance:
        """Return how this worker's circuit goes while the fleet waits: it makes the probe that is `due`."""
        if self._ramp is not None or not self.is_agreed(agreement):
            # The probe was good, and nobody knows it yet; or it has failed, and the next wait has not begun.
            phase = Phase.RAMP if self._ramp is not None else Phase.WAIT
            return Guidance(phase, 0, agreement.stage, self.epoch, until)
        if now < due:
            return Guidance(Phase.WAIT, epoch=self.epoch, until=until)
        # As long as the fleet's wait was: the circuit's own may be longer, and after a failed probe it must not ask again immediately.
        return Guidance(Phase.PROBE, epoch=self.epoch, until=until, wait_at_most=due - agreement.wait_at)


def _after(number: int) -> int:
    """Return the number of the next stage or turn. After the largest that a record can carry, which somebody made up, it begins anew."""
    return number + 1 if number < LARGEST_NUMBER else 0


def spread(good: int, bad: int) -> list[StageResult]:
    """Return so many results in an order in which the bad ones are as far from each other as they can be."""
    total = good + bad
    return [StageResult.FAILED if (each + 1) * bad // total > each * bad // total else StageResult.GOOD for each in range(total)]


def probe_due(outage: Outage, settings: CircuitSettings, wait_at: float) -> float:
    """Return when the fleet's next probe is due: what core/outages.py says of a wait that began at `wait_at`."""
    return opened_until(settings, outage, Asked(wait_at, wait_at, middle_draw()))
