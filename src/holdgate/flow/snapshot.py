"""The read model of an engine: frozen, and everything that a person needs to know why something waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from holdgate.core import CircuitSnapshot
from holdgate.flow.events import CommandGiven
from holdgate.flow.gate import Gate
from holdgate.flow.memory import Memory
from holdgate.flow.message import Source
from holdgate.flow.state import Assignment


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """One assigned source.

    `held` while it has `reasons`, `since` when the hold began (monotonic seconds; None means that it is not held). `waiting` counts
    deliveries in this process that no handler has, `in_flight` those that a handler has. `fetch`: the broker may deliver more.
    `falling_back`: its messages go to the fallback now, and so it is not held; `fallbacks` counts those that did, in this assignment.
    `needs` are those of all its messages, or what a message of it may need. `waits_for` are dependencies that some messages of it wait for
    and others do not need; they hold it only if nothing else may start. `held_bytes` is about what its messages take here, waiting and in
    work.
    """

    source: Source
    held: bool
    reasons: tuple[str, ...]
    since: float | None
    fetch: bool
    waiting: int
    in_flight: int
    needs: tuple[str, ...]
    falling_back: bool = False
    fallbacks: int = 0
    waits_for: tuple[str, ...] = ()
    held_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything, at one moment: circuits by dependency, the assigned sources, and the operators' commands in force.

    A command of `commands` may be on a source that is elsewhere now: it is in force again when the source comes back.
    `held_bytes` are about what all messages here take, those in work included, and `read_ahead_bytes` what the clients have read beyond
    that. `memory` is their bound; None means that there is none. `waiting_for_room` sources are not read now because others have filled it.
    """

    at: float
    dependencies: Mapping[str, CircuitSnapshot]
    sources: Mapping[Source, SourceSnapshot]
    commands: tuple[CommandGiven, ...] = ()
    memory: int | None = None
    held_bytes: int = 0
    read_ahead_bytes: int = 0
    waiting_for_room: int = 0

    def held_by(self, dependency: str) -> tuple[Source, ...]:
        """Return the sources that the circuit of `dependency` holds now."""
        return tuple(source for source, seen in self.sources.items() if f"circuit:{dependency}" in seen.reasons)


def take_snapshot(
    gates: Iterable[Gate], memory: Memory, listed: Counter[Assignment], now: float, commands: tuple[CommandGiven, ...] = ()
) -> Snapshot:
    """Return everything at `now`; `listed` counts the messages on the waiting list. If two runs read a source, the later one is shown."""
    sources = [_source(assignment, listed[assignment]) for assignment in memory.assignments()]
    return Snapshot(
        now,
        MappingProxyType({gate.name: gate.circuit.snapshot(now) for gate in gates}),
        MappingProxyType({seen.source: seen for seen in sources}),
        commands,
        memory=memory.bound,
        held_bytes=sum(seen.held_bytes for seen in sources),  # what `memory.sum()` is; weighing is half of the work here
        waiting_for_room=memory.waiting if memory.tight else 0,
    )


def _source(assignment: Assignment, listed: int) -> SourceSnapshot:
    plan = assignment.plan
    return SourceSnapshot(
        source=assignment.source,
        held=plan.held,
        reasons=plan.reasons,
        since=assignment.hold.since,
        fetch=plan.fetch,
        waiting=assignment.inbox.waiting + assignment.inbox.behind_passed + listed + len(assignment.blocked),
        in_flight=assignment.in_flight,
        needs=tuple(gate.name for gate in assignment.may_need),
        falling_back=assignment.falling_back,
        fallbacks=assignment.fallbacks,
        waits_for=tuple(gate.name for gate in assignment.undeclared_waiting),
        held_bytes=assignment.weigh(),
    )
