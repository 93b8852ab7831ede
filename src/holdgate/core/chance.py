"""Whether "not so fast" is said by chance: then to call less often would not help, and the pace would fall and fall.

Theory of operation
===================

Behind a rate limit a refusal is no accident. There was no token, so a call right after it is refused as well. Where one call in fifty is
refused whatever else goes on, the next ones are let in, and a lower pace changes nothing. How often one is refused cannot tell the two: a
worker that shares a limit with nine others climbs and yields until one call in fifty is refused, too.

    tested      after some refusals the next calls ask immediately (refusal_test.py): one, after the next refusal two, and then four. If
                most are let in each time, that is the answer. If most are refused, that is the other, and the next test comes only after
                three times as many refusals, or when the pace has fallen to a quarter
    known       refusals are excused as long as they come about as often as by chance. They shut no gate and cost no pace
    doubted     if they come three times as often, four calls ask immediately. If most of these are refused it was a limit; and if that
                happens again and again, nothing is known

So where there is a limit few tests are made, and most cost one refusal. What is excused is bounded, by three times the share that was
refused before.
"""

from __future__ import annotations

from enum import Enum
from math import log

from holdgate.core.refusal_test import RefusalTest

FIRST_AFTER = 4  # refusals before the first test: the first ones of a limit come together, when its burst is used up
LATER = 3  # times as many before the next one, if a test was refused
LATEST = 32  # refusals at most: a 32nd more is wasted where there is a limit, and what turns to chance is found out
FALLEN = 0.25  # of the best pace: by so many yields on end that it is time for a test, however slowly refusals come now
SIZES = (1, 2, 4)  # calls of a test: each may cost as many refusals, and only the first is made without a hint
STRONG_HINT = 2  # tests in a row: one alone is let in once in five times by ten a second
OFTEN = 3.0  # times as often as by chance
ENOUGH = 4.0  # evidence of that, in natural logarithms: four refusals on end, or many a little too often
REMEMBERED = 1000.0  # calls over which the share is a mean
LEAST = 0.005  # a share of which less cannot be told from none
DOUBTS = 3  # limits in a row with fewer than `CALM` calls between them: it was no chance
CALM = 200


class ChanceVerdict(Enum):
    """What a test has shown. NOTHING: too few calls have asked, and none of them was refused; or as many were let in as refused,
    for the first time."""

    LIMIT = "limit"
    NOTHING = "nothing"
    HINT = "hint"
    CHANCE = "chance"


class ChanceRefusals:
    """Tell refusals by chance from those of a limit.

    `is_known`: they are by chance. `test`: what runs after a refusal; None is nothing. `best`: the pace from which it has fallen. `most` is
    how many calls may be in flight, if a user has said so.
    """

    # fmt: off
    __slots__ = (
        "_calls", "_doubts", "_evidence", "_is_even", "_passed", "_refusals", "_refused", "_share", "_since", "_sizes", "_wait", "best",
        "is_known", "test",
    )
    # fmt: on

    def __init__(self, most: int | None = None) -> None:
        self.is_known = False
        self.test: RefusalTest | None = None
        self.best = 0.0
        self._sizes = tuple(size if most is None else min(size, most) for size in SIZES)
        self._passed = 0  # tests in a row
        self._is_even = False  # half of the last test was let in
        self._refusals = 0  # since the last test that was refused
        self._wait = FIRST_AFTER
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

    def refuse(self) -> bool:
        """Count a refusal. Returns whether it is excused, as one by chance."""
        self._count(1.0)
        if self.is_known:
            self._evidence += log(OFTEN)
        return self.is_known and self._evidence < ENOUGH

    def consider(self, now: float, pace: float | None) -> None:
        """Begin a test if it is time for one: a refusal at this pace has shut the gate."""
        if self.is_known:
            self.test = RefusalTest(self._sizes[-1], now)
            return
        self._refusals += 1
        if pace is None:
            return
        self.best = max(self.best, pace)
        if self._passed or self._refusals >= self._wait or pace < FALLEN * self.best:
            self.test = RefusalTest(self._sizes[self._passed], now)

    def conclude(self, test: RefusalTest) -> ChanceVerdict:
        """Judge a test that is over."""
        self.test = None
        was_even, self._is_even = self._is_even, 2 * test.let_in == test.size
        if test.let_in == test.asked < test.size or (self._is_even and not was_even):
            return ChanceVerdict.NOTHING
        self._is_even = False
        self._evidence = 0.0
        if 2 * test.let_in <= test.size:
            self._find_limit()
            return ChanceVerdict.LIMIT
        if not self.is_known:
            self._passed += 1
            if self._passed < len(self._sizes):
                return ChanceVerdict.HINT
            self._find_chance()
        return ChanceVerdict.CHANCE

    def _find_chance(self) -> None:
        self.is_known = True
        self._share = self._seen
        self._passed = self._doubts = 0

    def _find_limit(self) -> None:
        if not self.is_known:
            if self._passed < STRONG_HINT:
                self._wait = min(LATEST, self._wait * LATER)
            self._passed = self._refusals = 0
            self.best = 0.0  # and the next one is where it has to fall from
            return
        self._doubts = self._doubts + 1 if self._since < CALM else 1
        self._since = 0
        if self._doubts >= DOUBTS:
            self.is_known = False
            self._refusals = 0
            self.best = 0.0

    @property
    def _seen(self) -> float:
        return min(1 / (2 * OFTEN), max(LEAST, self._refused / self._calls))

    def _count(self, refused: float) -> None:
        keep = 1 - 1 / REMEMBERED
        self._calls = self._calls * keep + 1
        self._refused = self._refused * keep + refused
