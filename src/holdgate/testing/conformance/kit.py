"""The kit for the conformance cases: a case, the bed on which it runs, and the station that drives the intake in place of the guard.

`IntakeCase` is one promise of the `Intake` port, with the function that checks it. `IntakeBed` is what the tests of a broker provide: fresh
topics or queues, and ways to disturb them. `RecordingListener` stands in for the guard's listener: it answers with a plan and records every
call. `Station` stands in for the guard's worker: it polls one open intake, keeps what comes, and checks at every delivery what always
holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from holdgate.flow.message import Backlog, Delivery, Settlement, Source
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.ports import Batching, Intake, ReadingAhead

Check = Callable[["IntakeBed"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class IntakeCase:
    """One promise. Await it with a fresh bed. `requires` is what the broker of the bed must be able to do.

    Raises AssertionError if the promise is broken, and ValueError on a bed without the capability.
    """

    name: str
    check: Check
    requires: frozenset[Capability]

    async def __call__(self, bed: IntakeBed) -> None:
        """Run the case."""
        if not self.requires <= bed.capabilities:
            raise ValueError(f"{self.name} needs a bed with the capabilities {', '.join(sorted(self.requires - bed.capabilities))}")
        await self.check(bed)

    def __str__(self) -> str:
        return self.name


def case(check: Check, *requires: Capability) -> IntakeCase:
    """Return the case of a function, under its name."""
    return IntakeCase(check.__name__, check, frozenset(requires))


def expect(condition: object, promise: str) -> None:
    """Raise AssertionError with the broken promise unless `condition` is true. Unlike an assert it works under `python -O`."""
    if not condition:
        raise AssertionError(promise)


def expect_equal(found: object, wanted: object, promise: str) -> None:
    """Raise AssertionError unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{promise}: expected {wanted!r}, found {found!r}")


# members: another consumer can join and leave, and the sources are shared out anew (`join`, `leave`).
# loss: an open intake can be cut off, so that it loses its sources and comes back (`cut`).
# watermark: only messages before the oldest unsettled one count as settled; without it, each message is settled for itself.
# prefetch: the broker itself stops at `inbox` unsettled messages per source.
# reject: the broker can refuse a message for good (Settlement.REJECT).
# peek: `left` may be called while an intake is open.
# batches: the intake makes batches itself (holdgate.ports.Batching).
# locks: a message in hand is locked for a while, and each of a few deliveries is counted (`lock`, `limit`, `deliveries`).
Capability = Literal["members", "loss", "watermark", "prefetch", "reject", "peek", "batches", "locks"]


class IntakeBed(Protocol):
    """Where one case runs: fresh topics or queues that nothing else uses, and ways to disturb them.

    A method of a capability that the bed does not have is never called.
    """

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this broker can do. It decides which cases apply."""
        ...

    @property
    def sources(self) -> Sequence[Source]:
        """Two sources, empty at first: two partitions of one topic, or two queues. Every intake of the bed reads both."""
        ...

    @property
    def patience(self) -> float:
        """How many seconds to wait for what must happen. Only a failing case waits so long."""
        ...

    @property
    def quiet(self) -> float:
        """After how many seconds without a delivery none will come: several round trips and polls."""
        ...

    def intake(self, *, inbox: int = 50) -> Intake[Any]:
        """Return a new intake, not opened, always in the same consumer group. `inbox` is its inbox or prefetch, per source."""
        ...

    def stranger(self) -> Intake[Any]:
        """Return a new intake, not opened, of a topic or queue that does not exist."""
        ...

    async def produce(self, source: Source, bodies: Sequence[bytes]) -> None:
        """Store messages in this order. Return when the broker has them."""
        ...

    async def left(self, source: Source) -> Sequence[bytes]:
        """Return the bodies that a new consumer of the group would get, oldest first, without taking them."""
        ...

    @property
    def lock(self) -> float:
        """For how many seconds a message in hand is locked."""
        ...

    @property
    def limit(self) -> int:
        """How often a message is delivered at most."""
        ...

    async def deliveries(self, source: Source) -> Mapping[bytes, int]:
        """Return how often each message that waits has been delivered, by its body. No intake is open. It may cost a delivery of each."""
        ...

    async def join(self) -> None:
        """Let another consumer join the group and take its share of the sources. It may return before the group has settled."""
        ...

    async def leave(self) -> None:
        """Let that consumer leave again."""
        ...

    async def cut(self) -> None:
        """Cut the open intake off, so that it loses its sources, and let it come back."""
        ...


ADMITTED = SourcePlan()
HELD = SourcePlan(fetch=False, reasons=("conformance",))


async def _nothing_in_flight() -> None:
    pass


class RecordingListener:
    """An `IntakeListener` that answers with a plan of its own, and records every call as (event, sources)."""

    def __init__(self, held: Collection[Source] = ()) -> None:
        self.events: list[tuple[str, frozenset[Source]]] = []
        self.owned: set[Source] = set()
        self.held: set[Source] = set(held)
        self.finish_in_flight: Callable[[], Awaitable[None]] = _nothing_in_flight  # awaited inside `revoked`
        self._version = 0

    def plan(self) -> Plan:
        """Return a plan for the sources that it owns now."""
        self._version += 1
        return Plan({source: HELD if source in self.held else ADMITTED for source in self.owned}, self._version)

    def assigned(self, sources: Collection[Source]) -> Plan:
        """Own these sources from now on."""
        self.events.append(("assigned", frozenset(sources)))
        self.owned.update(sources)
        return self.plan()

    async def revoked(self, sources: Collection[Source]) -> None:
        """Give these sources up, once everything in flight has ended."""
        self.events.append(("revoked", frozenset(sources)))
        await self.finish_in_flight()
        self.owned.difference_update(sources)

    def lost(self, sources: Collection[Source]) -> None:
        """Give these sources up immediately."""
        self.events.append(("lost", frozenset(sources)))
        self.owned.difference_update(sources)

    def count(self, event: str) -> int:
        """Return how often this event came with at least one source."""
        return sum(kind == event and bool(sources) for kind, sources in self.events)

    def gone(self) -> frozenset[Source]:
        """Return the sources that went away, whether or not they came back. Some brokers leave the others in place."""
        return frozenset(source for kind, sources in self.events if kind != "assigned" for source in sources)


class Station:
    """Polls one open intake as the guard does, in one task, and checks at every delivery what always holds."""

    def __init__(self, bed: IntakeBed, intake: Intake[Any], listener: RecordingListener) -> None:
        self.intake = intake
        self.listener = listener
        self.received: list[Delivery[Any]] = []
        self.largest_receive: dict[Source, int] = {}
        self._bed = bed

    async def poll(self) -> None:
        """Call `receive` once."""
        deliveries = await self.intake.receive()
        for delivery in deliveries:
            expect(delivery.source in self.listener.owned, f"{delivery} was handed out though its source is not assigned")
            expect(delivery.source not in self.listener.held, f"{delivery} was handed out though its source must not fetch")
        self.received += deliveries
        for source in {delivery.source for delivery in deliveries}:
            size = sum(delivery.source == source for delivery in deliveries)
            self.largest_receive[source] = max(size, self.largest_receive.get(source, 0))

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Poll until `condition` holds. Raises AssertionError if it does not within the bed's patience."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._bed.patience
        while not condition():
            expect(loop.time() < give_up, f"{what}: that did not happen within {self._bed.patience} s; events: {self.listener.events}")
            await self.poll()

    async def backlog_becomes(self, source: Source, count: int) -> Backlog:
        """Poll until the backlog of `source` is `count` messages, or unknown, since a broker may count late. Returns the backlog."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._bed.patience
        while (backlog := (await self.intake.backlog())[source]).messages not in (count, None):
            expect(loop.time() < give_up, f"the backlog of {source} must become {count}, got {backlog.messages}")
            await self.poll()
        return backlog

    async def owns_all(self) -> None:
        """Poll until every source of the bed is assigned."""
        await self.until(lambda: self.listener.owned == set(self._bed.sources), "every source was assigned")

    async def take(self, source: Source, count: int) -> Sequence[Delivery[Any]]:
        """Poll until `count` deliveries of `source` have come in all. Returns them."""
        await self.until(lambda: len(self.of(source)) >= count, f"{source} delivered {count} messages")
        return self.of(source)[:count]

    async def stays_silent(self, source: Source | None = None) -> None:
        """Poll for the bed's quiet time. Raises AssertionError if anything comes, or, with a `source`, anything of that source."""
        before = len(self.received)
        await self.for_a_while()
        fresh = [delivery for delivery in self.received[before:] if source is None or delivery.source == source]
        expect(not fresh, f"nothing must be delivered, got {fresh}")

    async def for_a_while(self, seconds: float | None = None) -> None:
        """Poll for so many seconds, whatever comes. None means the bed's quiet time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._bed.quiet if seconds is None else seconds)
        while loop.time() < end:
            await self.poll()

    async def while_polling(self, disturbance: Awaitable[None], condition: Callable[[], bool], what: str) -> None:
        """Poll in parallel with the disturbance, until that is over and `condition` holds."""
        task = asyncio.ensure_future(disturbance)
        await self.until(lambda: task.done() and condition(), what)
        await task

    def of(self, source: Source) -> list[Delivery[Any]]:
        """Return the deliveries of `source`, in the order in which they came."""
        return [delivery for delivery in self.received if delivery.source == source]

    def bodies(self, source: Source) -> list[bytes | None]:
        """Return the payloads of the deliveries of `source`."""
        return [delivery.body for delivery in self.of(source)]

    def hold(self, *sources: Source) -> None:
        """Hold these sources, as the guard would."""
        self.listener.held.update(sources)
        self.intake.apply(self.listener.plan())

    def admit(self, *sources: Source) -> None:
        """End the hold of these sources."""
        self.listener.held.difference_update(sources)
        self.intake.apply(self.listener.plan())

    def ack(self, deliveries: Collection[Delivery[Any]]) -> None:
        """Settle them as processed."""
        for delivery in deliveries:
            self.intake.settle(delivery, Settlement.ACK)


@asynccontextmanager
async def station(
    bed: IntakeBed, *, held: Collection[Source] = (), inbox: int = 50, batch: int | None = None, memory: int | None = None
) -> AsyncGenerator[Station]:
    """Open a new intake, yield a station on it, and close the intake at the end.

    `batch` is the size of batches; None means single deliveries. `memory` is the guard's bound in bytes, for an intake that must know it;
    None means no bound.
    """
    listener = RecordingListener(held)
    intake = bed.intake(inbox=inbox)
    if batch is not None:
        expect(isinstance(intake, Batching), "an intake whose bed has the capability `batches` must be a Batching")
        cast("Batching", intake).deliver_in_batches(batch)
    if memory is not None and isinstance(intake, ReadingAhead):
        intake.bound(memory)
    await intake.open(listener)
    try:
        yield Station(bed, intake, listener)
    finally:
        await intake.close()


def numbered(count: int, first: int = 0) -> list[bytes]:
    """Return bodies that show their position: b"0", b"1" and so on."""
    return [b"%d" % number for number in range(first, first + count)]
