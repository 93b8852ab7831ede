"""The further calls of an attempt take a shorter way than its first, and nothing may come out otherwise."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from tests.runtime.fake_lane import FakeLane, ManualClock

from holdgate import CallNotPermitted, CircuitSettings, Dependency, Outcome
from holdgate.core import Circuit
from holdgate.runtime.access import OwnCircuit
from holdgate.runtime.calling import current_attempt

ENDS: tuple[type[BaseException] | None, ...] = (None, None, OSError, ValueError, asyncio.CancelledError)


class Attempt:
    """A handler that calls the dependency its message needs, on a clock moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.dependency = Dependency("payments", failures=OSError, retry_after=lambda _: 30.0)
        self.circuit = Circuit("payments", CircuitSettings())
        self.dependency.access = OwnCircuit(self.circuit, self.clock)
        self.lane = FakeLane(self.circuit)
        self._context = copy_context()
        self._context.run(current_attempt.set, self.lane)
        self._forms: dict[str, Callable[..., Any]] = {
            "guarded": self.dependency.guarded(self._work),
            "guarded_async": self.dependency.guarded(self._work_async),
            "call_sync": lambda *given: self.dependency.call_sync(self._work, *given),
            "call": lambda *given: self.dependency.call(self._work_async, *given),
            "calling": self._block,
        }

    def call(self, form: str, took: float, end: type[BaseException] | None) -> object:
        """Make one call. Returns what it raised, and what is known of the attempt afterwards."""
        return self._context.run(self._call, form, took, end), self.seen()

    def seen(self) -> object:
        calls = self.lane.calls
        if calls is None:
            return None
        summaries = {
            name: (one.outcome, one.slowest, one.retry_after, one.cut_short, len(one.running)) for name, one in calls.summaries.items()
        }
        return summaries, [type(error) for error in calls.excused], list(calls.refused), self.circuit.snapshot(self.clock.time)

    def _call(self, form: str, took: float, end: type[BaseException] | None) -> type[BaseException] | None:
        try:
            result = self._forms[form](took, end)
            if asyncio.iscoroutine(result):
                with pytest.raises(StopIteration):
                    result.send(None)
        except (OSError, ValueError, CallNotPermitted, asyncio.CancelledError) as error:
            return type(error)
        return None

    def _work(self, took: float, end: type[BaseException] | None) -> None:
        self.clock.time += took
        if end is not None:
            raise end

    async def _work_async(self, took: float, end: type[BaseException] | None) -> None:
        self._work(took, end)

    def _block(self, took: float, end: type[BaseException] | None) -> None:
        with self.dependency.calling():
            self._work(took, end)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("form", ["guarded", "guarded_async", "call_sync", "call"])
def test_calls_and_blocks_of_an_attempt_come_out_the_same(form: str, seed: int) -> None:
    """Good, failing, ignored and cancelled calls, with outages, resets and timeouts between them: a block has an object for each call."""
    draw = random.Random(seed)
    short, long = Attempt(), Attempt()
    for _ in range(200):
        took, end, change = draw.choice([0.0, 0.1, 2.0]), draw.choice(ENDS), draw.random()
        for attempt in (short, long):
            if change < 0.05:
                attempt.circuit.open_for(5.0, attempt.clock.time)
            elif change < 0.1:
                attempt.circuit.reset(attempt.clock.time)
            elif change < 0.15:
                attempt.circuit.force_open(attempt.clock.time)
            elif change < 0.25:  # the attempt is over, and the next message runs
                attempt.circuit.clear_override(attempt.clock.time)
                attempt.circuit.reset(attempt.clock.time)
                attempt.lane = FakeLane(attempt.circuit, now=attempt.clock.time)
                attempt._context.run(current_attempt.set, attempt.lane)
            elif change < 0.3 and attempt.lane.calls is not None:
                attempt.lane.calls.timed_out = True
        assert short.call(form, took, end) == long.call("calling", took, end)


def test_a_call_that_outlives_its_attempt_blames_nobody() -> None:
    """A task is left behind and fails when the next message runs: that message has not called anything, and its own error is its own."""
    attempt = Attempt()
    attempt.call("guarded", 0.0, None)

    def next_message_comes() -> None:
        attempt.lane.calls = None
        attempt.dependency.call_sync(lambda: None)
        raise OSError("down")

    with pytest.raises(OSError, match="down"):
        attempt._context.run(attempt.dependency.call_sync, next_message_comes)

    assert attempt.lane.calls is not None
    assert attempt.lane.calls.excused == []
    assert attempt.lane.calls.summaries["payments"].outcome is Outcome.SUCCESS


def test_a_further_call_is_refused_once_the_circuit_has_turned() -> None:
    """A handler whose circuit has turned after its first call is refused at its second."""
    attempt = Attempt()
    attempt.call("guarded", 0.0, None)
    attempt.circuit.open_for(5.0, attempt.clock.time)
    raised, _ = attempt.call("guarded", 0.0, None)

    assert raised is CallNotPermitted
    assert attempt.lane.calls is not None
    assert list(attempt.lane.calls.refused) == ["payments"]
