"""The rules of a circuit written down a second time, as plainly as possible and as slowly as it takes.

It keeps every result and every permit in lists and works everything out from them each time. No window counters, no fast path, no swap:
where it agrees with the real one over any sequence of calls, the real one's shortcuts are right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor
from typing import TYPE_CHECKING

from holdgate.core import CountWindow

if TYPE_CHECKING:
    from holdgate.core import CircuitSettings


@dataclass(eq=False)
class NaivePermit:
    """One call."""

    generation: int
    at: float
    weight: int
    stage: int
    live: bool = True
    settled: bool = False
    expired: bool = False


@dataclass
class Result:
    """One counted result."""

    at: float
    failed: bool
    slow: bool


@dataclass
class NaiveCircuit:
    """The circuit as its rules say it."""

    settings: CircuitSettings
    now: float = 0.0
    state: str = "closed"
    override: str | None = None
    generation: int = 0
    level: int = 0
    since: float | None = None
    probes: int = 0
    until: float = 0.0
    closed_since: float = 0.0
    forced_until: float | None = None
    full: int = 16
    run: int = 0
    longest: float = 0.0
    reported: bool = False
    rejected: int = 0
    late: int = 0
    twice: int = 0
    results: list[Result] = field(default_factory=list)
    permits: list[NaivePermit] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    # half-open
    probing: bool = False
    probe_at: float = 0.0
    limit: int = 0
    ssthresh: float = float("inf")
    stage: int = 0
    stage_start: float = 0.0
    stage_bad: list[bool] = field(default_factory=list)
    stage_weight: int = 0
    stage_failures: int = 0
    stage_refused: bool = False
    half_open_run: int = 0

    # -- readings

    @property
    def ramps(self) -> bool:
        return self.state == "half_open" and self.override is None

    def in_window(self) -> list[Result]:
        window = self.settings.window
        if isinstance(window, CountWindow):
            return self.results[-window.calls :]
        width = window.seconds / window.buckets
        return [result for result in self.results if floor(result.at / width) > floor(self.now / width) - window.buckets]

    def minimum(self) -> int:
        window = self.settings.window
        return min(self.settings.minimum_calls, window.calls) if isinstance(window, CountWindow) else self.settings.minimum_calls

    def live(self) -> list[NaivePermit]:
        return [permit for permit in self.permits if permit.live]

    def is_slow(self, duration: float) -> bool:
        return self.settings.slow_call_duration is not None and duration > self.settings.slow_call_duration

    def overdue(self) -> int:
        return sum(self.is_slow(self.now - permit.at) for permit in self.live())

    def level_now(self) -> int:
        if self.state != "closed" or self.override == "forced_open":  # nothing goes through: nobody knows of its health
            return self.level
        return max(0, self.level - floor((self.now - self.closed_since) / self.settings.healthy_interval))

    def level_wait(self, level: int) -> float:
        multiplier = 4.0 if self.settings.open_multiplier is None else self.settings.open_multiplier
        return self.settings.open_duration * multiplier ** (level - 1)

    def relapses(self) -> int:
        return min(4, max(0, self.level - 1)) if self.settings.open_multiplier is None else 0

    def stage_lasts(self) -> float:
        return self.relapses() * self.settings.ramp.stage_per_relapse

    def lease(self) -> float:
        return max(self.settings.permit_lease, 2 * self.longest)

    def need(self) -> int:
        return max(self.settings.ramp.minimum_verdicts, self.limit)

    # -- changes

    def change(self, state: str, override: str | None) -> None:
        self.level = self.level_now()
        if self.state == "closed" and state == "closed":
            self.closed_since += floor((self.now - self.closed_since) / self.settings.healthy_interval) * self.settings.healthy_interval
        self.state, self.override = state, override
        self.generation += 1
        self.reported = False
        for permit in self.permits:
            permit.live = False
        self.probing, self.limit, self.ssthresh, self.half_open_run = True, 1, float("inf"), 0
        self.new_stage()

    def new_stage(self) -> None:
        self.stage += 1
        self.stage_start, self.stage_bad, self.stage_failures, self.stage_refused = self.now, [], 0, False
        self.stage_weight = 0

    def open(self, until: float | None, *, raises: bool, threshold: bool) -> None:
        level = self.level_now()
        is_first = level == 0 or self.since is None
        if raises and (is_first or level > 1 or self.settings.open_multiplier is not None):
            level += level == 0 or self.level_wait(level) < self.settings.open_duration_max
        asked = self.probe_at if self.ramps and self.probing else self.now
        since = self.now if self.since is None else self.since
        if until is None:
            until = self.wait_until(level, asked, since)
        if threshold:
            self.events.append("ThresholdExceeded")
        self.change("open", self.override)
        self.level, self.since, self.until = level, since, until
        self.events.append("CircuitOpened")

    def wait_until(self, level: int, asked: float, since: float) -> float:
        # the draw is the middle: no jitter
        longest = self.settings.open_duration_max
        if self.settings.open_multiplier is not None:
            return self.now + min(longest, self.level_wait(level))
        wait = min(longest, max(self.level_wait(level), self.settings.open_share * (asked - since)))
        return max(asked + wait, self.now + 0.05 * wait)

    def close(self, event: str) -> None:
        self.change("closed", self.override)
        self.closed_since, self.results, self.run = self.now, [], 0
        self.since, self.probes = None, 0
        self.events.append(event)

    # -- rules of CLOSED

    def rule_met(self) -> bool:
        seen = self.in_window()
        if len(seen) >= self.minimum():
            if sum(result.failed for result in seen) / len(seen) >= self.settings.failure_rate_threshold:
                return True
            if sum(result.slow for result in seen) / len(seen) >= self.settings.slow_call_rate_threshold:
                return True
        return self.settings.consecutive_failures is not None and self.run >= self.settings.consecutive_failures

    def overdue_met(self) -> bool:
        seen, overdue = self.in_window(), self.overdue()
        total = len(seen) + overdue
        slow = sum(result.slow for result in seen) + overdue
        return overdue > 0 and total >= self.minimum() and slow / total >= self.settings.slow_call_rate_threshold

    def is_clear(self) -> bool:
        seen = self.in_window()
        calls = max(1, len(seen))
        return (
            sum(result.failed for result in seen) / calls < self.settings.failure_rate_threshold
            and sum(result.slow for result in seen) / calls < self.settings.slow_call_rate_threshold
            and (self.settings.consecutive_failures is None or self.run < self.settings.consecutive_failures)
            and not self.overdue_met()
        )

    def breached(self) -> None:
        if self.override is None:
            self.open(None, raises=True, threshold=True)
        elif not self.reported:
            self.reported = True
            self.events.append("ThresholdExceeded")

    # -- rules of HALF_OPEN

    def count_in_ramp(self, permit: NaivePermit, *, failed: bool, bad: bool, expired: bool = False) -> None:
        if self.probing:
            if bad:
                self.open(None, raises=True, threshold=True)
                return
            self.probing = False
            self.set_limit(min(self.full, max(1, self.settings.ramp.initial // 2 ** self.relapses())))
            self.new_stage()
            return
        self.half_open_run = self.half_open_run + 1 if failed else 0
        if permit.stage == self.stage:
            self.stage_bad.append(bad)
            self.stage_weight += permit.weight
            self.stage_failures += failed
        half = max(self.need(), len(self.stage_bad)) / 2
        if failed and (self.half_open_run >= 3 or (self.limit <= 2 and (expired or self.stage_failures >= half))):
            self.open(None, raises=True, threshold=True)
            return
        self.judge_stage()

    def judge_stage(self) -> None:
        if self.probing or not self.stage_bad:
            return
        is_old = self.now >= self.stage_start + max(self.settings.ramp.stage_timeout, self.stage_lasts()) and not self.stage_refused
        has_enough = len(self.stage_bad) >= self.settings.ramp.minimum_verdicts and self.stage_weight >= self.limit
        if not is_old and not (has_enough and self.now >= self.stage_start + self.stage_lasts()):
            return
        hanging = sum(self.is_slow(self.now - permit.at) for permit in self.live() if permit.stage == self.stage)
        is_good = (sum(self.stage_bad) + hanging) / (len(self.stage_bad) + hanging) <= self.settings.ramp.bad_rate
        if is_good and self.limit == self.full:
            self.close("CircuitClosed")
            return
        if is_good and self.limit < self.ssthresh:
            self.set_limit(min(self.full, max(self.limit + 1, int(self.limit * self.settings.ramp.growth))))
        elif is_good:
            self.set_limit(min(self.full, self.limit + max(1, self.full // 16)))
        else:
            self.ssthresh = max(1, self.limit // 2)
            self.set_limit(int(self.ssthresh))
        self.new_stage()

    def set_limit(self, limit: int) -> None:
        if limit != self.limit:
            self.events.append("LimitChanged")
        self.limit = limit

    def expire_leases(self) -> None:
        for permit in self.live():
            if self.ramps and permit.live and self.now >= permit.at + self.lease():
                permit.live, permit.expired = False, True
                self.events.append("LeaseExpired")
                self.count_in_ramp(permit, failed=True, bad=True, expired=True)

    # -- what a caller does

    def see(self, now: float) -> None:
        self.now = max(self.now, now)

    def advance(self, now: float) -> None:
        self.see(now)
        if self.override == "forced_open":
            if self.forced_until is not None and self.now >= self.forced_until:
                self.clear_override(now)
        elif self.state == "open" and self.now >= self.until:
            self.change("half_open", self.override)
            self.probes += 1
            self.events.append("CircuitHalfOpened")
        elif self.ramps:
            self.pass_half_open()
        elif self.override in (None, "metrics_only") and self.overdue_met():
            self.breached()

    def pass_half_open(self) -> None:
        # a stage that was old before ends before what is looked at now
        self.judge_stage()
        if self.ramps:
            self.expire_leases()

    def try_acquire(self, now: float, weight: int) -> NaivePermit | None:
        self.advance(now)
        refuses = self.override == "forced_open" or (self.override is None and self.state == "open")
        if self.ramps and sum(permit.weight for permit in self.live()) + weight > self.limit:
            self.stage_refused = refuses = True
        if refuses:
            self.rejected += 1
            return None
        permit = NaivePermit(self.generation, self.now, weight, self.stage)
        self.permits.append(permit)
        if self.ramps and self.probing:
            self.probe_at = self.now
        return permit

    def take(self, permit: NaivePermit, now: float) -> bool:
        self.see(now)
        if self.ramps:
            self.pass_half_open()
        was_live = permit.live
        permit.live = False
        return was_live

    def record(self, permit: NaivePermit, outcome: str, now: float, retry_after: float | None, duration: float | None) -> None:
        if not self.take(permit, now):
            self.twice += permit.settled
            self.late += not permit.settled
            if permit.expired and not permit.settled and outcome == "success":
                self.events.append("LeaseTooShort")
            permit.settled = True
            return
        permit.settled = True
        if outcome in ("ignored", "throttled") or self.override == "disabled":
            return
        failed = outcome == "failure"
        held = self.now - permit.at
        slow = self.is_slow(held if duration is None else duration)
        told = failed and retry_after is not None and retry_after > 0
        if self.ramps:
            if not told:
                self.count_in_ramp(permit, failed=failed, bad=failed or slow)
        else:
            self.count(held, failed=failed, slow=slow, told=told)
        if told and self.override is None:
            self.open(self.now + min(retry_after or 0.0, self.settings.retry_after_max), raises=True, threshold=False)

    def count(self, held: float, *, failed: bool, slow: bool, told: bool) -> None:
        self.results.append(Result(self.now, failed, slow))
        self.run = self.run + 1 if failed else 0
        if not failed and self.state == "closed":
            self.longest = max(self.longest, held)
        if told:
            if self.override is not None:
                self.breached()
        elif self.rule_met():
            self.breached()
        elif self.reported and self.is_clear():
            self.reported = False

    def release(self, permit: NaivePermit, now: float) -> None:
        if not self.take(permit, now):
            self.twice += permit.settled
        permit.settled = True

    def open_for(self, duration: float, now: float) -> None:
        self.see(now)
        until = self.now + min(duration, self.settings.retry_after_max)
        if self.state == "open":
            self.until = max(self.until, until)
        else:
            self.open(until, raises=False, threshold=False)

    def set_override(self, override: str, until: float | None, now: float) -> None:
        self.see(now)
        if self.override == override and self.forced_until == until:
            return
        self.lay(override, until, "OverrideSet")

    def clear_override(self, now: float) -> None:
        self.see(now)
        if self.override is not None:
            self.lay(None, None, "OverrideCleared")

    def lay(self, override: str | None, until: float | None, event: str) -> None:
        left = self.override == "forced_open" and override != "forced_open"
        self.forced_until = until
        self.change("half_open" if left else self.state, override)
        self.events.append(event)
        if left:
            self.events.append("CircuitHalfOpened")

    def reset(self, now: float) -> None:
        self.see(now)
        self.close("CircuitReset")
        self.level = 0

    def set_full(self, full: int, now: float) -> None:
        self.advance(now)  # what is over by now went by the end that the ramp had until now
        explicit = self.settings.ramp.full
        self.full = full if explicit is None else min(full, explicit)
        if self.ramps:
            self.set_limit(min(self.limit, self.full))
            self.judge_stage()

    def may_acquire(self, now: float) -> bool:
        self.see(now)
        if self.ramps:
            self.advance(now)
        if self.ramps:
            return sum(permit.weight for permit in self.live()) < self.limit
        if self.override == "forced_open":
            return self.forced_until is not None and self.now >= self.forced_until
        if self.override is not None:
            return True
        if self.state == "open":
            return self.now >= self.until
        return not self.overdue_met()

    def snapshot(self, now: float) -> dict[str, object]:
        """Reading changes nothing: what it sees of the time is forgotten again."""
        before = self.now
        self.see(now)
        shown = self.shown()
        self.now = before
        return shown

    def shown(self) -> dict[str, object]:
        seen = self.in_window()
        enough = len(seen) >= self.minimum()
        limit = None
        if self.override == "forced_open" or (self.override is None and self.state == "open"):
            limit = 0
        elif self.ramps:
            limit = self.limit
        return {
            "state": self.state,
            "override": self.override,
            "generation": self.generation,
            "level": self.level_now(),
            "open_until": self.until if self.state == "open" else None,
            "outage_since": self.since,
            "probes": self.probes,
            "limit": limit,
            "in_flight": sum(permit.weight for permit in self.live()),
            "calls": len(seen),
            "failures": sum(result.failed for result in seen),
            "slow_calls": sum(result.slow for result in seen),
            "failure_rate": sum(result.failed for result in seen) / len(seen) if enough else None,
            "slow_call_rate": sum(result.slow for result in seen) / len(seen) if enough else None,
            "consecutive_failures": self.run,
            "rejected": self.rejected,
            "late_results": self.late,
            "settled_twice": self.twice,
        }
