"""Rehearse an outage: run a handler behind a real guard, on a broker in memory, through an outage that takes no time.

    client = httpx.AsyncClient(transport=AsyncScriptedTransport(payments))  # the handler's
    report = rehearse(charge, needs=[payments], outage=Outage(10, 70))
    assert report.problems == ()

Everything but the broker, the time and the far end of the client is real: the guard, the circuits, the handler with its own `failures` and
retries. outages.py says how the handler's calls meet an outage, and report.py what becomes of what is noted here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from itertools import zip_longest
from types import MappingProxyType, TracebackType
from typing import Any, cast

from holdgate.errors import SettingsError
from holdgate.flow.message import Delivery, Settlement
from holdgate.flow.plan import Plan
from holdgate.runtime.dependency import Dependency
from holdgate.runtime.functions import is_async
from holdgate.runtime.guard import Guard
from holdgate.runtime.handlers import check_handler
from holdgate.runtime.needs import NeedsByHeader, NeedsSetting, named_needs
from holdgate.testing.clock import LoopClock, VirtualEventLoop, run_virtual, run_virtual_apart
from holdgate.testing.drills import Drill, current_drill
from holdgate.testing.memory import MemoryBroker, MemoryIntake
from holdgate.testing.memory.message import Message
from holdgate.testing.outages import Outage, Script, current_attempt_log, playing
from holdgate.testing.report import Attempt, Facts, Place, Rehearsal, report_of

AnyHandler = Callable[[Any], Any]
_Given = Delivery[Message] | Sequence[Delivery[Message]]  # with `batch` the handler takes several

_NO_HEADERS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Record:
    """A message to deliver that has more than a body.

    - `body`: its payload. None means a tombstone.
    - `key`: its key. None means that it has none.
    - `headers`: its headers by name.
    """

    body: bytes | None
    key: bytes | None = None
    headers: Mapping[str, Any] = field(default_factory=lambda: _NO_HEADERS)


Deliveries = int | Sequence[bytes | Record] | Mapping[str, Sequence[bytes | Record]]


def rehearse(
    handler: AnyHandler | Mapping[str, AnyHandler],
    *,
    needs: NeedsSetting = (),
    dependencies: Sequence[Dependency] = (),
    deliveries: Deliveries = 100,
    every: float = 1.0,
    outage: Outage | Sequence[Outage] = (),
    patience: float = 3600.0,
    **settings: Any,
) -> Rehearsal:
    """Run `handler` through the outages, and return what happened. In an async test, await `rehearse_async` instead.

    - `handler`: as for `guard.run`. What it calls must be a stand-in: a client of `holdgate.testing.scripted`, or a fake of yours that asks
      a ScriptedDependency.
    - `needs`: as for `guard.run`.
    - `dependencies`: what `Guard(...)` is given, where `needs` is a function. Those of the outages are known without.
    - `deliveries`: how many there are (their bodies are b"0", b"1" ...), or their bodies, or Records with keys and headers, or any of these
      by topic if `needs` or `handler` go by topic. Otherwise the topic is "rehearsal".
    - `every`: virtual seconds between two deliveries. With the default, seconds and messages have the same numbers.
    - `outage`: one or several times in which a dependency is down.
    - `patience`: virtual seconds after the last delivery and the last outage at which the rehearsal gives up, unless everything is settled
      before. The default is an hour, more than twice the longest backoff.
    - `**settings`: passed to `guard.run` as they are, such as `retry`, `order` and `concurrency`.

    Raises SettingsError for what `guard.run` refuses, for an outage of a dependency that is not in `needs`, and inside a running loop.
    """
    _must_have_no_loop()
    return run_virtual(
        _planned(handler, needs, dependencies, deliveries, every=every, outage=outage, patience=patience, settings=settings).play()
    )


async def rehearse_async(
    handler: AnyHandler | Mapping[str, AnyHandler],
    *,
    needs: NeedsSetting = (),
    dependencies: Sequence[Dependency] = (),
    deliveries: Deliveries = 100,
    every: float = 1.0,
    outage: Outage | Sequence[Outage] = (),
    patience: float = 3600.0,
    **settings: Any,
) -> Rehearsal:
    """Do what `rehearse` does from an async test, with the same arguments.

    On virtual time (`in_virtual_time`, `run_virtual`) it runs in the test's own loop, so that the handler may use what the test has made
    there, such as an aiohttp session. On a real loop it runs in a thread with a loop of its own.
    """
    stage = _planned(handler, needs, dependencies, deliveries, every=every, outage=outage, patience=patience, settings=settings)
    if isinstance(asyncio.get_running_loop(), VirtualEventLoop):
        return await stage.play()
    return await run_virtual_apart(stage.play)


def _must_have_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SettingsError("rehearse was called inside a running event loop, which it would block: write `await rehearse_async(...)`")


# -- what is given --------------------------------------------------------------------------------------------------------------------


def _planned(
    handler: AnyHandler | Mapping[str, AnyHandler],
    needs: NeedsSetting,
    dependencies: Sequence[Dependency],
    deliveries: Deliveries,
    *,
    every: float,
    outage: Outage | Sequence[Outage],
    patience: float,
    settings: Mapping[str, Any],
) -> _Stage:
    outages = [(each, _victim(each, needs, dependencies)) for each in _outages(outage)]
    drill = current_drill()
    if drill is not None:
        outages = drill.instead_of(outages, _known(needs) | {each.name: each for each in dependencies})
    records = _records(deliveries)
    if not any(records.values()):
        raise SettingsError(f"deliveries must not be empty, got {deliveries!r}: there is nothing to rehearse")
    for where, each in _handlers(handler):
        check_handler(each, where)  # as the run would, which sees only what stands around them
    last = max([(max(map(len, records.values())) - 1) * every, *(each.end for each, _ in outages)])
    declared = tuple(dict.fromkeys([*dependencies, *(victim for _, victim in outages)])) if _by_message(needs) else tuple(dependencies)
    return _Stage(
        handler, needs, records, declared=declared, every=every, outages=outages, end=last + patience, settings=settings, drill=drill
    )


def _handlers(given: object) -> list[tuple[str, object]]:
    """Return each handler, and what errors call it."""
    if not isinstance(given, Mapping):
        return [("handler", given)]
    return [(f"handler[{name!r}]", each) for name, each in cast("Mapping[str, object]", given).items()]


def _outages(given: object) -> Sequence[Outage]:
    several: list[object] = [given] if isinstance(given, Outage) else list(cast("Iterable[object]", given)) if _is_listed(given) else [None]
    if not all(isinstance(each, Outage) for each in several):
        raise SettingsError(f"outage must be an Outage or a list of them, got {given!r}: write Outage(start=10, end=70)")
    return cast("list[Outage]", several)


def _records(deliveries: Deliveries) -> Mapping[str, Sequence[Record]]:
    if isinstance(deliveries, Mapping):
        return {name: [_record(each) for each in listed] for name, listed in deliveries.items()}
    if isinstance(deliveries, int):
        return {"rehearsal": [Record(b"%d" % number) for number in range(deliveries)]}
    if not _is_listed(deliveries):
        raise SettingsError(f"deliveries must be a number, a list of bodies, or lists by topic, got {deliveries!r}")
    return {"rehearsal": [_record(each) for each in deliveries]}


def _is_listed(given: object) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str | bytes)


def _record(given: object) -> Record:
    if not isinstance(given, bytes | Record):
        raise SettingsError(f"deliveries must have bytes or Records in them, got {given!r} ({type(given).__name__})")
    return given if isinstance(given, Record) else Record(given)


def _victim(outage: Outage, needs: NeedsSetting, dependencies: Sequence[Dependency]) -> Dependency:
    known = _known(needs) | {each.name: each for each in dependencies}
    victim = outage.dependency
    if victim is None:
        if len(known) != 1:
            raise SettingsError(f"Outage(dependency=...) must name one of needs={sorted(known)}, got None")
        victim = next(iter(known.values()))
    if not isinstance(cast("object", victim), Dependency):
        raise SettingsError(f"Outage(dependency=...) must be a Dependency, got {victim!r}: pass the one that is in needs")
    if victim not in known.values() and not _by_message(needs):
        raise SettingsError(f"Outage(dependency=...) must be one of needs={sorted(known)}, got {victim.name!r}: add it to needs")
    return victim


def _known(needs: NeedsSetting) -> dict[str, Dependency]:
    """Return the dependencies by name, as far as they can be seen: the run itself refuses anything else."""
    by_name = named_needs(needs)
    listed = _items(needs) if by_name is None else [each for group in by_name.values() for each in _items(group)]
    return {each.name: each for each in listed}


def _by_message(needs: NeedsSetting) -> bool:
    """Return whether a function says what a message needs, at least in one topic."""
    return callable(needs) or any(map(callable, (named_needs(needs) or {}).values()))


def _items(group: object) -> list[Dependency]:
    if isinstance(group, NeedsByHeader):
        return list(group.dependencies)
    given = list(cast("Iterable[object]", group)) if _is_listed(group) else [group]
    return [each for each in given if isinstance(each, Dependency)]


# -- the play -------------------------------------------------------------------------------------------------------------------------


class _RecordedIntake(MemoryIntake):
    """Record every settlement, and how long anything was held."""

    def __init__(self, broker: MemoryBroker, topics: Sequence[str], total: int, settled: dict[Place, float]) -> None:
        # A receive is woken by what it waits for. A long poll only means fewer idle turns in an hour of holding.
        super().__init__(broker, topics=topics, poll_timeout=10.0)
        self.finished = asyncio.Event()
        self._settled = settled
        self._total = total
        self._start = broker.now()
        self._held = 0.0
        self._held_since: float | None = None

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        self._settled[_place(delivery)] = asyncio.get_running_loop().time() - self._start
        if len(self._settled) == self._total:
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
    """Run one rehearsal. Handlers may run in threads, so what they note is only appended to."""

    def __init__(
        self,
        handler: Any,
        needs: NeedsSetting,
        records: Mapping[str, Sequence[Record]],
        *,
        declared: Sequence[Dependency],
        every: float,
        outages: Sequence[tuple[Outage, Dependency]],
        end: float,
        settings: Mapping[str, Any],
        drill: Drill | None,
    ) -> None:
        self._handler = handler
        self._needs = needs
        self._declared = declared
        self._records = records
        self._every = every
        self._end = end
        self._settings = settings
        self._drill = drill
        self._facts = Facts(outages, has_dead_letters=settings.get("dead_letters") is not None)

    async def play(self) -> Rehearsal:
        """Run it to its end, and return what happened."""
        self._loop = loop = cast("VirtualEventLoop", asyncio.get_running_loop())
        self._start = loop.time()
        scripts = {
            victim: Script([outage for outage, whose in self._facts.outages if whose is victim], loop) for _, victim in self._facts.outages
        }
        with playing(scripts):
            report = await self._run()
        if self._drill is not None:
            self._drill.rehearsed(report.verdict, {victim.name: script.met for victim, script in scripts.items()})
        return report

    async def _run(self) -> Rehearsal:
        broker = MemoryBroker(topics=dict.fromkeys(self._records, 1))
        intake = _RecordedIntake(broker, tuple(self._records), sum(map(len, self._records.values())), self._facts.settled)
        played: Any = self._played(self._handler) if callable(self._handler) else {n: self._played(e) for n, e in self._handler.items()}
        settings: dict[str, Any] = {name: self._noted(given) if name == "fallback" else given for name, given in self._settings.items()}
        async with Guard(*self._declared, clock=LoopClock(), signals=False, observers=[self._facts.events.append]) as guard:
            run = asyncio.create_task(guard.run(intake, played, needs=self._needs, **settings))
            finished = asyncio.create_task(intake.finished.wait())
            producing = asyncio.create_task(self._produce(broker))
            try:
                await asyncio.wait({run, finished}, timeout=self._end, return_when=asyncio.FIRST_COMPLETED)
                took, held = self._now(), intake.held()
            finally:
                finished.cancel()
                producing.cancel()
            await guard.stop()
            await run
        return report_of(self._facts, held=held, took=took)

    def _now(self) -> float:
        return self._loop.time() - self._start

    async def _produce(self, broker: MemoryBroker) -> None:
        for position, records in enumerate(zip_longest(*self._records.values())):
            for name, record in zip(self._records, records, strict=True):
                if record is not None:
                    self._facts.produced[name, position] = (record.body, self._now())
                    broker.produce(name, record.body, record.key, record.headers)
            await asyncio.sleep(self._every)

    # -- what stands around the user's functions --------------------------------------------------------------------------------------

    def _played(self, handler: AnyHandler) -> AnyHandler:
        """Return the handler, whose attempts are noted."""

        def start(given: _Given) -> _Start:
            attempt = Attempt([_place(each) for each in _each(given)], self._now())
            self._facts.attempts.append(attempt)
            return _Start(given, attempt, attempt.done.extend)

        return _around(handler, start)

    def _noted(self, fallback: AnyHandler) -> AnyHandler:
        """Return the fallback, whose returns are noted. What it calls is no attempt of a handler."""
        return _around(fallback, lambda given: _Start(given, Attempt([], self._now()), self._facts.fallen_back.extend))


class _Start:
    """One start of a handler or fallback: a block around what runs of it, and what is noted of its end."""

    __slots__ = ("_attempt", "_given", "_note", "_token")

    def __init__(self, given: _Given, attempt: Attempt, note: Callable[[Iterable[Place]], None]) -> None:
        self._given = given
        self._attempt = attempt
        self._note = note

    def __enter__(self) -> None:
        self._token = current_attempt_log.set(self._attempt.log)

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        current_attempt_log.reset(self._token)
        if isinstance(error, Exception):
            self._attempt.raised(error)

    def returned(self) -> None:
        """Note that it returned: its deliveries are done, unless it asked for something else."""
        self._note(_place(delivery) for delivery in _each(self._given) if delivery.request is None)


def _around(fn: AnyHandler, start: Callable[[_Given], _Start]) -> AnyHandler:
    """Return a function, async or plain as it was, with a block around each start of it."""
    if not callable(cast("object", fn)):
        return fn  # the run refuses it
    if is_async(fn):  # of a wrapper around an async function the run finds out what it is

        @wraps(fn)
        async def on_loop(given: _Given) -> None:
            block = start(given)
            with block:
                await fn(given)
            block.returned()

        return on_loop

    async def through(block: _Start, result: Awaitable[Any]) -> None:
        with block:
            await result
        block.returned()

    @wraps(fn)
    def plain(given: _Given) -> Any:
        block = start(given)
        with block:
            result = fn(given)
        if inspect.isawaitable(result):  # a plain function in front of an async one, such as a lambda
            return through(block, result)
        block.returned()
        return None

    return plain


def _each(given: _Given) -> Sequence[Delivery[Message]]:
    """Return the delivery, or those of a batch."""
    return [given] if isinstance(given, Delivery) else given


def _place(delivery: Delivery[Message]) -> Place:
    return delivery.source.name, delivery.position
