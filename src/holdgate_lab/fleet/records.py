"""What really happened: to the messages of one source, and under one circuit of one worker. Known from outside, whatever a worker believes.

Each record complains when something happens that never must.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from holdgate.core import State
from holdgate.core.events import LimitChanged
from holdgate.core.ramp import GENTLE_STEPS
from holdgate.core.settings import RampSettings
from holdgate.flow.gate import Gate
from holdgate.flow.inbox import Order
from holdgate.flow.message import Partition, Queue, Source
from holdgate_lab.fleet.traffic import Facts, StreamTraffic

Complain = Callable[[str, str], None]


class Watermark:
    """Places that are finished, in any order. `low`: the first that is not. `following` gives the place after one."""

    __slots__ = ("_ahead", "_following", "low")

    def __init__(self, start: int, following: Callable[[int], int]) -> None:
        self.low = start
        self._following = following
        self._ahead: set[int] = set()

    def finish(self, place: int) -> bool:
        """Note that this place is finished; False when it was already."""
        if place in self:
            return False
        if place != self.low:
            self._ahead.add(place)
            return True
        self.low = self._following(place)
        while self.low in self._ahead:
            self._ahead.remove(self.low)
            self.low = self._following(self.low)
        return True

    def __contains__(self, place: int) -> bool:
        return place < self.low or place in self._ahead

    @property
    def ahead(self) -> int:
        """How many are finished beyond a hole."""
        return len(self._ahead)


class PartitionRecord:
    """One partition: what was finished (processed, or a confirmed dead letter), and what the group has committed."""

    def __init__(self, traffic: StreamTraffic, partition: Partition, complain: Complain) -> None:
        self.traffic = traffic
        self.committed = 0
        self.done = Watermark(0, traffic.next_offset)
        self._partition = partition
        self._complain = complain

    def finished(self, position: int, assignment: AssignmentRecord) -> bool:
        """A handler succeeded here, or a dead letter was confirmed; False when it is not the first time."""
        assignment.finished(position)
        return self.done.finish(position)

    def was_committed(self, offset: int) -> None:
        """The group has stored an offset."""
        if offset < self.committed:
            self._complain("offsets", f"{self._partition} was committed at {self.committed}, and now at {offset}")
        first = self.traffic.offset_of(self.traffic.index_from(self.done.low))
        if first < offset:
            self._complain("commit", f"{self._partition} is committed up to {offset}, and {first} is not processed")
        self.committed = offset


class AssignmentRecord:
    """One assignment of one partition to one worker: which handlers may run when, by the order that was asked for."""

    def __init__(self, record: PartitionRecord, partition: Partition, start: int, order: Order, complain: Complain) -> None:
        traffic = record.traffic
        self._traffic = traffic
        self._record = record
        self._partition = partition
        self._start = start
        self._order = order
        self._complain = complain
        self._done = Watermark(traffic.offset_of(traffic.index_from(start)), traffic.next_offset)
        self._running: set[int] = set()

    def starts(self, position: int, key: int | None) -> None:
        """A handler begins."""
        running = self._running
        if position in running:
            self._complain("order", f"{self._partition}@{position} runs twice at once")
        if position in self._done:
            self._complain("duplicates", f"{self._partition}@{position} begins again, though it is finished and was not delivered again")
        if self._order == "source" and (running or position != self._done.low):
            self._complain("order", f"{self._partition}@{position} begins before {min(running, default=self._done.low)} has ended")
        if self._order == "key" and key is not None:
            before = self._traffic.previous_of_key(self._partition, position)
            if before >= self._start and before not in self._done:
                self._complain("order", f"{self._partition}@{position} begins before {before} of its key {key} has ended")
        running.add(position)

    def start_together(self, positions: Sequence[int]) -> None:
        """A handler begins on a batch: in the order of the source it has all that follow on each other."""
        for position, following in pairwise(positions):
            if self._order == "source" and following != self._traffic.next_offset(position):
                self._complain("order", f"{self._partition}@{following} begins in one batch with {position}")
        running = len(self._running)
        for position in positions:
            if position in self._running or position in self._done:
                self._complain("duplicates", f"{self._partition}@{position} begins in a batch, though it runs or is finished")
        if self._order == "source" and (running or positions[0] != self._done.low):
            self._complain("order", f"{self._partition}@{positions[0]} begins a batch before {self._done.low} has ended")
        self._running.update(positions)

    def stopped(self, position: int) -> None:
        """A handler has ended, in any way."""
        self._running.discard(position)

    def finished(self, position: int) -> None:
        """The work on it is over for good."""
        if not self._done.finish(position):
            self._complain("duplicates", f"{self._partition}@{position} is finished twice, though it was delivered once")

    def was_given_back(self) -> None:
        """It has ended in order, and its last commit is out: what was finished in turn must not come again."""
        committed, low = self._record.committed, self._done.low
        if self._order == "source" and self._traffic.index_from(committed) < self._traffic.index_from(low):
            text = f"{self._partition} was given back with {committed} committed, though everything before {low} is processed"
            self._complain("duplicates", text)


class QueueRecord:
    """One queue: what was finished. `is_ordered`: a single active consumer keeps the order."""

    def __init__(self, queue: Queue, *, is_ordered: bool, complain: Complain) -> None:
        self.done = Watermark(0, lambda number: number + 1)
        self._queue = queue
        self._is_ordered = is_ordered
        self._complain = complain

    def starts(self, numbers: Sequence[int]) -> None:
        """A handler begins on these."""
        if self._is_ordered and numbers[0] > self.done.low:
            self._complain("order", f"{self._queue}@{numbers[0]} begins before {self.done.low} has ended")

    def finished(self, number: int) -> bool:
        """A handler succeeded here, or a dead letter was confirmed; False when it is not the first time."""
        return self.done.finish(number)

    def was_acked(self, number: int) -> None:
        """The broker has forgotten it."""
        if number not in self.done:
            self._complain("commit", f"{self._queue}@{number} is acknowledged, and was not processed")

    def was_buried(self, number: int) -> None:
        """The broker has put it aside for good."""
        self.done.finish(number)


class ChannelRecord:
    """One channel of one worker on one queue: which of its deliveries are finished."""

    def __init__(self, record: QueueRecord, queue: Queue, complain: Complain) -> None:
        self._record = record
        self._queue = queue
        self._complain = complain
        self._done = Watermark(1, lambda tag: tag + 1)

    def starts(self, tags: Sequence[int], numbers: Sequence[int]) -> None:
        """A handler begins on these deliveries, which are these messages."""
        for tag, number in zip(tags, numbers, strict=True):
            if tag in self._done:
                self._complain("duplicates", f"{self._queue}@{number} begins again, though it is finished")
        self._record.starts(numbers)

    def finished(self, tag: int, number: int) -> None:
        """The work on it is over for good."""
        if not self._done.finish(tag):
            self._complain("duplicates", f"{self._queue}@{number} is finished twice, though it was delivered once")


class Parcel(NamedTuple):
    """One message as one delivery of it. `place`: its offset or number in the queue, which no other message ever has. `tag`: the offset, or
    the delivery tag. `record`: of the assignment or channel that it came by."""

    source: Source
    place: int
    facts: Facts
    record: AssignmentRecord | ChannelRecord
    tag: int


class CircuitRecord:
    """Counts what runs under one half-open, by its generation."""

    def __init__(self, gate: Gate, complain: Complain) -> None:
        self._gate = gate
        self._complain = complain
        self._generation = -1
        self._running = 0
        self._limit = 0

    def starts(self, messages: int) -> int:
        """A handler of so many messages that needs it was handed out; returns the generation that `stopped` wants to know."""
        circuit = self._gate.circuit
        if circuit.generation != self._generation:
            self._generation = circuit.generation
            self._running = 0
        self._running += messages
        if circuit.override is not None:
            return self._generation
        if circuit.state is State.OPEN:
            self._complain("open", f"a handler that needs {circuit.name} begins while its circuit is open")
        limit = circuit.limit
        if circuit.state is State.HALF_OPEN and limit is not None and self._running > limit:
            self._complain("limit", f"{self._running} messages are in work in the half-open of {circuit.name}, and its limit is {limit}")
        return self._generation

    def stopped(self, generation: int, messages: int) -> None:
        """That handler has ended."""
        if generation == self._generation:
            self._running -= messages

    def moved(self, event: LimitChanged, ramp: RampSettings, full: int) -> None:
        """Its limit has changed."""
        before = event.previous
        self._limit = event.limit
        most = max(int(before * ramp.growth), before + max(1, full // GENTLE_STEPS), ramp.initial)
        if event.limit > most:
            self._complain("ramp", f"the limit of {event.name} goes from {before} to {event.limit}, and one step is {most} at most")

    def half_opened(self) -> None:
        """A half-open has begun, with a probe."""
        self._limit = 1

    def closed(self, full: int) -> None:
        """A half-open has ended well; `full` is the limit at which it may."""
        if self._limit < full:
            self._complain("ramp", f"{self._gate.name} closes at a limit of {self._limit}, and its full rate is {full}")

    def look_for_leaks(self) -> None:
        """Nothing runs in this worker: nobody may hold a permit."""
        leaked = len(self._gate.circuit.live)
        if leaked:
            self._complain("leak", f"{leaked} permits of {self._gate.name} are out, and nothing runs")
