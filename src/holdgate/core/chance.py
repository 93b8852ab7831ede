"""Whether "not so fast" is said by chance: then to call less often would not help, and the pace would fall and fall.

Theory of operation
===================

Behind a rate limit a refusal is no accident. There was no token, so a call right after it is refused as well; and one that yields is not
refused for a while. Where one call in fifty is refused whatever else goes on, the next one is let in, and a lower pace changes nothing.

    suspected   the pace has fallen to half of what it was, by one yield after another
    tested      then the call that asks does so immediately. Three that are let in, one after another, are an answer; one that is refused
                is the other, and the lower pace is what it has to fall from next time
    known       refusals are excused as long as they come about as often as by chance. They shut no gate and cost no pace
    doubted     if they come three times as often, one is taken for a limit's; and if that happens again and again, nothing is known

So what is excused is bounded, by three times the share that was refused before. A limit of hundreds a second has a token again before any
call can ask, so that a test says nothing there. Its refusals grow with the pace, and end the excuse.
"""

from __future__ import annotations

from math import log

QUICKEST = 15.0
FALLEN = 0.25  # of the best pace: three to six yields, which those that share a limit see only when others come
TESTS = 4  # let in right after a refusal: in front of a bucket of ten a second each is so one time in four
IMMEDIATELY = 0.02  # seconds: what comes later may have met a new token
OFTEN = 3.0  # times as often as by chance
ENOUGH = (
    4.0  # evidence of that, in natural logarithms: four refusals on end, or many a little too often. By chance once in thousands of calls
)
REMEMBERED = 1000.0  # calls over which the share is a mean
LEAST = 0.005  # a share of which less cannot be told from none
DOUBTS = 3  # limits in a row with fewer than `CALM` calls between them: it was no chance
CALM = 200


class ChanceRefusals:
    """Tell refusals by chance from those of a limit. `is_known`: they are by chance; `is_tested`: the next call is to ask immediately."""

    __slots__ = ("_best", "_calls", "_doubts", "_evidence", "_refused", "_share", "_since", "_tests", "is_known", "is_tested")

    def __init__(self) -> None:
        self.is_known = False
        self.is_tested = False
        self._best = 0.0  # the pace to fall from
        self._tests = 0
        self._calls = 1.0
        self._refused = 0.0
        self._evidence = 0.0
        self._share = LEAST  # of calls that are refused by chance
        self._doubts = 0
        self._since = 0  # calls let in since the last limit

    def let_in(self) -> None:
        """Count a call that was let in."""
        self._count(0.0)
        self._since += 1
        if self.is_known:
            share = self._share = min(self._share, self._seen)
            self._evidence = max(0.0, self._evidence + log((1 - OFTEN * share) / (1 - share)))

    def refuse(self, pace: float | None) -> bool:
        """Count a refusal at this pace. Returns whether it is one by chance."""
        self._count(1.0)
        if self.is_known:
            return self._excuses()
        if pace is not None:
            self._best = max(self._best, min(pace, QUICKEST))
            self.is_tested = pace < FALLEN * self._best
        return False

    def answer(self, *, was_let_in: bool, after: float) -> bool:
        """Take the result of a call that has asked so many seconds after a refusal. Returns True if it was the last that is needed."""
        is_test, self.is_tested = self.is_tested and after <= IMMEDIATELY, False
        if not is_test:
            return False
        self._tests = self._tests + 1 if was_let_in else 0
        if not was_let_in:
            self._best = 0.0
        if self._tests < TESTS:
            return False
        self.is_known = True
        self._share = self._seen
        self._tests = self._doubts = 0
        self._evidence = 0.0
        return True

    @property
    def best(self) -> float:
        """The pace from which it has fallen."""
        return self._best

    @property
    def _seen(self) -> float:
        return min(1 / (2 * OFTEN), max(LEAST, self._refused / self._calls))

    def _count(self, refused: float) -> None:
        keep = 1 - 1 / REMEMBERED
        self._calls = self._calls * keep + 1
        self._refused = self._refused * keep + refused

    def _excuses(self) -> bool:
        self._evidence += log(OFTEN)
        if self._evidence < ENOUGH:
            return True
        self._evidence = 0.0
        self._doubts = self._doubts + 1 if self._since < CALM else 1
        self._since = 0
        if self._doubts >= DOUBTS:
            self.is_known = False
            self._best = 0.0
        return False
