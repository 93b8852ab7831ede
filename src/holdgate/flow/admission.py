"""The waiting list: heads that were not admitted, and who is admitted next.

One list per engine, in order of arrival. A head waits for slots of its gates, or first for time (a retry's backoff). `grants` goes
through those that some gate could admit, oldest first, and acquires all needs of a head or none in one step, so that a limit is met
exactly, nothing is held while waiting, and no two heads can each hold what the other needs.

Nobody starves: the oldest head that waits for a slot only (none of its needs is shut, its source is not held) reserves the next free
slot of each of its needs, and later heads are admitted to what remains.

The list is indexed by gate. A head stands in the queue of the first of its gates that is shut, or else of all its gates: a thousand
heads in front of an open circuit cost nothing while others come and go.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

from holdgate.core import Permit

if TYPE_CHECKING:
    from holdgate.flow.gate import Gate
    from holdgate.flow.inbox import AnyDelivery
    from holdgate.flow.place import Place

_arrival = attrgetter("arrival")


class Head:
    """One waiting delivery: what it needs, when it came, and until when it waits for time alone."""

    __slots__ = ("arrival", "delivery", "gates", "not_before")

    def __init__(self, delivery: AnyDelivery, gates: tuple[Gate, ...], arrival: int, not_before: float | None) -> None:
        self.delivery = delivery
        self.gates = gates
        self.arrival = arrival
        self.not_before = not_before

    @property
    def fresh(self) -> bool:
        """Whether it has never started: such a head stands for the lane that took it."""
        return self.delivery.attempt == 0


def acquire(delivery: AnyDelivery, gates: tuple[Gate, ...], now: float) -> bool:
    """Take a permit of every gate for `delivery`, or none; True when it may start."""
    if len(gates) == 1:
        permit = gates[0].circuit.try_acquire(now)
        if not isinstance(permit, Permit):
            return False
        delivery.permits = (permit,)
        return True
    # A peek first: an acquire that is given back would count as admitted and refused.
    if not all(gate.circuit.may_acquire(now) for gate in gates):
        return False
    delivery.permits = tuple(gate.circuit.try_acquire(now) for gate in gates)
    return True


class WaitingList:
    """All waiting heads of one engine."""

    __slots__ = ("_arrivals", "_heads", "_needless", "_timed")

    def __init__(self) -> None:
        self._arrivals = 0
        self._heads: dict[AnyDelivery, Head] = {}
        self._needless: dict[int, Head] = {}  # due, and no gate to ask: only a lane is missing
        self._timed: list[tuple[float, int, Head]] = []  # a heap; an entry whose head has left or changed its time is passed over

    def __len__(self) -> int:
        return len(self._heads)

    def __contains__(self, delivery: AnyDelivery) -> bool:
        return delivery in self._heads

    def add(self, delivery: AnyDelivery, gates: tuple[Gate, ...], not_before: float | None = None) -> None:
        """Let a delivery wait, behind all that wait already; until `not_before` for time alone."""
        self._arrivals += 1
        head = Head(delivery, gates, self._arrivals, not_before)
        self._heads[delivery] = head
        if head.fresh:
            delivery.place.run.waiting_fresh += 1
        if not_before is None:
            self._queue(head)
        else:
            heapq.heappush(self._timed, (not_before, head.arrival, head))

    def drop(self, places: set[Place]) -> None:
        """Forget every head of these places."""
        for head in [head for head in self._heads.values() if head.delivery.place in places]:
            self._leave(head)

    def end_backoffs(self, gate: Gate) -> None:
        """A circuit has opened: from now on only admission decides, so waits for time end for whoever needs the gate."""
        waiting = [head for _, _, head in self._timed if gate in head.gates and self._waits_for_time(head)]
        for head in sorted(waiting, key=_arrival):
            head.delivery.trial.backoffs = 0
            self._due(head)

    def regroup(self, gate: Gate) -> None:
        """The gate is shut now, or no longer: let its heads stand where that says."""
        heads = list(gate.heads.values())
        for head in heads:
            _unqueue(head)
        for head in heads:
            self._queue(head)
        for other in {gate for head in heads for gate in head.gates}:
            other.heads = dict(sorted(other.heads.items()))

    def by_place(self) -> Counter[Place]:
        """How many heads wait, by place; walks the whole list."""
        return Counter(head.delivery.place for head in self._heads.values())

    def next_deadline(self) -> float | None:
        """When the first wait for time ends; None when none does."""
        while self._timed and not self._waits_for_time(self._timed[0][2]):
            heapq.heappop(self._timed)
        return self._timed[0][0] if self._timed else None

    def grants(self, gates: list[Gate], now: float) -> list[AnyDelivery]:
        """Admit whoever can be, in order of arrival; each answer holds its permits and counts as running. `gates` are all of them."""
        while self._timed and self._timed[0][0] <= now:
            head = heapq.heappop(self._timed)[2]
            if self._waits_for_time(head):
                self._due(head)
        if not self._heads:
            return []
        granted = list(self._pass(gates, now))
        for head in granted:
            self._leave(head)
        return [head.delivery for head in granted]

    def _pass(self, gates: list[Gate], now: float) -> Iterator[Head]:
        # How many slots each gate has left for this pass; None is no limit. A gate that is missing is full or shut.
        free = {gate: gate.circuit.free_slots for gate in gates if gate.heads and gate.circuit.may_acquire(now)}
        candidates = heapq.merge(self._needless.values(), *(gate.heads.values() for gate in free), key=_arrival)
        reserved = False
        last = 0
        for head in candidates:
            if head.arrival == last:  # a head stands in the queue of each of its gates
                continue
            last = head.arrival
            if not self._has_a_lane(head):
                continue
            if all(_has_room(free, gate) for gate in head.gates) and acquire(head.delivery, head.gates, now):
                head.delivery.place.run.running += 1
                _take(free, head.gates)
                yield head
            elif not reserved and not any(gate.shut for gate in head.gates):
                reserved = True
                _take(free, head.gates)
            # Only full gates remain: nobody further down can be admitted, however long the list.
            if not self._needless and not any(slots is None or slots > 0 for slots in free.values()):
                return

    def _has_a_lane(self, head: Head) -> bool:
        place = head.delivery.place
        run = place.run
        if place.stopped:
            return False
        if run.running >= run.concurrency:
            run.lane_wanted = True
            return False
        return True

    def _waits_for_time(self, head: Head) -> bool:
        return head.not_before is not None and self._heads.get(head.delivery) is head

    def _due(self, head: Head) -> None:
        head.not_before = None
        self._arrivals += 1
        head.arrival = self._arrivals  # its wait was its own affair: it does not overtake those that waited for a slot
        self._queue(head)

    def _queue(self, head: Head) -> None:
        shut = next((gate for gate in head.gates if gate.shut), None)
        for gate in head.gates if shut is None else (shut,):
            gate.heads[head.arrival] = head
        if not head.gates:
            self._needless[head.arrival] = head

    def _leave(self, head: Head) -> None:
        del self._heads[head.delivery]
        if head.fresh:
            head.delivery.place.run.waiting_fresh -= 1
        _unqueue(head)
        self._needless.pop(head.arrival, None)


def _unqueue(head: Head) -> None:
    for gate in head.gates:
        gate.heads.pop(head.arrival, None)


def _has_room(free: dict[Gate, int | None], gate: Gate) -> bool:
    slots = free.get(gate, 0)
    return slots is None or slots > 0


def _take(free: dict[Gate, int | None], gates: tuple[Gate, ...]) -> None:
    for gate in gates:
        slots = free.get(gate)
        if slots is not None:
            free[gate] = slots - 1
