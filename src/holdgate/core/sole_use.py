"""Whether nobody else draws from a rate limit: then its border is a fact, and need not be climbed to again and again.

Theory of operation
===================

Who shares a limit is refused at one pace today and at another tomorrow, because the others move. Who has it alone is refused at the same
place each time. So a refusal is compared with the one before, in two ways, and three that agree in either are an answer:

    the pace at the refusal   is the limit itself where a bucket has no room for a burst: a single call that comes too early is refused
    what was let in           is the limit where a bucket has room: the burst is used up first, and the pace is far over the limit by then

The first is believed before the second: in front of a bucket without room, what was let in is always less than the limit.

With an answer the pace stays a little under the pace of the refusal, or at what was let in, which is exact or a little less. It does not
climb. A worker that is refused there nevertheless was wrong: the pace was no limit, or somebody else has come. Then everything begins anew,
and the next such pace is believed by a little less; after the third doubt only what was let in counts. A ramp that is refused close above
it confirms it: all the calls before the ramp were let in there.

Among ten that share, three refusals within 1.5 % are rare, and a wrong answer costs one refusal. What it does for who is alone: at one call
in five seconds, a refusal in 200 calls instead of one in ten.
"""

from __future__ import annotations

SAME = 0.015  # two figures that are nearer are the same: calls come one by one, so neither is exact
ANSWERS = 2  # agreements in a row: one alone is chance once in ten times among those that share
NEAR = 1.15  # times the pace: a ramp that came further has used up a burst, and then ends at the same place each time, too
UNDER = 0.97  # of a pace at a refusal: the climb has passed the limit by up to two calls' worth
DOUBTS = 2  # wrong answers by the pace, after which it is believed no more


class SoleUse:
    """Compare refusals. `holds` is whether the pace stays where `limit` has put it."""

    __slots__ = ("_doubts", "_let_in", "_refused_at", "_same_let_in", "_same_refused_at", "holds")

    def __init__(self) -> None:
        self.holds = False
        self._refused_at = 0.0
        self._let_in = 0.0
        self._same_refused_at = 0
        self._same_let_in = 0
        self._doubts = 0

    def limit(self, pace: float, refused_at: float, let_in: float, *, in_ramp: bool) -> float | None:
        """Return the pace to stay at, after a refusal. None means that nothing shows one.

        `pace` is the one without a ramp, `refused_at` that of the refused call, `let_in` what was let in a second since the last refusal.
        `in_ramp`: the call was refused while a ramp ran.
        """
        if self.holds and in_ramp and refused_at <= pace * NEAR:
            return pace
        was_wrong = self.holds and refused_at <= pace * (1 + SAME)
        if was_wrong:
            self._doubts += 1
            self._same_refused_at = self._same_let_in = 0
        else:
            is_near = refused_at <= pace * NEAR
            self._same_refused_at = _count(self._same_refused_at, refused_at, self._refused_at) if is_near else 0
            self._same_let_in = _count(self._same_let_in, let_in, self._let_in)
        self._refused_at, self._let_in = refused_at, let_in
        limit = None if was_wrong else self._answer()
        if self.holds and limit is not None:  # confirmed by a ramp: what was let in was less, because the pace was held
            limit = max(limit, pace)
        self.holds = limit is not None
        return limit

    def _answer(self) -> float | None:
        if self._same_refused_at >= ANSWERS and self._doubts <= DOUBTS:
            return float(self._refused_at * UNDER ** (1 + self._doubts))
        return self._let_in if self._same_let_in >= ANSWERS else None


def _count(before: int, figure: float, last: float) -> int:
    """Return how many figures in a row agree with the one before."""
    return before + 1 if abs(figure - last) <= SAME * figure else 0
