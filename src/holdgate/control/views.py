"""What is read of a guard: its status, its health, its audit log, each as the bytes that are sent.

Reading costs time on the worker's loop: a status of ten thousand sources takes a good part of a tenth of a second. So what was read is
given out again for a short while, however many ask, and for longer the more it has cost: reading never takes more than a tenth of the
loop's time. What an operator or the guard changes is seen by the next reading all the same, as long as that bound allows it. That the
guard stops happens once, so it is seen immediately: a probe must not call a worker ready that takes nothing more.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from holdgate.flow.events import AnyEvent
from holdgate.flow.history import LastEvents
from holdgate.flow.status import HealthStatus, StatusDocument, Surroundings, Wall, command_status, event_document, status
from holdgate.ports import Controllable, HealthReport
from holdgate.telemetry.reading import version

V = TypeVar("V")

# A quarter of a second: nobody reads figures faster, and probes that come together share one look.
_KEPT_FOR = 0.25
# A reading is given out again for ten times what it has cost: a tenth of the loop's time at most.
_KEPT_TIMES = 10.0
# A page shows no more at a glance. `/status` has all of them.
FRAME_SOURCES = 100
# Above that a limit saves nothing, and the whole document is given out.
_LIMIT_AT_MOST = 1000

# Documents are made here, of values: none is in itself, and to look for that takes time.
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


class Reading(Generic[V]):
    """A value that is made anew when it is asked for, but not too often. `clock` returns monotonic seconds."""

    def __init__(self, make: Callable[[], V], kept_for: float = _KEPT_FOR, clock: Callable[[], float] = time.perf_counter) -> None:
        self._make = make
        self._kept_for = kept_for
        self._clock = clock
        self._value: V | None = None
        self._fresh_until = self._paid_until = -1.0

    def get(self) -> V:
        """Return the value, made now or shortly before."""
        began = self._clock()
        if self._value is None or began >= max(self._fresh_until, self._paid_until):
            self._value = self._make()
            ended = self._clock()
            self._fresh_until = ended + self._kept_for
            self._paid_until = ended + _KEPT_TIMES * (ended - began)
        return self._value

    def expire(self, *, whatever_it_cost: bool = False) -> None:
        """Make it anew at the next question; if it has cost much, only with `whatever_it_cost`."""
        self._fresh_until = -1.0
        if whatever_it_cost:
            self._paid_until = -1.0


class Views:
    """Reads one guard. `name` is what the worker calls itself; None means its host and process."""

    def __init__(self, guard: Controllable, history: LastEvents, name: str | None) -> None:
        self._guard = guard
        self._history = history
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._version = version()
        self._began = time.time()
        self._last_wall = Wall(self._began, guard.now())
        self._has_seen_the_stop = False
        self._health = Reading(self._read_health)
        self._document = Reading(self._status)
        self._metrics: dict[bool, Reading[tuple[str, bytes]]] = {}
        self._whole = Reading(lambda: encode(self._document.get()))
        self._frame = Reading(lambda: encode(shortened(self._document.get(), FRAME_SOURCES)))

    def expire(self, *, whatever_it_cost: bool = False) -> None:
        """Let the next reading see what has just changed."""
        for reading in (self._health, self._document, self._whole, self._frame):
            reading.expire(whatever_it_cost=whatever_it_cost)

    def health(self) -> HealthStatus:
        """Return what the probes ask for."""
        self._see_a_stop()
        return self._health.get()

    def status(self, limit: int | None = None) -> bytes:
        """Return the status as JSON, with at most so many sources; None means all of them."""
        self._see_a_stop()
        if limit is None or limit > _LIMIT_AT_MOST:
            return self._whole.get()
        return encode(shortened(self._document.get(), limit))

    def frame(self) -> bytes:
        """Return the status as an event stream sends it: with the worst sources alone."""
        self._see_a_stop()
        return self._frame.get()

    def metrics(self, accept: str) -> tuple[str, bytes]:
        """Return the page of metrics with its content type. `accept` chooses between its two formats.

        Raises MissingExtra where prometheus-client is not installed.
        """
        from holdgate.telemetry.prometheus import render  # noqa: PLC0415 - another extra

        # One page for each format: whatever a client puts into the header, it cannot have more made than these.
        is_open_metrics = "application/openmetrics-text" in accept
        accepted = "application/openmetrics-text" if is_open_metrics else ""
        page = self._metrics.setdefault(is_open_metrics, Reading(lambda: render(self._guard, accepted)))
        return page.get()

    def audit(self) -> bytes:
        """Return the audit log as JSON, oldest first."""
        wall = self._wall()
        return encode([command_status(entry, wall) for entry in self._guard.audit()])

    def event(self, event: AnyEvent) -> bytes:
        """Return one event as JSON."""
        return encode(event_document(event, self._wall()))

    def last_command(self) -> dict[str, Any]:
        """Return the last entry of the audit log."""
        return dict(command_status(self._guard.audit()[-1], self._wall()))

    def _wall(self) -> Wall:
        self._last_wall = self._last_wall.read_again(time.time(), self._guard.now())
        return self._last_wall

    def _see_a_stop(self) -> None:
        if self._guard.stopping and not self._has_seen_the_stop:
            self._has_seen_the_stop = True
            self.expire(whatever_it_cost=True)

    def _read_health(self) -> HealthStatus:
        return _written(self._guard.health())

    def _status(self) -> StatusDocument:
        snapshot = self._guard.snapshot()  # one for all: of ten thousand sources it is a third of the work
        around = Surroundings(
            wall=self._wall(),
            began=self._began,
            worker=self._name,
            version=self._version,
            health=_written(self._guard.health(snapshot)),
            backlog=self._guard.backlogs(snapshot),
        )
        return status(snapshot, self._history, around)


def _written(health: HealthReport) -> HealthStatus:
    return {
        "live": health.live,
        "ready": health.ready,
        "started": health.started,
        "status": health.status,
        "reasons": list(health.reasons),
        "memory": health.memory,
    }


def shortened(document: StatusDocument, limit: int) -> StatusDocument:
    """Return the document with the worst `limit` sources."""
    sources = document["sources"]
    if len(sources) <= limit:
        return document
    return {**document, "sources": sources[:limit], "sources_left_out": len(sources) - limit}


def encode(value: Any) -> bytes:
    """Return JSON. Everything outside of ASCII is escaped: no reader can take a name for a line end."""
    return _ENCODER.encode(value).encode()
