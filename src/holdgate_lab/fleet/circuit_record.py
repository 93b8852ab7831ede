"""One circuit of one worker, from the outside: what may start under it, and how its limit may move."""

from __future__ import annotations

from holdgate.core import State
from holdgate.core.events import LimitChanged
from holdgate.core.ramp import GENTLE_STEPS
from holdgate.core.settings import RampSettings
from holdgate.flow.gate import Gate
from holdgate_lab.fleet.source_records import Complain


class CircuitRecord:
    """Counts what runs under one half-open, by its generation."""

    def __init__(self, gate: Gate, complain: Complain) -> None:
        self._gate = gate
        self._complain = complain
        self._generation = -1
        self._running = 0
        self._limit = 0

    def starts(self, messages: int) -> int:
        """A handler of so many messages that needs it was handed out; returns the generation that `stopped` wants to know."""
        circuit = self._gate.circuit
        if circuit.generation != self._generation:
            self._generation = circuit.generation
            self._running = 0
        self._running += messages
        if circuit.override is not None:
            return self._generation
        if circuit.state is State.OPEN:
            self._complain("open", f"a handler that needs {circuit.name} begins while its circuit is open")
        limit = circuit.limit
        if circuit.state is State.HALF_OPEN and limit is not None and self._running > limit:
            self._complain("limit", f"{self._running} messages are in work in the half-open of {circuit.name}, and its limit is {limit}")
        return self._generation

    def stopped(self, generation: int, messages: int) -> None:
        """That handler has ended."""
        if generation == self._generation:
            self._running -= messages

    def moved(self, event: LimitChanged, ramp: RampSettings, full: int) -> None:
        """Its limit has changed."""
        before = event.previous
        self._limit = event.limit
        most = max(int(before * ramp.growth), before + max(1, full // GENTLE_STEPS), ramp.initial)
        if event.limit > most:
            self._complain("ramp", f"the limit of {event.name} goes from {before} to {event.limit}, and one step is {most} at most")

    def half_opened(self) -> None:
        """A half-open has begun, with a probe."""
        self._limit = 1

    def closed(self, full: int) -> None:
        """A half-open has ended well; `full` is the limit at which it may."""
        if self._limit < full:
            self._complain("ramp", f"{self._gate.name} closes at a limit of {self._limit}, and its full rate is {full}")

    def look_for_leaks(self) -> None:
        """Nothing runs in this worker: nobody may hold a permit."""
        leaked = len(self._gate.circuit.live)
        if leaked:
            self._complain("leak", f"{leaked} permits of {self._gate.name} are out, and nothing runs")
