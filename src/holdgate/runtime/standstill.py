"""Two kinds of standing still, and how each is noticed.

`Standstill`: this process stood still (a blocked event loop, SIGSTOP, a machine that slept). A member of a group that is silent for too
long is evicted, and others work on what the member has in hand. The member learns of that by its next heartbeat, a moment after it goes
on. What it starts in that moment is work that another process may have done already. So nothing starts before the intake has found out
what is still ours. Every lane that fetches work checks this. A timer checks too, because an idle process must notice as well, and because
the timer runs before the lanes that the same step of the loop wakes up.

`Silence`: deliveries wait, nothing holds them, a lane is free, nothing is due, and yet nothing moves. This should be impossible, and it has
happened: a task factory that begins tasks early made a wake-up get lost between two tasks. Such a process looks well and does nothing. So a
timer looks from outside at the state alone: what an assignment is owed, and which lane works on it. Of the engine's own bookkeeping, which
may be what is wrong, the timer reads only what waits and the next deadline. In a process that works the timer finds nothing, because the
code that takes deliveries in also hands them out in the same step of the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Protocol

from holdgate.flow.snapshot import Snapshot
from holdgate.flow.state import Assignment
from holdgate.ports import Evictable, Intake

if TYPE_CHECKING:
    from holdgate.flow.engine import Engine
    from holdgate.flow.gate import Gate
    from holdgate.flow.state import Run
    from holdgate.runtime.lane import Lane


class WatchedRun(Protocol):
    """What `Silence` reads of a run."""

    engine: Engine
    run: Run
    lanes: list[Lane]
    idle: list[Lane]
    opened: asyncio.Future[None]
    closed: bool
    lanes_lent: int
    now: Callable[[], float]

    def sends_for(self, assignment: Assignment) -> bool:
        """Return whether a dead letter of this assignment is on its way now."""
        ...


class WatchedGuard(Protocol):
    """What `Silence` reads of its guard."""

    @property
    def workers(self) -> Iterable[WatchedRun]: ...

    def snapshot(self) -> Snapshot: ...


# -- a process that stood still -------------------------------------------------------------------------------------------------------

# So many looks within the time that leads to an eviction. A standstill of that time is always noticed, and the shortest one that is
# noticed lasts three quarters of it.
_LOOKS = 4


class Standstill:
    """Watches over one run. Past `until` (monotonic seconds, infinite where nobody is evicted) the process has stood still."""

    __slots__ = ("_intake", "_now", "_patience", "_timer", "until")

    def __init__(self, intake: Intake[Any], now: Callable[[], float]) -> None:
        self.until = inf
        self._intake: Evictable | None = intake if isinstance(intake, Evictable) else None
        self._now = now
        self._patience = inf
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on."""
        if self._intake is not None and isfinite(self._intake.evicted_after):
            self._patience = self._intake.evicted_after
            self._look()

    def stop(self) -> None:
        """Stop watching, because the run is over."""
        if self._timer is not None:
            self._timer.cancel()
        self.until = inf

    def noticed(self, now: float) -> None:
        """Let the intake give up what may not be ours any more, because it is past `until`."""
        self.until = now + self._patience
        if self._intake is not None:
            self._intake.stood_still()

    def _look(self) -> None:
        now = self._now()
        if now > self.until:
            self.noticed(now)
        self.until = now + self._patience
        self._timer = asyncio.get_running_loop().call_later(self._patience / _LOOKS, self._look)


# -- a source that stands still for no reason -----------------------------------------------------------------------------------------

log = logging.getLogger("holdgate")

# A silence is reported when three looks in a row have seen it, which takes 16 to 24 seconds. So a moment between two steps is never
# reported, and neither is a loop that was blocked, because such a loop runs what is due between two looks.
_LOOK_EVERY = 8.0
_SILENT_LOOKS = 3


class Silence:
    """Watches over the runs of one guard. `found` has the assignments that stand still now, each with its text for `health`."""

    def __init__(self, guard: WatchedGuard) -> None:
        self.found: dict[Assignment, str] = {}
        self._guard = guard
        self._seen: dict[Assignment, tuple[int, int]] = {}  # how much waited, and at how many looks in a row
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on. Idempotent."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._on_time)

    def stop(self) -> None:
        """Stop watching, because the guard is left."""
        if self._timer is not None:
            self._timer.cancel()

    def _on_time(self) -> None:
        self._timer = None
        self.start()
        self.look()

    def look(self) -> None:
        """Look once."""
        before, self._seen = self._seen, {}
        reported, self.found = self.found, {}
        for worker in self._guard.workers:
            for assignment, waiting in _silent(worker):
                last, looks = before.get(assignment, (waiting, 0))
                self._seen[assignment] = waiting, (looks + 1 if last == waiting else 1)
                if self._seen[assignment][1] >= _SILENT_LOOKS:
                    self.found[assignment] = (
                        f"{assignment.source}: {waiting} waiting, nothing holds them, a lane is free, and nothing moves"
                    )
                    if assignment not in reported:
                        self._report(assignment)

    def _report(self, assignment: Assignment) -> None:
        snapshot = self._guard.snapshot()
        log.error(
            "%s stands still though nothing holds it and a lane is free: restart this process, and report it to holdgate with this: %r, %r",
            assignment.source,
            snapshot.sources[assignment.source],
            {name: circuit.state.name for name, circuit in snapshot.dependencies.items()},
        )


def _may_start(worker: WatchedRun) -> Iterator[Assignment]:
    """Find the assignments of a run of which nothing keeps the deliveries from starting: no hold, no ramp, and no lane that is missing."""
    run = worker.run
    if run.draining or worker.closed or not worker.opened.done():
        return
    has_lane = bool(worker.idle) or len(worker.lanes) - worker.lanes_lent < run.lanes
    asleep = {lane.delivery.assignment for lane in worker.lanes if lane.delivery is not None and lane.oversleeps}
    working = {lane.delivery.assignment for lane in worker.lanes if lane.delivery is not None and not lane.oversleeps}
    for assignment in run.assignments.values():
        if assignment in working or not (has_lane or assignment in asleep):
            continue
        is_free = not assignment.held and not assignment.plan.held and not assignment.going
        if is_free and all(gate.circuit.limit is None for gate in assignment.needed):
            yield assignment


def _silent(worker: WatchedRun) -> Iterator[tuple[Assignment, int]]:
    """Find those of them that are owed work which no lane does, and how many messages wait in each."""
    may_start = list(_may_start(worker))
    if not may_start:
        return
    listed = worker.engine.listed()
    deadline = worker.engine.next_deadline()
    nothing_due = deadline is None or deadline <= worker.now()
    for assignment in may_start:
        inbox, on_list = assignment.inbox, listed[assignment]
        # On the waiting list: for time, for a slot, or for a lane that should be theirs. Not for a circuit that others pass them for.
        undeclared = assignment.undeclared_waiting
        heads = on_list and not any(gate.circuit.limit is not None for gate in undeclared)
        if heads and any(_is_full(gate, worker.now()) for gate in (*assignment.needed, *undeclared)):
            continue
        is_owed = nothing_due if heads else inbox.waiting or assignment.in_flight
        if is_owed and not worker.sends_for(assignment):
            yield assignment, inbox.waiting + inbox.behind_passed + on_list


def _is_full(gate: Gate, now: float) -> bool:
    """Return whether messages wait for a bulkhead, the dependency's or a key's: the end of a call lets them in, at a time nobody knows."""
    return gate.circuit.limits.free(now) == 0 or (gate.keys is not None and gate.keys.waiting > 0)
