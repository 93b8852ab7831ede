"""Marking: what a worker writes of its own calls, so that others can tell an outage from its own bad luck.

A worker that was well and whose call fails writes that it is bad, and how many calls have failed in a row; with the first good call it
writes that it is good again. In an outage that is two or three lines. A dependency that fails three calls in ten would make eighty lines a
second of it in a fleet of twenty, so the first failure of a row is written only now and then, and the third always: a row of three is rare
where there is no outage, and in one it comes soon after the first.

"Good" is never held back: a worker that is taken for bad and is well would count for an outage that is none.

While the fleet waits or ramps, nothing of that is written. Then only results by stage count, so a worker writes those: as soon as it has
done its part of a stage, or a call was bad, and otherwise once a second. The first second begins with the stage: most of them are shorter,
and have one line of each worker that reports, where they would have a second one for its first result.
"""

from __future__ import annotations

from holdgate.fleet.records import LARGEST_NUMBER, Bad, Good, StageTally

# First failures that are written immediately, and how soon there is another one (per second). With the good word after each, 20 workers
# at a failure rate of 0.3 and ten calls a second write 17 lines a second.
FIRST_FAILURES = 3.0
FIRST_FAILURES_PER_SECOND = 0.15

# The lines about failures after which nobody has a first one to write: so many immediately, and so many per second, for each worker, and
# for so many workers at least. One of each worker is what an outage begins with.
ALL_FAILURES = 1.0
ALL_FAILURES_PER_SECOND = 0.12
LEAST_WORKERS = 20

# So many in a row are always written.
A_ROW = 3

# Between two lines about the same row of failures, and about the same stage (seconds).
MARK_EVERY = 0.2
TALLY_EVERY = 1.0


class _Allowance:
    """So many lines immediately, and so many more per second."""

    __slots__ = ("_at", "_left", "_most", "_per_second")

    def __init__(self, most: float, per_second: float, now: float) -> None:
        self._left = self._most = most
        self._per_second = per_second
        self._at = now

    def has(self, lines: float, now: float) -> bool:
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        return self._left >= lines

    def spend(self, lines: float, now: float) -> None:
        self._left = self._left - lines if self.has(lines, now) else 0.0


class Marking:
    """What one worker has written of one dependency, and what it writes next.

    `due` is when something that was held back is to be written. None means that nothing was.
    """

    __slots__ = ("_at", "_dependency", "_is_open", "_of_all", "_opened", "_own", "_run", "_tally", "_tally_at", "due")

    def __init__(self, dependency: str, now: float) -> None:
        self._dependency = dependency
        self._run = 0  # what we have said; 0 means that we are good
        self._opened = False
        self._is_open = False  # when we last looked, said or not
        self._at = now
        self._own = _Allowance(FIRST_FAILURES, FIRST_FAILURES_PER_SECOND, now)
        self._of_all = _Allowance(ALL_FAILURES, ALL_FAILURES_PER_SECOND, now)  # each line of anybody takes the part of one worker
        self._tally = (0, 0, 0)  # the stage, and its good and bad results as we have written them
        self._tally_at = now  # when we last wrote, or when the stage began
        self.due: float | None = None

    @property
    def is_bad(self) -> bool:
        """Whether we have written that we are bad."""
        return self._run > 0

    def forget(self) -> None:
        """Note that the fleet knows of no failures any more."""
        self._run = 0
        self._opened = False

    def heard(self, callers: int, now: float) -> None:
        """Note that one of `callers` workers, be it this one, has written that it is bad."""
        self._of_all.spend(1 / max(LEAST_WORKERS, callers), now)

    def mark(self, run: int, opened: bool, now: float, *, always: bool = False, is_old: bool = False) -> Bad | Good | None:
        """Return what is to be written of `run` failures in a row. `opened`: the circuit is open by its own rules.

        `always`: hold nothing back. `is_old`: somebody else has had a good call since we have written that it has opened.
        """
        self.due = None
        has_opened, self._is_open = opened and not self._is_open, opened
        if run == 0:
            was_bad = self.is_bad
            self.forget()
            return Good(self._dependency) if was_bad else None
        is_opening = opened and (not self._opened or (has_opened and is_old))
        is_news = is_opening or self._is_news(run, now)
        if not (is_news or (always and not self.is_bad)):
            return None
        self._run, self._opened, self._at = run, opened, now
        return Bad(self._dependency, run, opened)

    def _is_news(self, run: int, now: float) -> bool:
        if not self.is_bad:
            return run >= A_ROW or self._may_be_first(now)
        if self._opened or run <= self._run:  # what comes after the opening changes nothing, a probe included
            return False
        if now - self._at < MARK_EVERY:
            self.due = self._at + MARK_EVERY
            return False
        return True

    def _may_be_first(self, now: float) -> bool:
        if not (self._own.has(1, now) and self._of_all.has(1 / LEAST_WORKERS, now)):
            return False
        self._own.spend(1, now)
        return True

    def tally(self, stage: int, good: int, bad: int, part: int, now: float, *, took: float = 0.0) -> StageTally | None:
        """Return what is to be written of the results of `stage`, of which `part` are this worker's. The good ones took `took` seconds."""
        self.due = None
        if self._tally[0] != stage:
            self._tally, self._tally_at = (stage, 0, 0), now
        _, told_good, told_bad = self._tally
        if (good, bad) == (told_good, told_bad):
            return None
        is_done = told_good + told_bad < part <= good + bad
        if not (is_done or bad > told_bad or now - self._tally_at >= TALLY_EVERY):
            self.due = self._tally_at + TALLY_EVERY
            return None
        self._tally, self._tally_at = (stage, good, bad), now
        return StageTally(self._dependency, stage, good, bad, min(LARGEST_NUMBER, int(1000 * took)))
