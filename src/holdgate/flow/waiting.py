"""The waiting list: heads that were not admitted, and who is admitted next.

One list per engine, in order of arrival. A head waits for slots of its gates, for a lane of its run, or first for time (a retry's
backoff). `grants` goes through those that could be admitted, oldest first, and acquires all needs of a head or none in one step, so that
a limit is met exactly, nothing is held while waiting, and no two heads can each hold what the other needs.

Nobody starves: the oldest head that waits for a slot only (none of its needs is shut, its source is not held, a lane is free) reserves the
next free slot of each of its needs, and later heads are admitted to what remains. A head without a lane reserves nothing, or a run whose
handlers hang would keep a dependency from coming back for everybody else; instead the next lane of its run is its own (`lane_wanted`).

A pass looks at few heads, however many wait. They stand in *lines*, one per gate and run: in that of the first of their gates that is
shut, or else in those of all their gates, and in the run's `ready` line too when no gate has a limit and only a lane is missing. A pass
reads the lines of gates that have a limit and room, and the ready ones, each until its slots or its run's lanes are used up. Heads of a
source that is held are set aside when a pass meets them, until it is no longer held.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING

from holdgate.core import Permit
from holdgate.flow.batch import Batch, messages_in

if TYPE_CHECKING:
    from holdgate.flow.gate import Gate
    from holdgate.flow.inbox import AnyDelivery
    from holdgate.flow.state import Assignment, Run


_arrival = attrgetter("arrival")


class Waiting:
    """One waiting delivery: what it needs, when it came, and until when it waits for time alone."""

    __slots__ = ("arrival", "delivery", "gates", "not_before", "run")

    def __init__(self, delivery: AnyDelivery, gates: tuple[Gate, ...], arrival: int, not_before: float | None) -> None:
        self.delivery = delivery
        self.run: Run = delivery.assignment.run
        self.gates = gates
        self.arrival = arrival
        self.not_before = not_before

    @property
    def fresh(self) -> bool:
        """Whether it has never started."""
        return self.delivery.attempt == 0


# Heads by number of arrival, and so in order of arrival, for each run that has some.
Lines = dict["Run", dict[int, Waiting]]


def acquire(delivery: AnyDelivery, gates: tuple[Gate, ...], now: float, room: float = inf) -> bool:
    """Take a permit of every gate for `delivery`, or none; True when it may start. A batch is cut to `room` messages."""
    if isinstance(delivery, Batch):
        return _acquire_batch(delivery, gates, now, room)
    if len(gates) == 1:
        permit = gates[0].circuit.try_acquire(now)
        if not isinstance(permit, Permit):
            return False
        delivery.permits = (permit,)
        return True
    # A peek first: an acquire that is given back would count as admitted and refused.
    for gate in gates:
        if not gate.circuit.may_acquire(now):
            return False
    delivery.permits = [gate.circuit.try_acquire(now) for gate in gates]
    return True


def _acquire_batch(batch: Batch, gates: tuple[Gate, ...], now: float, room: float) -> bool:
    """The same for as much of the batch as every gate admits; the rest goes back to its inbox. A part is always better than waiting for
    room for the whole: it would never come while single messages of others keep taking what is free."""
    for gate in gates:
        if not gate.circuit.may_acquire(now):
            return False
        slots = gate.circuit.free_slots
        room = room if slots is None else min(room, slots)
    if room < len(batch):
        batch.assignment.put_back(batch.cut(int(room)))
        for gate in gates:
            gate.circuit.expect_more()
    batch.permits = [gate.circuit.try_acquire(now, len(batch)) for gate in gates]
    return True


def acquire_in_turn(delivery: AnyDelivery, gates: tuple[Gate, ...], now: float) -> bool:
    """The same for a delivery that has not waited: False too when others wait for one of the slots."""
    for gate in gates:
        if gate.heads and gate.limited:
            return False
    return acquire(delivery, gates, now)


class WaitingList:
    """All waiting heads of one engine."""

    __slots__ = ("_arrivals", "_aside", "_heads", "_ready", "_timed")

    def __init__(self) -> None:
        self._arrivals = 0
        self._heads: dict[AnyDelivery, Waiting] = {}
        self._ready: Lines = {}  # only a lane is missing
        self._aside: dict[Assignment, list[Waiting]] = {}  # heads of sources that are held by something other than a circuit
        self._timed: list[tuple[float, int, Waiting]] = []  # a heap; an entry whose head has left or changed its time is passed over

    def __len__(self) -> int:
        return len(self._heads)

    def __contains__(self, delivery: AnyDelivery) -> bool:
        return delivery in self._heads

    def add(self, delivery: AnyDelivery, gates: tuple[Gate, ...], not_before: float | None = None) -> None:
        """Let a delivery wait, behind all that wait already; until `not_before` for time alone."""
        self._arrivals += 1
        head = Waiting(delivery, gates, self._arrivals, not_before)
        self._heads[delivery] = head
        if head.fresh:
            delivery.assignment.fresh_heads += 1
        if len(gates) > len(delivery.assignment.gates):
            delivery.assignment.stray(gates[len(delivery.assignment.gates) :], 1)
        if not_before is None:
            self._queue(head)
        else:
            heapq.heappush(self._timed, (not_before, head.arrival, head))

    def waiting_of(self, assignment: Assignment) -> list[AnyDelivery]:
        """The deliveries of a place that wait; walks the whole list."""
        return [delivery for delivery in self._heads if delivery.assignment is assignment]

    def take_out(self, delivery: AnyDelivery) -> None:
        """Forget one head."""
        head = self._heads[delivery]
        self._leave(head)
        aside = self._aside.get(delivery.assignment)
        if aside is not None and head in aside:
            aside.remove(head)

    def drop(self, assignments: set[Assignment]) -> None:
        """Forget every head of these places."""
        for head in [head for head in self._heads.values() if head.delivery.assignment in assignments]:
            self._leave(head)
        for assignment in assignments:
            self._aside.pop(assignment, None)

    def end_backoffs(self, gate: Gate) -> None:
        """A circuit has opened: from now on only admission decides, so waits for time end for whoever needs the gate."""
        waiting = [head for _, _, head in self._timed if gate in head.gates and self._waits_for_time(head)]
        for head in sorted(waiting, key=_arrival):
            head.delivery.trial.backoffs = 0
            self._due(head)

    def end_waits_of(self, assignments: Collection[Assignment]) -> None:
        """What kept heads of these places failing is over: they wait for time no longer."""
        waiting = [head for _, _, head in self._timed if head.delivery.assignment in assignments and self._waits_for_time(head)]
        for head in sorted(waiting, key=_arrival):
            head.delivery.trial.backoffs = 0
            self._due(head)

    def regroup(self, gate: Gate) -> None:
        """The gate admits in another way now: let its heads stand where that says."""
        self._stand_again([head for line in gate.heads.values() for head in line.values()])

    def back_in_line(self, assignment: Assignment) -> None:
        """The source is no longer held: what was set aside waits again, in order of its arrival."""
        self._stand_again(self._aside.pop(assignment, []))

    def by_place(self) -> Counter[Assignment]:
        """How many messages wait, by place; walks the whole list."""
        waiting: Counter[Assignment] = Counter()
        for delivery in self._heads:
            waiting[delivery.assignment] += messages_in(delivery)
        return waiting

    def next_deadline(self) -> float | None:
        """When the first wait for time ends; None when none does."""
        while self._timed and not self._waits_for_time(self._timed[0][2]):
            heapq.heappop(self._timed)
        return self._timed[0][0] if self._timed else None

    def grants(self, gates: Iterable[Gate], now: float) -> list[AnyDelivery]:
        """Admit whoever can be, in order of arrival; each answer holds its permits and counts as running. `gates` are all of them."""
        while self._timed and self._timed[0][0] <= now:
            head = heapq.heappop(self._timed)[2]
            if self._waits_for_time(head):
                self._due(head)
        if not self._heads:
            return []
        one = GrantRound(gates, self._ready, now)
        granted = list(one.admit())
        for head in one.held:
            self._unqueue(head)
            self._aside.setdefault(head.delivery.assignment, []).append(head)
        for head in granted:
            self._leave(head)
        for gate in gates:
            if gate.heads and gate.limited:
                gate.circuit.expect_more()
        return [head.delivery for head in granted]

    def _waits_for_time(self, head: Waiting) -> bool:
        return head.not_before is not None and self._heads.get(head.delivery) is head

    def _due(self, head: Waiting) -> None:
        head.not_before = None
        self._arrivals += 1
        head.arrival = self._arrivals  # its wait was its own affair: it does not overtake those that waited for a slot
        self._queue(head)

    def _stand_again(self, heads: Iterable[Waiting]) -> None:
        heads = list(heads)
        for head in heads:
            self._unqueue(head)
        for head in heads:
            self._queue(head)
        # They came before others that stand there already.
        for lines in [self._ready, *(gate.heads for gate in {gate for head in heads for gate in head.gates})]:
            for run in lines.keys() & {head.run for head in heads}:
                lines[run] = dict(sorted(lines[run].items()))

    def _queue(self, head: Waiting) -> None:
        shut = next((gate for gate in head.gates if gate.shut), None)
        for gate in head.gates if shut is None else (shut,):
            gate.heads.setdefault(head.run, {})[head.arrival] = head
        if shut is None and not any(gate.limited for gate in head.gates):
            self._ready.setdefault(head.run, {})[head.arrival] = head

    def _unqueue(self, head: Waiting) -> None:
        for lines in (self._ready, *(gate.heads for gate in head.gates)):
            line = lines.get(head.run)
            if line is not None and line.pop(head.arrival, None) is not None and not line:
                del lines[head.run]

    def _leave(self, head: Waiting) -> None:
        del self._heads[head.delivery]
        if head.fresh:
            head.delivery.assignment.fresh_heads -= 1
        if len(head.gates) > len(head.delivery.assignment.gates):
            head.delivery.assignment.stray(head.gates[len(head.delivery.assignment.gates) :], -1)
        self._unqueue(head)


class GrantRound:
    """One walk along the lines, oldest head first. `held` has the heads of held sources that it met."""

    __slots__ = ("_free", "_lines", "_now", "held")

    def __init__(self, gates: Iterable[Gate], ready: Lines, now: float) -> None:
        self._now = now
        self.held: list[Waiting] = []
        # How many slots each gate has left for this pass; None is no limit. A gate that is missing is full or shut.
        self._free = {gate: gate.circuit.free_slots for gate in gates if gate.heads and gate.circuit.may_acquire(now)}
        self._lines = [self._line(run, line, None) for run, line in ready.items()]
        self._lines += [
            self._line(run, line, gate) for gate, slots in self._free.items() if slots is not None for run, line in gate.heads.items()
        ]

    def admit(self) -> Iterator[Waiting]:
        """Every head that may start, its permits taken and its lane counted."""
        reserved = False
        last = 0
        for head in heapq.merge(*self._lines, key=_arrival):
            if head.arrival == last:  # a head stands in the line of each of its gates
                continue
            last = head.arrival
            run = head.run
            if head.delivery.assignment.stopped:
                self.held.append(head)
            elif run.running >= run.lanes:  # the last one went to a head of another line
                run.lane_wanted = True
            elif (room := self._room(head.gates)) and acquire(head.delivery, head.gates, self._now, room):
                run.running += 1
                self._take(head, messages_in(head.delivery))
                yield head
            elif not reserved and not any(gate.shut for gate in head.gates):
                reserved = True
                self._take(head, 1)  # of a batch too: whatever is admitted of it is a beginning

    def _line(self, run: Run, heads: dict[int, Waiting], gate: Gate | None) -> Iterator[Waiting]:
        """One line, until what it waits for is used up."""
        for head in heads.values():
            if gate is not None and self._free[gate] == 0:
                return
            if run.running >= run.lanes:
                run.lane_wanted = True
                return
            yield head

    def _room(self, gates: Iterable[Gate]) -> float:
        """How many messages all of them admit in this pass; infinite without a limit."""
        room = inf
        for gate in gates:
            slots = self._free.get(gate, 0)
            if slots is not None and slots < room:
                room = slots
        return room

    def _take(self, head: Waiting, slots: int) -> None:
        for gate in head.gates:
            free = self._free.get(gate)
            if free is not None:
                self._free[gate] = max(0, free - slots)
