"""What is known of the records of one topic by their places, when they come again: settled, with a dead letter, or suspected.

A record that was settled here is accepted without a handler, and gets no second dead letter. It is settled when its handler has succeeded,
or its letter is confirmed. Whether the broker has heard of that is another question: a copy's record lies at the broker, and an accept may
come after the lock. So the places are remembered until the records come again.

Letters have rules of their own, because what writes one is not always who settles the record. Two workers that both have a record, the one
by its lock and the other by a copy, would write two letters of it. So a letter belongs to the lock:

- It is begun only before the time at which records go back. What is rejected later goes back, and its next worker rejects it.
- Where one is under way then, the record stays until the letter has ended, or until the broker's answer would come too late.
- A copy has no lock, and so no letter: it is put aside, and the worker that gets the record rejects that. One whose record the broker does
  not have any more has no other way out than its letter. Neither has one whose letter had failed while its record was ours: without a
  target for letters nobody can reject it, and to wait with the record in hand would cost its deliveries.
- One that is confirmed too late is remembered here, and its record accepted when it comes again.
- One that has no answer for a minute is taken for failed: a target that hangs must not stop the topic.

What is left: a process that dies, or loses its connection, between the confirmation and the accept; a target that takes longer than the
rest of a lock, or is away for longer than a lock while several workers have the record in turn. Each of these may cost a second letter.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdgate.brokers.share.client import Place
from holdgate.flow.blame import FailureHistory

# What was settled and may come again is remembered so far: a few hundred kilobytes.
_REMEMBERED = 10_000
# And for so many seconds: a group that is set back is to handle its records once more.
_REMEMBERED_FOR = 3600.0
# More messages that fail by themselves than this are an outage.
_SUSPECTS = 1000


class Settled:
    """The places of records that were settled here, and may come again. `now` is on the event loop's clock."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: dict[Place, float] = {}

    def add(self, places: Iterable[Place], now: float) -> None:
        """Remember these, and forget the oldest where there are too many."""
        for place in places:
            self._since.pop(place, None)
            self._since[place] = now
        for place in list(self._since)[: max(0, len(self._since) - _REMEMBERED)]:
            del self._since[place]

    def has(self, place: Place, now: float) -> bool:
        """Return whether the record of this place was settled here, not too long ago."""
        since = self._since.get(place)
        return since is not None and now - since < _REMEMBERED_FOR

    def forget(self, place: Place) -> None:
        """Note that the broker has heard of it."""
        self._since.pop(place, None)


class Suspects:
    """What speaks against records that went back, by their places: each delivery would else be tried as if it were the first.

    A message that fails by its own fault must be found out before its deliveries are used up.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Place, tuple[FailureHistory, float]] = {}

    def keep(self, place: Place, history: FailureHistory | None, now: float) -> None:
        """Remember what is known of a record that goes back. Nothing speaks against one that has only met an outage."""
        self._known.pop(place, None)
        if history is not None and history.counted:
            self._known[place] = history, now
        for oldest in list(self._known)[: max(0, len(self._known) - _SUSPECTS)]:
            del self._known[oldest]

    def take(self, place: Place, now: float) -> FailureHistory | None:
        """Return what this record begins with, now that it comes again. None means that nothing is known."""
        history, since = self._known.pop(place, (None, 0.0))
        return history.come_again() if history is not None and now - since < _REMEMBERED_FOR else None


class Letters:
    """The dead letters that are under way, and those that have failed, by the places of their records."""

    __slots__ = ("_failed", "_under_way")

    def __init__(self) -> None:
        self._under_way: set[Place] = set()
        self._failed: dict[Place, None] = {}  # in the order in which they have failed

    def is_under_way(self, place: Place) -> bool:
        """Return whether nobody knows yet what becomes of this one's letter."""
        return place in self._under_way

    def has_failed(self, place: Place) -> bool:
        """Return whether the last letter of this one has failed."""
        return place in self._failed

    def begin(self, place: Place) -> None:
        """Note that a letter is on its way."""
        self._failed.pop(place, None)
        self._under_way.add(place)

    def end(self, place: Place, *, confirmed: bool) -> None:
        """Note what has become of it."""
        self._under_way.discard(place)
        if not confirmed:
            self._failed.pop(place, None)
            self._failed[place] = None
            if len(self._failed) > _REMEMBERED:  # records of other workers by now, which never come here again
                del self._failed[next(iter(self._failed))]

    def forget_failure(self, place: Place) -> None:
        """Note that the record is in hand once more, and has a lock again."""
        self._failed.pop(place, None)
