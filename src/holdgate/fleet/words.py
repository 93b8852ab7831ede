"""Operators' words for the whole fleet: hold, release, force_open and reset, with who gave them, why, and for how long.

A word is an order, and no agreement of workers, so it needs no quorum and no conductor, and it outlives a log that has fallen silent: a
worker that has read a hold keeps it until its end. It ends by another word, by its expiry, or at each worker by what an operator orders
there.

    hold, force_open   the fleet waits, and nobody probes. They differ in what the workers show of themselves
    release            ends either. The fleet then comes back as from an outage: one probe, then the ramp
    reset              everything is well, at the full rate immediately

A worker that comes later must hear of it, and reads the last seconds of the log alone. So a word that is in force is repeated, with the
time that is left of it. A repetition has the number of its word, and never outdoes a word with a larger one; a new word outdoes whatever
the log had before it. So an old hold that one worker repeats just after its release is not revived.

A worker that was cut off for minutes reads all of it in one moment: a hold of that time, which it takes for new, and then its repetitions,
of which each has less time left. So a repetition of the word that a worker knows may bring its end nearer, and never puts it off.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import ceil, inf

from holdgate.fleet.records import LARGEST_NUMBER, FleetOrder

# Between two repetitions of a word that is in force (seconds): well within what a newcomer reads, and 360 records an hour.
REPEATED_EVERY = 10.0


class Word(Enum):
    """What an operator may say to the whole fleet."""

    HOLD = "hold"
    RELEASE = "release"
    FORCE_OPEN = "force_open"
    RESET = "reset"


@dataclass(slots=True)
class Standing:
    """A word that is in force, or the last one that was. `until` is in seconds of the reader; inf means until another word.

    One object for each word, by which readers know whether they have announced it: a repetition changes its `until` alone.
    """

    word: Word
    reason: str
    actor: str
    until: float


class Words:
    """The words for one dependency, as far as the log has been read."""

    __slots__ = ("_heard_at", "last", "number")

    def __init__(self) -> None:
        self.number = 0
        self.last: Standing | None = None
        self._heard_at = 0.0

    def hear(self, order: FleetOrder, now: float) -> bool:
        """Take in a word. Returns whether it is news."""
        if order.again and order.number <= self.number:
            if order.number == self.number:
                self._repeats(order, now)
            return False
        # Who has come after older words counts on from the writer's number: a late repetition of one of these would seem new otherwise.
        # Never past what a record can carry, or nobody could say anything any more.
        self.number = order.number if order.again else min(max(self.number + 1, order.number), LARGEST_NUMBER)
        self.last = Standing(Word(order.word), order.reason, order.actor, now + order.lasts if order.lasts else inf)
        self._heard_at = now
        return True

    def _repeats(self, order: FleetOrder, now: float) -> None:
        self._heard_at = now
        last = self.last
        if last is not None and last.word.value == order.word and order.lasts and now + order.lasts < last.until:
            last.until = now + order.lasts

    def holds(self, now: float) -> bool:
        """Return whether a word keeps the fleet from the dependency."""
        return self.last is not None and self.last.word in {Word.HOLD, Word.FORCE_OPEN} and now < self.last.until

    def ended_at(self, now: float) -> float:
        """Return when the last hold ended by itself; long ago if none did."""
        return self.last.until if self.last is not None and self.last.until <= now else -inf

    def in_force(self, now: float) -> Standing | None:
        """Return the word that keeps the fleet from the dependency. None means that there is none."""
        return self.last if self.holds(now) else None

    def ends_at(self, now: float) -> float | None:
        """Return when the word in force ends by itself. None means that it does not, or that there is none."""
        return self.last.until if self.last is not None and self.holds(now) and self.last.until < inf else None

    def repeat_at(self, lot: float, now: float) -> float | None:
        """Return when to repeat the word in force if nobody does so before. `lot`: a number in [0, 1). None means never."""
        return self._heard_at + REPEATED_EVERY * (1 + lot) if self.holds(now) else None

    def wants_repetition(self, lot: float, now: float) -> bool:
        at = self.repeat_at(lot, now)
        return at is not None and now >= at

    def repeated(self, now: float) -> None:
        """Note that this worker repeats it now."""
        self._heard_at = now

    def repetition(self, dependency: str, now: float) -> FleetOrder | None:
        """Return the record that repeats the word in force. None means that there is none."""
        word = self.in_force(now)
        if word is None:
            return None
        lasts = 0 if word.until == inf else max(1, ceil(word.until - now))
        return FleetOrder(dependency, word.word.value, self.number, again=True, lasts=lasts, reason=word.reason, actor=word.actor)
