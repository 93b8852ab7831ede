"""The two sides of the demo: the same work on the same messages, in a bare loop and behind a guard, and what became of each message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from holdgate import CircuitSettings, Delivery, Dependency, Guard, State
from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, Event, LimitChanged
from holdgate.events import AnyEvent
from holdgate.flow.snapshot import Snapshot
from holdgate.ports import Clock, ControlPlane
from holdgate_lab.demo.scenario import (
    CONCURRENCY,
    EMAIL,
    LATENCY,
    ORDERS,
    PAYMENTS,
    RECEIPTS,
    DemoScenario,
    Service,
    ServiceError,
    StoryClock,
)
from holdgate_lab.demo.screen import Kind, Mark, Note, Status
from holdgate_lab.demo.venues import Feed, Place, Record, Venue

# How far back "recently" reaches: what a person at a terminal calls now.
RECENT = 1.0

# The bare loop.
ATTEMPTS = 3  # the first and two retries: the usual number
BACKOFF = 0.2  # seconds before the first retry, doubled for the second
# How long a batch may take to end when the demo is over: three attempts that time out, and their pauses.
STOP_TIMEOUT = 3.0

# The guard. Seconds to let running handlers end; the longest call takes half a second.
DRAIN_TIMEOUT = 3.0
# How often to look whether the first assignment has come, in seconds.
READY_POLL = 0.05

STATE_KINDS = {State.CLOSED: Kind.FINE, State.OPEN: Kind.BAD, State.HALF_OPEN: Kind.PARTLY}


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of a circuit's state, `at` seconds into the run."""

    at: float
    dependency: str
    state: str


class Production:
    """Every message that was sent, by its number; both sides read the same ones."""

    def __init__(self) -> None:
        self.places: dict[int, Place] = {}
        self._sent: dict[int, float] = {}

    def send(self, number: int, now: float) -> None:
        """Message `number` leaves the producer at `now`."""
        self._sent[number] = now

    def store(self, number: int, place: Place) -> None:
        """The broker has message `number`, at `place`."""
        self.places[number] = place

    def sent_at(self, number: int) -> float:
        """When message `number` left the producer."""
        return self._sent[number]


class Ledger:
    """What one side did with the messages; a number counts once, however often it comes."""

    def __init__(self, production: Production) -> None:
        self.production = production
        self.processed: set[int] = set()
        self.dead: set[int] = set()
        self.duplicates = 0  # successes beyond a message's first
        self.slowest: dict[str, float] = {}  # kind of work -> longest time from sent to processed
        self._settled: set[int] = set()
        self._last: dict[str, tuple[float, float]] = {}  # kind of work -> when the last one was processed, and how long it took

    def process(self, kind: str, number: int, now: float) -> None:
        """Message `number` was processed at `now`."""
        self.duplicates += number in self.processed
        self.processed.add(number)
        self._settled.add(number)
        took = now - self.production.sent_at(number)
        self.slowest[kind] = max(took, self.slowest.get(kind, 0.0))
        self._last[kind] = (now, took)

    def bury(self, number: int) -> None:
        """Message `number` was written to a dead letter topic."""
        self.dead.add(number)
        self._settled.add(number)

    def waiting(self) -> int:
        """How many produced messages are neither processed nor dead-lettered."""
        return len(self.production.places.keys() - self._settled)

    def recent(self, kind: str, now: float) -> float | None:
        """How long the last message of a kind took, in seconds; None when none was processed within `RECENT`."""
        at, took = self._last.get(kind, (-RECENT, 0.0))
        return took if now - at < RECENT else None

    def unsettled(self) -> Collection[Place]:
        """Where the produced messages stand that are neither processed nor dead-lettered."""
        return [self.production.places[number] for number in self.production.places.keys() - self._settled]


class Work:
    """One side's handler, with services and a ledger of its own: the two sides share nothing but the messages."""

    def __init__(self, scenario: DemoScenario, clock: StoryClock, production: Production) -> None:
        self.clock = clock
        self.ledger = Ledger(production)
        self.payments = Service(scenario.payments, clock.now)
        self.email = Service(scenario.email, clock.now)
        self._services = {ORDERS: self.payments, RECEIPTS: self.email}

    async def handle(self, kind: str, number: int) -> None:
        """Process message `number`. Raises `ServiceError` when its service fails."""
        await self._services[kind].call()
        self.ledger.process(kind, number, self.clock.now())


class NaiveSide:
    """A bare consumer loop around `work`: the loop that most workers run today.

    Take a batch, handle it in parallel, retry a failure a few times with a growing pause, write what still fails to the dead letter topic
    so that the worker can go on, commit. Where a message that failed comes again by itself, give it back instead. Nothing in it is wrong
    line by line. Together the lines turn an outage into calls that cannot succeed, and good messages in a dead letter topic, or in none.
    """

    def __init__(self, feed: Feed, work: Work) -> None:
        self.work = work
        self._feed = feed
        self._stopping = False
        self._failed = 0
        self._failed_at = -RECENT
        self._task: asyncio.Task[None] | None = None

    @property
    def rebalances(self) -> int:
        """How often the group handed out its partitions again."""
        return self._feed.rebalances

    def status(self) -> Status:
        """Whether its calls got through lately; it holds nothing."""
        payments = self.work.payments
        failed = payments.wasted + payments.overrun
        now = self.work.clock.now()
        if failed > self._failed:
            self._failed, self._failed_at = failed, now
        if now - self._failed_at < RECENT:
            return Status("FAILING CALLS", "■", "bad")
        return Status("CALLING", "□", "good")

    def marks(self) -> list[Mark]:
        """None: there is no circuit whose states could be shown."""
        return []

    async def start(self) -> None:
        """Join the group and begin; returns when messages can flow."""
        await self._feed.open()
        self._task = asyncio.create_task(self._run(), name="naive side")

    async def wait(self) -> None:
        """Return when the loop has ended; raises what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """End the loop after the batch that is running, and leave the group. Idempotent."""
        self._stopping = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_TIMEOUT)
            self._task.cancel()
            # What ended it early is raised by `wait`; here it must not keep the client from leaving the group.
            await asyncio.gather(self._task, return_exceptions=True)
        await self._feed.close()

    async def _run(self) -> None:
        while not self._stopping:
            batch = await self._feed.take(CONCURRENCY)
            if batch:
                await asyncio.gather(*map(self._process, batch))
                await self._feed.commit()

    async def _process(self, record: Record) -> None:
        for attempt in range(1 if self._feed.comes_again else ATTEMPTS):
            if attempt:
                await asyncio.sleep(BACKOFF * 2 ** (attempt - 1))
            try:
                await self.work.handle(record.kind, record.number)
                return
            except ServiceError:
                continue
        await self._feed.bury(record)
        if not self._feed.comes_again:
            self.work.ledger.bury(record.number)


def settings(scenario: DemoScenario) -> CircuitSettings:
    """The library's defaults, with waits cut to the length of the story.

    `slow_call_duration`: four times the normal latency and still below the caller's patience, so that an overrun service is noticed
    before calls fail.
    """
    return CircuitSettings(
        open_duration=scenario.open_duration,
        open_duration_max=scenario.open_duration_max,
        slow_call_duration=4 * LATENCY,
    )


class GuardedSide:
    """A guard around `work`: the same handler. What a user writes is `_run`; the rest watches.

    `tell` gets what happens to its circuits, immediately. `clock` is the guard's; None means the system's. `control` shows it on a page;
    None means that nothing does.
    """

    def __init__(
        self,
        venue: Venue,
        work: Work,
        scenario: DemoScenario,
        tell: Callable[[Note], None],
        clock: Clock | None = None,
        *,
        control: ControlPlane | None = None,
    ) -> None:
        self.work = work
        self.transitions: list[Transition] = []
        self.rebalances = 0
        self._venue = venue
        self._scenario = scenario
        self._tell = tell
        self._guard = Guard(drain_timeout=DRAIN_TIMEOUT, signals=False, observers=[self._observe], clock=clock, control=control)
        self._marks = [Mark(0.0, Kind.FINE)]
        self._task: asyncio.Task[None] | None = None

    async def _run(self) -> None:
        payments = Dependency(PAYMENTS, failures=ServiceError, settings=settings(self._scenario))
        email = Dependency(EMAIL, failures=ServiceError, settings=settings(self._scenario))
        orders, receipts = self._venue.topic(ORDERS), self._venue.topic(RECEIPTS)
        async with self._guard as guard:
            await guard.run(
                self._venue.intake(self._count_rebalance),
                {orders: self._handle_order, receipts: self._handle_receipt},
                needs={orders: [payments], receipts: [email]},
                order="key",
                concurrency=CONCURRENCY,
            )

    async def _handle_order(self, delivery: Delivery[Any]) -> None:
        await self.work.handle(ORDERS, int(delivery.body or b""))

    async def _handle_receipt(self, delivery: Delivery[Any]) -> None:
        await self.work.handle(RECEIPTS, int(delivery.body or b""))

    async def start(self) -> None:
        """Join the group and begin; returns when messages can flow. Raises what ended the run before that."""
        self._task = asyncio.create_task(self._run(), name="guarded side")
        while not self._guard.snapshot().sources:
            await asyncio.wait([self._task], timeout=READY_POLL)
            if self._task.done():
                await self._task
                return

    async def wait(self) -> None:
        """Return when the run has ended; raises what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Drain and leave the group. Idempotent."""
        if self._task is None:
            return
        await self._guard.stop()
        # What ended it early is raised by `wait`.
        await asyncio.gather(self._task, return_exceptions=True)

    def status(self) -> Status:
        """The payment circuit in a word, and how many sources are held."""
        snapshot = self._guard.snapshot()
        held = sum(source.held for source in snapshot.sources.values())
        word, shape, mood = _circuit(snapshot)
        return Status(word, shape, mood, held, len(snapshot.sources))

    def marks(self) -> list[Mark]:
        """The payment circuit's states so far."""
        return self._marks

    def _count_rebalance(self) -> None:
        self.rebalances += 1

    def _observe(self, event: AnyEvent) -> None:
        if not isinstance(event, Event):
            return
        now = self.work.clock.now()
        if isinstance(event, LimitChanged):
            self._mark(event, Mark(now, Kind.PARTLY, event.limit))
            return
        state = _state_after(event)
        if state is None:
            return
        self.transitions.append(Transition(now, event.name, state.name))
        self._mark(event, Mark(now, STATE_KINDS[state], 1 if state is State.HALF_OPEN else 0))
        self._tell(Note(now, _text(event, state)))

    def _mark(self, event: Event, mark: Mark) -> None:
        if event.name == PAYMENTS:
            self._marks.append(mark)


def _state_after(event: Event) -> State | None:
    if isinstance(event, CircuitOpened):
        return State.OPEN
    if isinstance(event, CircuitHalfOpened):
        return State.HALF_OPEN
    return State.CLOSED if isinstance(event, CircuitClosed) else None


def _text(event: Event, state: State) -> str:
    if isinstance(event, CircuitOpened):
        reason = event.reason.replace("_", " ")
        return f"{event.name} OPEN ({reason}): its partitions are held, next probe in {event.until - event.at:.1f} s"
    if state is State.HALF_OPEN:
        return f"{event.name} HALF_OPEN: one message probes"
    return f"{event.name} CLOSED: full rate"


def _circuit(snapshot: Snapshot) -> tuple[str, str, str]:
    circuit = snapshot.dependencies.get(PAYMENTS)
    if circuit is None or circuit.state is State.CLOSED:
        return "CLOSED", "□", "good"
    if circuit.state is State.OPEN:
        return "OPEN", "■", "bad"
    word = "PROBE" if circuit.limit == 1 else f"RAMP {circuit.limit} of {CONCURRENCY}"
    return word, "◪", "partly"
