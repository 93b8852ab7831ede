"""One reading of a guard: the values of every series at one moment, the same for every exporter.

A guard belongs to its event loop, and exporters have threads of their own: `prometheus_client` answers scrapes in one, and OpenTelemetry's
readers collect in another. So `Readings` reads on the loop: directly if it is called there, else it sends the reading to the loop and waits
for it, at most a second. A loop that is blocked for longer answers with the last reading, and so does a guard that was left: a scrape gets
old figures rather than an error, and a collector on the loop's own thread cannot wait for itself.
"""

from __future__ import annotations

import asyncio
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import cache
from typing import Protocol, TypeVar

from holdgate.core.guidance import Phase
from holdgate.core.states import Override, State
from holdgate.core.totals import CircuitTotals, Histogram
from holdgate.flow.backlog import SourceBacklog, demand_of
from holdgate.flow.message import Partition, Source
from holdgate.flow.plan import CIRCUIT, KEY, LIMIT
from holdgate.flow.snapshot import Snapshot
from holdgate.flow.totals import EngineTotals
from holdgate.telemetry import names
from holdgate.telemetry.names import Series

T = TypeVar("T")
Labels = tuple[str, ...]
Values = Mapping[Series, Mapping[Labels, "float | Histogram"]]

# Seconds that a thread waits for the loop. A scrape may take ten, and a loop that is blocked for one is in trouble already.
_WAIT = 1.0
# The longest value of a label.
_LONGEST = 120


class Readable(Protocol):
    """What metrics ask of a guard. `Guard` has it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that the guard belongs to."""
        ...

    def snapshot(self) -> Snapshot:
        """Return what is held, and why."""
        ...

    def totals(self) -> EngineTotals:
        """Return what has happened."""
        ...

    def backlogs(self) -> Mapping[Source, SourceBacklog]:
        """Return what waits in the brokers."""
        ...


class Readings:
    """Reads one guard from any thread. `partitions`: the age of a hold is given for each partition instead of each topic.

    `at_most_every`: seconds for which a reading is used again, because an exporter that asks for one series after the other should get all
    of the same moment.
    """

    def __init__(self, guard: Readable, *, partitions: bool = False, at_most_every: float = 0.0) -> None:
        self._guard = guard
        self._partitions = partitions
        self._at_most_every = at_most_every
        self._last: Values = {}
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def read(self) -> Values:
        """Return the values of all series that have one now."""
        loop = self._guard.loop
        if loop is None or loop.is_closed():
            return self._last
        if _is_running_here(loop):
            return self._take()
        answer: Future[Values] = Future()
        try:
            loop.call_soon_threadsafe(_answer, self._take, answer)
            return answer.result(_WAIT)
        except (TimeoutError, RuntimeError):  # blocked, or closed a moment ago
            return self._last

    def _take(self) -> Values:
        with self._lock:
            if time.monotonic() - self._read_at > self._at_most_every:
                self._last = values_of(self._guard, partitions=self._partitions)
                self._read_at = time.monotonic()
            return self._last


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _answer(take: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(take())
    except BaseException as error:  # noqa: BLE001 - a thread waits for it, whatever it is
        answer.set_exception(error)


class _Page:
    """The values of a reading while it is made."""

    def __init__(self) -> None:
        self.values: dict[Series, dict[Labels, float | Histogram]] = {}

    def set(self, series: Series, *labels: str, value: float | Histogram | None) -> None:
        """Put a value in, which no other sample has the labels of. None means that there is none."""
        if value is not None:
            self.values.setdefault(series, {})[tuple(map(printable, labels))] = value

    def add(self, series: Series, *labels: str, value: float | None) -> None:
        """Add to a value. None means that nothing is known."""
        self._merge(series, labels, value, lambda before, more: before + more)

    def top(self, series: Series, *labels: str, value: float | None) -> None:
        """Let the largest value count. None means that nothing is known."""
        self._merge(series, labels, value, max)

    def _merge(self, series: Series, labels: Labels, value: float | None, merge: Callable[[float, float], float]) -> None:
        if value is not None:
            samples = self.values.setdefault(series, {})
            key = tuple(map(printable, labels))
            before = samples.get(key)
            samples[key] = value if before is None or isinstance(before, Histogram) else merge(before, value)


def printable(value: str) -> str:
    """Return the value of a label: in one line, without control characters, and not longer than 120 characters."""
    value = value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
    return value if value.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in value)


def values_of(guard: Readable, *, partitions: bool = False) -> Values:
    """Return the values of all series that have one now. Must be called on the guard's loop."""
    page = _Page()
    snapshot, totals = guard.snapshot(), guard.totals()
    _circuits(page, snapshot)
    _fleet(page, snapshot)
    _calls(page, totals)
    _sources(page, snapshot, totals, partitions=partitions)
    _messages(page, totals)
    _backlogs(page, guard.backlogs().values(), totals)
    page.set(names.BUILD_INFO, version(), platform.python_version(), value=1)
    return page.values


def _circuits(page: _Page, snapshot: Snapshot) -> None:
    for name, circuit in snapshot.dependencies.items():
        for state in State:
            page.set(names.CIRCUIT_STATE, name, state.value, value=int(circuit.state is state))
        for mode in Override:
            page.set(names.OVERRIDE_ACTIVE, name, mode.value, value=int(circuit.override is mode))
        page.set(names.FAILURE_RATIO, name, value=circuit.failure_rate)
        page.set(names.SLOW_RATIO, name, value=circuit.slow_call_rate)
        page.set(names.RAMP_LIMIT, name, value=circuit.limit)
        limits = circuit.limits
        if limits is not None:
            page.set(names.LIMIT_WIDTH, name, value=limits.width)
            page.set(names.LIMIT_PACE, name, value=limits.pace)
            page.set(names.LIMIT_WASTE, name, value=limits.waste)
            page.set(names.LIMIT_EXPERIMENTS, name, value=limits.experiments)
        keys = circuit.keys
        if keys is not None:
            page.set(names.KEYS_KNOWN, name, value=keys.known)
            page.set(names.KEYS_HELD, name, value=keys.held)
            page.set(names.KEYS_WAITING, name, value=keys.waiting)


def _fleet(page: _Page, snapshot: Snapshot) -> None:
    fleet = snapshot.fleet
    if fleet is None:
        return
    page.set(names.FLEET_MEMBERS, fleet.name, value=len(fleet.members))
    page.set(names.FLEET_LOG_READABLE, fleet.name, value=int(fleet.silent_for is None))
    for agreed in fleet.agreements:
        guidance = snapshot.dependencies[agreed.dependency].guidance
        page.set(names.FLEET_CONDUCTING, agreed.dependency, value=int(agreed.own))
        page.set(names.FLEET_EPOCH, agreed.dependency, value=agreed.epoch)
        if agreed.course == "ramp":
            page.set(names.FLEET_LIMIT, agreed.dependency, value=agreed.limit)
        if guidance is not None and guidance.phase is Phase.RAMP:
            page.set(names.FLEET_SHARE, agreed.dependency, value=guidance.limit)


def _calls(page: _Page, totals: EngineTotals) -> None:
    for name, circuit in totals.circuits.items():
        for outcome, count in _outcomes(circuit):
            page.set(names.CALLS, name, outcome, value=count)
        page.set(names.CALL_DURATION, name, "success", value=circuit.succeeded)
        page.set(names.CALL_DURATION, name, "failure", value=circuit.failed)
        page.set(names.CALLS_NOT_PERMITTED, name, value=circuit.refused)
        page.set(names.PROBES, name, "success", value=circuit.probes_succeeded)
        page.set(names.PROBES, name, "failure", value=circuit.probes_failed)
    for (name, (before, after, reason)), count in totals.transitions.items():
        page.set(names.CIRCUIT_TRANSITIONS, name, before.value, after.value, reason, value=count)


def _outcomes(circuit: CircuitTotals) -> Iterable[tuple[str, int]]:
    yield "success", circuit.succeeded.count
    yield "failure", circuit.failed.count
    yield "throttled", circuit.throttled
    yield "ignored", circuit.ignored
    yield "late", circuit.late


def _sources(page: _Page, snapshot: Snapshot, totals: EngineTotals, *, partitions: bool) -> None:
    for name in snapshot.dependencies:  # 0 where nothing is held: a series that appears with the outage is hard to alert on
        page.set(names.SOURCES_HELD, name, "circuit", value=0)
    for source, seen in snapshot.sources.items():
        kind, destination = kind_of(source), totals.label(source.name)
        page.add(names.SOURCES, kind, destination, value=1)
        page.add(names.IN_HAND, destination, value=seen.waiting + seen.in_flight)
        for reason in seen.reasons:
            page.add(names.SOURCES_HELD, *reason_labels(reason), value=1)
        age = None if seen.since is None else snapshot.at - seen.since
        if partitions:
            number = str(source.number) if isinstance(source, Partition) else ""
            page.top(names.HOLD_AGE_BY_PARTITION, kind, destination, number, value=age)
        else:
            page.top(names.HOLD_AGE, kind, destination, value=age)
    for reason, lasted in totals.holds.items():
        page.set(names.HOLD_DURATION, *reason_labels(reason), value=lasted)


def _messages(page: _Page, totals: EngineTotals) -> None:
    for name, each in totals.names.items():
        ended = {"processed": each.processed, "fallback": each.fell_back.total(), "rejected": each.rejected.total()}
        for settlement, count in {**ended, "skipped": each.skipped.total()}.items():
            page.set(names.DELIVERIES, name, settlement, value=count)
        for reason, count in each.rejected.items():
            page.set(names.DEAD_LETTERS, name, reason, value=count)
        for reason, count in each.fell_back.items():
            page.set(names.FALLBACKS, name, reason, value=count)


def _backlogs(page: _Page, backlogs: Iterable[SourceBacklog], totals: EngineTotals) -> None:
    backlogs = tuple(backlogs)
    for each in backlogs:
        labels, waiting = (kind_of(each.source), totals.label(each.source.name), each.group), each.waiting
        page.add(names.BACKLOG, *labels, value=waiting.messages)
        page.add(names.BACKLOG_READABLE, *labels, value=waiting.messages if waiting.readable is None else waiting.readable)
        page.add(names.BACKLOG_DELAYED, *labels, value=waiting.delayed)
        page.top(names.BACKLOG_BLOCKED, *labels, value=waiting.blocked_for)
        page.top(names.BACKLOG_AGE, *labels, value=waiting.oldest_age)
        page.top(names.BACKLOG_DRAIN, *labels, value=each.drained_in)
    for group, willing in demand_of(backlogs).items():
        page.set(names.DEMAND, group, value=willing)


def kind_of(source: Source) -> str:
    """Return "topic" for a partition, and "queue"."""
    return "topic" if isinstance(source, Partition) else "queue"


def reason_labels(reason: str) -> tuple[str, str]:
    """Return dependency and reason for a reason of a plan, as in "circuit:payments" or "dead letters"."""
    if reason.startswith(CIRCUIT):
        return reason.removeprefix(CIRCUIT), "circuit"
    if reason.startswith(LIMIT):
        return reason.removeprefix(LIMIT), "limit"
    if reason.startswith(KEY):
        return reason.removeprefix(KEY), "key"
    return "", reason.replace(" ", "_")


@cache
def version() -> str:
    """Return the version of holdgate that is installed, or "unknown"."""
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415 - a start needs none of it
    from importlib.metadata import version as installed  # noqa: PLC0415

    try:
        return installed("holdgate")
    except PackageNotFoundError:
        return "unknown"
