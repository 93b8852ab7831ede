"""Half-open: one probe, then a ramp whose limit follows what the calls of the stage before it came to.

The ramp: how work comes back after an outage. One probe, then stages whose limit follows what the stage before it saw.

A stage is judged by results of permits that were issued in it: a result of an earlier stage tells of an earlier load. Only the rules that
open again at once look at every result of this half-open.

One half-open: its live permits, their leases, and the ramp that judges what they bring back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING

from holdgate.core.states import EXPIRED, Breach, Reason

if TYPE_CHECKING:
    from holdgate.core.settings import RampSettings
    from holdgate.core.states import Permit


PROBE_LIMIT = 1

# A Circuit alone does not know how many calls its user makes at once. Sixteen is five doublings of one, and no thread pool is smaller
# than what a first step back from there costs.
FULL_ALONE = 16

# Three in a row at a background rate of one in ten is one in a thousand; waiting for a fourth would only fail one more call.
FAILURES_IN_A_ROW = 3

# At one or two calls at a time a cut cannot slow down any further: half the stage failed means open.
SMALLEST_LIMITS = 2
HALF = 0.5

# Past a cut the limit climbs in sixteen steps of the full rate, which is the additive half of TCP's rule.
GENTLE_STEPS = 16


class Mark(Enum):
    """What one result means to the ramp."""

    GOOD = "good"
    SLOW = "slow"
    FAILED = "failed"
    EXPIRED = "expired"


class Ramp:
    """One half-open from its probe to its end. It decides; the circuit acts on what it returns."""

    # fmt: off
    __slots__ = (
        "_bad", "_ends", "_failures", "_in_a_row", "_settings", "_threshold", "_weight",
        "full", "in_flight", "is_probing", "limit", "refused", "results", "stage",
    )
    # fmt: on

    def __init__(self, settings: RampSettings, full: int) -> None:
        self._settings = settings
        self.full = full
        self.limit = PROBE_LIMIT
        self.is_probing = True
        self.in_flight = 0  # weight of the live permits of this half-open
        self._threshold: float = inf  # TCP's ssthresh: from here on the limit climbs gently
        self._in_a_row = 0
        self.stage = 0
        self._begin_stage(0.0)

    def _begin_stage(self, now: float) -> None:
        self.stage += 1
        self._ends = now + self._settings.stage_timeout
        self.results = 0
        self._weight = 0  # of these results: one of a batch of 500 is as much of a limit as 500 of one
        self._bad = 0
        self._failures = 0
        self.refused = False

    @property
    def need(self) -> int:
        """How many results of weight 1 of this stage make a verdict. Fewer do when they weigh as much as the limit, but never fewer than
        `minimum_verdicts`."""
        return max(self._settings.minimum_verdicts, self.limit)

    @property
    def stage_ends(self) -> float | None:
        """When low traffic will be judged; None while it will not: a probe, no result yet, or somebody was refused, so more will come."""
        return None if self.is_probing or self.refused or not self.results else self._ends

    def has_room(self, weight: int) -> bool:
        return self.in_flight + weight <= self.limit

    def count(self, stage: int, mark: Mark, now: float, weight: int = 1) -> Breach | None:
        """Count one result of a permit issued in `stage`; the breach that opens the circuit at once, or None."""
        if self.is_probing:
            return self._end_probe(mark, now)
        failed = mark is Mark.FAILED or mark is Mark.EXPIRED
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if stage == self.stage:
            self.results += 1
            self._weight += weight
            self._bad += mark is not Mark.GOOD
            self._failures += failed
        return self._breach(mark) if failed else None

    def _end_probe(self, mark: Mark, now: float) -> Breach | None:
        if mark is not Mark.GOOD:
            return Breach(_PROBE_REASONS[mark], 1, 1)
        self.is_probing = False
        self.limit = min(self.full, self._settings.initial)
        self._begin_stage(now)
        return None

    def _breach(self, mark: Mark) -> Breach | None:
        if self._in_a_row >= FAILURES_IN_A_ROW:
            return Breach(Reason.CONSECUTIVE_FAILURES, self._in_a_row, FAILURES_IN_A_ROW)
        if self.limit > SMALLEST_LIMITS:
            return None
        if mark is Mark.EXPIRED:
            return Breach(Reason.PERMIT_LEASE, 1, 1)
        # Judged as soon as it cannot be otherwise: the rest of the stage would only fail more calls.
        share = self._failures / self.need
        return Breach(Reason.FAILURE_RATE, share, HALF) if share >= HALF else None

    def is_due(self, now: float) -> bool:
        """Whether this stage has what a verdict needs."""
        if self.is_probing or not self.results:
            return False
        enough = self.results >= self._settings.minimum_verdicts and self._weight >= self.limit
        return enough or (now >= self._ends and not self.refused)

    def conclude(self, now: float, overdue: int) -> bool:
        """Judge the stage and begin the next one; True when the circuit closes. `overdue`: calls of this stage in flight for too long."""
        is_good = (self._bad + overdue) / (self.results + overdue) <= self._settings.bad_rate
        if is_good and self.limit >= self.full:
            return True
        if is_good:
            self.limit = min(self.full, self._grown())
        else:
            self.limit = max(1, self.limit // 2)
            self._threshold = self.limit
        self._begin_stage(now)
        return False

    def _grown(self) -> int:
        if self.limit < self._threshold:
            # At least one more, or a small limit times a small growth would stand still.
            return max(self.limit + 1, int(self.limit * self._settings.growth))
        return self.limit + max(1, self.full // GENTLE_STEPS)

    def set_full(self, full: int) -> None:
        """The full rate changes while the ramp runs; a limit above it comes down with it."""
        self.full = full
        self.limit = min(self.limit, full)


_PROBE_REASONS = {Mark.FAILED: Reason.PROBE, Mark.SLOW: Reason.SLOW_PROBE, Mark.EXPIRED: Reason.PERMIT_LEASE}


@dataclass(frozen=True, slots=True)
class Step:
    """What a result, or time alone, did to a half-open; the circuit acts on it.

    `expired`: permits that were taken back. `breach`: the rule that opens. `recovered`: the circuit closes. `limit`: what it was before.
    """

    limit: int
    expired: tuple[Permit, ...] = ()
    breach: Breach | None = None
    recovered: bool = False


class HalfOpen:
    """Lives from the moment a circuit becomes half-open until it leaves. `live` is the circuit's, oldest first."""

    __slots__ = ("_live", "_slow", "lease", "ramp")

    def __init__(self, ramp: Ramp, live: dict[Permit, None], lease: float, slow: float) -> None:
        self.ramp = ramp
        self.lease = lease
        self._live = live
        self._slow = slow

    def admit(self, permit: Permit) -> None:
        """A permit goes out; it belongs to the stage of now."""
        permit.stage = self.ramp.stage
        self.ramp.in_flight += permit.weight

    def give_back(self, permit: Permit) -> None:
        """A permit is no longer live."""
        self.ramp.in_flight -= permit.weight

    def settle(self, permit: Permit, failed: bool, took: float, now: float) -> Step:
        """Judge a result that took so many seconds."""
        limit = self.ramp.limit
        return self._follow(limit, permit, Mark.FAILED if failed else Mark.SLOW if took > self._slow else Mark.GOOD, now)

    def pass_time(self, now: float) -> Step:
        """Take back permits whose lease has ended, each as a failure, and end a stage that is old enough."""
        limit = self.ramp.limit
        expired: list[Permit] = []
        step = self._judge(limit, now)
        while step.breach is None and not step.recovered and self._live:
            oldest = next(iter(self._live))
            if now < oldest.acquired_at + self.lease:
                break
            self._expire(oldest)
            expired.append(oldest)
            step = self._follow(limit, oldest, Mark.EXPIRED, now)
        return Step(limit, tuple(expired), step.breach, step.recovered)

    def _expire(self, permit: Permit) -> None:
        del self._live[permit]
        permit.standing = EXPIRED
        self.give_back(permit)

    def set_full(self, full: int, now: float) -> Step:
        """Move the ramp's end; the running stage may be complete by that."""
        limit = self.ramp.limit
        self.ramp.set_full(full)
        return self._judge(limit, now)

    def _follow(self, limit: int, permit: Permit, mark: Mark, now: float) -> Step:
        breach = self.ramp.count(permit.stage, mark, now, permit.weight)
        return self._judge(limit, now) if breach is None else Step(limit, breach=breach)

    def _judge(self, limit: int, now: float) -> Step:
        ramp = self.ramp
        return Step(limit, recovered=ramp.is_due(now) and ramp.conclude(now, self._overdue(now)))

    def _overdue(self, now: float) -> int:
        stage = self.ramp.stage
        return sum(permit.stage == stage and now - permit.acquired_at > self._slow for permit in self._live)

    def next_at(self) -> float | None:
        """When a lease or a stage will end next; None while neither will."""
        stage_ends = self.ramp.stage_ends
        if not self._live:
            return stage_ends
        lease_ends = next(iter(self._live)).acquired_at + self.lease
        return lease_ends if stage_ends is None else min(lease_ends, stage_ends)
