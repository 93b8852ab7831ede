"""What the fleet has agreed on for one dependency: a fold over the log, the same for everybody who has read as much of it.

Theory of operation
===================

    WELL   nothing is the matter, or every worker is by itself
    WAIT   the dependency is down for all: nobody calls it but the conductor, one call at a time
    RAMP   it is back, and the fleet takes it back with a limit that rises

    claim  a worker wants to conduct. The first claim of the next epoch in the log has it, and no other claim of the same one. In WELL
           it counts only if enough workers are bad by the log: no worker opens alone for others. In an outage it always counts, because
           only the log decides whether the conductor before it is silent
    lead   the conductor's whole verdict. Only that of the present epoch, by its holder, counts
    rest   the conductor gives the epoch back
    order  an operator's word. A hold is WAIT without a probe. It ends the epoch, and so does a reset: what the conductor of before has on
           its way changes nothing

The race that epochs are for: a conductor is frozen in the middle of a ramp, others claim the next epoch and find the dependency down again.
The first one wakes and writes what it had in mind: the next stage. It is of an old epoch, so it changes nothing for anyone, and its writer
reads the claim that ended it before it reads its own line.

A worker that has just come reads the last seconds of the log first, and may have missed the claim. It believes the last verdict that it
reads, until it has read a word of its own: from there on it has seen everything that others have seen.

`now` is the reader's own clock, and only dates what is read. It decides nothing here, so two readers with clocks an hour apart agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from holdgate.core.ramp import SMALLEST_LIMITS
from holdgate.fleet.opening import BadMark
from holdgate.fleet.records import Bad, Claim, FleetOrder, Good, Lead, Rest, StageTally, ToldToWait
from holdgate.fleet.shares import checksum, handed_over, shares
from holdgate.fleet.words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdgate.fleet.records import FleetRecord, Need

T = TypeVar("T")

# A claim is one more than the last. One that jumps further was made up, and would use the numbers up. A stage that is further below the
# last one shows that the last one was made up.
JUMP = 1000

# Of the results of one worker in one stage. More decide nothing, and are counted one by one.
MOST_RESULTS = 1000

# A verdict repeats in whole seconds how long a server is to be left alone, and takes some time itself. What differs by less is no news
# (seconds): otherwise each repetition would put the end off.
TOLD_APART = 2.0

# The workers of which something is remembered: more than a fleet has. A stranger may make up as many as it likes.
MOST_NAMED = 1000

# Verdicts in a row of which a reader cannot tell who shares. After the first one it goes on as before: somebody has just come or gone.
MISMATCHES = 2


class Course(Enum):
    """Where the fleet is with one dependency."""

    WELL = "well"
    WAIT = "wait"
    RAMP = "ramp"


class Results(NamedTuple):
    """What came of one worker's calls in the present stage. `took`: the milliseconds of the good ones together; 0: not known."""

    good: int
    bad: int
    took: int


@dataclass(frozen=True, slots=True)
class ReadAs:
    """How a record is read: at what time of the reader, whether it has seen everything before, and the quorum of its fleet."""

    now: float
    witness: bool
    quorum: int


class Agreement:
    """What the log says of one dependency."""

    # fmt: off
    __slots__ = (
        "began", "broke_at", "conductor", "course", "dependency", "epoch", "failed", "good_at", "heard_at", "limit", "marks", "mismatches",
        "recovered_at", "resumed_at", "sharers", "shares", "stage", "stage_at", "stale", "tallies", "told", "told_all_until", "turn",
        "wait_at", "words",
    )
    # fmt: on

    def __init__(self, dependency: str, now: float) -> None:
        self.dependency = dependency
        self.course = Course.WELL
        self.epoch = 0
        self.conductor: str | None = None
        self.heard_at = now  # when the conductor was heard last, or when there was none any more
        self.began = now
        self.recovered_at: float | None = None
        self.failed: int = 0  # probes of this outage
        self.wait_at = now  # when the present wait began
        self.resumed_at: float | None = None  # when the last ramp of this outage began
        self.broke_at = 0  # the limit at which one of its ramps broke last; 0: none has
        self.stage = 0
        self.stage_at = now
        self.limit = 0
        self.turn = 0
        self.sharers: dict[str, int] = {}  # who has messages, and how many calls it can make, since the claim
        self.shares: dict[str, int] = {}
        self.mismatches = 0
        self.marks: dict[str, BadMark] = {}
        self.good_at = -inf  # when a worker that was bad was good again
        self.tallies: dict[str, Results] = {}
        self.told: dict[str, float] = {}  # until when a server has asked each worker to be left alone
        self.told_all_until = -inf  # what it has told the conductor, which asks for all
        self.words = Words()
        self.stale = 0  # verdicts of conductors that are none any more

    # -- What a record changes -----------------------------------------------------------------------------------------------------

    def read(self, record: FleetRecord, reading: ReadAs) -> None:
        """Take in one record about this dependency."""
        worker = record.worker
        match record.said:
            case Bad(run=run, opened=opened):
                _remember(self.marks, worker, BadMark(run, opened, reading.now))
            case Good():
                self._was_good(worker, reading.now)
            case Claim(epoch=epoch):
                self._claimed(worker, epoch, reading)
            case Rest(epoch=epoch):
                if epoch == self.epoch and worker == self.conductor:
                    self._without_conductor(reading.now)
            case Lead() as lead:
                self._led(worker, lead, reading)
            case StageTally() as tally:
                self._tallied(worker, tally)
            case ToldToWait(seconds=seconds):
                self._told(worker, reading.now + seconds)
            case FleetOrder() as order:
                self._ordered(order, reading.now)
            case _:
                raise TypeError(f"not about one dependency: {record.said!r}")

    def here(self, worker: str, need: Need, reading: ReadAs) -> None:
        """Take in what a worker says of itself."""
        if need.backlog and need.full:
            _remember(self.sharers, worker, need.full)
        else:
            self.sharers.pop(worker, None)
        if self.course is Course.WELL and self._may_be(need.epoch, reading):
            self.epoch = max(self.epoch, need.epoch)

    def _was_good(self, worker: str, now: float) -> None:
        self.marks.pop(worker, None)
        self.good_at = now
        for each, mark in self.marks.items():
            if mark.opened:
                self.marks[each] = replace(mark, at=-inf)  # the dependency answers by now, so that opening says nothing of the present

    def _tallied(self, worker: str, tally: StageTally) -> None:
        if tally.stage == self.stage and worker in self.shares:
            took = tally.took if tally.good <= MOST_RESULTS else 0
            self.tallies[worker] = Results(min(tally.good, MOST_RESULTS), min(tally.bad, MOST_RESULTS), took)

    def _told(self, worker: str, until: float) -> None:
        _remember(self.told, worker, until)
        if worker == self.conductor and self.course is not Course.WELL:
            self.told_all_until = max(self.told_all_until, until)

    def left(self, worker: str, now: float) -> None:
        """Take in that a worker is gone."""
        self.sharers.pop(worker, None)
        self.marks.pop(worker, None)
        self.tallies.pop(worker, None)
        self.told.pop(worker, None)
        if worker == self.conductor:
            self._without_conductor(now)

    def doubt(self, epochs: Sequence[int], now: float) -> None:
        """Take in which epochs the other workers know. Who has just come believes any, and may have read one that was made up: then most
        of the others are far below it, and no claim could outbid it. It goes back to just before theirs, and believes the next verdict."""
        lower = [epoch for epoch in epochs if epoch + JUMP < self.epoch]
        if 2 * len(lower) > len(epochs):
            self.epoch = max(0, max(lower) - 1)
            self._without_conductor(now)

    def missed(self, worker: str) -> None:
        """Take in that this reader has not heard a worker for long. In WELL nobody conducts who could miss it for all."""
        if self.course is Course.WELL:
            self.marks.pop(worker, None)
            self.told.pop(worker, None)

    def told_until(self, quorum: int) -> float:
        """Return until when a server has asked the fleet to be left alone; long ago if it has not.

        The conductor's probe asks for all, so what it is told counts for all. What others are told counts if a quorum of them is.
        """
        said = sorted(self.told.values(), reverse=True)
        return max(self.told_all_until, said[quorum - 1] if len(said) >= quorum else -inf)

    def _may_be(self, epoch: int, reading: ReadAs) -> bool:
        return not reading.witness or epoch <= self.epoch + JUMP

    def _without_conductor(self, now: float) -> None:
        self.conductor = None
        self.heard_at = now

    def _claimed(self, worker: str, epoch: int, reading: ReadAs) -> None:
        if epoch <= self.epoch or not self._may_be(epoch, reading):
            self.stale += 1
        elif self.course is not Course.WELL or len(self.marks) >= reading.quorum:
            self.epoch = epoch
            self.conductor = worker
            self.heard_at = reading.now
            self.sharers.clear()
            if self.course is Course.WELL:
                self._begin(reading.now)

    def _begin(self, now: float) -> None:
        self.course = Course.WAIT
        self.began = self.wait_at = now
        self.failed = self.broke_at = 0
        self.recovered_at = self.resumed_at = None
        self.shares = {}

    def _led(self, worker: str, lead: Lead, reading: ReadAs) -> None:
        if lead.epoch > self.epoch and self._may_be(lead.epoch, reading) and self._believes(reading):
            self.epoch = lead.epoch
            self.conductor = worker
        if lead.epoch != self.epoch or worker != self.conductor:
            self.stale += 1
            return
        self.heard_at = reading.now
        if lead.told and reading.now + lead.told > self.told_all_until + TOLD_APART:
            self.told_all_until = reading.now + lead.told
        if lead.phase == "up":
            self._end(reading.now, lead)
        elif lead.phase == "wait":
            self._wait(lead, reading.now)
        else:
            self._climb(lead, reading.now)

    def _believes(self, reading: ReadAs) -> bool:
        """Return whether a verdict without a claim counts: the reader may have missed the claim, or an outage is on in any case."""
        return not reading.witness or self.course is not Course.WELL or len(self.marks) >= reading.quorum

    def _end(self, now: float, lead: Lead | None = None) -> None:
        if self.course is not Course.WELL:
            self.recovered_at = now
        self.course = Course.WELL
        self._without_conductor(now)  # a verdict that is on its way, of before a reset, must not begin the outage anew
        if lead is not None and not self._is_older(lead.stage):
            self.stage = lead.stage
        self.shares = {}
        self.tallies.clear()
        self.marks.clear()
        self.told.clear()
        self.told_all_until = -inf

    def _date(self, lead: Lead, now: float) -> None:
        if self.course is Course.WELL:
            self._begin(now)
            self.marks.clear()
        # A worker that has read the claim in the log's past takes it for new. An age is rounded down, so nobody's outage becomes older by
        # that.
        self.began = min(self.began, now - lead.age)

    def _wait(self, lead: Lead, now: float) -> None:
        self._date(lead, now)
        if self.course is Course.RAMP and self.limit > SMALLEST_LIMITS:  # below, it was down, and not loaded
            self.broke_at = self.limit
        if self.course is Course.RAMP or lead.failed != self.failed:
            self.wait_at = now
        self.course = Course.WAIT
        self.failed = lead.failed
        if not self._is_older(lead.stage):
            self.stage = lead.stage
        self.shares = {}
        self.tallies.clear()

    def _climb(self, lead: Lead, now: float) -> None:
        self._date(lead, now)
        if self._is_older(lead.stage):
            self.stale += 1
            return
        if self.course is not Course.RAMP:
            self.resumed_at = now
        if checksum(self.sharers) != lead.sharers:
            self.mismatches += 1
            if self.mismatches >= MISMATCHES:
                self.shares = {}
            self.course = Course.RAMP
            return
        self.mismatches = 0
        if lead.stage != self.stage or self.course is not Course.RAMP:
            self.stage_at = now
            self.tallies.clear()
        self.course = Course.RAMP
        self.stage, self.limit, self.turn = lead.stage, lead.limit, lead.turn
        self.failed = lead.failed
        self.shares = handed_over(self.shares, shares(lead.limit, self.sharers, lead.turn))

    def _is_older(self, stage: int) -> bool:
        return self.stage - JUMP <= stage < self.stage

    def _ordered(self, order: FleetOrder, now: float) -> None:
        if not self.words.hear(order, now):
            return
        if order.word == "reset":
            self._end(now)
        elif order.word == "release":
            self.heard_at = now  # nobody has conducted meanwhile, and that was no silence
        else:
            if self.course is Course.WELL:
                self._begin(now)
            # Verdicts on their way are of before the order. One that comes later is of somebody whose hold has ended: this reader may have
            # read all of it in one moment, and must not miss how it ended.
            self._without_conductor(now)
            self.course = Course.WAIT
            self.wait_at = now
            self.shares = {}


def _remember(found: dict[str, T], worker: str, value: T) -> None:
    """Note the value of one worker; of too many, that of the one of which nothing was noted for the longest time is forgotten."""
    found.pop(worker, None)
    found[worker] = value
    if len(found) > MOST_NAMED:
        del found[next(iter(found))]
