"""The permits of one circuit: which are in flight, which of these are slow already, and what becomes of one that comes back late.

Theory of operation
===================

The permits in flight are the only account of what is in flight. No counter goes along with them that could be miscounted, and a swap of
the circuit forgets all of them in one step. There are two dicts, both in the order of issue. The oldest permit is the first key, so finding
it costs the same however many are in flight:

    live     what was issued and has not come back
    overdue  those of them that are older than a slow call may be, moved here as time passes. A dependency that hangs gives no results to
             judge it by, so these are judged before they end (evidence.py)

A permit that is in neither dict has come back before (`SETTLED`), was taken back when its lease ended (`EXPIRED`), or is of an older
generation, and is `LIVE` only by its own account. Its result decides nothing, and is counted here.

What is ugly: `live` has two other writers, for speed. Circuit.try_acquire, `record` and `renew` spell out issue and end, and so do the two
wrappers in runtime/guarded.py. The comment above `Circuit.__slots__` names the tests that hold them to the same.
"""

from __future__ import annotations

from itertools import chain
from math import inf, nextafter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The standing of a permit. Plain integers: they are written twice per call, and an enum's attribute costs a look-up each time.
LIVE = 0
SETTLED = 1
EXPIRED = 2


class Permit:
    """Permission for one call, to be given back once with `Circuit.record` or `Circuit.release`.

    `generation` is the circuit's when the permit was issued; a result of an older generation decides nothing. `acquired_at` is the
    monotonic second of its issue, `weight` how much it counts against a ramp's limit.

    It has no `__init__`, because that would cost more than the rest of an acquire. Only a circuit makes permits, and it sets every field.
    """

    __slots__ = ("acquired_at", "generation", "stage", "standing", "weight")

    acquired_at: float
    generation: int
    weight: int
    standing: int
    stage: int  # the ramp's stage; set on permits of a half-open alone

    def __repr__(self) -> str:
        return f"<Permit generation={self.generation} acquired_at={self.acquired_at:g} weight={self.weight}>"


def issue(generation: int, now: float, weight: int) -> Permit:
    """Return a live permit. `Circuit.try_acquire` has a copy of these lines, to save the call."""
    permit = Permit()
    permit.generation = generation
    permit.acquired_at = now
    permit.weight = weight
    permit.standing = LIVE
    return permit


class PermitsInFlight:
    """Keep the permits of one circuit's generation that have not come back, oldest first, and count those that come back late.

    A call is overdue when it has taken more than `slow` seconds. `late_results` are the results of permits that were not in flight any
    more, `settled_twice` how many permits came back that had come back before.
    """

    __slots__ = ("_slow", "late_results", "live", "overdue", "settled_twice")

    def __init__(self, slow: float) -> None:
        self._slow = slow
        self.live: dict[Permit, None] = {}
        self.overdue: dict[Permit, None] = {}
        self.late_results = self.settled_twice = 0

    def __iter__(self) -> Iterator[Permit]:
        """Yield all that are in flight, oldest first."""
        return chain(self.overdue, self.live)

    @property
    def weight(self) -> int:
        """The weight of all that are in flight."""
        return sum(permit.weight for permit in self)

    def change_slow(self, slow: float) -> None:
        """Judge by another duration. What is overdue is live again, before the younger ones there, until it is looked at again."""
        self._slow = slow
        younger = self.live.copy()
        self.live.clear()
        self.live.update(self.overdue)
        self.live.update(younger)
        self.overdue.clear()

    # -- back from its call -----------------------------------------------------------------------------------------------------------

    def take(self, permit: Permit) -> bool:
        """Settle a permit. Returns False if it is not in flight: then it comes late."""
        permits = self.overdue if permit in self.overdue else self.live
        if permit not in permits:
            return False
        del permits[permit]
        permit.standing = SETTLED
        return True

    def expire(self, permit: Permit) -> None:
        """Take a live permit back, because its lease has ended."""
        del self.live[permit]
        permit.standing = EXPIRED

    def forget(self) -> None:
        """Forget all that are in flight: what they bring back will be late."""
        self.live.clear()
        self.overdue.clear()

    def result_was_late(self, permit: Permit) -> bool:
        """Count the result of a permit that was not in flight. Returns whether its lease had ended."""
        if permit.standing == SETTLED:
            self.settled_twice += 1
            return False
        self.late_results += 1
        had_expired = permit.standing == EXPIRED
        permit.standing = SETTLED
        return had_expired

    def release_was_late(self, permit: Permit) -> None:
        """Note that a permit came back without a result, and was not in flight."""
        self.settled_twice += permit.standing == SETTLED
        permit.standing = SETTLED

    # -- in flight for long -----------------------------------------------------------------------------------------------------------

    def oldest(self) -> Permit | None:
        """Return the oldest one that is live. None means that there is none."""
        return next(iter(self.live), None)

    def collect_overdue(self, now: float) -> int:
        """Move the permits that have become overdue. Returns how many calls are overdue in all."""
        while (oldest := self.oldest()) is not None and now - oldest.acquired_at > self._slow:
            del self.live[oldest]
            self.overdue[oldest] = None
        return len(self.overdue)

    def unchanged_until(self, now: float) -> float:
        """Return the time before which nothing here can change the circuit.

        It is in the past while a call is overdue, because the window that is judged with it changes with every result.
        """
        if self.overdue:
            return -inf
        oldest = self.oldest()
        since = now if oldest is None else oldest.acquired_at
        return nextafter(since + self._slow, -inf)  # a sum that was rounded up would hide a call that is just overdue

    def next_overdue(self) -> float | None:
        """Return when the oldest live call will be overdue. None means that there is none, or that no call is ever slow."""
        oldest = self.oldest()
        if oldest is None or self._slow == inf:
            return None
        start = oldest.acquired_at
        at = start + self._slow
        # Overdue is strictly more than the duration. A timer for the exact end would find nothing, and be set for the same time for ever.
        while at - start <= self._slow:
            at = nextafter(at, inf)
        return at
