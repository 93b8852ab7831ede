"""One half-open: its live permits, their leases, and the ramp that judges what they bring back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdgate.core.permits import EXPIRED
from holdgate.core.ramp import Mark

if TYPE_CHECKING:
    from holdgate.core.permits import Permit
    from holdgate.core.ramp import Ramp
    from holdgate.core.thresholds import Breach


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
