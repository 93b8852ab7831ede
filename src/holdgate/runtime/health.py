"""Health: whether this process is alive, whether it does its work, and what a person should know.

Liveness and readiness never depend on the broker, a dependency or a circuit. A liveness failure would restart every worker in the middle
of an outage, and a readiness failure would block the very rollout that brings the fix. So an open circuit is `degraded`, and ready.

From inside, liveness can see work that stands still: a source that nothing holds, that has deliveries here, and where nothing ends.
Nothing is counted per message for this. `Pulse` looks at which lane works on what, and compares that with its last look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from holdgate.core import State
from holdgate.flow.snapshot import Snapshot, SourceSnapshot
from holdgate.flow.state import Assignment
from holdgate.runtime.worker import Worker

_MIB = 1024 * 1024

Status = Literal["ok", "degraded", "starting", "stopping"]


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe asks for.

    - `live`: False means that this process should be restarted.
    - `ready`: the process has started and is not stopping. True also while a circuit is open.
    - `started`: every run has had its first assignment.
    - `status`: "degraded" while a circuit is not closed or a source is held.
    - `reasons`: why the status is not "ok", in words. Never a payload or a key.
    - `memory`: how much is in hand, in words.
    """

    live: bool
    ready: bool
    started: bool
    status: Status
    reasons: tuple[str, ...]
    memory: str = field(default="", compare=False)  # a figure of the moment, and no part of the state


class Pulse:
    """Looks at the runs each time health is asked for, and names what has not moved for `stall_after` seconds.

    A source that is seen for the first time counts as moving. A probe that asks less often than `stall_after` reports a stall late, but
    never wrongly.
    """

    def __init__(self, stall_after: float) -> None:
        self._stall_after = stall_after
        self._started = False
        self._seen: dict[Assignment, tuple[object, float]] = {}

    def take(self, workers: Iterable[Worker], snapshot: Snapshot, silent: Iterable[str] = (), *, stopping: bool) -> Health:
        """Return the health at the time of `snapshot`. `silent` names what stands still for no reason at all, in words."""
        workers = tuple(workers)
        self._started = self._started or (bool(workers) and all(worker.started for worker in workers))
        stalls = () if stopping else (*silent, *self._silent(workers, snapshot.at), *self._stalled(workers, snapshot))
        troubles = (*stalls, *_open(snapshot), *_held(snapshot))
        status: Status = "stopping" if stopping else "starting" if not self._started else "degraded" if troubles else "ok"
        return Health(not stalls, self._started and not stopping, self._started, status, troubles, _memory(snapshot))

    def _silent(self, workers: Iterable[Worker], now: float) -> Iterator[str]:
        """Name the runs whose poll does not come back: a receive waits for its `poll_timeout`, whatever the broker does."""
        for worker in workers:
            if worker.opened.done() and now - worker.polled_at > self._stall_after:
                yield f"{worker.name}: no poll has returned for {now - worker.polled_at:.0f} s"

    def _stalled(self, workers: Iterable[Worker], snapshot: Snapshot) -> Iterator[str]:
        before, self._seen = self._seen, {}
        for worker in workers:
            for assignment in worker.run.assignments.values():
                if assignment.plan.held or not assignment.inbox.waiting:  # nearly all of ten thousand: not worth a look at their snapshots
                    continue
                if not _should_move(assignment, snapshot.sources.get(assignment.source)):
                    continue
                sight = _sight(worker, assignment)
                last, since = before.get(assignment, (None, snapshot.at))
                since = since if last == sight else snapshot.at
                self._seen[assignment] = (sight, since)
                if snapshot.at - since > self._stall_after:
                    yield f"{assignment.source}: {assignment.inbox.waiting} waiting, and nothing has ended for {snapshot.at - since:.0f} s"


def _should_move(assignment: Assignment, seen: SourceSnapshot | None) -> bool:
    """Return whether the deliveries that wait here in no hold may start: no ramp, no retry of an earlier one keeps them from it."""
    if seen is None or any(gate.circuit.limit is not None for gate in assignment.may_need):
        return False
    return seen.waiting == assignment.inbox.waiting


def _sight(worker: Worker, assignment: Assignment) -> object:
    # The deliveries themselves, not their ids: an object that is kept alive here cannot be mistaken for a later one with the same id.
    running: list[Any] = [(lane.delivery, lane.delivery.attempt) for lane in worker.lanes if lane.delivery and lane.works_for({assignment})]
    return running, assignment.inbox.waiting if not running else None


def _open(snapshot: Snapshot) -> Iterator[str]:
    for name, circuit in snapshot.dependencies.items():
        if circuit.override is not None:
            yield f"circuit:{name} is {circuit.override.name}"
        elif circuit.state is not State.CLOSED:
            yield f"circuit:{name} is {circuit.state.name}"


def _held(snapshot: Snapshot) -> Iterator[str]:
    counts = Counter(reason for seen in snapshot.sources.values() for reason in seen.reasons)
    for reason, count in sorted(counts.items()):
        yield f"{reason} holds {count} of {len(snapshot.sources)} sources"


def _memory(snapshot: Snapshot) -> str:
    """Return how much is in hand, in words. A bound that is reached is no trouble: it does its work."""
    told = f"{(snapshot.held_bytes + snapshot.read_ahead_bytes) / _MIB:.1f} MiB of messages in hand"
    if snapshot.memory is not None:
        told += f", of {snapshot.memory / _MIB:g} MiB"
    if snapshot.waiting_for_room:
        told += f"; {snapshot.waiting_for_room} of {len(snapshot.sources)} sources wait for room"
    return told
