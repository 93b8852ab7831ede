"""The read model of an engine: frozen, and everything that a person needs to know why something waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

from holdgate.core import CircuitSnapshot
from holdgate.fleet.snapshot import FleetSnapshot
from holdgate.flow.events import CommandGiven
from holdgate.flow.gate import Gate
from holdgate.flow.memory import Memory
from holdgate.flow.message import AnyDelivery, Source
from holdgate.flow.state import Assignment


@dataclass(frozen=True, slots=True)
class FailureKind:
    """One type of exception that calls of a dependency failed with lately.

    `error` is the name of the type, with the status of an HTTP answer or the name of an error number behind it. It came `count` times,
    from `first` to `last` (monotonic seconds).
    """

    error: str
    count: int
    first: float
    last: float


_NO_FAILURES: Mapping[str, tuple[FailureKind, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PartlyWaiting:
    """Messages of a source that wait for a dependency which not all of its messages need, or for their keys there; the others may go on.

    `by_message`: `needs` says for each message what it needs. `waiting_for` counts the messages that wait for each dependency which is down
    or comes back, by name. `behind` counts those that wait behind them, because they have the same key. `stands_because` says why the
    others do not go on: "order", "held_span" or "memory". Empty means that they do.
    """

    by_message: bool
    waiting_for: Mapping[str, int]
    behind: int = 0
    stands_because: str = ""

    @property
    def waiting(self) -> int:
        """Return about how many messages wait so. One that waits for two dependencies may count twice."""
        return sum(self.waiting_for.values()) + self.behind

    def waiting_of(self, dependency: str, *, declared: bool) -> int | None:
        """Return how many messages wait for this dependency. None means that all messages of the source do, because it is `declared` for
        all of them."""
        return self.waiting_for.get(dependency, 0) if self.by_message or not declared else None


@dataclass(frozen=True, slots=True)
class RetryWaiting:
    """A message that waits for its next try, by time alone: `at` is the monotonic second of that.

    `failures` counts the attempts that have failed, and `error` is the type of the last exception. Empty means that it has not failed: its
    handler has asked for another time.
    """

    position: int
    failures: int
    error: str
    at: float


class WaitingMessages(Protocol):
    """What a snapshot reads of the waiting list."""

    def by_assignment(self) -> Counter[Assignment]:
        """Return how many messages wait, by assignment."""
        ...

    def next_timed(self) -> Mapping[Assignment, tuple[AnyDelivery, float]]:
        """Return, for each assignment of which messages wait for time alone, the one whose time comes first, and that time."""
        ...


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """One assigned source.

    `held` while it has `reasons`, `since` when the hold began (monotonic seconds; None means that it is not held). `waiting` counts
    deliveries in this process that no handler has, `in_flight` those that a handler has. `fetch`: the broker may deliver more.
    `falling_back`: its messages go to the fallback now, and so it is not held; `fallbacks` counts those that did, in this assignment.
    `needs` are those of all its messages, or what a message of it may need. `waits_for` are dependencies that some messages of it wait for
    and others do not need; they hold it only if nothing else may start. `held_bytes` is about what its messages take here, waiting and in
    work. `partly` says how many messages wait so; None means that all of them need the same, and none waits for anything else.
    `retrying` is the message that waits for its next try, of several the first; None means that none does. `key_try` is when the first of
    the keys that its messages wait for lets one ask (monotonic seconds); None means that no key is held.
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
    partly: PartlyWaiting | None = None
    retrying: RetryWaiting | None = None
    key_try: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything, at one moment: circuits by dependency, the assigned sources, and the operators' commands in force.

    A command of `commands` may be on a source that is elsewhere now: it is in force again when the source comes back.
    `held_bytes` are about what all messages here take, those in work included, and `read_ahead_bytes` what the clients have read beyond
    that. `memory` is their bound; None means that there is none. `waiting_for_room` sources are not read now because others have filled it.
    `fleet` is the fleet that this worker is in, as it sees it; None means that it is in none.
    `failures` are the types of exceptions that the calls of each dependency failed with lately, the last one first.
    """

    at: float
    dependencies: Mapping[str, CircuitSnapshot]
    sources: Mapping[Source, SourceSnapshot]
    commands: tuple[CommandGiven, ...] = ()
    memory: int | None = None
    held_bytes: int = 0
    read_ahead_bytes: int = 0
    waiting_for_room: int = 0
    fleet: FleetSnapshot | None = None
    failures: Mapping[str, tuple[FailureKind, ...]] = field(default_factory=lambda: _NO_FAILURES)

    def held_by(self, dependency: str) -> tuple[Source, ...]:
        """Return the sources that the circuit of `dependency` holds now."""
        return tuple(source for source, seen in self.sources.items() if f"circuit:{dependency}" in seen.reasons)


def take_snapshot(
    gates: Iterable[Gate], memory: Memory, waiting: WaitingMessages, now: float, commands: tuple[CommandGiven, ...] = ()
) -> Snapshot:
    """Return everything at `now`. If two runs read a source, the later one is shown."""
    listed, timed = waiting.by_assignment(), waiting.next_timed()
    sources = [_source(assignment, listed.get(assignment, 0), timed.get(assignment), now) for assignment in memory.assignments()]
    return Snapshot(
        now,
        MappingProxyType({gate.name: _dependency(gate, now) for gate in gates}),
        MappingProxyType({seen.source: seen for seen in sources}),
        commands,
        memory=memory.bound,
        held_bytes=sum(seen.held_bytes for seen in sources),  # what `memory.sum()` is; weighing is half of the work here
        waiting_for_room=memory.waiting if memory.tight else 0,
    )


def _dependency(gate: Gate, now: float) -> CircuitSnapshot:
    seen = gate.circuit.snapshot(now)
    return seen if gate.keys is None else replace(seen, keys=gate.keys.snapshot())


def _source(assignment: Assignment, listed: int, timed: tuple[AnyDelivery, float] | None, now: float) -> SourceSnapshot:
    plan, inbox, reasons = assignment.plan, assignment.inbox, assignment.plan.reasons
    undeclared, keys = assignment.undeclared_waiting, assignment.hold.keys
    # By position: ten thousand sources are made at a time, and keywords would be a sixth of that.
    return SourceSnapshot(
        assignment.source,
        bool(reasons),
        reasons,
        assignment.hold.since,
        plan.fetch,
        inbox.waiting + inbox.behind_passed + listed + len(assignment.blocked),
        assignment.in_flight,
        assignment.need_names,
        assignment.falling_back,
        assignment.fallbacks,
        tuple(gate.name for gate in undeclared) if undeclared else (),
        assignment.weigh() if assignment.weights.most else 0,
        _partly(assignment) if assignment.by_message or undeclared or (keys and assignment.passing is not None) else None,
        None if timed is None else _retrying(*timed),
        assignment.hold.key_try(now) if keys else None,
    )


def _retrying(delivery: AnyDelivery, at: float) -> RetryWaiting:
    history = delivery.history
    return (
        RetryWaiting(delivery.position, 0, "", at)
        if history is None
        else RetryWaiting(delivery.position, history.failures, history.error, at)
    )


def _partly(assignment: Assignment) -> PartlyWaiting:
    waiting_for = {gate.name: count for gate, count in assignment.undeclared_waiting.items() if gate.limited}
    by_key = assignment.hold.waiting_by_name()
    for gate in assignment.may_need:  # a dependency that is down as a whole holds all that need it, whatever their keys
        if gate.name in by_key and gate.name not in waiting_for and not gate.shut:
            waiting_for[gate.name] = by_key[gate.name]
    because = assignment.stands_because if waiting_for else ""
    return PartlyWaiting(assignment.by_message, MappingProxyType(waiting_for), assignment.inbox.behind_passed, because)
