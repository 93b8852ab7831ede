"""The waiting list: deliveries that were not admitted, and which of them are admitted next.

One list for each engine, in order of arrival. A delivery waits for slots of its gates, for a lane of its run, or first for time (a retry's
backoff). `grants` goes through those that could be admitted, oldest first. It acquires all needs of a delivery or none in one step: a limit
is met exactly, nothing is held while waiting, and no two deliveries can each hold what the other needs.

Nobody starves. The oldest delivery that waits for a slot only (none of its needs is shut, its source is not held, a lane is free) reserves
the next free slot of each of its needs, and later ones are admitted to what remains. A delivery without a lane reserves nothing: else a run
whose handlers hang would keep a dependency from coming back for all others. Instead the next lane of its run is its own (`lane_wanted`).

A round looks at few deliveries, however many wait. They stand in *lines*, one for each gate and run: in that of the first of their gates
that is shut, or else in those of all their gates, and in the run's `ready` line too if no gate has a limit and only a lane is missing. A
round reads the lines of gates that have a limit and room, and the ready ones, each until its slots or its run's lanes are used up.
Deliveries of a source that is held are set aside when a round meets them, until the source is no longer held.

A delivery that was throttled keeps its place for a while (throttling.py): it had its turn already, and a limit has taken it away again. It
stands before all that keep none, in the order in which they were throttled first, and a wait for time does not send it to the end.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from holdgate.core import Permit
from holdgate.flow import keyed
from holdgate.flow.batch import Batch, messages_in
from holdgate.flow.key_waits import KeyWaits

if TYPE_CHECKING:
    from holdgate.core.key_record import KeyRecord
    from holdgate.core.keys import Keys
    from holdgate.flow.blame import FailureHistory
    from holdgate.flow.gate import Gate
    from holdgate.flow.key_waits import KeyLine
    from holdgate.flow.keyed import KeyOfMessage
    from holdgate.flow.message import AnyDelivery
    from holdgate.flow.passing import MessageNeeds
    from holdgate.flow.state import Assignment, Run
    from holdgate.flow.unclaimed import RunResults


_arrival = attrgetter("arrival")


class Waiting:
    """One waiting delivery: what it needs, when it came, and until when it waits for time alone."""

    __slots__ = ("arrival", "delivery", "gates", "is_aside", "line", "not_before", "run")

    def __init__(self, delivery: AnyDelivery, gates: tuple[Gate, ...], arrival: int, not_before: float | None) -> None:
        self.delivery = delivery
        self.run: Run = delivery.assignment.run
        self.gates = gates
        self.arrival = arrival
        self.not_before = not_before
        self.line: KeyLine | None = None  # that of the key that it waits for, or has waited for since it is here
        self.is_aside = False  # its key has no room: it stands nowhere else

    @property
    def keys(self) -> tuple[KeyOfMessage | None, ...]:
        """Return the keys of its message, if messages here have some."""
        delivery = self.delivery
        return () if delivery.assignment.all_need is not None else delivery.needs.keys


# Those that keep a place have numbers of arrival from here on, which are below all others (no worker counts that far).
_PLACES = -(2**62)

# By number of arrival, and so in order of arrival, for each run that has some.
Lines = dict["Run", dict[int, Waiting]]


def acquire(delivery: AnyDelivery, gates: tuple[Gate, ...], now: float, room: float = inf) -> bool:
    """Take a permit of every gate for `delivery`, or none; True if it may start. A batch is cut to `room` messages."""
    if isinstance(delivery, Batch):
        return _acquire_batch(delivery, gates, now, room)
    if len(gates) == 1:
        permit = gates[0].circuit.try_acquire(now)
        if not isinstance(permit, Permit):
            return False
        delivery.permits = (permit,)
        return True
    # Look first: a permit that is acquired and given back would count as admitted and refused.
    for gate in gates:
        if not gate.circuit.may_acquire(now):
            return False
    delivery.permits = [gate.circuit.try_acquire(now) for gate in gates]
    return True


def _acquire_batch(batch: Batch, gates: tuple[Gate, ...], now: float, room: float) -> bool:
    """Do the same for as much of the batch as every gate admits; the rest goes back to its inbox.

    A part is always better than waiting for room for the whole: that would never come while single messages of others take what is free.
    """
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
    """Do the same for a delivery that has not waited: False too if others wait for one of the slots."""
    for gate in gates:
        if gate.lines and gate.limited:
            return False
    return acquire(delivery, gates, now)


def acquire_alone(delivery: AnyDelivery, gates: tuple[Gate, ...], now: float) -> bool:
    """Do the same for a delivery that is no batch, as quickly as it can be done where it needs one dependency."""
    if len(gates) != 1 or gates[0].lines:
        return acquire_in_turn(delivery, gates, now)
    permit = gates[0].circuit.try_acquire(now)
    if permit.__class__ is not Permit:
        return False
    delivery.permits = (permit,)
    return True


def acquire_with_keys(delivery: AnyDelivery, now: float) -> bool:
    """Do the same for a delivery with keys: in one step all permits and keys, or none."""
    needs: MessageNeeds = delivery.needs
    if keyed.lacking(needs.keys, now) is not None or not acquire_in_turn(delivery, needs.gates, now):
        return False
    keyed.start(needs.keys, now)
    return True


class WaitingList:
    """All waiting deliveries of one engine."""

    __slots__ = ("_arrivals", "_aside", "_entries", "_key_waits", "_places", "_ready", "_timed", "_timers")

    def __init__(self) -> None:
        self._arrivals = 0
        self._places = _PLACES
        self._entries: dict[AnyDelivery, Waiting] = {}
        self._ready: Lines = {}  # only a lane is missing
        self._aside: dict[Assignment, list[Waiting]] = {}  # of sources that are held by something other than a circuit
        self._timed: list[tuple[float, int, Waiting]] = []  # a heap; what has left or changed its time is passed over
        self._timers = 0
        self._key_waits = KeyWaits()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, delivery: AnyDelivery) -> bool:
        return delivery in self._entries

    def add(self, delivery: AnyDelivery, gates: tuple[Gate, ...], not_before: float | None = None) -> None:
        """Let a delivery wait, behind all that wait already or at the place that it keeps; until `not_before` for time alone."""
        waiting = self._entries[delivery] = Waiting(delivery, gates, self._arrival_of(delivery), not_before)
        delivery.assignment.listed(delivery, gates)
        if not_before is None:
            self._queue_up(waiting)
        else:
            self._timers += 1
            heapq.heappush(self._timed, (not_before, self._timers, waiting))

    def keep_place(self, history: FailureHistory, *, keep: bool = True) -> None:
        """Let a delivery with this history wait before all that keep no place, from now on; or, without `keep`, behind all of them."""
        if not keep:
            history.keeps_place(None)
        elif history.place is None:
            self._places += 1
            history.keeps_place(self._places)

    def _arrival_of(self, delivery: AnyDelivery) -> int:
        if delivery.history is not None and delivery.history.place is not None:
            place: int = delivery.history.place
            return place
        self._arrivals += 1
        return self._arrivals

    def waiting_of(self, assignment: Assignment) -> list[AnyDelivery]:
        """Return the waiting deliveries of an assignment; walks the whole list."""
        return [delivery for delivery in self._entries if delivery.assignment is assignment]

    def has_any_for(self, gate: Gate) -> bool:
        """Return whether a delivery waits for a gate, in its line or for time first."""
        return bool(gate.lines) or any(gate in waiting.gates and self._waits_for_time(waiting) for _, _, waiting in self._timed)

    def take_out(self, delivery: AnyDelivery) -> None:
        """Forget one delivery."""
        waiting = self._entries[delivery]
        self._leave(waiting)
        aside = self._aside.get(delivery.assignment)
        if aside is not None and waiting in aside:
            aside.remove(waiting)

    def drop(self, assignments: set[Assignment]) -> None:
        """Forget every delivery of these assignments."""
        for waiting in [waiting for waiting in self._entries.values() if waiting.delivery.assignment in assignments]:
            self._leave(waiting)
        for assignment in assignments:
            self._aside.pop(assignment, None)

    def end_backoffs(self, gate: Gate) -> None:
        """End the waits for time of all that need this gate: its circuit has opened, and from now on only admission decides."""
        self._end_backoffs(waiting for _, _, waiting in self._timed if gate in waiting.gates)

    def end_backoffs_of(self, results: RunResults) -> None:
        """End the waits for time of the deliveries that are compared with these results: what kept them failing is over."""
        timed = (waiting for _, _, waiting in self._timed)
        self._end_backoffs(waiting for waiting in timed if waiting.delivery.assignment.results_of(waiting.delivery) is results)

    def _end_backoffs(self, candidates: Iterable[Waiting]) -> None:
        over = [waiting for waiting in candidates if self._waits_for_time(waiting)]
        for waiting in sorted(over, key=_arrival):
            waiting.delivery.history.end_backoffs()
            self._due(waiting)

    def regroup(self, gate: Gate) -> None:
        """Let the deliveries that wait for a gate stand where it says now: it admits in another way than before."""
        if gate.keys is not None:
            gate.keys.look_again()
        self._stand_again([waiting for line in gate.lines.values() for waiting in line.values()])

    def back_in_line(self, assignment: Assignment) -> None:
        """Let what was set aside wait again, in order of its arrival: the source is no longer held."""
        self._stand_again(self._aside.pop(assignment, []))

    def by_assignment(self) -> Counter[Assignment]:
        """Return how many messages wait, by assignment; walks the whole list."""
        messages: Counter[Assignment] = Counter()
        for delivery in self._entries:
            messages[delivery.assignment] += messages_in(delivery)
        return messages

    def next_timed(self) -> dict[Assignment, tuple[AnyDelivery, float]]:
        """Return, for each assignment of which messages wait for time alone, the one whose time comes first, and that time."""
        found: dict[Assignment, tuple[AnyDelivery, float]] = {}
        for at, _, waiting in sorted(self._timed):
            if self._waits_for_time(waiting):
                found.setdefault(waiting.delivery.assignment, (waiting.delivery, at))
        return found

    def next_deadline(self) -> float | None:
        """Return when the first wait for time ends; None means that there is none."""
        while self._timed and not self._waits_for_time(self._timed[0][2]):
            heapq.heappop(self._timed)
        own = self._timed[0][0] if self._timed else None
        of_keys = self._key_waits.next_deadline() if self._key_waits.timed else None
        return own if of_keys is None else of_keys if own is None else min(own, of_keys)

    def grants(self, gates: Iterable[Gate], now: float) -> list[AnyDelivery]:
        """Admit what can be admitted, in order of arrival; each holds its permits and is in flight. `gates` are all of the engine."""
        while self._timed and self._timed[0][0] <= now:
            waiting = heapq.heappop(self._timed)[2]
            if self._waits_for_time(waiting):
                self._due(waiting)
        if not self._entries:
            return []
        granted: list[AnyDelivery] = []
        while True:
            freed = list(_freed(gates))
            if self._key_waits.lines and (released := self._key_waits.release(freed, now)):
                self._stand_again(cast("list[Waiting]", released))
            admitted, looks_again = self._round(gates, now)
            granted += admitted
            if not admitted or not (looks_again or self._key_waits.due):
                break
        for gate in gates:
            if gate.lines and gate.limited:
                gate.circuit.expect_more()
        return granted

    def _round(self, gates: Iterable[Gate], now: float) -> tuple[list[AnyDelivery], bool]:
        """Return what was admitted, and whether something that was not may have room already."""
        one = GrantRound(gates, self._ready, now)
        granted = list(one.admit())
        for waiting in one.held:
            self._unqueue(waiting)
            self._leave_key(waiting)
            self._aside.setdefault(waiting.delivery.assignment, []).append(waiting)
        for waiting in granted:
            self._leave(waiting)
        looks_again = False
        for waiting, keys, record in one.without_room:
            if keys.record_of(record.key) is not record:  # forgotten for one that has started since: nobody would tell of room there
                looks_again = True
                continue
            self._unqueue(waiting)
            self._key_waits.set_aside(waiting, keys, record, now)
        return [waiting.delivery for waiting in granted], looks_again

    def _waits_for_time(self, waiting: Waiting) -> bool:
        return waiting.not_before is not None and self._entries.get(waiting.delivery) is waiting

    def _due(self, waiting: Waiting) -> None:
        waiting.not_before = None
        # Its wait was its own affair: it does not overtake those that waited for a slot, unless it keeps its place.
        waiting.arrival = self._arrival_of(waiting.delivery)
        self._queue_up(waiting)

    def _queue_up(self, waiting: Waiting) -> None:
        self._queue(waiting)
        if waiting.arrival < 0:
            self._sort((waiting,))

    def _stand_again(self, entries: Collection[Waiting]) -> None:
        for waiting in entries:
            self._unqueue(waiting)
        for waiting in entries:
            self._queue(waiting)
        self._sort(entries)

    def _sort(self, entries: Collection[Waiting]) -> None:
        """Put the lines of these in order: they came before others that stand there already."""
        for lines in [self._ready, *(gate.lines for gate in {gate for waiting in entries for gate in waiting.gates})]:
            for run in lines.keys() & {waiting.run for waiting in entries}:
                lines[run] = dict(sorted(lines[run].items()))

    def _queue(self, waiting: Waiting) -> None:
        shut = next((gate for gate in waiting.gates if gate.shut), None)
        if shut is not None:  # it takes no turn from others of its key
            self._leave_key(waiting)
        for gate in waiting.gates if shut is None else (shut,):
            gate.lines.setdefault(waiting.run, {})[waiting.arrival] = waiting
        if shut is None and not any(gate.limited for gate in waiting.gates):
            self._ready.setdefault(waiting.run, {})[waiting.arrival] = waiting
        else:
            waiting.delivery.assignment.let_pass(waiting.delivery)

    def _unqueue(self, waiting: Waiting) -> None:
        for lines in (self._ready, *(gate.lines for gate in waiting.gates)):
            line = lines.get(waiting.run)
            if line is not None and line.pop(waiting.arrival, None) is not None and not line:
                del lines[waiting.run]

    def _leave(self, waiting: Waiting) -> None:
        del self._entries[waiting.delivery]
        self._leave_key(waiting)
        waiting.delivery.assignment.unlisted(waiting.delivery, waiting.gates)
        self._unqueue(waiting)

    def _leave_key(self, waiting: Waiting) -> None:
        if waiting.line is not None:
            self._key_waits.leave(waiting)


def _freed(gates: Iterable[Gate]) -> Iterator[KeyRecord]:
    """Take the keys that may have room again."""
    for gate in gates:
        if gate.keys is not None and gate.keys.freed:
            yield from gate.keys.take_freed()


class GrantRound:
    """One walk along the lines, oldest delivery first. `held` has the deliveries of held sources that it met, and `without_room` those
    whose key lets none start now."""

    __slots__ = ("_free", "_lines", "_now", "held", "without_room")

    def __init__(self, gates: Iterable[Gate], ready: Lines, now: float) -> None:
        self._now = now
        self.held: list[Waiting] = []
        self.without_room: list[tuple[Waiting, Keys, KeyRecord]] = []
        # How many slots each gate has left for this round; None means no limit. A gate that is missing is full or shut.
        self._free = {gate: gate.circuit.free_slots for gate in gates if gate.lines and gate.circuit.may_acquire(now)}
        self._lines = [self._line(run, line, None) for run, line in ready.items()]
        self._lines += [
            self._line(run, line, gate) for gate, slots in self._free.items() if slots is not None for run, line in gate.lines.items()
        ]

    def admit(self) -> Iterator[Waiting]:
        """Yield every delivery that may start, its permits taken, in flight from now on."""
        reserved = False
        last: int | None = None
        for waiting in heapq.merge(*self._lines, key=_arrival):
            if waiting.arrival == last:  # one delivery stands in the line of each of its gates
                continue
            last = waiting.arrival
            run = waiting.run
            if waiting.delivery.assignment.stopped:
                self.held.append(waiting)
            elif waiting.keys and (lacking := keyed.lacking(waiting.keys, self._now)):
                self.without_room.append((waiting, *lacking))
            elif not run.has_lane_for_waiting:  # the last one went to a delivery of another line
                run.want_lane()
            elif (room := self._room(waiting.gates)) and acquire(waiting.delivery, waiting.gates, self._now, room):
                waiting.delivery.assignment.started()
                if waiting.keys:
                    keyed.start(waiting.keys, self._now)
                self._take(waiting, messages_in(waiting.delivery))
                yield waiting
            elif not reserved and not any(gate.shut or gate.held_by_limit for gate in waiting.gates):
                reserved = True
                self._take(waiting, 1)  # of a batch too: whatever is admitted of it is a beginning

    def _line(self, run: Run, line: dict[int, Waiting], gate: Gate | None) -> Iterator[Waiting]:
        """Yield one line, until what it waits for is used up."""
        for waiting in line.values():
            if gate is not None and self._free[gate] == 0:
                return
            if not run.has_lane_for_waiting:
                run.want_lane()
                return
            yield waiting

    def _room(self, gates: Iterable[Gate]) -> float:
        """Return how many messages all of them admit in this round; infinite without a limit."""
        room = inf
        for gate in gates:
            slots = self._free.get(gate, 0)
            if slots is not None and slots < room:
                room = slots
        return room

    def _take(self, waiting: Waiting, slots: int) -> None:
        for gate in waiting.gates:
            free = self._free.get(gate)
            if free is not None:
                self._free[gate] = max(0, free - slots)
