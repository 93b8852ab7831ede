"""Members: who else is in the fleet, by what this worker has read, and by its own clock.

A worker says when it will speak again. One that has been silent for three times as long is gone; one that leaves in order says so. In quiet
times a beat comes every half minute, and as soon as somebody is in trouble every two seconds. So a member that was lost in a quiet time is
noticed within three short beats of the first trouble: then every worker that lives has spoken.

No time of another machine is looked at. An age is what this worker's own clock has counted since it read the record.

A stranger may flood the log, so each worker has a budget of records that are read. A worker of ours writes at most ten a second, and in the
last thirty seconds of the log, which a newcomer reads in one piece, it may have three hundred. A budget is larger than that, so it skips no
record of a worker that keeps to the rules. What one skips, another may have read: two workers may disagree about a flood until the next
verdict.

A worker numbers its records. One may come again, because its writer was told that it is lost, or because somebody writes what it has read,
and a verdict of a minute ago would be in force once more. So a number must be above the last one. One far below is not of these: somebody
has made up a large one, and for that no worker must fall silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from holdgate.fleet.records import Here, Need

# Between two words of a worker while something is wrong, and while nothing is (seconds). At thirty twenty workers write less than 400 kB in
# an hour, and nobody needs to know sooner.
SHORT_BEAT = 2
LONG_BEAT = 30

# In trouble so many words a second are enough, of all workers together; but each speaks at least so often (seconds). A worker that is gone
# is missed after three of its beats, and holds nobody up: its share of a ramp is small where there are many.
WORDS_PER_SECOND = 5
LONGEST_SHORT_BEAT = 4

# One beat may be late, and one lost.
BEATS = 3

# A fleet that is larger needs another design. A log that is flooded with made-up workers fills no memory.
MOST_MEMBERS = 1000

# What a worker may have in the log in one burst, and what it gains per second: several times what it writes.
RECORDS = 1000.0
RECORDS_PER_SECOND = 30.0

# How far below the last number a record is one that comes again. A worker writes a tenth of that in the half minute that a newcomer reads.
FAR_BACK = 3000

# The dependencies of one worker that are remembered, beside those that this one needs, too. A stranger may make up new ones in each record.
MOST_OTHERS = 128

# The workers that are remembered, and for how many seconds those that write nothing are. A stranger may make up as many as it likes.
MOST_WORKERS = 1000
FORGOTTEN_AFTER = 60.0
SWEPT_EVERY = 1.0


@dataclass(slots=True)
class Member:
    """What a worker has said of itself, and when this one has read it."""

    heard_at: float
    beat: int
    needs: dict[str, Need] = field(default_factory=dict["str", "Need"])


class Roster:
    """The members of one fleet, this worker included once it has read its own word."""

    __slots__ = ("_counted", "_members")

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._counted: dict[str, tuple[int, int]] = {}  # callers and their calls; asked for far more often than it changes

    def __contains__(self, worker: str) -> bool:
        return worker in self._members

    def items(self) -> Iterator[tuple[str, Member]]:
        return iter(self._members.items())

    @property
    def short_beat(self) -> int:
        """Return how often each of so many workers speaks while something is wrong (seconds)."""
        return max(SHORT_BEAT, min(LONGEST_SHORT_BEAT, len(self._members) // WORDS_PER_SECOND))

    def here(self, worker: str, said: Here, now: float, own: Container[str] = ()) -> None:
        """Note that a worker is there, and what it needs. `own`: what this one needs."""
        member = self._members.get(worker)
        if member is None:
            if len(self._members) >= MOST_MEMBERS:
                return
            member = self._members[worker] = Member(now, said.beat)
        member.heard_at = now
        member.beat = max(SHORT_BEAT, min(LONG_BEAT, said.beat))
        for need in said.needs:
            if need.dependency in own or need.dependency in member.needs or len(member.needs) < MOST_OTHERS:
                member.needs[need.dependency] = need
        self._counted.clear()

    def spoke(self, worker: str, now: float) -> None:
        """Note that a worker has written anything at all."""
        member = self._members.get(worker)
        if member is not None:
            member.heard_at = now

    def refresh(self, now: float) -> None:
        """Note that nobody could have been heard lately: it was this worker that did not listen."""
        for member in self._members.values():
            member.heard_at = now

    def bye(self, worker: str) -> None:
        """Note that a worker has left in order."""
        self._members.pop(worker, None)
        self._counted.clear()

    def silent(self, now: float, troubled: Container[str]) -> list[str]:
        """Return who has not spoken when it should have. A worker that needs one of `troubled` has had reason to for three beats."""
        return [worker for worker, member in self._members.items() if now - member.heard_at > BEATS * self._beat(member, troubled)]

    def silent_at(self, worker: str) -> float:
        """Return when a worker is silent for too long if it says nothing before, in a quiet time; never if it is no member."""
        member = self._members.get(worker)
        return inf if member is None else member.heard_at + BEATS * member.beat

    def next_silent_at(self, *, but: str) -> float:
        """Return when the first of all workers `but` one is silent for too long, in a quiet time. Infinite: there are no others."""
        return min((self.silent_at(worker) for worker in self._members if worker != but), default=inf)

    def _beat(self, member: Member, troubled: Container[str]) -> int:
        if member.beat <= LONGEST_SHORT_BEAT or not any(each in troubled for each in member.needs):
            return member.beat
        return self.short_beat

    def workers(self) -> frozenset[str]:
        """Return who is there."""
        return frozenset(self._members)

    def callers(self, dependency: str) -> tuple[int, int]:
        """Return how many members need a dependency, and how many calls those that have messages for it can make together."""
        counted = self._counted.get(dependency)
        if counted is None:
            needs = [member.needs[dependency] for member in self._members.values() if dependency in member.needs]
            counted = self._counted[dependency] = len(needs), sum(need.full for need in needs if need.backlog)
        return counted

    def needs(self, dependency: str) -> list[tuple[str, Need]]:
        """Return what each member that needs a dependency has said of it."""
        return [(worker, member.needs[dependency]) for worker, member in sorted(self._members.items()) if dependency in member.needs]


class Budgets:
    """How much of each worker's budget is left, and the number of its last record."""

    __slots__ = ("_last", "_left", "_swept_at")

    def __init__(self) -> None:
        self._swept_at = -inf
        self._last: dict[str, int] = {}
        self._left: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._left)

    def take(self, worker: str, now: float) -> bool:
        """Return whether one more record of `worker` is read."""
        known = self._left.get(worker)
        if known is None:
            if not self._has_room(now):
                return False
            known = (RECORDS, now)
        left, at = known
        left = min(RECORDS, left + max(0.0, now - at) * RECORDS_PER_SECOND)
        if left < 1:
            return False
        self._left[worker] = (left - 1, now)
        return True

    def is_new(self, worker: str, number: int) -> bool:
        """Return whether a record with this number does not come again. Its budget must have been taken."""
        last = self._last.get(worker)
        if last is not None and last - FAR_BACK <= number <= last:
            return False
        self._last[worker] = number
        return True

    def _has_room(self, now: float) -> bool:
        if len(self._left) < MOST_WORKERS:
            return True
        if now < self._swept_at + SWEPT_EVERY:  # a flood of made-up workers must not have this done for each of its records
            return False
        self._swept_at = now
        for worker in [worker for worker, (_, at) in self._left.items() if now - at > FORGOTTEN_AFTER]:
            del self._left[worker]
            self._last.pop(worker, None)
        return len(self._left) < MOST_WORKERS
