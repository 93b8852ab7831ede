"""The width of a limiter: how many calls in flight."""

from __future__ import annotations

from math import ceil, log
from typing import TYPE_CHECKING

from holdgate.core.width_trial import Trial

if TYPE_CHECKING:
    from holdgate.core.experiments import Budget

CHANCE = 10
SHARE = 1.15
GAIN = 0.15
ROUND = 8
FIRST_MEASURED = 4
GROWS = 0.5
STRONG = 0.85
UNSURE = 0.6
ABOVE = 1.15
CALMEST = 4


class Width:
    __slots__ = (
        "_budget",
        "_grow_to",
        "_lid_trial",
        "_lift",
        "_lifted",
        "_clean",
        "_longer",
        "_calm",
        "_pause",
        "_before",
        "_pressed",
        "_ramp",
        "_round",
        "_last_round",
        "_streak",
        "_step",
        "careful",
        "_trial",
        "most",
        "proven",
        "wall",
        "width",
        "growing",
        "_untagged",
    )

    def __init__(self, budget: Budget, most: int | None, first: int = 1) -> None:
        self._budget = budget
        self.most = most
        self.width = first
        self.growing = True
        self._grow_to = FIRST_MEASURED
        self.proven = 0
        self.wall: int | None = None
        self._ramp: int | None = None
        self._round: Trial | None = None
        self._last_round: tuple[list[float], int] | None = None
        self._trial: Trial | None = None
        self._lift = 0  # how far above the width it is tried whether the wall still stands
        self._lifted = 0
        self._clean = CHANCE
        self._longer = 1
        self._calm = 0
        self._pause = 0
        self._streak = 0
        self._step = 1
        self.careful = False  # after a second refusal in a row one call at a time asks
        self._before = 0
        self._untagged = 0

    @property
    def current(self) -> int:
        width = self._trial.arm if self._trial is not None else self.width + self._lift
        if self._ramp is not None:
            width = min(width, self._ramp)
        return max(1, width if self.most is None else min(width, self.most))

    def start(self, level: int, weight: int, pressed: bool) -> int:
        """Return the arm of a trial that the call belongs to; 0: none."""
        trial = self._trial or self._round
        if trial is None:
            if pressed and not self.growing and self._ramp is None and not self._lift:
                self._consider()
            return 0
        return trial.tag(level, pressed)

    def accepted(self, level: int, tag: int, took: float, pressed: bool) -> None:
        self.proven = max(self.proven, level)
        self._clean += 1
        self._pause -= 1
        self.careful = False
        if self._ramp is not None:
            self._ramp += 1
            if self._ramp >= self.width:
                self._ramp = None
            return
        if self._lift and level > self.width:
            self._lifted += 1
            if self._lifted >= CHANCE:
                self._raise_wall()
        if self.growing and self._round is None and level >= self.width:
            self._grow()
        trial = self._trial or self._round
        if trial is not None and tag:
            trial.ended(tag, took)
            if trial.is_over:
                self._conclude(trial)
        elif trial is not None and trial.is_stale:
            self._trial = self._round = None

    def _grow(self) -> None:
        if self.width < self._grow_to:
            self.width += 1
        if self.width >= self._grow_to:
            self._round = Trial((self.width,), max(ROUND, 2 * self.width))

    def _consider(self) -> None:
        """Begin an experiment if one is paid for."""
        budget = self._budget
        wall = self.wall
        lo, hi = round(self.width / SHARE), round(self.width * SHARE)
        lo = max(1, min(lo, self.width - 1))
        hi = max(hi, self.width + 1)
        if wall is not None and hi >= wall:
            if budget.refusals >= 2:
                self._lift = self._step
                self._lifted = 0
                budget.count += 1
                return
            hi = self.width
        if self.most is not None:
            hi = min(hi, self.most)
        if budget.work <= 0 or hi <= lo or self._pause > 0:
            return
        budget.count += 1
        self._trial = Trial((lo, hi, hi, lo), max(16, 2 * self.width) * self._longer)

    def _raise_wall(self) -> None:
        self.width += self._lift
        self._lift = 0
        self._step *= 2
        self.wall = None

    def _conclude(self, trial: Trial) -> None:
        self._trial = self._round = None
        if self.growing:
            self._conclude_round(trial)
            return
        lo1, hi1, hi2, lo2 = trial.arms
        lo, hi = trial.widths[0], trial.widths[1]
        first, second = trial.gain(lo1, hi1, lo, hi), trial.gain(lo2, hi2, lo, hi)
        both = min(1.0, max(0.0, trial.gain(lo1 + lo2, hi1 + hi2, lo, hi)))
        self._budget.lose(((hi / lo) ** both - 1) * (len(lo1) + len(lo2)))
        if abs(first - second) > UNSURE:
            self._longer = min(4, self._longer * 2)
            return
        self._longer = max(1, self._longer // 2)
        before = self.width
        if both >= STRONG and min(first, second) > GROWS:
            self.width = hi
            self._calm = 0
            if self.wall is None or self.wall > hi + 1:
                self.growing = True
                self._grow_to = hi * 2
                self._last_round = hi1 + hi2, hi
        else:
            self.width = max(lo, min(hi, ceil(lo * (hi / lo) ** both * ABOVE))) if both > 0.1 else lo
            self._calm = min(CALMEST, self._calm + 1) if abs(self.width - before) <= 1 or self.width > before else 0
        self._pause = trial.calls * self._calm

    def _conclude_round(self, trial: Trial) -> None:
        last, self._last_round = self._last_round, (trial.arms[0], self.width)
        if last is not None:
            gain = min(1.0, max(0.0, trial.gain(last[0], trial.arms[0], last[1], self.width)))
            if gain < GROWS:
                self.growing = False
                self.width = min(self.width, ceil(last[1] * (self.width / last[1]) ** gain * ABOVE))
                return
        self._grow_to = self.width * 2
        if self.wall is not None:
            self._grow_to = min(self._grow_to, self.wall - 1)
        if self.most is not None:
            self._grow_to = min(self._grow_to, self.most)
        if self._grow_to <= self.width:
            self.growing = False

    def refused(self, level: int, throttled: bool, rate_known: bool) -> bool:
        """A refusal at `level`. Returns whether it is a matter of width (or chance), so that the gate stays open."""
        self._trial = self._round = None
        if self._lift and level > self.width:
            self._budget.spend(2)
            self._lift = 0
            self._step = 1
            self.wall = level
            return True
        self._lift = 0
        clean, self._clean = self._clean, 0
        self._streak = self._streak + 1 if clean < CHANCE else 1
        if throttled and level <= max(1, self.proven):
            self._restore()
            return False
        self.careful = throttled or self._streak > 1
        if level > self.proven:
            self._cap(level, throttled)
            return True
        if clean >= CHANCE:
            return True
        if self._streak == 1 or not self._before:
            self._before = self.width
        self._cap(level if self._streak <= 1 else level // 2 + 1, False)
        return True

    def _cap(self, level: int, throttled: bool) -> None:
        self.growing = False
        self.wall = max(2, level)
        self.width = max(1, min(self.width, level - 1))
        if not throttled:
            self.proven = min(self.proven, self.width)

    def _restore(self) -> None:
        if self._before:
            self.width, self.wall = self._before, None
        self._before = 0
        self._streak = 0
        self.careful = False

    def reopened(self, gently: bool) -> None:
        self._trial = self._round = None
        self._lift = 0
        if gently and self.width > 1:
            self._ramp = 1

    def late(self, level: int) -> None:
        """A refusal of a call that began before the last cut: it may say that the cap is lower still."""
        if self.wall is not None and self.proven < level < self.wall:
            self._cap(level, False)
