"""The width of a limiter: how many calls in flight get the most done.

Theory of operation
===================

    grow    from 1, by one for each call that was let in, and from 4 on in rounds of doubling, while twice as many get more done
    hold    at a width a little over the knee, where each server has work and next to nothing waits
    trial   a narrower (or this one) and a wider one in turn (width_trial.py), paid for by the work of earlier calls (experiments.py)
    lift    one call above the wall, paid for in refusals: does the cap still stand?

A refusal at more in flight than was ever let in is a *wall*: the width comes down to one under it.

A refusal at a level that others passed is no matter of width if the service says "too many requests": that is a rate, and the gate's. If
it is a failure, it is chance, unless fewer than ten calls were let in since the last one: a dependency that fails once in fifty calls
loses no width by it. Then it is a cap that has come down. The width goes one down for the first such failure, to half of it for the next,
and from then on one call at a time asks, so that a cap that fell from 26 to 14 costs a handful of refusals and not one for each slot.

Failures on end may take the width down to one, although only one server of four restarts. So a width that was cut to a quarter goes back to
what it was, as soon as ten calls were let in on end and ten with one more in flight. If that one is refused it was a cap.

Where one call in twenty fails, two are close to each other all the time. So once failures by chance are known from before, that proves
nothing any more, and a cap takes four with hardly a call between them. A width that is cut then is lifted again free of charge, up to what
it was, and one failure of a lift is chance as well.

Not known yet is the width in the cheap form: then nothing limits it until something is refused.

What is ugly: a refusal of a rate limit may be taken for a wall at first, when the burst ends while the width grows. Its next refusal
comes at a level that was let in, and puts that right; the wall that remains is lifted when there is demand for more.
"""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING

from holdgate.core.width_trial import Trial, gain, mean_gain

if TYPE_CHECKING:
    from holdgate.core.experiments import Budget

CHANCE = 10  # calls let in between two failures, from which on they are chance: a failure rate under a tenth
FAULTS_OVER = 400  # calls: a dependency that fails by chance does so for longer than this
FAULTY = 4.0  # failures by chance in about so many calls, from which on two that are close to each other are chance as well
FOR_A_CAP = 1.8  # for each failure: over a cap three calls in ten fail, by chance one in twenty, and the logarithm of six is 1.8
FOR_CHANCE = 0.3  # against it for each call that was let in, by the same two rates
ENOUGH = 6.0  # four failures with hardly a call between them: with one in 20 by chance, once in thousands of calls
MOST_EVIDENCE = 8.0  # so that twenty-seven calls let in are always enough to forget it
STEP = 1.15  # a trial's arms are this factor under and over the width: enough to see, and little to lose
ABOVE = 1.15  # the width that is kept, over the knee: calls that are shorter than others leave no server idle
GAIN = 0.15  # less elasticity is none: a sixth of what a wider width costs in waiting
DEEP = 0.25  # of a width: a cut of halves that has gone so far has mostly met a restart and no cap, and is tried again once it is over
HALF = 0.5  # doubling goes on, or a wider width is kept, if at least half of the added calls are more work done
LITTLE = 0.4  # and if the means show nearly as much: a quarter let one doubling in twenty go on over the knee
ENOUGH_FOR_MEANS = 32  # calls of the narrower width: of sixteen, one slow call in twenty is in one round and not in the other
STRONG = 0.85  # nearly all of it, twice in a row: the dependency has grown, so look in larger steps again
AGAIN = 1.5  # times the width, after two such trials: twice is what a queue cannot take if it was luck
UNSURE = 0.6  # two halves of a trial that differ by more than this say nothing
TOO_GOOD = 1.3  # nor does one that shows more than this: more than all of the added calls cannot be done, so it was luck
LONGEST = 4  # a trial that showed nothing is repeated at twice the length, at most this often the usual
CALMEST = 4  # a trial that changed nothing is followed by a pause of one to four of its lengths
SMALLEST_ARM = 16  # calls: a median of deciles needs some
ARM = 3  # calls of an arm for each of its width: of calls of 10 ms and 2 s, 39 runs of 40 kept to 50 in flight; with two calls 37
FIRST_ROUND = 4  # the width that is measured first: less says nothing, and is too narrow for nearly everything
SMALLEST_ROUND = 8  # calls
FEW_ROUND = 2  # calls of a round for each of its width: up to here a doubling that was luck costs little, and slow calls begin sooner
MANY = 8  # the width over which a round has more
ROUND = 4  # calls for each: of the same runs 37 of 40 kept to 50 with an ARM of two, and with two calls here 34
LIFT_NEEDS = 2.0  # refusals that are saved up before a lift, and what a refused one costs: a cap moves seldom


class Width:
    """Find the width. `most` is the number that the user gave; None means that none is known."""

    # fmt: off
    __slots__ = (
        "_before",
        "_budget",
        "_calm",
        "_clean",
        "_evidence",
        "_excused",
        "_faults",
        "_grow_to",
        "_growing",
        "_halves",
        "_is_strong",
        "_is_throttled",
        "_last_round",
        "_lift",
        "_lift_step",
        "_lifted",
        "_longer",
        "_most",
        "_next_arm",
        "_pause",
        "_ramp",
        "_regain",
        "_streak",
        "_trial",
        "_wall",
        "_width",
        "is_careful",
        "is_sought",
        "passed",
    )
    # fmt: on

    def __init__(self, budget: Budget, most: int | None, *, is_sought: bool) -> None:
        self._budget = budget
        self._most = most
        self.is_sought = is_sought
        self.is_careful = False
        self._width = 1
        self._growing = True
        self._grow_to = FIRST_ROUND
        self._last_round: tuple[list[float], int] | None = None
        self._trial: Trial | None = None
        self._next_arm = 1  # a call of an earlier trial may still be in flight
        self._wall: float = inf  # the lowest level that was refused for being too many
        self._is_throttled = False  # the wall was found by "too many requests"
        self.passed = 0  # the highest level that was let in
        self._lift = 0  # how many more than the width are tried against the wall
        self._lift_step = 1
        self._lifted = 0
        self._ramp: float = inf  # after a long shut: how far the width is back
        self._faults = 0.0  # by chance, of late
        self._evidence = 0.0  # that failures are a cap and no chance
        self._excused = False  # one failure of this lift was taken for chance
        self._regain = 0  # the width before a cut that may have been by chance: up to it lifts are free
        self._clean = CHANCE  # calls let in since the last refusal
        self._streak = 0  # refusals with fewer than CHANCE calls between them
        self._before = 0  # the width before that streak
        self._halves = False  # it was cut in this streak
        self._longer = 1
        self._calm = 0
        self._pause = 0
        self._is_strong = False  # the last trial was

    @property
    def current(self) -> int | None:
        """The most calls that may be in flight now. None means any number."""
        if not self.is_sought:
            return self._most
        width = self._width + self._lift if self._trial is None else self._trial.width
        return max(1, min(width, int(min(self._ramp, inf if self._most is None else self._most, 1e9))))

    def room(self, in_flight: int) -> int | None:
        """Return how many calls more there is room for."""
        current = self.current
        return None if current is None else max(0, current - in_flight)

    def is_over_wall(self, in_flight: int) -> bool:
        """Return whether the next call is one that tries a wall of a service that said "too many requests"."""
        return self._lift > 0 and self._is_throttled and in_flight >= self._width

    def seek(self, level: int) -> None:
        """Limit the width from now on, beginning at `level`."""
        self.is_sought = True
        self._width = self._grow_to = max(1, level)

    # -- calls ------------------------------------------------------------------------------------------------------------------------

    def start(self, now: float, level: int, oldest: float, *, is_pressed: bool) -> int:
        """Return the arm of a trial that a call at this level belongs to; 0 is none. `is_pressed`: it had to wait for room."""
        if self._trial is None:
            if is_pressed and not self._growing and not self._lift and self._ramp == inf:
                self._consider()
            return 0
        if self._trial.is_stale:
            self._trial = None
            self._growing = False
            return 0
        return self._trial.start(now, level, oldest)

    def accept(self, level: int, arm: int, took: float) -> None:
        """Learn from a call that was let in. `arm` is what `start` returned for it."""
        self.passed = max(self.passed, level)
        self._clean += 1
        self._faults -= self._faults / FAULTS_OVER
        self._evidence = max(0.0, self._evidence - FOR_CHANCE)
        self._pause -= 1
        self.is_careful = False
        if self._ramp != inf:
            self._ramp = self._ramp + 1 if self._ramp + 1 < self._width else inf
            return
        if self._lift and level > self._width:
            self._lifted += 1
            if self._lifted >= CHANCE:
                self._raise()
        if self._growing and self._trial is None and 2 * level >= self._width:
            self._grow()
        if self._trial is not None:
            self._trial.end(arm, took)
            if self._trial.is_over:
                self._conclude(self._trial)

    def refuse(self, level: int, arm: int, is_throttled: bool, *, is_slow: bool = False) -> bool:
        """Learn from a refusal at this level. Returns whether it is a matter of width, or chance, so that the gate stays open.

        `is_slow`: it took longer than an answer. Then nobody has refused: the call was given up in a queue.
        """
        if self._lift and level > self._width:
            self._refuse_lift(level, is_throttled)
            return True
        clean, self._clean = self._clean, 0
        self._streak = self._streak + 1 if clean < CHANCE else 1
        if clean >= CHANCE:
            self._before, self._halves = 0, False
        if is_throttled:
            return self._throttle(level)
        is_chance = self._is_chance()
        self.is_careful = not is_chance
        if not is_chance:
            self._cut(level, clean, is_slow)
        elif self._trial is not None:
            self._trial.drop(arm)
        return True

    def excuse(self, arm: int) -> None:
        """Note that a call of this arm was refused by chance: it says nothing of the width, and is not waited for."""
        if self._trial is not None:
            self._trial.drop(arm)

    def _refuse_lift(self, level: int, is_throttled: bool) -> None:
        if self._faults >= FAULTY and not self._excused and not is_throttled:
            self._excused = True
            return
        self._budget.spend(LIFT_NEEDS)
        self._lift, self._lift_step, self._wall = 0, 1, level
        self._regain = 0

    def _is_chance(self) -> bool:
        self._evidence = min(MOST_EVIDENCE, self._evidence + FOR_A_CAP)
        is_chance = self._streak == 1 or (self._faults >= FAULTY and self._evidence < ENOUGH)
        self._faults += is_chance
        return is_chance

    def _cut(self, level: int, clean: int, is_slow: bool) -> None:
        self._trial = None
        self._is_throttled = False
        self._lift = 0
        self._before = self._before or self._width
        # A failure's own level may be low by chance, so the width is what is cut. Half of it only if none was let in since the last cut.
        at = level if level > self.passed else max(level, self._width)
        is_half = is_slow or (self._halves and not clean and level <= self.passed)
        self._cap(at // 2 + 1 if is_half else at)
        self._halves = True
        self.passed = min(self.passed, self._width)
        is_deep = self._width <= DEEP * self._before and not is_slow
        self._regain = max(self._regain, self._before) if is_deep or self._faults >= FAULTY else 0

    def _throttle(self, level: int) -> bool:
        self._trial = None
        self._lift = 0
        if level <= max(1, self.passed):
            self.restore()
            return False
        self.is_careful = self._is_throttled = True
        self._cap(level)
        return True

    def lower(self, level: int) -> None:
        """Learn from a refusal that is old news: the wall may be lower still, nothing else."""
        if self.passed < level < self._wall < inf:
            self._cap(level)

    def restore(self) -> None:
        """Go back to the width before the last refusals: they were no matter of width."""
        if self._before:
            self._width, self._wall = self._before, inf
        self._before = self._streak = 0
        self.is_careful = False

    def reopen(self, *, is_gentle: bool) -> None:
        """Go on after a shut. `is_gentle`: from one call in flight, one more for each that is let in."""
        self._trial = None
        self._lift = 0
        if is_gentle and self.is_sought and self._width > 1:
            self._ramp = 1

    # -- growing ----------------------------------------------------------------------------------------------------------------------

    def _cap(self, level: int) -> None:
        self._growing = False
        self._wall = max(2, level)
        self._width = max(1, min(self._width, level - 1))

    def _grow(self) -> None:
        self._width = min(self._width + 1, max(self._grow_to, self._width))
        if self._width == self._regain:
            self._growing, self._regain = False, 0
        elif self._width >= self._grow_to:
            self._try((self._width,), max(SMALLEST_ROUND, (ROUND if self._width > MANY else FEW_ROUND) * self._width))

    def _conclude_round(self, latencies: list[float]) -> None:
        last, self._last_round = self._last_round, (latencies, self._width)
        if last is not None and last[1] < self._width:
            before, narrow = last
            ratio = self._width / narrow
            gained = gain(before, latencies, ratio)
            if len(before) >= ENOUGH_FOR_MEANS and (by_means := mean_gain(before, latencies, ratio)) < LITTLE:
                gained = min(gained, by_means)
            if gained < HALF:
                self._growing = False
                self._width = min(self._width, ceil(narrow * ratio ** min(HALF, max(0.0, gained)) * ABOVE))
                return
        room = min(self._wall - 1, inf if self._most is None else self._most)
        self._grow_to = int(min(self._width * 2, room))
        self._growing = self._grow_to > self._width

    # -- experiments ------------------------------------------------------------------------------------------------------------------

    def _consider(self) -> None:
        """Begin an experiment if one is paid for: there is demand, and nothing runs."""
        width = self._width
        # Every other trial asks only for more: to be narrower than the knee is what costs work.
        narrow = width if self._calm % 2 else max(1, min(round(width / STEP), width - 1))
        wide = max(round(width * STEP), width + 1)
        if self._most is not None:
            wide = min(wide, self._most)
        if wide >= self._wall:
            is_over = self._clean >= CHANCE or self._faults >= FAULTY
            if is_over if self._regain > width else self._budget.affords_refusals(LIFT_NEEDS):
                self._lift = min(self._lift_step, self._regain - width) if self._regain > width else self._lift_step
                self._lifted, self._excused = 0, False
                self._budget.count += 1
                return
            wide = width
        if narrow < wide and self._pause <= 0 and self._budget.affords_work():
            self._budget.count += 1
            self._try((narrow, wide, wide, narrow), max(SMALLEST_ARM, ARM * width) * self._longer)

    def _try(self, widths: tuple[int, ...], size: int) -> None:
        self._trial = Trial(widths, size, self._next_arm)
        self._next_arm = self._trial.next_first

    def _raise(self) -> None:
        """Take the lifted width: what was a wall is none any more."""
        self._width += self._lift
        self._lift = 0
        self._lift_step *= 2
        self._wall = inf
        if self._regain > self._width:
            self._growing, self._grow_to = True, self._regain

    def _conclude(self, trial: Trial) -> None:
        self._trial = None
        if not all(trial.arms):  # all calls of one have failed by chance
            return
        if self._growing:
            self._conclude_round(trial.arms[0])
            return
        first, wide, again, last = trial.arms
        narrow, hi = trial.widths[0], trial.widths[1]
        ratio = hi / narrow
        halves = gain(first, wide, ratio), gain(last, again, ratio)
        gained = min(1.0, max(0.0, gain(first + last, wide + again, ratio)))
        if gained < GAIN:
            self._calm, self._longer = min(CALMEST, self._calm + 1) if narrow == self._width else 0, max(1, self._longer // 2)
            self._width = narrow
        elif abs(halves[0] - halves[1]) > UNSURE or max(halves) > TOO_GOOD:
            self._calm, self._longer = 1, min(LONGEST, self._longer * 2)
        else:
            if gained < STRONG:  # otherwise the wider one has made up for it, compared with the width that there was
                self._budget.lose((ratio**gained - 1) * len(first + last))
            self._longer = max(1, self._longer // 2)
            self._widen(narrow, hi, gained, wide + again)
        self._pause = trial.calls * self._calm

    def _widen(self, narrow: int, wide: int, gained: float, latencies: list[float]) -> None:
        was_strong, self._is_strong = self._is_strong, gained >= STRONG and self._wall > wide + 1
        if self._is_strong:
            self._width, self._calm = wide, 0
        if self._is_strong and was_strong:
            to = ceil(wide * AGAIN)
            self._growing, self._grow_to = True, to if self._most is None else min(to, self._most)
            self._last_round = latencies, wide
        if self._is_strong:
            return
        if gained >= HALF:
            self._width = min(wide, ceil(narrow * (wide / narrow) ** gained * ABOVE))
        self._calm = min(CALMEST, self._calm + 1)
