"""The Protocols that the outside implements or sees: what a broker adapter is, and what it may tell the guard."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, DeadLetter, Delivery, Settlement, Source
from holdgate.flow.plan import Plan

M = TypeVar("M")


class Clock(Protocol):
    """Time and chance. `now` is monotonic seconds, `draw` gives [0, 1)."""

    def now(self) -> float: ...

    def draw(self) -> float: ...


class IntakeListener(Protocol):
    """What an intake tells the guard about its sources. The guard implements it."""

    def assigned(self, sources: Collection[Source]) -> Plan:
        """These sources are ours from now on, in a fresh assignment; returns the plan to apply before the first await."""
        ...

    async def revoked(self, sources: Collection[Source]) -> None:
        """These sources go away in order: returns when their in-flight work has ended and is settled, or was interrupted after half of
        the intake's `rebalance_timeout`. The intake commits after it returns. Unknown sources are ignored."""
        ...

    def lost(self, sources: Collection[Source]) -> None:
        """These sources are gone already (evicted, channel closed): running handlers are interrupted, nothing is settled, no verdict."""
        ...


class Intake(Protocol[M]):
    """One broker adapter around one client. It never stops talking to the broker: holding is a state, not an absence."""

    @property
    def names(self) -> Collection[str] | None:
        """The topics or queues that it will deliver, known before `open`; None under a pattern."""
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
        """Seconds that the broker waits for a member to give partitions back; the guard uses half of it."""
        ...

    async def open(self, listener: IntakeListener) -> None:
        """Connect, subscribe and check the settings; raises before anything is consumed."""
        ...

    async def receive(self) -> Sequence[Delivery[M]]:
        """The next deliveries; waits at most `poll_timeout`, an empty answer is normal. Never cancelled, and called by one task alone."""
        ...

    def apply(self, plan: Plan) -> None:
        """Store the desired state; what is local happens now, the rest in the intake's own task. Never blocks, never raises."""
        ...

    def settle(self, delivery: Delivery[M], settlement: Settlement) -> None:
        """Record a settlement; commits and acks go out in runs. A delivery of an earlier assignment is ignored."""
        ...

    async def flush(self) -> None:
        """Return when everything recorded is out, or a bound is over. A receive that waits returns then too: it is the end, and however
        long `poll_timeout` is, nobody has to wait for it."""
        ...

    async def backlog(self) -> Mapping[Source, Backlog]:
        """How much waits per assigned source. May ask the broker; never disturbs the consumer."""
        ...

    async def close(self) -> None:
        """Flush, give back and leave; bounded. Idempotent, and safe on an intake that never opened."""
        ...


@runtime_checkable
class Evictable(Protocol):
    """What an intake has beside `Intake` when its broker gives the sources of a process that stands still to others."""

    @property
    def evicted_after(self) -> float:
        """Seconds of standing still after which others may have our sources; infinite where the broker never does that."""
        ...

    def stood_still(self) -> None:
        """The process stood still for about that long: give up all sources with `lost` now, and `assigned` again those that the broker
        confirms are still ours. Never blocks, never raises."""
        ...


@runtime_checkable
class Batching(Protocol):
    """What an intake has beside `Intake` when it can make batches more cheaply than out of single deliveries."""

    def deliver_in_batches(self, most: int) -> None:
        """From now on `receive` gives `flow.batch.Batch` objects, whose handler takes at most `most` messages at a time, and `settle` takes
        an ACK for any such batch of what it gave; for single deliveries of it as before. Called at most once, before `open`."""
        ...


@runtime_checkable
class Weighing(Protocol):
    """What an intake has beside `Intake` when it knows a quicker way to weigh deliveries than by their bodies and keys."""

    def weigh(self, deliveries: Sequence[Delivery[Any]]) -> int:
        """About how many bytes of memory these take: what `receive` gave of one source, at least one."""
        ...


@runtime_checkable
class ReadingAhead(Protocol):
    """What an intake has beside `Intake` when its client takes messages from the broker before `receive` asks for them."""

    @property
    def sends_unasked(self) -> bool:
        """Whether messages come, up to a window, also of a source that the plan does not fetch: to read less of it saves no memory."""
        ...

    @property
    def read_ahead(self) -> int:
        """About how many bytes the client has now that `receive` has not given yet."""
        ...

    def bound(self, memory: int) -> None:
        """The guard and all its clients may have so many bytes in hand: read ahead by a fitting part of it, or warn where that cannot be.
        Called at most once, before `open`."""
        ...


@runtime_checkable
class Rejecting(Protocol):
    """What an intake has beside `Intake` when its broker may have a way of its own to refuse a message."""

    @property
    def can_reject(self) -> bool:
        """Whether `Settlement.REJECT` is understood: RabbitMQ then hands the message to the queue's dead letter exchange, or drops it
        where there is none. Known before `open`."""
        ...


@runtime_checkable
class DeadLetters(Protocol):
    """Where rejected messages go. One object may serve several runs, each of which opens and closes it."""

    async def open(self, names: Collection[str] | None) -> None:
        """Connect, and check that what comes from these topics or queues has somewhere to go; None: they are not known yet (a pattern).
        Raises SettingsError or IntakeError before anything is consumed. Once for each run."""
        ...

    async def publish(self, letter: DeadLetter) -> None:
        """Return when the target has confirmed that it keeps the letter, and raise anything else: only after it returns is the message
        settled. Several at a time, and the same message again when nobody knows what became of it. Cancelled only when the process may
        wait no longer."""
        ...

    async def close(self) -> None:
        """One run needs it no more. Bounded; safe when it never opened."""
        ...
