"""The status of one worker as a document: what is held, why, since when, how much waits, and what happens next.

`status` makes it of a snapshot. `/status`, the event stream, the page and the command line all show this one document, so none of them can
say anything else. It is made of what JSON has: dictionaries, lists, texts and numbers. `/status` of two versions of holdgate may be read by
one page, so a field is never renamed or given another meaning; `schema` goes up if that must happen.

Every time in it is in seconds since the epoch, by the worker's clock, and `at` is that clock's time of the document. So `at - since` is how
long something lasts, whatever the reader's own clock says. What is worst comes first.

The comment on a field's line is its description in docs/reference/status.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, TypedDict, cast

from holdgate.core import CircuitSnapshot, KeysSnapshot, LimiterSnapshot, Override, State
from holdgate.core.guidance import Phase
from holdgate.fleet.snapshot import AgreementSnapshot, FleetSnapshot
from holdgate.flow.backlog import SourceBacklog
from holdgate.flow.events import AHEAD, BEHIND, AnyEvent, CommandEnded, CommandGiven
from holdgate.flow.history import LastEvents
from holdgate.flow.message import Backlog, Partition, Source
from holdgate.flow.plan import CIRCUIT, KEY, LIMIT
from holdgate.flow.snapshot import FailureKind, PartlyWaiting, RetryWaiting, Snapshot, SourceSnapshot

SCHEMA = 1

# A wall clock that is set moves by more. Two readings of two clocks, and an hour of slewing, differ by less.
_SET_BY = 0.1


class HealthStatus(TypedDict):
    """What the probes ask for."""

    live: bool  # false: this process should be restarted
    ready: bool  # the process has started and is not stopping; true also while a circuit is open
    started: bool  # every run has had its first assignment
    status: str  # `ok`, `degraded`, `starting` or `stopping`
    reasons: list[str]  # why it is not `ok`, in words
    memory: str  # how much is in hand, in words


class SummaryStatus(TypedDict):
    """The first line: how bad it is."""

    dependencies: int  # how many there are
    open: int  # how many let nothing through, those that an operator forced open included
    ramping: int  # how many are half-open
    overridden: int  # how many an operator has forced open, disabled or only observes
    sources: int  # partitions and queues that are assigned to this worker
    partitions_held: int
    queues_held: int
    held_since: float | None  # when the oldest hold began; null: nothing is held
    waiting: int  # messages in this process that no handler has
    in_flight: int  # messages that a handler has
    backlog: int | None  # messages that wait at the brokers, as far as they are known; null: nothing is known
    drain_seconds: float | None  # in about how many seconds all of it is drained here; null: unknown, or something must recover first


class FailureStatus(TypedDict):
    """One type of exception that calls of a dependency failed with lately."""

    error: str  # the type, with the status of an HTTP answer or the name of an error number behind it: `HTTPStatusError 503`
    count: int  # how many calls failed with it from `first` to `last`
    first: float
    last: float


class LimitStatus(TypedDict):
    """How many calls a dependency takes, as far as it is known."""

    pace: float | None  # calls that may start in a second; null: no rate is known
    width: int | None  # calls that may be in flight; null: no number limits them
    in_flight: int  # calls that run now, as far as the limit counts them
    why: str  # what holds calls back now: `rate`, `concurrency`, `throttled`, `pace`, `width`, `down`, or `free`
    next_start: float | None  # when time alone lets the next call start; null: one may start now, or a result lets it
    accepted: int  # calls that were let in since its limit was met first
    refused: int  # calls that were not
    waste: float  # the share of those
    experiments: int  # how often a higher pace or another width was tried
    observed: bool  # an operator only observes the dependency, and nothing is held back


class KeysStatus(TypedDict):
    """The keys of a dependency, each with a circuit and limits of its own. Which ones they are stays in the worker."""

    known: int  # of so many something is remembered
    held: int  # so many of these are held
    waiting: int  # messages in this process that wait for them, without those behind them
    max_keys: int  # so many are remembered at most


class WorkerShareStatus(TypedDict):
    """What one worker has of one dependency that its fleet takes back."""

    worker: str
    backlog: bool  # messages wait for it there
    full: int  # calls in parallel that it makes in good times
    share: int  # calls of the fleet's limit that are its own


class FleetShareStatus(TypedDict):
    """How a worker's circuit goes by its fleet."""

    course: str  # `well`, `wait` (down for all), or `ramp` (on its way back)
    phase: str  # how this worker goes by it: `local` (its own rules alone), `wait`, `probe` (it tries for all), `ramp` (its share) or `up`
    epoch: int  # the number of the conductor's term
    conductor: str | None  # the worker that tries for all, as the fleet knows it; null: nobody yet
    own: bool  # that is this worker
    stage: int  # of the fleet's ramp
    limit: int  # calls in parallel that the whole fleet may make; 0: none
    share: int | None  # how many of them are this worker's; null: the fleet is not on its way back, or does not lead this circuit
    failed_probes: int  # of this outage, by all workers
    next_probe: float | None  # when the fleet's next one is due; null: none is planned
    failing: int  # workers whose last call has failed
    failures: int  # calls of theirs that have failed in a row, together
    shares: list[WorkerShareStatus]  # of every worker, the largest first; empty unless the fleet is on its way back
    word: str | None  # what an operator has ordered for all workers: `hold` or `force_open`; null: nothing is in force
    word_reason: str | None
    word_actor: str | None
    word_until: float | None  # null: until another one


class FleetMemberStatus(TypedDict):
    """One worker of the fleet."""

    worker: str  # a number that stands for it: nothing of its host or process is in it
    own: bool  # it is this one
    age: float  # seconds since it was heard


class FleetStatus(TypedDict):
    """The fleet that a worker is in, as it sees it."""

    name: str
    worker: str  # this one, as the others see it
    readable: bool  # the log answers; false: every circuit goes by its own rules
    silent_since: float | None  # since when it does not; null: it does
    round_trip: float  # seconds from writing a record to reading it
    members: list[FleetMemberStatus]


class DependencyStatus(TypedDict):
    """One dependency; every declared one is listed, called or not."""

    name: str
    state: str  # `closed`, `open` or `half_open`
    override: str | None  # what an operator has laid over the state: `forced_open`, `disabled` or `metrics_only`
    override_until: float | None  # when that ends by itself; null: it does not, or there is none
    since: float | None  # when it came into this state; null: it has been closed since the worker began
    down_since: float | None  # when it left `closed`; null: it is closed
    reason: str | None  # why it left `closed` ([all reasons](states.md#why-a-circuit-opens)); null: it is closed, or an operator did it
    value: float | None  # what had reached the threshold then
    threshold: float | None  # the threshold of that reason
    failed_tries: int  # how often it has opened again since, because a probe or the ramp failed
    level: int  # 0 after health, 1 in an outage, more after relapses; they make it wait longer and resume more slowly
    next_try: float | None  # when a probe is admitted; null: it is not open, or only an operator ends that
    limit: int | None  # calls in parallel that it admits; null: no limit, 0: none
    full: int  # the limit at which the ramp ends and the circuit closes
    limits: LimitStatus | None  # how many calls it takes; null: nothing limits them
    keys: KeysStatus | None  # its keys; null: it has none
    fleet: FleetShareStatus | None  # what the fleet agrees on about it; null: this worker is in no fleet
    in_flight: int  # calls that run now, as far as the circuit counts them
    calls: int  # results in the window
    failures: int  # failures among these
    failure_rate: float | None  # their ratio; null: below the minimum of calls
    slow_call_rate: float | None  # the ratio of slow calls; null: below the minimum of calls
    consecutive_failures: int
    failed_with: list[FailureStatus]  # the last five types that its calls failed with, latest first; one is forgotten after an hour
    refused: int  # calls that it has refused since the worker began
    sources: int  # how many sources need it
    held: int  # how many of them it holds
    partly: int  # how many of them have messages that wait for it while others go on
    waiting: int  # messages in this process that wait in these sources; where each message has needs of its own, those that wait for it
    backlog: int | None  # messages that wait at the broker in these sources, without those known to wait for something else; null: unknown
    drain_seconds: float | None  # in about how many seconds what waits for it is drained here; null: unknown, or it must recover first


class BlockedStatus(TypedDict):
    """The message that a source waits behind."""

    position: int  # Kafka's offset, RabbitMQ's delivery tag
    attempts: int  # how often it has failed by its own fault; with `suspect`, how often it has failed
    error: str  # the type of its last exception
    suspect: bool  # true: it may be an outage, and the message is tried again
    throttled: bool  # true: a limit has refused it so often in a row; it has not failed, and is tried again


class RetryStatus(TypedDict):
    """A message that waits for its next try, by time alone."""

    position: int  # Kafka's offset, RabbitMQ's delivery tag
    failures: int  # how often it has failed
    error: str  # the type of its last exception; empty: its handler has asked for another time
    next_try: float  # when that is


class PartlyStatus(TypedDict):
    """Messages of a source that wait for a dependency which not all of its messages need."""

    by_message: bool  # `needs` says for each message what it needs
    waiting_for: dict[str, int]  # how many wait for each dependency that is down or comes back, by name; empty: none does
    behind: int  # messages that wait behind those, because they have the same key
    stands_because: str | None  # why the others do not go on: `order`, `held_span` or `memory`; null: they do


class SourceStatus(TypedDict):
    """One partition or queue that is assigned to this worker."""

    source: str  # the name that commands take: `orders[3]`, or that of the queue
    name: str  # the topic or queue
    partition: int | None  # null: a queue
    held: bool  # no handler starts for it
    reasons: tuple[str, ...]  # why ([all of them](glossary.md)): `circuit:payments`, `limit:payments`, `operator` ...
    since: float | None  # when the hold began
    next_try: float | None  # when the last of what holds it is tried again; null: nothing is planned, or it is not held
    fetch: bool  # the broker may deliver more
    waiting: int  # messages in this process that no handler has
    in_flight: int  # messages that a handler has
    backlog: int | None  # messages that wait at the broker, those in this process included; null: unknown
    readable: int | None  # how many of them can be had now; null: all of them, or unknown
    delayed: int | None  # how many of them the broker keeps back for a later retry; null: unknown
    blocked_for: float  # for how many seconds an open transaction has kept the rest back; 0: none does
    drain_seconds: float | None  # in about how many seconds the topic or queue is drained here; null: unknown, or it is held
    oldest: float | None  # when the oldest of them was produced; null: unknown, or none waits
    needs: tuple[str, ...]  # the dependencies that `needs` names
    waits_for: tuple[str, ...]  # dependencies that messages wait for though `needs` does not name them
    partly: PartlyStatus | None  # what waits while others go on; null: all its messages need the same, and nothing waits for more
    falling_back: bool  # its messages go to the fallback now
    fallbacks: int  # how many have done so in this assignment
    blocked: BlockedStatus | None  # the message that it waits behind
    retrying: RetryStatus | None  # the message that waits for its next try, of several the first; null: none does
    suspected: str | None  # the exception type of an outage that no dependency claims, with the status of its HTTP answer


class CommandStatus(TypedDict):
    """A command of an operator, in force or in the audit log."""

    command: str
    target: str
    actor: str
    reason: str
    at: float  # when it was given
    until: float | None  # when it ends by itself; null: it does not, or it was over immediately
    position: int | None  # of the message that was skipped
    ended: float | None  # when it was over; null: another command ended it, or it is in force


class MemoryStatus(TypedDict):
    """How much of the messages is in this process."""

    held_bytes: int  # what messages take here, those in work included
    read_ahead_bytes: int  # what the clients have read beyond that
    bound: int | None  # the bound of both; null: none
    waiting_for_room: int  # sources that are not read because others have filled it


class StatusDocument(TypedDict):
    """All of it."""

    schema: int  # 1
    at: float  # the worker's clock
    worker: str  # the name of the process
    version: str  # of holdgate
    began: float  # when the guard was entered
    health: HealthStatus
    summary: SummaryStatus
    dependencies: list[DependencyStatus]  # worst first
    sources: list[SourceStatus]  # the oldest hold first, then those that fall back or wait in part, then the rest
    sources_left_out: int  # how many more there are than `sources` lists
    commands: list[CommandStatus]  # those in force
    memory: MemoryStatus
    fleet: FleetStatus | None  # null: this worker is in none


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a snapshot does not know of its worker.

    `wall` turns its moments into those of the wall clock. `began` is the wall clock's second at which the guard was entered. `backlog` is
    what the brokers answered last; a source that is missing is not known.
    """

    wall: Wall
    began: float
    worker: str
    version: str
    health: HealthStatus
    backlog: Mapping[Source, SourceBacklog]


class Wall:
    """Turns the guard's monotonic seconds into seconds since the epoch: `epoch` is the wall clock's time at the monotonic second `now`."""

    def __init__(self, epoch: float, now: float) -> None:
        self._offset = epoch - now

    def read_again(self, epoch: float, now: float) -> Wall:
        """Return what turns moments from now on: this one, so that a moment is written the same each time, until the wall clock is set."""
        return Wall(epoch, now) if abs(epoch - now - self._offset) > _SET_BY else self

    def at(self, moment: float) -> float:
        """Return a moment in seconds since the epoch, to the millisecond."""
        return round(moment + self._offset, 3)

    def of(self, moment: float | None) -> float | None:
        """Return the same of a moment that may be unknown: None stays None."""
        return None if moment is None else self.at(moment)


def status(snapshot: Snapshot, history: LastEvents, around: Surroundings, *, limit: int | None = None) -> StatusDocument:
    """Return the document of a snapshot, with the `limit` worst sources; None means all of them."""
    writer = _Writer(snapshot, history, around)
    dependencies = sorted(map(writer.dependency, snapshot.dependencies.values()), key=_worst_first)
    sources = sorted(snapshot.sources.values(), key=_badness)
    shown = sources if limit is None else sources[:limit]
    return {
        "schema": SCHEMA,
        "at": around.wall.at(snapshot.at),
        "worker": around.worker,
        "version": around.version,
        "began": around.began,
        "health": around.health,
        "summary": writer.summary(dependencies),
        "dependencies": dependencies,
        "sources": [writer.source(seen) for seen in shown],
        "sources_left_out": len(sources) - len(shown),
        "commands": [command_status(given, writer.wall) for given in snapshot.commands],
        "memory": {
            "held_bytes": snapshot.held_bytes,
            "read_ahead_bytes": snapshot.read_ahead_bytes,
            "bound": snapshot.memory,
            "waiting_for_room": snapshot.waiting_for_room,
        },
        "fleet": None if snapshot.fleet is None else _fleet(snapshot.fleet, snapshot.at, around.wall),
    }


def command_status(entry: CommandGiven | CommandEnded, wall: Wall) -> CommandStatus:
    """Return one entry of the audit log."""
    given = entry.given if isinstance(entry, CommandEnded) else entry
    return {
        "command": given.command,
        "target": str(given.target),
        "actor": given.actor,
        "reason": given.reason,
        "at": wall.at(given.at),
        "until": wall.of(given.until),
        "position": given.position,
        "ended": wall.at(entry.at) if isinstance(entry, CommandEnded) else None,
    }


# The fields of events that are moments, and not durations.
_MOMENTS = {"at", *AHEAD, *BEHIND}


def event_document(event: AnyEvent, wall: Wall) -> dict[str, Any]:
    """Return an event as a dictionary for JSON: its class under `event`, then its fields, moments in seconds since the epoch."""
    found: dict[str, Any] = {"event": type(event).__name__}
    for field in fields(event):
        value = getattr(event, field.name)
        found[field.name] = wall.of(value) if field.name in _MOMENTS else _plain(value, wall)
    return found


def _plain(value: Any, wall: Wall) -> Any:
    if isinstance(value, CommandGiven):
        return command_status(value, wall)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(each, wall) for each in cast("Sequence[object]", value)]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


class _Sums:
    """What the sources add up to, for all and for each dependency, found in one walk: a worker may have ten thousand of them."""

    def __init__(self, snapshot: Snapshot, backlog: Mapping[Source, SourceBacklog]) -> None:
        self.sources: defaultdict[str, int] = defaultdict(int)
        self.held: defaultdict[str, int] = defaultdict(int)
        self.partly: defaultdict[str, int] = defaultdict(int)
        self.waiting: defaultdict[str, int] = defaultdict(int)
        self._backlog: defaultdict[str, list[tuple[int, float | None]]] = defaultdict(list)
        self._known = [(each.waiting.messages, each.drained_in) for each in backlog.values() if each.waiting.messages is not None]
        for seen in snapshot.sources.values():
            known = backlog.get(seen.source) if backlog else None
            for name in {*seen.needs, *seen.waits_for} if seen.waits_for else seen.needs:
                self.sources[name] += 1
                apart = None if seen.partly is None else seen.partly.waiting_of(name, declared=name in seen.needs)
                self.waiting[name] += seen.waiting if apart is None else apart
                if seen.reasons and any(f"{kind}{name}" in seen.reasons for kind in (CIRCUIT, LIMIT, KEY)):
                    self.held[name] += 1
                elif seen.partly is not None and name in seen.partly.waiting_for:
                    self.partly[name] += 1
                if known is not None and known.waiting.messages is not None:
                    others = 0 if apart is None or seen.partly is None else seen.partly.waiting - apart
                    self._backlog[name].append((max(0, known.waiting.messages - others), known.drained_in))

    def backlog(self, dependency: str | None = None) -> int | None:
        """Return what waits for a dependency at the brokers, or for all. None means that nothing is known."""
        known = self._known if dependency is None else self._backlog[dependency]
        return sum(messages for messages, _ in known) if known else None

    def drained_in(self, dependency: str | None = None) -> float | None:
        """Return in about how many seconds that is drained: when the slowest is. None means that one of them cannot be told."""
        known = self._known if dependency is None else self._backlog[dependency]
        times = [drained_in for messages, drained_in in known if messages]
        told = [time for time in times if time is not None]
        return max(told, default=0.0) if known and len(told) == len(times) else None


def _keys(keys: KeysSnapshot) -> KeysStatus:
    return {"known": keys.known, "held": keys.held, "waiting": keys.waiting, "max_keys": keys.max_keys}


def _fleet(fleet: FleetSnapshot, at: float, wall: Wall) -> FleetStatus:
    silent_for = fleet.silent_for
    return {
        "name": fleet.name,
        "worker": fleet.worker,
        "readable": silent_for is None,
        "silent_since": None if silent_for is None else wall.at(at - silent_for),
        "round_trip": fleet.round_trip,
        "members": [{"worker": each.worker, "own": each.own, "age": each.age} for each in fleet.members],
    }


def _fleet_share(snapshot: Snapshot, circuit: CircuitSnapshot, wall: Wall) -> FleetShareStatus | None:
    agreements = () if snapshot.fleet is None else snapshot.fleet.agreements
    agreed = next((each for each in agreements if each.dependency == circuit.name), None)
    if agreed is None:
        return None
    guidance = circuit.guidance
    return {
        "course": agreed.course,
        "phase": agreed.phase,
        "epoch": agreed.epoch,
        "conductor": agreed.conductor,
        "own": agreed.own,
        "stage": agreed.stage,
        "limit": agreed.limit,
        "share": guidance.limit if guidance is not None and guidance.phase is Phase.RAMP else None,
        "failed_probes": agreed.failed_probes,
        "next_probe": None if agreed.probe_in is None else wall.at(snapshot.at + agreed.probe_in),
        "failing": agreed.bad,
        "failures": agreed.failures,
        "shares": _shares(agreed),
        "word": agreed.word,
        "word_reason": agreed.reason,
        "word_actor": agreed.actor,
        "word_until": None if agreed.word_ends_in is None else wall.at(snapshot.at + agreed.word_ends_in),
    }


def _shares(agreed: AgreementSnapshot) -> list[WorkerShareStatus]:
    if agreed.course != "ramp":
        return []
    largest_first = sorted(agreed.sharers, key=lambda each: (-each.share, not each.backlog, each.worker))
    return [{"worker": each.worker, "backlog": each.backlog, "full": each.full, "share": each.share} for each in largest_first]


class _Tries:
    """When what holds a source is tried again. Thousands of sources share a few reasons, so the answer for each is found once."""

    def __init__(self, snapshot: Snapshot, wall: Wall) -> None:
        known = snapshot.dependencies
        self._circuits = {f"{CIRCUIT}{name}": _next_try(circuit, _ends(snapshot, name)) for name, circuit in known.items()}
        self._limits = {f"{LIMIT}{name}": circuit.limits.next_at for name, circuit in known.items() if circuit.limits is not None}
        self._holds = {given.target: given.until for given in snapshot.commands if given.command == "hold"}
        self._wall = wall
        self._found: dict[tuple[str, ...], float | None] = {(): None}

    def of_circuit(self, name: str) -> float | None:
        """Return when this circuit admits a probe. None means that it is not open, or that only an operator ends that."""
        return self._wall.of(self._circuits[f"{CIRCUIT}{name}"])

    def of(self, seen: SourceSnapshot) -> float | None:
        """Return when the last of its reasons is tried again. None means that it is not held, or that one of them has no such time."""
        reasons = seen.reasons
        if seen.key_try is not None and any(reason.startswith(KEY) for reason in reasons):
            return self._wall.of(_last_of(self._times(seen)))  # each source has keys of its own
        if reasons not in self._found:
            found = self._wall.of(_last_of(self._times(seen)))
            if "operator" in reasons:  # those may have other ends
                return found
            self._found[reasons] = found
        return self._found[reasons]

    def _times(self, seen: SourceSnapshot) -> list[float | None]:
        known = {"operator": self._hold_ends(seen.source), **self._circuits, **self._limits}
        return [seen.key_try if reason.startswith(KEY) else known.get(reason) for reason in seen.reasons]

    def _hold_ends(self, source: Source) -> float | None:
        return _last_of([self._holds[target] for target in (source, source.name) if target in self._holds])


def _last_of(times: Sequence[float | None]) -> float | None:
    """Return the last of these times. None means that there is none, or that one is not known."""
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None


def _ends(snapshot: Snapshot, dependency: str) -> float | None:
    """Return when the operator's override of this dependency ends. None means that there is none, or that it does not end by itself."""
    return next((given.until for given in snapshot.commands if given.target == dependency and given.command != "hold"), None)


def _next_try(circuit: CircuitSnapshot, override_ends: float | None) -> float | None:
    if circuit.override is Override.FORCED_OPEN:
        return override_ends
    if circuit.guidance is not None and circuit.guidance.phase is Phase.WAIT:
        return None  # another worker tries, or an operator keeps all of them back
    return circuit.open_until if circuit.override is None else None


_SHUT, _RAMPING, _OVERRIDDEN, _LIMITED, _FINE = range(5)


def _rank(document: DependencyStatus) -> int:
    if document["override"] == Override.FORCED_OPEN.value:
        return _SHUT
    if document["override"] is not None:
        return _OVERRIDDEN
    well = _LIMITED if is_limited(document) else _FINE
    return {State.OPEN.value: _SHUT, State.HALF_OPEN.value: _RAMPING}.get(document["state"], well)


def is_limited(document: DependencyStatus) -> bool:
    """Return whether messages wait for a dependency whose circuit is closed because it takes no more calls for now."""
    limits = document["limits"]
    if limits is None or limits["observed"] or document["state"] != State.CLOSED.value or document["override"] is not None:
        return False
    return limits["why"] != "free" and bool(document["waiting"] or document["held"])


def _worst_first(document: DependencyStatus) -> tuple[int, int, float, str]:
    return _rank(document), -document["held"], -(document["failure_rate"] or 0.0), document["name"]


def _badness(seen: SourceSnapshot) -> tuple[bool, float, bool, int, str, int]:
    source = seen.source
    number = source.number if isinstance(source, Partition) else -1
    partly = seen.falling_back or (seen.partly is not None and bool(seen.partly.waiting_for))
    return not seen.held, seen.since or 0.0, not partly, -seen.waiting, source.name, number


_UNKNOWN = Backlog(None)


def _partly(partly: PartlyWaiting) -> PartlyStatus:
    return {
        "by_message": partly.by_message,
        "waiting_for": dict(partly.waiting_for),
        "behind": partly.behind,
        "stands_because": partly.stands_because or None,
    }


class _Writer:
    """Writes the parts of one document."""

    def __init__(self, snapshot: Snapshot, history: LastEvents, around: Surroundings) -> None:
        self.wall = around.wall
        self._snapshot = snapshot
        self._history = history
        self._around = around
        self._sums = _Sums(snapshot, around.backlog)
        self._tries = _Tries(snapshot, self.wall)
        self._is_any_named = history.is_any_named
        self._since: dict[float | None, float | None] = {}

    def dependency(self, circuit: CircuitSnapshot) -> DependencyStatus:
        name, sums = circuit.name, self._sums
        change = self._history.change(name)
        return {
            "name": name,
            "state": circuit.state.value,
            "override": None if circuit.override is None else circuit.override.value,
            "override_until": None if circuit.override is None else self.wall.of(_ends(self._snapshot, name)),
            "since": None if change is None else self.wall.at(change.since),
            "down_since": None if change is None else self.wall.of(change.down_since),
            "reason": None if change is None else change.reason,
            "value": None if change is None else change.value,
            "threshold": None if change is None else change.threshold,
            "failed_tries": 0 if change is None else change.failed_tries,
            "level": circuit.level,
            "next_try": self._tries.of_circuit(name),
            "limit": circuit.limit,
            "full": circuit.full,
            "limits": None if circuit.limits is None else self._limits(circuit, circuit.limits),
            "keys": None if circuit.keys is None else _keys(circuit.keys),
            "fleet": _fleet_share(self._snapshot, circuit, self.wall),
            "in_flight": circuit.in_flight,
            "calls": circuit.calls,
            "failures": circuit.failures,
            "failure_rate": circuit.failure_rate,
            "slow_call_rate": circuit.slow_call_rate,
            "consecutive_failures": circuit.consecutive_failures,
            "failed_with": [self._failure(kind) for kind in self._snapshot.failures.get(name, ())],
            "refused": circuit.rejected,
            "sources": sums.sources[name],
            "held": sums.held[name],
            "partly": sums.partly[name],
            "waiting": sums.waiting[name],
            "backlog": sums.backlog(name),
            "drain_seconds": sums.drained_in(name),
        }

    def _limits(self, circuit: CircuitSnapshot, limits: LimiterSnapshot) -> LimitStatus:
        return {
            "pace": limits.pace,
            "width": limits.width,
            "in_flight": limits.in_flight,
            "why": limits.why,
            "next_start": self.wall.of(limits.next_at),
            "accepted": limits.accepted,
            "refused": limits.refused,
            "waste": limits.waste,
            "experiments": limits.experiments,
            "observed": circuit.override is Override.METRICS_ONLY,
        }

    def _failure(self, kind: FailureKind) -> FailureStatus:
        return {"error": kind.error, "count": kind.count, "first": self.wall.at(kind.first), "last": self.wall.at(kind.last)}

    def source(self, seen: SourceSnapshot) -> SourceStatus:
        source, since = seen.source, seen.since
        if since not in self._since:  # sources that were held together share it
            self._since[since] = self.wall.of(since)
        suspected = self._history.suspected(source, self._snapshot.at) if self._is_any_named else None
        backlog = self._around.backlog.get(source) if self._around.backlog else None
        found = _UNKNOWN if backlog is None else backlog.waiting
        return {
            "source": str(source),
            "name": source.name,
            "partition": source.number if isinstance(source, Partition) else None,
            "held": seen.held,
            "reasons": seen.reasons,  # no copies: ten thousand sources would have thirty thousand lists
            "since": self._since[since],
            "next_try": self._tries.of(seen),
            "fetch": seen.fetch,
            "waiting": seen.waiting,
            "in_flight": seen.in_flight,
            "backlog": found.messages,
            "readable": found.readable,
            "delayed": found.delayed,
            "blocked_for": found.blocked_for,
            "drain_seconds": None if backlog is None else backlog.drained_in,
            "oldest": None if backlog is None or found.oldest_age is None else self.wall.at(backlog.at - found.oldest_age),
            "needs": seen.needs,
            "waits_for": seen.waits_for,
            "partly": None if seen.partly is None else _partly(seen.partly),
            "falling_back": seen.falling_back,
            "fallbacks": seen.fallbacks,
            "blocked": self._blocked(source) if self._is_any_named else None,
            "retrying": None if seen.retrying is None else self._retrying(seen.retrying),
            "suspected": None if suspected is None else suspected.what,
        }

    def _retrying(self, seen: RetryWaiting) -> RetryStatus:
        return {"position": seen.position, "failures": seen.failures, "error": seen.error, "next_try": self.wall.at(seen.at)}

    def _blocked(self, source: Source) -> BlockedStatus | None:
        event = self._history.blocked(source, self._snapshot.at)
        if event is None:
            return None
        return {
            "position": event.position,
            "attempts": event.attempts,
            "error": event.error,
            "suspect": event.suspect,
            "throttled": event.throttled,
        }

    def summary(self, dependencies: Sequence[DependencyStatus]) -> SummaryStatus:
        sources = self._snapshot.sources.values()
        ranks = [_rank(each) for each in dependencies]
        held = [seen for seen in sources if seen.held]
        partitions = sum(isinstance(seen.source, Partition) for seen in held)
        return {
            "dependencies": len(ranks),
            "open": ranks.count(_SHUT),
            "ramping": ranks.count(_RAMPING),
            "overridden": sum(each["override"] is not None for each in dependencies),
            "sources": len(sources),
            "partitions_held": partitions,
            "queues_held": len(held) - partitions,
            "held_since": self.wall.of(min((seen.since for seen in held if seen.since is not None), default=None)),
            "waiting": sum(seen.waiting for seen in sources),
            "in_flight": sum(seen.in_flight for seen in sources),
            "backlog": self._sums.backlog(),
            "drain_seconds": self._sums.drained_in(),
        }
