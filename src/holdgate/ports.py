"""The Protocols that code outside of the guard implements or calls: a broker adapter and its listener, a fleet's log, a control plane."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from holdgate.errors import FleetLogError
from holdgate.flow.backlog import SourceBacklog
from holdgate.flow.commands import AuditEntry
from holdgate.flow.events import AnyEvent
from holdgate.flow.inbox import Order
from holdgate.flow.message import AnyDelivery, Backlog, DeadLetter, Delivery, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.flow.snapshot import Snapshot
from holdgate.flow.totals import EngineTotals

if TYPE_CHECKING:
    import asyncio
    from datetime import timedelta

M = TypeVar("M")


class Clock(Protocol):
    """Time and chance. `now` returns monotonic seconds, and `draw` a random number in [0, 1)."""

    def now(self) -> float: ...

    def draw(self) -> float: ...


class IntakeListener(Protocol):
    """What an intake reports to the guard about its sources. The guard implements it."""

    def assigned(self, sources: Collection[Source]) -> Plan:
        """Take these sources over in a fresh assignment, and return the plan, which the intake must apply before its first await."""
        ...

    async def revoked(self, sources: Collection[Source]) -> None:
        """Let the work of these sources end, because they go away in order. Unknown sources are ignored.

        Returns when their in-flight work has ended and is settled, or was interrupted after half of the intake's `rebalance_timeout`. The
        intake commits after that.
        """
        ...

    def lost(self, sources: Collection[Source]) -> None:
        """Forget sources that are gone already (evicted, channel closed). Handlers are interrupted, without settlement or verdict."""
        ...


class Intake(Protocol[M]):
    """One broker adapter around one client. An intake never stops talking to the broker: holding is a state, not an absence."""

    @property
    def names(self) -> Collection[str] | None:
        """The topics or queues that it will deliver, known before `open`. None means a pattern."""
        ...

    @property
    def order(self) -> Order:
        """What the broker promises anyway: the default of `guard.run(order=)`."""
        ...

    @property
    def inbox(self) -> int:
        """How many deliveries may wait in this process per source before the plan stops fetching."""
        ...

    @property
    def rebalance_timeout(self) -> float:
        """The seconds that the broker waits for a member to give partitions back. The guard uses half of them."""
        ...

    async def open(self, listener: IntakeListener) -> None:
        """Connect, subscribe and check the settings. Raises before anything is consumed."""
        ...

    async def receive(self) -> Sequence[Delivery[M]]:
        """Return the next deliveries. Waits at most `poll_timeout`, and an empty answer is normal.

        One task alone calls it, and cancels it only when it has not returned long after the end of a drain.
        """
        ...

    def apply(self, plan: Plan) -> None:
        """Store the desired state. Local effects happen immediately, the rest in the intake's own task. Never blocks, never raises."""
        ...

    def settle(self, delivery: Delivery[M], settlement: Settlement) -> None:
        """Record a settlement, which goes out with others as a commit or as acks. A delivery of an earlier assignment is ignored."""
        ...

    async def flush(self) -> bool | None:
        """Return when everything recorded is out, or after a time limit, and whether it is out. None means that the broker does not say.

        A receive that waits must return then too, however long `poll_timeout` is, because the run ends.
        """
        ...

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Return how much waits per assigned source. May ask the broker, and never disturbs the consumer."""
        ...

    async def close(self) -> None:
        """Flush, give back and leave, within a time limit. Idempotent, and safe on an intake that never opened."""
        ...


@runtime_checkable
class Evictable(Protocol):
    """What an intake has beside `Intake` when its broker gives the sources of a process that stands still to others."""

    @property
    def evicted_after(self) -> float:
        """The seconds of standing still after which others may have our sources; infinite where the broker never does that."""
        ...

    def stood_still(self) -> None:
        """Give up all sources with `lost` now, because the process stood still for about that long. Then report with `assigned` those that
        the broker confirms are still ours. Never blocks, never raises."""
        ...


@runtime_checkable
class Batching(Protocol):
    """What an intake has beside `Intake` when it can make batches more cheaply than out of single deliveries."""

    def deliver_in_batches(self, most: int) -> None:
        """Deliver in batches from now on. Called at most once, before `open`.

        `receive` then returns `flow.batch.Batch` objects, whose handler takes at most `most` messages at a time. `settle` takes an ACK for
        any such batch of what `receive` gave, and settlements of single deliveries as before.
        """
        ...


@runtime_checkable
class Weighing(Protocol):
    """What an intake has beside `Intake` when it can weigh deliveries more quickly than by their bodies and keys."""

    def weigh(self, deliveries: Sequence[Delivery[Any]]) -> int:
        """Return about how many bytes of memory these deliveries take. They are what `receive` gave of one source, at least one."""
        ...


@runtime_checkable
class ReadingAhead(Protocol):
    """What an intake has beside `Intake` when its client takes messages from the broker before `receive` asks for them."""

    @property
    def sends_unasked(self) -> bool:
        """Whether messages of a source come, up to a window, even while the plan does not fetch it, so that a pause saves no memory."""
        ...

    @property
    def read_ahead(self) -> int:
        """The bytes, roughly, that the client has now and `receive` has not given yet."""
        ...

    def bound(self, memory: int) -> None:
        """Read ahead by a fitting part of so many bytes, which the guard and all its clients share, or warn where that is impossible.

        Called at most once, before `open`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Attempted:
    """What the attempts at one source's messages have in common.

    `group` is the consumer group, empty where there is none. `needs` are the dependencies of the source.
    """

    source: Source
    group: str
    needs: tuple[str, ...]


class AttemptSpans(Protocol):
    """What marks the beginning and the end of each attempt: `Guard(spans=)`. Called on the guard's loop. None of it may raise."""

    def wanted(self) -> bool:
        """Return whether the next attempts shall have a span. Asked once for a slice of quick ones, so that the others cost nothing."""
        ...

    def begin(self, attempted: Attempted, message: AnyDelivery | Sequence[AnyDelivery], *, fallback: bool = False) -> object | None:
        """Begin the span of an attempt at one message, or at a batch. None means that `end` need not be called."""
        ...

    def end(self, attempt: object, error: BaseException | None, *, interrupted: bool = False) -> None:
        """End it. `error` is what was raised, `interrupted` whether the guard has cut it off: then it will be tried again."""
        ...

    def announced(self, event: AnyEvent) -> None:
        """Note what has happened meanwhile."""
        ...


@runtime_checkable
class InGroup(Protocol):
    """What an intake has beside `Intake` when several consumers share its sources as a group that has a name."""

    @property
    def group(self) -> str:
        """The name of the group. Empty means that there is none."""
        ...


@runtime_checkable
class Keyed(Protocol):
    """What an intake has beside `Intake` when it knows before `open` whether its messages come with keys."""

    @property
    def has_keys(self) -> bool:
        """Whether the broker's messages have a key, which becomes `Delivery.key`: what `order="key"` goes by without `key=`."""
        ...


@runtime_checkable
class Rejecting(Protocol):
    """What an intake has beside `Intake` when its broker may have a way of its own to refuse a message."""

    @property
    def can_reject(self) -> bool:
        """Whether `Settlement.REJECT` is understood. RabbitMQ then hands the message to the queue's dead letter exchange, or drops the
        message where there is none. Known before `open`."""
        ...


@runtime_checkable
class RejectingVisibly(Protocol):
    """What an intake or its dead letters have beside `Rejecting` or `DeadLetters` when they can say where rejected messages go."""

    def way_of_rejected(self, name: str) -> str:
        """Return what becomes of rejected messages of this topic or queue, after "rejected messages": `go to topic 'orders.dead'`.

        It says no more than is known. Called after `open`.
        """
        ...


@runtime_checkable
class Locking(Protocol):
    """What an intake has beside `Intake` when its broker locks a message for a worker only for a time, after which another may have it.

    Both of them would reject it. So the intake is asked before a letter is sent, and learns what became of the letter.
    """

    def begin_letter(self, delivery: Delivery[Any]) -> bool:
        """Return whether the letter of a rejected delivery is to be sent now: the message is ours, and stays so until it is settled.

        Otherwise the guard lets go of the delivery without settling it: the worker that has it next rejects it, or it has its letter.
        """
        ...

    def letter_ended(self, delivery: Delivery[Any], *, confirmed: bool) -> None:
        """Note that a letter which was begun is `confirmed`, or has failed, also if another worker has the message. Never raises."""
        ...


@runtime_checkable
class DeadLetters(Protocol):
    """Where rejected messages go. One object may serve several runs, each of which opens and closes it."""

    async def open(self, names: Collection[str] | None) -> None:
        """Connect, and check that letters from these topics or queues have somewhere to go. Called once for each run.

        None means that the names are not known yet (a pattern). Raises SettingsError or IntakeError before anything is consumed.
        """
        ...

    async def publish(self, letter: DeadLetter) -> None:
        """Return when the target has confirmed that it keeps the letter, and raise otherwise.

        The message is settled only after the return. Several calls run in parallel, and the same message comes again when its fate is
        unknown. Cancelled only when the process may wait no longer.
        """
        ...

    async def close(self) -> None:
        """Let go of one run. Ends within a time limit, and is safe when it never opened."""
        ...


# Seconds of the log that a newcomer gets first. A worker of a fleet has written within that time, also when all is quiet.
LOOK_BACK = 30.0

# Bytes of the largest record that a log must take, and that a fleet reads.
LARGEST_RECORD = 1024


def check_records(records: Sequence[bytes]) -> None:
    """Raise FleetLogError if one of them is larger than `LARGEST_RECORD`. Every log calls it before it appends any."""
    largest = max(map(len, records), default=0)
    if largest > LARGEST_RECORD:
        raise FleetLogError(f"a record must have at most {LARGEST_RECORD} bytes, got {largest}")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One record of a fleet's log. `position` rises along the log, and means nothing else."""

    position: int
    data: bytes


class FleetLog(Protocol):
    """A small ordered log on a server that all workers of a fleet reach: each reads the same records in the same order.

    One task reads and another one appends, in parallel, from `open` to `close`. A server may hang for ever, so the callers have time limits
    of their own, and cancel. A cancelled call may be made again, as may one that raised; reconnecting is the log's own work.
    """

    @property
    def place(self) -> str:
        """Where the log is, for people: `topic 'holdgate-fleet' at localhost:9092`. It has no password."""
        ...

    async def open(self) -> None:
        """Connect, and find the place from which the last `LOOK_BACK` seconds are read. It creates nothing on the server.

        Raises FleetLogError with the remedy: the log does not exist (`holdgate fleet create ...`), this user may not use it, no server.
        """
        ...

    async def append(self, records: Sequence[bytes]) -> None:
        """Return when the log has these records, in this order. Each has at most `LARGEST_RECORD` bytes. Raises FleetLogError.

        After a cancellation or an error some of them may be in the log, or come into it later: a prefix, each once.
        """
        ...

    async def read(self) -> Sequence[LogEntry]:
        """Wait for what comes next and return it, never empty. The first reads give what the last `LOOK_BACK` seconds have.

        A cancelled read skips nothing and gives nothing twice. After the log was emptied or made anew it goes on with what comes next, and
        a position that goes back shows that. Raises FleetLogError.
        """
        ...

    async def close(self) -> None:
        """Let go of the server, within a time limit, and end a read that waits. Idempotent, and safe on a log that never opened."""
        ...


class HealthReport(Protocol):
    """What `Controllable.health` returns: `holdgate.runtime.health.Health` says what each of these is."""

    @property
    def live(self) -> bool: ...

    @property
    def ready(self) -> bool: ...

    @property
    def started(self) -> bool: ...

    @property
    def status(self) -> str: ...

    @property
    def reasons(self) -> tuple[str, ...]: ...

    @property
    def memory(self) -> str: ...


class FleetOrders(Protocol):
    """What an operator may say to a whole fleet. Each returns when the fleet's log has it, and raises CommandError where it does not.

    `holdgate.runtime.fleet.FleetLink` says what each of these does.
    """

    async def hold(self, dependency: str, *, reason: str, actor: str, for_: float | timedelta | None = ...) -> None: ...

    async def release(self, dependency: str, *, reason: str, actor: str) -> None: ...

    async def force_open(self, dependency: str, *, reason: str, actor: str, for_: float | timedelta | None = ...) -> None: ...

    async def reset(self, dependency: str, *, reason: str, actor: str) -> None: ...


class Controllable(Protocol):
    """A guard, as a control plane sees it: it can be read, and it takes an operator's commands. The guard implements it.

    All of it is called on the guard's event loop. The commands raise CommandError where they cannot be carried out; the guard's methods of
    the same names say what each does.
    """

    def now(self) -> float: ...

    @property
    def stopping(self) -> bool: ...

    def snapshot(self) -> Snapshot: ...

    def health(self, snapshot: Snapshot | None = None) -> HealthReport: ...

    def audit(self) -> tuple[AuditEntry, ...]: ...

    def backlogs(self, snapshot: Snapshot | None = None) -> Mapping[Source, SourceBacklog]: ...

    def totals(self) -> EngineTotals: ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None: ...

    def hold(self, target: Source | str, *, reason: str, actor: str, for_: float | timedelta | None = ...) -> None: ...

    def unhold(self, target: Source | str, *, reason: str, actor: str) -> None: ...

    def retry(self, source: Source, *, reason: str, actor: str) -> int: ...

    def skip(self, source: Source, position: int, *, reason: str, actor: str) -> None: ...

    def force_open(self, dependency: str, *, reason: str, actor: str, for_: float | timedelta | None = ...) -> None: ...

    def disable(self, dependency: str, *, reason: str, actor: str, for_: float | timedelta | None = ...) -> None: ...

    def observe(self, dependency: str, *, reason: str, actor: str, for_: float | timedelta | None = ...) -> None: ...

    def clear_override(self, dependency: str, *, reason: str, actor: str) -> None: ...

    def reset(self, dependency: str, *, reason: str, actor: str) -> None: ...

    def probe(self, dependency: str, *, reason: str, actor: str) -> bool: ...

    @property
    def fleet(self) -> FleetOrders: ...


@runtime_checkable
class ControlPlane(Protocol):
    """What `Guard(control=)` takes: something that shows the guard to people, and brings it their commands."""

    def opened(self, guard: Controllable) -> None:
        """Begin. Called when the guard is entered, before anything can run on it. Raises SettingsError where it cannot begin."""
        ...

    def note(self, event: AnyEvent) -> None:
        """Take one event. Called as an observer is: it must return quickly, and what it raises is logged."""
        ...

    async def closed(self) -> None:
        """End, within a second or two and whatever clients do. Called after every run has drained. Idempotent."""
        ...
