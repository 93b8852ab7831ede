"""Rehearse an outage: run a handler behind a real guard, on a broker in memory, through an outage that takes no time.

    report = rehearse(charge, needs=[payments], outage=Outage(10, 70))
    assert report.left == report.rejected == ()
    assert report.called_in_outage < 15

Everything but the broker and the time is real: the guard, the circuits, the handler with its own `failures` and retries. What the handler
calls must be a fake of yours. While the outage lasts the handler is not called at all: a failing call takes its place.
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
    """A time in which a dependency is down.

    - `start`: when it begins, in seconds from the first delivery, from 0.
    - `end`: when it is over, in seconds from the first delivery, above `start`. A call at `end` succeeds.
    - `dependency`: the one that is down. None means the only one that the rehearsal has.
    - `error`: what every call raises meanwhile. It must be one of the dependency's `failures`, or the outage would count against the
      messages. The default is a ConnectionError, which nearly every client raises or wraps.

    Raises SettingsError unless 0 <= start < end.
    """

    start: float
    end: float
    dependency: Dependency | None = None
    error: Exception = field(default_factory=lambda: ConnectionError("rehearsed outage"))

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise SettingsError(f"an outage must have 0 <= start < end, got start={self.start} and end={self.end}")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What happened in a rehearsal. Bodies stand for messages, and times are virtual seconds.

    - `processed`: the messages that were settled after the handler had returned, in that order.
    - `rejected`: the messages that were settled though the handler never returned for them.
    - `left`: the messages that still wait at the end, including a rejected one that blocks its partition.
    - `called`: how often a handler was started, including the calls that failed in an outage.
    - `called_in_outage`: how many calls failed in an outage.
    - `held`: how long a source was held.
    - `took`: how long it took until everything was settled, or until the rehearsal gave up.
    - `events`: every event that observers got.
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
    """Run `handler` through the outages, and return what happened. Must not be called inside a running event loop.

    - `handler`: as for `guard.run`. What it calls must be a fake.
    - `needs`: as for `guard.run`.
    - `deliveries`: how many there are (their bodies are b"0", b"1" ...), or their bodies, or bodies by topic if `needs` or `handler` go by
      topic. Otherwise the topic is "rehearsal".
    - `every`: virtual seconds between two deliveries. With the default, seconds and messages have the same numbers.
    - `outage`: one or several times in which a dependency is down.
    - `patience`: virtual seconds after the last delivery and the last outage at which the rehearsal gives up, unless everything is settled
      before. The default is an hour, more than twice the longest backoff.
    - `**settings`: passed to `guard.run` as they are, such as `retry`, `order` and `concurrency`.

    Raises SettingsError for what `guard.run` refuses, for an outage of a dependency that is not in `needs`, and for one whose error would
    count against the messages.
    """
    outages = (outage,) if isinstance(outage, Outage) else tuple(outage)
    bodies = _bodies(deliveries)
    if not any(bodies.values()):
        raise SettingsError(f"deliveries must not be empty, got {deliveries!r}: there is nothing to rehearse")
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
            raise SettingsError(f"Outage(dependency=...) must name one of needs={sorted(known)}, got None")
        victim = next(iter(known.values()))
    if victim not in known.values():
        raise SettingsError(f"Outage(dependency=...) must be one of needs={sorted(known)}, got {victim.name!r}: add it to needs")
    if victim.classify(outage.error) is not Outcome.FAILURE:
        error = type(outage.error).__name__
        raise SettingsError(
            f"Outage(error=...) must be one of the failures of {victim.name!r}, got {error}: give one that is, or widen `failures`"
        )
    return victim


class _RecordedIntake(MemoryIntake):
    """Record every settlement, and how long anything was held."""

    def __init__(self, broker: MemoryBroker, topics: Sequence[str], total: int) -> None:
        # A receive is woken by what it waits for. A long poll only means fewer idle turns in an hour of holding.
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
        """Return the seconds until now in which anything was held."""
        return self._held if self._held_since is None else self._held + asyncio.get_running_loop().time() - self._held_since


class _Stage:
    """Run one rehearsal. Handlers may run in threads, so what they record is only appended to."""

    def __init__(self, bodies: Mapping[str, Sequence[bytes]], needs: Needs, outages: Sequence[tuple[Outage, Dependency]]) -> None:
        self._bodies = bodies
        self._needs = needs
        self._outages = outages
        self._calls: list[bool] = []  # per call: was it in an outage
        self._returned: dict[_Place, None] = {}

    async def play(
        self, handler: AnyHandler | Mapping[str, AnyHandler], every: float, end: float, settings: Mapping[str, Any]
    ) -> Rehearsal:
        """Run it to its end, and return what happened."""
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
        """Return the handler with its outages, async or plain as it was."""
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
        """Note that the handler returned: its deliveries are processed, unless it asked for something else."""
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
    """Return the delivery, or those of a batch."""
    return [given] if isinstance(given, Delivery) else given


def _place(delivery: Delivery[Message]) -> _Place:
    return delivery.source.name, delivery.position


async def _fail(error: Exception) -> NoReturn:
    _fail_plainly(error)


def _fail_plainly(error: Exception) -> NoReturn:
    # The same object each time, so without its old traceback, which would grow with every call.
    raise error.with_traceback(None)
