"""The side with holdgate: the same handler, put behind a guard. What a user writes is `_run`; the rest watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from holdgate import CircuitSettings, Delivery, Dependency, Guard, State
from holdgate.cli.demo.frame import Note, Status
from holdgate.cli.demo.report import Transition
from holdgate.cli.demo.scenario import CONCURRENCY, EMAIL, ORDERS, PAYMENTS, RECEIPTS, Scenario
from holdgate.cli.demo.service import LATENCY, ServiceError
from holdgate.cli.demo.timeline import Kind, Mark
from holdgate.cli.demo.venue import Venue
from holdgate.cli.demo.work import Work
from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, Event, LimitChanged
from holdgate.flow.events import FlowEvent
from holdgate.flow.snapshot import Snapshot
from holdgate.ports import Clock

# Seconds to let running handlers end; the longest call takes half a second.
DRAIN_TIMEOUT = 3.0
# How often to look whether the first assignment has come, in seconds.
READY_POLL = 0.05

KINDS = {State.CLOSED: Kind.FINE, State.OPEN: Kind.BAD, State.HALF_OPEN: Kind.PARTLY}


def settings(scenario: Scenario) -> CircuitSettings:
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
    """A guard around `work`. `tell` gets what happens to its circuits, at once. `clock` None: the system's."""

    def __init__(self, venue: Venue, work: Work, scenario: Scenario, tell: Callable[[Note], None], clock: Clock | None = None) -> None:
        self.work = work
        self.transitions: list[Transition] = []
        self.rebalances = 0
        self._venue = venue
        self._scenario = scenario
        self._tell = tell
        self._guard = Guard(drain_timeout=DRAIN_TIMEOUT, signals=False, observers=[self._observe], clock=clock)
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

    def _observe(self, event: Event | FlowEvent) -> None:
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
        self._mark(event, Mark(now, KINDS[state], 1 if state is State.HALF_OPEN else 0))
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
