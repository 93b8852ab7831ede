"""How many bytes of messages a guard has in hand, and which source may be fetched from: the rules behind `Guard(memory=)`.

A count of messages bounds no memory: 500 messages are half a megabyte, or four gigabytes. So three things are bounded in bytes.

- **What waits of one source**, at its *share*: the bound by the number of sources, and never more than a sixteenth of it. A handler needs
  a few messages ahead to be kept busy, and a single source of big ones has no use for 64 MiB of them. Batches are taken out of what waits,
  so a source of a run with batches has the bound by the number of sources.
- **What is in hand of all sources**, at three quarters of the bound; a quarter is for what a client reads ahead on its own. Past it the
  guard is *tight* and no source is read, until an eighth less is in hand: to read one message for each that ends would be a turn for each.
- **What goes on when it is tight.** A source of small messages goes on in a corner of its own, an eighth of the bound by the number of
  sources: else one source's big messages would be an outage for all. Among the sources of big messages, it may be that only held ones have
  something in hand. Then the others are read all the same: one message may always pass, however large.

What is in hand is not counted per message, which would cost more than the whole engine does. It is weighed poll by poll as it comes in. For
each poll we know how many of its messages are finished, and the rest counts at the mean size of its poll. That is exact for big messages,
of which a poll has one or a few. The sum over all sources is made anew each time an eighth of what there may be has come in.

Fullness is back-pressure: it clears `fetch`, is never a reason, and never shows as held.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.flow.state import Assignment, Run

# A source's share is never more than this part of the bound, however few sources there are.
_SHARES = 16
# While it is tight, the sum is made anew when a source has worked off half of what waits, and at least so often (seconds).
_LOOK_EVERY = 0.1
# With more assignments than this, the sum is made no more often than this many seconds for each: a look at one takes a tenth of that.
_CHEAP = 100
_PER_ASSIGNMENT = 1e-5


class Memory:
    """What the assignments of one engine have in hand, in bytes, and what they may have. `bound` None means that there is no bound."""

    __slots__ = ("_came", "_corner", "_count", "_look_at", "_not_before", "_runs", "bound", "due", "held", "share", "tight", "waiting")

    def __init__(self, bound: int | None, runs: Collection[Run] = ()) -> None:
        self.bound = bound
        self.tight = False
        self.due = False  # while it is tight: something has ended, so that the sum is to be made anew
        self.held = 0  # when it was last made
        self.waiting = 0  # how many sources are not read because it is tight
        self._came = 0  # bytes since then
        self._runs = runs
        self._look_at = 0.0
        self._not_before = -inf
        self._count = 0
        self.resize()

    def resize(self) -> None:
        """Work out the shares anew: assignments have come or gone."""
        self._count = max(1, sum(len(run.assignments) for run in self._runs))
        bound = self.bound or 0
        self.share = bound // max(self._count, _SHARES)  # what may wait of one source, in bytes
        self._corner = bound // (8 * self._count)

    def came(self, assignment: Assignment, size: int) -> None:
        """Note that so many bytes more came in for this assignment."""
        self._came += size
        if self.tight:
            self.due = True
        if self.bound is not None and not assignment.full and assignment.weights.most >= self.share and self.is_enough(assignment):
            assignment.stop_fetching()

    def freed(self) -> None:
        """Note that something has ended: while it is tight, the sum is to be made anew."""
        self.due = self.tight

    def is_enough(self, assignment: Assignment) -> bool:
        """Return whether as much waits here as may, by its share. Never if the broker sends what it likes: it is here all the same."""
        if self.bound is None or assignment.run.sends_unasked:
            return False
        share = self.share if assignment.run.batch is None else self.bound // self._count
        return assignment.weights.newest(assignment.inbox.waiting) >= share

    @property
    def is_due(self) -> bool:
        """Whether the sum is to be made anew: an eighth of what there may be has come in, or it is tight and something has ended."""
        return self.bound is not None and (self.due or self._much_came)

    def review(self, now: float) -> None:
        """Make the sum anew if that is due, and stop or resume fetching by it. Called at every turn."""
        is_time = self.tight and now >= self._look_at
        if self.bound is None or not (is_time or self._much_came or (self.due and now >= self._not_before)):
            return
        self.due, self._came, self._look_at = False, 0, now + _LOOK_EVERY
        self._not_before = now + max(0, self._count - _CHEAP) * _PER_ASSIGNMENT
        assignments = list(self.assignments())
        before = self.tight
        self.held = sum(assignment.weigh() for assignment in assignments)
        # Room for two more of the biggest: for the one that a client has asked for already, and for the copies it makes on the way.
        biggest = max((assignment.weights.typical for assignment in assignments if assignment.weights.most), default=0)
        limit = self._limit - min(2 * biggest, self._limit // 2)
        self.tight = self.held > (limit * 7 // 8 if before else limit)
        self.waiting = 0
        if self.tight or before:
            kept = self._kept_waiting(assignments) if self.tight else ()
            for assignment in assignments:
                if assignment in kept or assignment.has_enough:
                    assignment.stop_fetching()
                else:
                    assignment.resume_fetching()

    def _kept_waiting(self, assignments: Iterable[Assignment]) -> Collection[Assignment]:
        """Return those that may not be read because it is tight."""
        expected: dict[tuple[Run, str], int] = {}  # for an assignment that has had nothing yet: what came of others of its name
        for assignment in assignments:
            name = assignment.run, assignment.source.name
            expected[name] = max(expected.get(name, 0), assignment.weights.typical)
        big: dict[Assignment, None] = {}
        small: dict[Assignment, None] = {}
        for assignment in assignments:
            if not assignment.run.sends_unasked:  # the process has it already: not to take it saves nothing
                typical = assignment.weights.typical or expected[assignment.run, assignment.source.name]
                (small if typical <= self._corner else big)[assignment] = None
        kept = {assignment: None for assignment in small if assignment.weights.most >= self._corner}
        if any(assignment.weights.most for assignment in big if not assignment.held):  # otherwise one message of theirs may pass
            kept |= big
        self.waiting = sum(not assignment.has_enough for assignment in kept)
        return kept

    def sum(self) -> int:
        """Return what is in hand now, in bytes."""
        return sum(assignment.weigh() for assignment in self.assignments())

    def assignments(self) -> Iterator[Assignment]:
        """Return the assignments of all runs."""
        return (assignment for run in self._runs for assignment in run.assignments.values())

    @property
    def _much_came(self) -> bool:
        return self._came > self._limit // 8

    @property
    def _limit(self) -> int:
        return (self.bound or 0) * 3 // 4
