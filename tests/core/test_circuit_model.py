"""The circuit against the naive one, over any sequence of calls, results, commands and pauses."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.driving import NO_LIMIT, kinds
from tests.core.naive_circuit import NaiveCircuit, NaivePermit

from holdgate.core import (
    Circuit,
    CircuitSettings,
    CircuitSnapshot,
    CountWindow,
    LimitChanged,
    Outcome,
    Permit,
    RampSettings,
    State,
    TimeWindow,
)

# Numbers that are exact in binary, so that both sides add up to the same times.
SETTINGS = st.builds(
    CircuitSettings,
    window=st.sampled_from([CountWindow(1), CountWindow(4), CountWindow(20), TimeWindow(8.0, 4), TimeWindow(64.0, 2)]),
    minimum_calls=st.sampled_from([1, 3, 10]),
    failure_rate_threshold=st.sampled_from([0.25, 0.5, 1.0]),
    slow_call_duration=st.sampled_from([None, None, 1.0, 4.0]),
    slow_call_rate_threshold=st.sampled_from([0.25, 0.5, 1.0]),
    consecutive_failures=st.sampled_from([None, 1, 3, 5]),
    open_duration=st.sampled_from([2.0, 8.0]),
    open_share=st.sampled_from([0.125, 0.5]),
    open_multiplier=st.sampled_from([None, None, None, 1.0, 2.0]),
    open_duration_max=st.sampled_from([8.0, 64.0]),
    healthy_interval=st.sampled_from([16.0, 64.0]),
    retry_after_max=st.just(32.0),
    permit_lease=st.sampled_from([8.0, 128.0]),
    ramp=st.builds(
        RampSettings,
        initial=st.sampled_from([1, 1, 2, 4]),
        growth=st.sampled_from([1.25, 2.0, 4.0]),
        full=st.sampled_from([None, 4, 20]),
        bad_rate=st.sampled_from([0, 0.125, 0.2]),
        minimum_verdicts=st.sampled_from([1, 3]),
        stage_timeout=st.sampled_from([4.0, 16.0]),
        stage_per_relapse=st.sampled_from([0, 1.0, 8.0]),
    ),
)

# Rare on purpose: most results carry neither, and one retry_after opens at once.
RETRY_AFTERS = st.sampled_from([None] * 12 + [0.0, 4.0, 1e6])
DURATIONS = st.sampled_from([None] * 4 + [0.5, 8.0])
OUTCOMES = st.sampled_from(["success"] * 6 + ["failure"] * 3 + ["ignored", "throttled"])
COMMANDS = st.one_of(
    st.tuples(st.just("open_for"), st.sampled_from([1.0, 16.0, 1e6])),
    st.tuples(st.just("force_open"), st.sampled_from([None, 4.0])),
    st.tuples(st.just("disable")),
    st.tuples(st.just("observe")),
    st.tuples(st.just("clear")),
    st.tuples(st.just("clear")),
    st.tuples(st.just("reset")),
    st.tuples(st.just("full"), st.sampled_from([1, 2, 6, 40])),
)
CALLS = st.one_of(
    st.tuples(st.just("acquire"), st.sampled_from([1, 1, 1, 2, 5])),
    st.tuples(st.just("record"), st.integers(0, 5), OUTCOMES, RETRY_AFTERS, DURATIONS),
    st.tuples(st.just("record"), st.integers(0, 1), OUTCOMES, st.none(), st.none()),
    st.tuples(st.just("burst"), st.lists(OUTCOMES, min_size=1, max_size=12)),
    st.tuples(st.just("burst"), st.lists(st.sampled_from(["success", "failure"]), min_size=2, max_size=8)),
    st.tuples(st.just("climb"), st.integers(1, 40)),
    st.tuples(st.just("release"), st.integers(0, 5)),
)
TIMES = st.one_of(
    st.tuples(st.just("pause"), st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0, 40.0, -16.0])),
    st.tuples(st.just("deadline")),
    st.tuples(st.just("deadline")),
    st.tuples(st.just("advance")),
    st.tuples(st.just("peek")),
)
# Commands are rare: one of them forgets all that went before.
STEPS = st.one_of(CALLS, CALLS, CALLS, CALLS, CALLS, TIMES, TIMES, TIMES, COMMANDS)


# Most rules are those of the ramp, and by chance alone few sequences come that far.
STARTS = st.one_of(
    st.just([]),
    st.builds(lambda count: [("burst", ["failure"] * 12), ("climb", count)], st.integers(1, 30)),
)
SEQUENCES = st.builds(lambda start, steps: [*start, *steps], STARTS, st.lists(STEPS, min_size=5, max_size=50))


class Pair:
    """Both circuits, driven alike."""

    def __init__(self, given_settings: CircuitSettings) -> None:
        self.real = Circuit("payments", given_settings, limits=NO_LIMIT)
        self.naive = NaiveCircuit(given_settings)
        self.naive.full = given_settings.ramp.full or 16
        self.now = 0.0
        self.permits: list[tuple[Permit, NaivePermit]] = []
        self.largest = 0

    def play(self, step: tuple[Any, ...]) -> None:
        """One step on both."""
        getattr(self, f"do_{step[0]}")(*step[1:])

    def do_acquire(self, weight: int) -> None:
        real, naive = self.real.try_acquire(self.now, weight), self.naive.try_acquire(self.now, weight)
        assert isinstance(real, Permit) == (naive is not None)
        if isinstance(real, Permit) and naive is not None:
            assert (real.generation, real.acquired_at, real.weight) == (naive.generation, naive.at, naive.weight)
            self.permits.append((real, naive))

    def do_record(self, place: int, outcome: str, retry_after: float | None, duration: float | None) -> None:
        if place < len(self.permits):
            real, naive = self.permits[-1 - place]
            self.real.record(real, Outcome(outcome), self.now, retry_after=retry_after, duration=duration)
            self.naive.record(naive, outcome, self.now, retry_after, duration)

    def do_burst(self, outcomes: list[str]) -> None:
        for outcome in outcomes:
            before = len(self.permits)
            self.do_acquire(1)
            if len(self.permits) > before:
                self.do_record(0, outcome, None, None)

    def do_climb(self, count: int) -> None:
        """Out of OPEN and up the ramp, as far as so many good calls go."""
        if self.real.state is State.OPEN:
            self.do_deadline()
        self.do_burst(["success"] * count)

    def do_release(self, place: int) -> None:
        if place < len(self.permits):
            real, naive = self.permits[-1 - place]
            self.real.release(real, self.now)
            self.naive.release(naive, self.now)

    def do_pause(self, seconds: float) -> None:
        self.now += seconds

    def do_deadline(self) -> None:
        """Go on to the time that the circuit itself asks for: it must matter, and get on."""
        deadline = self.real.next_deadline()
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.do_advance()
            after = self.real.next_deadline()
            assert after is None or after > deadline or self.now > deadline

    def do_advance(self) -> None:
        self.real.advance(self.now)
        self.naive.advance(self.now)

    def do_peek(self) -> None:
        answer = self.real.may_acquire(self.now)
        assert answer == self.naive.may_acquire(self.now)

    def do_open_for(self, seconds: float) -> None:
        self.real.open_for(seconds, self.now)
        self.naive.open_for(seconds, self.now)

    def do_force_open(self, seconds: float | None) -> None:
        until = None if seconds is None else self.now + seconds
        self.real.force_open(self.now, until=until)
        self.naive.set_override("forced_open", until, self.now)

    def do_disable(self) -> None:
        self.real.disable(self.now)
        self.naive.set_override("disabled", None, self.now)

    def do_observe(self) -> None:
        self.real.observe(self.now)
        self.naive.set_override("metrics_only", None, self.now)

    def do_clear(self) -> None:
        self.real.clear_override(self.now)
        self.naive.clear_override(self.now)

    def do_reset(self) -> None:
        self.real.reset(self.now)
        self.naive.reset(self.now)

    def do_full(self, full: int) -> None:
        self.real.set_full(full, self.now)
        self.naive.set_full(full, self.now)

    def compare(self) -> None:
        """Everything a snapshot shows, and the events."""
        snapshot, naive = self.real.snapshot(self.now), self.naive.snapshot(self.now)
        shown = {field.name: getattr(snapshot, field.name) for field in fields(CircuitSnapshot) if field.name in naive}
        shown["state"] = snapshot.state.value
        shown["override"] = snapshot.override.value if snapshot.override else None
        assert shown == naive
        self.compare_events()

    def compare_events(self) -> None:
        """The same events in the same order. Of limits the last one counts: a look that ends a stage and then opens tells the opening."""
        events, told = self.real.take_events(), self.naive.events
        assert [kind for kind in kinds(events) if kind != "LimitChanged"] == [kind for kind in told if kind != "LimitChanged"]
        changes = [event for event in events if isinstance(event, LimitChanged) and event.generation == self.real.generation]
        assert all(later.previous == earlier.limit for earlier, later in itertools.pairwise(changes))
        assert not changes or changes[-1].limit == self.real.limit
        if told and told[-1] == "LimitChanged":
            assert changes
        self.naive.events.clear()


@settings(max_examples=200, deadline=None)
@given(SETTINGS, SEQUENCES)
def test_the_circuit_is_the_naive_one(given_settings: CircuitSettings, steps: list[tuple[Any, ...]]) -> None:
    """After every step both show the same, and told the same."""
    pair = Pair(given_settings)
    for step in steps:
        pair.play(step)
        pair.compare()


@settings(max_examples=100, deadline=None)
@given(SETTINGS, SEQUENCES)
def test_what_holds_always(given_settings: CircuitSettings, steps: list[tuple[Any, ...]]) -> None:
    """In half-open no more is in flight than a limit allowed; a peek says what an acquire does; generations only grow."""
    pair = Pair(given_settings)
    circuit = pair.real
    generation, was_limit = 0, 0
    for step in steps:
        pair.play(step)
        pair.compare()
        snapshot = circuit.snapshot(pair.now)
        assert snapshot.generation >= generation
        if snapshot.generation > generation:
            was_limit = 0
        generation = snapshot.generation
        if snapshot.limit:
            was_limit = max(was_limit, snapshot.limit)
            assert snapshot.in_flight <= was_limit
        if circuit.free_slots == 0 and snapshot.state is State.HALF_OPEN:
            assert snapshot.in_flight >= (snapshot.limit or 0)
