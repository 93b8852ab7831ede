"""Messages that wait for their keys: which of them may stand in line again, and when.

The waiting list sets a message aside here when its key has no room. It comes back into line when time or a result has made room, as many at
a time as the key lets start, oldest first. It does not overtake those of its key that wait as well.

Nobody starves, and nobody starves others. Keys that have room again come in turn, one message each; and at most `_IN_LINE` messages stand
in line again at a time. A tenant that returns from an outage with ten thousand messages so takes its turn among the tenants, and those that
were well all the time have each second lane (state.py).

What time frees is in a heap; what a result frees is listed by the keys themselves (`Keys.freed`). So a turn costs nothing for keys at which
nothing happens, however many are held.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Protocol

from holdgate.core import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdgate.core.key_record import KeyRecord
    from holdgate.core.keys import Keys
    from holdgate.flow.message import AnyDelivery

# More than a run has lanes, mostly, so that no lane is idle while a key has room; and few enough that a key whose turn comes waits for few.
_IN_LINE = 64

# So many that have left may stand in the heap of a key beside as many as wait: a key may be down for days, and sources come and go.
_LEFT = 64

# A limit that lets nothing go for at least so long (seconds) holds a source in which nothing may pass; what is shorter an inbox bridges
# (limiting.py).
_MOMENT = 5.0


class WaitingForKey(Protocol):
    """What is asked here of a message on the waiting list (waiting.py)."""

    delivery: AnyDelivery
    arrival: int
    line: KeyLine | None  # that of the key that it waits for, or has waited for since it is there
    is_aside: bool  # its key has no room: it stands nowhere else


class KeyLine:
    """The messages that wait for one key. `count` are all of them, and `out` those that stand in line again."""

    __slots__ = ("aside", "count", "is_due", "keys", "out", "record", "timer")

    def __init__(self, keys: Keys, record: KeyRecord) -> None:
        self.keys = keys
        self.record = record
        # A heap by arrival and by when it was set aside; what has left is passed over. A message may come again at the place that it keeps
        # while what it left behind is still here: so two may have one arrival.
        self.aside: list[tuple[int, int, WaitingForKey]] = []
        self.count = 0
        self.out = 0
        self.is_due = False  # it has its turn
        self.timer: float | None = None

    def change(self, by: int) -> None:
        """Count messages that come or leave."""
        self.count += by
        self.keys.count_waiting(self.record, by)

    def forget_the_left(self) -> None:
        """Let go of messages that have left, when most of the heap are such."""
        if len(self.aside) > 2 * self.count + _LEFT:
            self.aside = [entry for entry in self.aside if entry[2].line is self and entry[2].is_aside]
            heapq.heapify(self.aside)


class KeyWaits:
    """All messages of one engine that wait for their keys.

    The waiting list reads `lines`, `due` and `timed`, to call nothing here while no message waits for a key: a turn is to cost as much as
    without keys.
    """

    def __init__(self) -> None:
        self.lines: dict[KeyRecord, KeyLine] = {}
        self.due: deque[KeyLine] = deque()  # those that may have room, in turn
        self.timed: list[tuple[float, int, KeyLine]] = []
        self._timers = 0
        self._set_aside = 0
        self._out = 0

    def set_aside(self, waiting: WaitingForKey, keys: Keys, record: KeyRecord, now: float) -> None:
        """Let a message wait for this key, which has no room."""
        line = waiting.line
        if line is None or line.record is not record:
            self.leave(waiting)
            line = self.lines.get(record)
            if line is None:
                line = self.lines[record] = KeyLine(keys, record)
            line.change(1)
            waiting.line = line
            waiting.delivery.assignment.hold.count_waiting(record, 1)
        else:
            line.out -= 1
            self._out -= 1
        waiting.is_aside = True
        self._set_aside += 1
        heapq.heappush(line.aside, (waiting.arrival, self._set_aside, waiting))
        self._watch(line, now)
        assignment = waiting.delivery.assignment
        assignment.let_pass(waiting.delivery)
        is_down = record.state is not State.CLOSED
        if record.is_held and (is_down or line.timer is None or line.timer - now >= _MOMENT):
            assignment.hold.wait_for_key(record, keys.name, assignment.inbox.oldest)
            assignment.mark_dirty()

    def leave(self, waiting: WaitingForKey) -> None:
        """Forget a message that waits no longer."""
        line = waiting.line
        if line is None:
            return
        if not waiting.is_aside:
            line.out -= 1
            self._out -= 1
        waiting.line, waiting.is_aside = None, False
        line.change(-1)
        assignment = waiting.delivery.assignment
        assignment.hold.count_waiting(line.record, -1)
        if assignment.held and assignment.alive:  # a hold by the key may be over
            assignment.mark_dirty()
        line.forget_the_left()
        if line.count:
            self._let_have_turn(line)
        else:
            line.timer = None
            del self.lines[line.record]

    def release(self, freed: Iterable[KeyRecord], now: float) -> list[WaitingForKey]:
        """Return the messages that are to stand in line again; `freed` are the keys that may have room by a result."""
        while self.timed and self.timed[0][0] <= now:
            at, _, line = heapq.heappop(self.timed)
            if line.timer == at:
                line.timer = None
                self._let_have_turn(line)
        for record in freed:
            if record in self.lines:
                self._let_have_turn(self.lines[record])
        released: list[WaitingForKey] = []
        while self.due and self._out < _IN_LINE:
            line = self.due.popleft()
            line.is_due = False
            waiting = self._next_of(line, now)
            if waiting is not None:
                released.append(waiting)
                self._let_have_turn(line)
        return released

    def next_deadline(self) -> float | None:
        """Return when time frees the first of the keys that are waited for. None means that none is."""
        timed = self.timed
        while timed and timed[0][2].timer != timed[0][0]:
            heapq.heappop(timed)
        return timed[0][0] if timed else None

    def _next_of(self, line: KeyLine, now: float) -> WaitingForKey | None:
        """Return the oldest message of a key that has room for it besides those in line. None means that there is none."""
        if not line.count:
            return None
        free = line.keys.free_of(line.record, now)
        if free is not None and free <= line.out:
            self._watch(line, now)
            return None
        while line.aside:
            waiting = heapq.heappop(line.aside)[2]
            if waiting.line is line and waiting.is_aside:
                waiting.is_aside = False
                line.out += 1
                self._out += 1
                return waiting
        return None

    def _let_have_turn(self, line: KeyLine) -> None:
        if not line.is_due:
            line.is_due = True
            self.due.append(line)

    def _watch(self, line: KeyLine, now: float) -> None:
        """Have the line looked at again when time frees its key."""
        at = line.record.next_at(now)
        if at is not None and at != line.timer:
            self._timers += 1
            heapq.heappush(self.timed, (at, self._timers, line))
        line.timer = at
