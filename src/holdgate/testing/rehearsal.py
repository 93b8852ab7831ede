"""Rehearse an outage: run a handler behind a real guard, on a broker in memory, through an outage that takes no time.

    report = rehearse(charge, needs=[payments], outage=Outage(10, 70))
    assert report.left == report.rejected == ()
    assert report.called_in_outage < 15

Everything but the broker and the time is the real thing: the guard, the circuits, the handler with its own `failures` and retries. What
the handler calls must be a fake of yours; while the outage lasts the handler is not called at all, a failing call takes its place.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from itertools import zip_longest
from typing import Any, NoReturn

from holdgate.core import Outcome
from holdgate.errors import SettingsError
from holdgate.flow.events import AnyEvent
from holdgate.flow.message import Delivery, Settlement
from holdgate.flow.plan import Plan
from holdgate.runtime.calling import is_async
from holdgate.runtime.dependency import Dependency
from holdgate.runtime.guard import Guard
from holdgate.testing.clock import LoopClock, run_virtual
from holdgate.testing.memory import MemoryBroker, MemoryIntake
from holdgate.testing.memory.message import Message

AnyHandler = Callable[[Any], Any]
Needs = Sequence[Dependency] | Mapping[str, Sequence[Dependency]]
_Given = Delivery[Message] | Sequence[Delivery[Message]]  # with `batch` the handler takes several
_Place = tuple[str, int]  # topic and offset; each topic has one partition


@dataclass(frozen=True, slots=True)
class Outage:
    """When a dependency is down, in seconds from the first delivery: from `start` up to, but not at, `end`.

    `dependency` is whose outage it is; None: the only one there is. `error` is what a call gets meanwhile; it must be one of the
    dependency's `failures`, or the outage would be charged to the messages. Raises SettingsError unless 0 <= start < end.
    """

    start: float
    end: float
    dependency: Dependency | None = None
    error: Exception = field(default_factory=lambda: ConnectionError("rehearsed outage"))

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise SettingsError(f"an outage lasts from 0 or later up to a later second, not from {self.start} to {self.end}")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What happened. Bodies stand for messages, times are virtual seconds.

    `processed`: settled after the handler returned, in that order. `rejected`: settled though it never did. `left`: still waiting at the
    end, a rejected message that blocks its partition included. `called`: how often a
    handler started, the calls that failed in an outage included; `called_in_outage`: how many of them those were. `held`: for how long
    a source was held. `took`: until everything was settled, or the end. `events`: all that observers were told.
    """

    processed: tuple[bytes | None, ...]
    rejected: tuple[bytes | None, ...]
    left: tuple[bytes | None, ...]
    called: int
    called_in_outage: int
    held: float
    took: float
    events: tuple[AnyEvent, ...]


def rehearse(
    handler: AnyHandler | Mapping[str, AnyHandler],
    *,
    needs: Needs = (),
    deliveries: int | Sequence[bytes] | Mapping[str, Sequence[bytes]] = 100,
    every: float = 1.0,
    outage: Outage | Sequence[Outage] = (),
    patience: float = 3600.0,
    **settings: Any,
) -> Rehearsal:
    """Run `handler` through the outages and report.

    `deliveries`: how many (their bodies are b"0", b"1" ...), or the bodies, or bodies by topic when `needs` or `handler` go by name;
    otherwise the topic is "rehearsal". One is produced `every` seconds (1.0: seconds and messages have the same numbers). It ends when
    everything is settled, or `patience` seconds (an hour: twice the longest backoff and more) after the last delivery and outage.
    Everything else goes to `guard.run` as it is: `retry`, `order`, `concurrency` and so on. Not from inside a running event loop. Raises
    SettingsError for what `guard.run` refuses, and for an outage that is nobody's or whose error would count against the messages.
    """
    outages = (outage,) if isinstance(outage, Outage) else tuple(outage)
    bodies = _bodies(deliveries)
    if not any(bodies.values()):
        raise SettingsError("nothing to rehearse: deliveries is empty")
    stage = _Stage(bodies, needs, [(each, _victim(each, needs)) for each in outages])
    last = (max(map(len, bodies.values())) - 1) * every
    return run_virtual(stage.play(handler, every, max([last, *(each.end for each in outages)]) + patience, settings))


def _bodies(deliveries: int | Sequence[bytes] | Mapping[str, Sequence[bytes]]) -> Mapping[str, Sequence[bytes]]:
    if isinstance(deliveries, Mapping):
        return deliveries
    return {"rehearsal": [b"%d" % number for number in range(deliveries)] if isinstance(deliveries, int) else deliveries}


def _victim(outage: Outage, needs: Needs) -> Dependency:
    listed = [each for group in needs.values() for each in group] if isinstance(needs, Mapping) else needs
    known = {each.name: each for each in listed}
    victim = outage.dependency
    if victim is None:
        if len(known) != 1:
            raise SettingsError(f"whose outage is it? Outage(dependency=...) must say so with needs={sorted(known)}")
        victim = next(iter(known.values()))
    if victim not in known.values():
        raise SettingsError(f"an outage of {victim.name!r} is seen by nobody with needs={sorted(known)}: add it to needs")
    if victim.classify(outage.error) is not Outcome.FAILURE:
        error = type(outage.error).__name__
        raise SettingsError(
            f"{error} is not one of the failures of {victim.name!r}: give Outage(error=...) one that is, or widen `failures`"
        )
    return victim


class _RecordedIntake(MemoryIntake):
    """Writes down every settlement, and for how long anything was held."""

    def __init__(self, broker: MemoryBroker, topics: Sequence[str], total: int) -> None:
        # A receive is woken by what it waits for; a long poll only means fewer idle turns in an hour of holding.
        super().__init__(broker, topics=topics, poll_timeout=10.0)
        self.settled: dict[_Place, bytes | None] = {}  # in the order of settlement
        self.finished = asyncio.Event()
        self._total = total
        self._held = 0.0
        self._held_since: float | None = None

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        self.settled[_place(delivery)] = delivery.body
        if len(self.settled) == self._total:
            self.finished.set()
        super().settle(delivery, settlement)

    def apply(self, plan: Plan) -> None:
        self._held = self.held()
        self._held_since = asyncio.get_running_loop().time() if any(source.held for source in plan.sources.values()) else None
        super().apply(plan)

    def held(self) -> float:
        """Seconds until now in which anything was held."""
        return self._held if self._held_since is None else self._held + asyncio.get_running_loop().time() - self._held_since


class _Stage:
    """One rehearsal while it runs. Handlers may be in threads: what they write down is only ever appended to."""

    def __init__(self, bodies: Mapping[str, Sequence[bytes]], needs: Needs, outages: Sequence[tuple[Outage, Dependency]]) -> None:
        self._bodies = bodies
        self._needs = needs
        self._outages = outages
        self._calls: list[bool] = []  # per call: was it in an outage
        self._returned: dict[_Place, None] = {}

    async def play(
        self, handler: AnyHandler | Mapping[str, AnyHandler], every: float, end: float, settings: Mapping[str, Any]
    ) -> Rehearsal:
        """Run it to its end and report."""
        self._loop = asyncio.get_running_loop()
        broker = MemoryBroker(topics=dict.fromkeys(self._bodies, 1))
        intake = _RecordedIntake(broker, tuple(self._bodies), sum(map(len, self._bodies.values())))
        played = self._played(handler) if callable(handler) else {name: self._played(each) for name, each in handler.items()}
        events: list[AnyEvent] = []
        async with Guard(clock=LoopClock(), signals=False, observers=[events.append]) as guard:
            run = asyncio.create_task(guard.run(intake, played, needs=self._needs, **settings))
            finished = asyncio.create_task(intake.finished.wait())
            producing = asyncio.create_task(self._produce(broker, every))
            await asyncio.wait({run, finished}, timeout=end, return_when=asyncio.FIRST_COMPLETED)
            took, held = self._loop.time(), intake.held()
            finished.cancel()
            producing.cancel()
            await guard.stop()
            await run
        return self._report(broker, intake, took=took, held=held, events=events)

    async def _produce(self, broker: MemoryBroker, every: float) -> None:
        for bodies in zip_longest(*self._bodies.values()):
            for name, body in zip(self._bodies, bodies, strict=True):
                if body is not None:
                    broker.produce(name, body)
            await asyncio.sleep(every)

    def _played(self, handler: AnyHandler) -> AnyHandler:
        """The handler with its outages, still async or plain as it was."""
        if not is_async(handler, through_wrappers=True):

            @wraps(handler)
            def plain(given: _Given) -> Any:
                outage = self._outage_of(given)
                self._calls.append(outage is not None)
                if outage is not None:
                    outage[1].call_sync(_fail_plainly, outage[0].error)
                result = handler(given)
                if inspect.isawaitable(result):  # a plain function in front of an async one, such as a lambda
                    return self._noted_when_done(result, given)
                self._note(given)
                return None

            return plain

        async def on_loop(given: _Given) -> None:
            outage = self._outage_of(given)
            self._calls.append(outage is not None)
            if outage is not None:
                await outage[1].call(_fail, outage[0].error)
            await handler(given)
            self._note(given)

        return on_loop

    async def _noted_when_done(self, result: Awaitable[Any], given: _Given) -> None:
        await result
        self._note(given)

    def _note(self, given: _Given) -> None:
        """The handler returned: these are processed, unless it asked for something else."""
        for delivery in _each(given):
            if delivery.request is None:
                self._returned[_place(delivery)] = None

    def _outage_of(self, given: _Given) -> tuple[Outage, Dependency] | None:
        delivery = _each(given)[0]
        needs = self._needs[delivery.source.name] if isinstance(self._needs, Mapping) else self._needs
        now = self._loop.time()
        return next((pair for pair in self._outages if pair[0].start <= now < pair[0].end and pair[1] in needs), None)

    def _report(self, broker: MemoryBroker, intake: _RecordedIntake, *, took: float, held: float, events: Sequence[AnyEvent]) -> Rehearsal:
        stored = {
            (topic, message.position): message.body for topic, (log,) in broker.model.topics.items() for message in log.read(0, log.end)
        }
        settled = intake.settled.items()
        return Rehearsal(
            processed=tuple(body for place, body in settled if place in self._returned),
            rejected=tuple(body for place, body in settled if place not in self._returned),
            left=tuple(body for place, body in stored.items() if place not in intake.settled),
            called=len(self._calls),
            called_in_outage=sum(self._calls),
            held=held,
            took=took,
            events=tuple(events),
        )


def _each(given: _Given) -> Sequence[Delivery[Message]]:
    """One delivery, or those of a batch."""
    return [given] if isinstance(given, Delivery) else given


def _place(delivery: Delivery[Message]) -> _Place:
    return delivery.source.name, delivery.position


async def _fail(error: Exception) -> NoReturn:
    _fail_plainly(error)


def _fail_plainly(error: Exception) -> NoReturn:
    # The same object each time: without its old traceback, which would grow with every call.
    raise error.with_traceback(None)
