"""Marking: what a worker writes of its own calls, so that others can tell an outage from its own bad luck.

A worker that was well and whose call fails writes that it is bad, and how many calls have failed in a row; with the first good call it
writes that it is good again. In an outage that is two or three lines. A dependency that fails three calls in ten would make eighty lines a
second of it in a fleet of twenty, so the first failure of a row is written only now and then, and the third always: a row of three is rare
where there is no outage, and in one it comes soon after the first.

"Good" is never held back: a worker that is taken for bad and is well would count for an outage that is none.

While the fleet waits or ramps, nothing of that is written. Then only results by stage count, so a worker writes those: as soon as it has
done its part of a stage, or a call was bad, and otherwise once a second.
"""

from __future__ import annotations

from holdgate.fleet.records import LARGEST_NUMBER, Bad, Good, StageTally

# First failures that are written immediately, and how soon there is another one (per second). With the good word after each, 20 workers
# at a failure rate of 0.3 and ten calls a second write 17 lines a second.
FIRST_FAILURES = 3.0
FIRST_FAILURES_PER_SECOND = 0.15

# So many in a row are always written.
A_ROW = 3

# Between two lines about the same row of failures, and about the same stage (seconds).
MARK_EVERY = 0.2
TALLY_EVERY = 1.0


class Marking:
    """What one worker has written of one dependency, and what it writes next.

    `due` is when something that was held back is to be written. None means that nothing was.
    """

    __slots__ = ("_allowed", "_allowed_at", "_at", "_dependency", "_opened", "_run", "_tally", "_tally_at", "due")

    def __init__(self, dependency: str, now: float) -> None:
        self._dependency = dependency
        self._run = 0  # what we have said; 0 means that we are good
        self._opened = False
        self._at = now
        self._allowed = FIRST_FAILURES
        self._allowed_at = now
        self._tally = (0, 0, 0)  # the stage, and its good and bad results as we have written them
        self._tally_at = now
        self.due: float | None = None

    @property
    def is_bad(self) -> bool:
        """Whether we have written that we are bad."""
        return self._run > 0

    def forget(self) -> None:
        """Note that the fleet knows of no failures any more."""
        self._run = 0
        self._opened = False

    def mark(self, run: int, opened: bool, now: float, *, always: bool = False) -> Bad | Good | None:
        """Return what is to be written of `run` failures in a row. `opened`: by the circuit's own rules. `always`: hold nothing back."""
        self.due = None
        if run == 0:
            was_bad = self.is_bad
            self.forget()
            return Good(self._dependency) if was_bad else None
        if not (self._is_news(run, opened, now) or (always and not self.is_bad)):
            return None
        self._run, self._opened, self._at = run, opened, now
        return Bad(self._dependency, run, opened)

    def _is_news(self, run: int, opened: bool, now: float) -> bool:
        if opened != self._opened:
            return True
        if not self.is_bad:
            return run >= A_ROW or self._may_be_first(now)
        if opened or run <= self._run:  # what comes after the opening changes nothing
            return False
        if now - self._at < MARK_EVERY:
            self.due = self._at + MARK_EVERY
            return False
        return True

    def _may_be_first(self, now: float) -> bool:
        gained = (now - self._allowed_at) * FIRST_FAILURES_PER_SECOND
        self._allowed = min(FIRST_FAILURES, self._allowed + gained)
        self._allowed_at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    def tally(self, stage: int, good: int, bad: int, part: int, now: float, *, took: float = 0.0) -> StageTally | None:
        """Return what is to be written of the results of `stage`, of which `part` are this worker's. The good ones took `took` seconds."""
        self.due = None
        told_stage, told_good, told_bad = self._tally
        if told_stage != stage:
            told_good = told_bad = 0
        if (good, bad) == (told_good, told_bad):
            return None
        is_done = told_good + told_bad < part <= good + bad
        if not (is_done or bad > told_bad or now - self._tally_at >= TALLY_EVERY):
            self.due = self._tally_at + TALLY_EVERY
            return None
        self._tally, self._tally_at = (stage, good, bad), now
        return StageTally(self._dependency, stage, good, bad, min(LARGEST_NUMBER, int(1000 * took)))
