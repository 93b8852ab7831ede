"""Half-open: one probe, then a ramp of stages, in each of which more calls may be in flight.

Theory of operation
===================

    probe   one call. Its success begins the ramp; anything else opens the circuit again
    stage   as many calls in flight as the limit. When enough results are in, or the stage is old and traffic is low, it is judged
    good    the limit doubles, up to `full`; a good stage at `full` closes the circuit
    bad     the limit is halved, and from then on grows in small steps only, as in TCP's congestion avoidance
    breach  three failures in a row, a failing stage at a limit of one or two, or a lost permit there: the circuit opens immediately

A stage is judged by the results of permits that were issued in it. A call that was admitted at limit 4 and ends while the limit is 8
says how the dependency did under half the load. Only the rules of a breach look at every result of this half-open.

A dependency that has come back and failed again lately is taken back more slowly: each relapse halves the limit of the first stage, and
makes every stage last `stage_per_relapse` longer at least. So one that is up for five seconds and down for twenty, again and again, is at
its second return not given the full rate just before it falls.

A permit has a lease. A caller that never returns (a process that was killed, a task that was lost) would otherwise occupy its place in the
limit, and a lost probe would hold the circuit half-open for ever. After the lease the permit is taken back, and counts as a failure.

`Ramp` holds the limit and judges stages. `HalfOpen` adds the live permits and their leases. Both return what they decided as a `Step` or a
`Breach`; circuit.py acts on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING

from holdgate.core.states import Breach, Reason

if TYPE_CHECKING:
    from typing import Self

    from holdgate.core.permits import Permit, PermitsInFlight
    from holdgate.core.settings import RampSettings
    from holdgate.core.totals import CircuitTotals


PROBE_LIMIT = 1

# The end of the ramp of a circuit alone, which does not know how many calls its user makes in parallel. Sixteen is reached in four
# doublings, and after a good stage there the circuit closes and limits nothing.
FULL_ALONE = 16

# Failures in a row that open again. At a background rate of one in ten, three in a row are one in a thousand; to wait for a fourth would
# only fail one more call.
FAILURES_IN_A_ROW = 3

# At a limit of one or two a cut cannot slow down any further, so there half of a stage failed means open.
SMALLEST_LIMITS = 2
HALF = 0.5

# After a cut the limit grows by a sixteenth of the full rate per stage, the additive increase of TCP's congestion avoidance.
GENTLE_STEPS = 16


def ramp_end(settings: RampSettings, given: int | None) -> int:
    """Return the limit at which a ramp ends, if the program has given this one, or None. An explicit `full` is never raised."""
    if settings.full is None:
        return FULL_ALONE if given is None else given
    return settings.full if given is None else min(settings.full, given)


class StageResult(Enum):
    """How one result counts in a stage."""

    GOOD = "good"
    SLOW = "slow"
    FAILED = "failed"
    EXPIRED = "expired"


class Ramp:
    """Hold the limit of one half-open, from its probe to its end, and judge its stages."""

    # fmt: off
    __slots__ = (
        "_bad", "_ends", "_failures", "_lasts", "_matures", "_relapses", "_threshold", "_weight",
        "full", "good_seconds", "in_a_row", "in_flight", "is_probing", "limit", "refused", "results", "settings", "stage",
    )
    # fmt: on

    def __init__(self, settings: RampSettings, full: int, relapses: int = 0) -> None:
        self.settings = settings
        self._relapses = relapses
        self._lasts = relapses * settings.stage_per_relapse  # seconds, at least, of every stage
        self.full = full
        self.limit = PROBE_LIMIT
        self.is_probing = True
        self.in_flight = 0  # weight of the live permits of this half-open
        self._threshold: float = inf  # TCP's ssthresh: from this limit on it grows in small steps
        self.in_a_row = 0  # failures
        self.stage = 0
        self._begin_stage(0.0)

    def after(self, other: Ramp, now: float, *, proved: bool) -> Self:
        """Go on in the place of another ramp, with what is in flight there. `proved`: from its limit. Otherwise with a probe."""
        self.is_probing = other.is_probing or not proved or not other.limit
        self.limit = PROBE_LIMIT if self.is_probing else min(self.full, other.limit)
        self.in_a_row, self.in_flight, self.stage = other.in_a_row, other.in_flight, other.stage
        self._begin_stage(now)
        return self

    def _begin_stage(self, now: float) -> None:
        self.stage += 1
        self._matures = now + self._lasts
        self._ends = now + max(self.settings.stage_timeout, self._lasts)
        self.results = 0
        self._weight = 0  # of the results: one of a batch of 500 has used as much of the limit as 500 single ones
        self._bad = 0
        self._failures = 0
        self.good_seconds = 0.0  # how long the good results of this stage took, all together
        self.refused = False

    @property
    def need(self) -> int:
        """The number of results of weight 1 after which the stage is judged.

        Heavier results count by their weight, but a stage is never judged by fewer than `minimum_verdicts`.
        """
        return max(self.settings.minimum_verdicts, self.limit)

    @property
    def _has_enough(self) -> bool:
        return self.results >= self.settings.minimum_verdicts and self._weight >= self.limit

    @property
    def stage_ends(self) -> float | None:
        """When the stage will be judged by its age.

        None means that it will not: it is the probe, has no result yet, or a call was refused, so that there is more traffic to come.
        """
        if self.is_probing or not self.results:
            return None
        if self._has_enough:
            return self._matures
        return None if self.refused else self._ends

    @property
    def is_share(self) -> bool:
        """Whether its limit is a share of a fleet's. Here it is not: this ramp judges itself."""
        return False

    def has_room(self, weight: int) -> bool:
        return self.in_flight + weight <= self.limit

    def count(self, stage: int, result: StageResult, now: float, weight: int = 1, took: float = 0.0) -> Breach | None:
        """Count one result of a permit that was issued in `stage`, of a call that took `took` seconds.

        Returns the breach that opens the circuit immediately, or None.
        """
        if self.is_probing:
            return self._end_probe(result, now)
        failed = result is StageResult.FAILED or result is StageResult.EXPIRED
        self.in_a_row = self.in_a_row + 1 if failed else 0
        if stage == self.stage:
            self.results += 1
            self._weight += weight
            self._bad += result is not StageResult.GOOD
            self._failures += failed
            self.good_seconds += took if result is StageResult.GOOD else 0.0
        return self._breach(result) if failed else None

    def _end_probe(self, result: StageResult, now: float) -> Breach | None:
        if result is not StageResult.GOOD:
            return Breach(_PROBE_REASONS[result], 1, 1)
        self.is_probing = False
        self.limit = min(self.full, max(1, self.settings.initial >> self._relapses))
        self._begin_stage(now)
        return None

    def _breach(self, result: StageResult) -> Breach | None:
        if self.in_a_row >= FAILURES_IN_A_ROW:
            return Breach(Reason.CONSECUTIVE_FAILURES, self.in_a_row, FAILURES_IN_A_ROW)
        if self.limit > SMALLEST_LIMITS:
            return None
        if result is StageResult.EXPIRED:
            return Breach(Reason.PERMIT_LEASE, 1, 1)
        # Judged as soon as the rest of the stage cannot change the verdict: it would only fail more calls.
        share = self._failures / max(self.need, self.results)
        return Breach(Reason.FAILURE_RATE, share, HALF) if share >= HALF else None

    def is_due(self, now: float) -> bool:
        """Return whether this stage can be judged."""
        if self.is_probing or not self.results:
            return False
        return now >= self._matures if self._has_enough else now >= self._ends and not self.refused

    def conclude(self, now: float, overdue: int) -> bool:
        """Judge the stage and begin the next one. Returns whether the circuit closes.

        `overdue` is how many calls of this stage are in flight and slow already; they count as bad.
        """
        is_good = (self._bad + overdue) / (self.results + overdue) <= self.settings.bad_rate
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
            # At least one more: a small limit times a small growth would be rounded down to itself.
            return max(self.limit + 1, int(self.limit * self.settings.growth))
        return self.limit + max(1, self.full // GENTLE_STEPS)

    def reconfigure(self, settings: RampSettings) -> None:
        """Go on by other settings. The limit stays, and the running stage keeps its times; it is judged by the new rate."""
        self.settings = settings
        self._lasts = self._relapses * settings.stage_per_relapse

    def set_full(self, full: int) -> None:
        """Change the limit at which the ramp ends. A running limit above it comes down."""
        self.full = full
        self.limit = min(self.limit, full)


_PROBE_REASONS = {StageResult.FAILED: Reason.PROBE, StageResult.SLOW: Reason.SLOW_PROBE, StageResult.EXPIRED: Reason.PERMIT_LEASE}


@dataclass(frozen=True, slots=True)
class Step:
    """What a result, or time alone, changed in a half-open.

    `limit` is the limit before. `expired` are the permits that were taken back. `breach` is the rule that opens the circuit; None means
    that it stays half-open or closes. `recovered` is whether it closes.
    """

    limit: int
    expired: tuple[Permit, ...] = ()
    breach: Breach | None = None
    recovered: bool = False


class HalfOpen:
    """Keep the leases of one half-open's permits, which are the circuit's `permits`, and judge their results. `lease` is in seconds.

    It counts its probe in `totals`.
    """

    __slots__ = ("_permits", "_probe_at", "_slow", "_totals", "lease", "ramp")

    def __init__(self, ramp: Ramp, permits: PermitsInFlight, lease: float, slow: float, totals: CircuitTotals) -> None:
        self._totals = totals
        self.ramp = ramp
        self.lease = lease
        self._permits = permits
        self._probe_at = 0.0
        self._slow = slow

    def admit(self, permit: Permit) -> None:
        """Note that `permit` was issued in the present stage."""
        if self.ramp.is_probing:
            self._probe_at = permit.acquired_at
        permit.stage = self.ramp.stage
        self.ramp.in_flight += permit.weight

    def give_back(self, permit: Permit) -> None:
        """Note that `permit` is no longer live."""
        self.ramp.in_flight -= permit.weight

    def probe_asked_at(self, now: float) -> float:
        """Return when the probe was sent, if that has just failed. After a good probe it is `now`: the dependency was well until then."""
        return self._probe_at if self.ramp.is_probing else now

    def settle(self, permit: Permit, failed: bool, took: float, now: float) -> Step:
        """Judge the result of a call that took `took` seconds."""
        limit = self.ramp.limit
        result = StageResult.FAILED if failed else StageResult.SLOW if took > self._slow else StageResult.GOOD
        return self._follow(limit, permit, result, now, took)

    def pass_time(self, now: float) -> Step:
        """Judge a stage that is old enough, and take back permits whose lease has ended, each as a failure."""
        limit = self.ramp.limit
        expired: list[Permit] = []
        step = self._judge(limit, now)
        while step.breach is None and not step.recovered:
            oldest = self._permits.oldest()
            if oldest is None or now < oldest.acquired_at + self.lease:
                break
            self._permits.expire(oldest)
            self.give_back(oldest)
            expired.append(oldest)
            step = self._follow(limit, oldest, StageResult.EXPIRED, now)
        return Step(limit, tuple(expired), step.breach, step.recovered)

    def reconfigure(self, settings: RampSettings, lease: float, slow: float) -> None:
        """Go on by other settings. The lease of a permit that is out counts from when it was issued, as before."""
        self.ramp.reconfigure(settings)
        self.lease = lease
        self._slow = slow

    def set_full(self, full: int, now: float) -> Step:
        """Change the ramp's end. The running stage may be complete by that."""
        limit = self.ramp.limit
        self.ramp.set_full(full)
        return self._judge(limit, now)

    def _follow(self, limit: int, permit: Permit, result: StageResult, now: float, took: float = 0.0) -> Step:
        if self.ramp.is_probing:
            self._totals.probed(good=result is StageResult.GOOD)
        breach = self.ramp.count(permit.stage, result, now, permit.weight, took)
        return self._judge(limit, now) if breach is None else Step(limit, breach=breach)

    def _judge(self, limit: int, now: float) -> Step:
        ramp = self.ramp
        return Step(limit, recovered=ramp.is_due(now) and ramp.conclude(now, self._overdue(now)))

    def _overdue(self, now: float) -> int:
        stage = self.ramp.stage
        return sum(permit.stage == stage and now - permit.acquired_at > self._slow for permit in self._permits.live)

    def next_deadline(self) -> float | None:
        """Return when a lease or a stage will end next. None means that neither will."""
        stage_ends = self.ramp.stage_ends
        oldest = self._permits.oldest()
        if oldest is None:
            return stage_ends
        lease_ends = oldest.acquired_at + self.lease
        return lease_ends if stage_ends is None else min(lease_ends, stage_ends)
