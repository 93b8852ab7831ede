"""`guarded` takes the shortest way where it can, and then nothing may come out otherwise than on the long one."""

from __future__ import annotations

import ast
import asyncio
import inspect
import random
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.runtime.fake_lane import ManualClock

from holdgate import CallNotPermitted, CircuitSettings, CountWindow, Dependency, State
from holdgate.core import Circuit, TimeWindow
from holdgate.runtime import calling, guarded
from holdgate.runtime.access import GuardCircuit, OwnCircuit

THREADS = 8
CALLS = 500

SETTINGS = [
    CircuitSettings(),
    CircuitSettings(window=CountWindow(10), minimum_calls=5, slow_call_duration=2.0, open_duration=5.0, open_jitter=0.0),
    CircuitSettings(window=TimeWindow(20.0), minimum_calls=5, slow_call_duration=2.0, open_duration=5.0, open_jitter=0.0),
]


class World:
    """One dependency on a clock of its own, and a function that takes as long, and ends, as it is told."""

    def __init__(self, settings: CircuitSettings, inner: str = "guarded") -> None:
        self.clock = ManualClock()
        self.dependency = Dependency("payments", settings=settings)
        self.alone = OwnCircuit(Circuit("payments", settings), self.clock)
        self.dependency.access = self.alone
        self.guarded = self.dependency.guarded(self.work)
        self.guarded_async = self.dependency.guarded(self.work_async)
        self.inner = inner
        self.seen: list[object] = []

    def work(self, took: float, depth: int, *, fails: bool) -> None:
        if depth:  # a call inside a call: the other one's permit is out
            self.attempt(self.inner, took, depth - 1, fails=False)
        self.clock.time += took
        self.seen.append(self.alone.circuit.snapshot(self.clock.time))
        if fails:
            raise OSError

    async def work_async(self, took: float, depth: int, *, fails: bool) -> None:
        self.work(took, depth, fails=fails)

    def attempt(self, form: str, took: float, depth: int, *, fails: bool) -> None:
        try:
            if form == "guarded":
                self.guarded(took, depth, fails=fails)
            elif form == "guarded_async":
                run(self.guarded_async(took, depth, fails=fails))
            elif form == "call_sync":
                self.dependency.call_sync(lambda: self.work(took, depth, fails=fails))
            elif form == "call":
                run(self.dependency.call(lambda: self.work_async(took, depth, fails=fails)))
            else:
                with self.dependency.calling():
                    self.work(took, depth, fails=fails)
        except (OSError, CallNotPermitted) as error:
            self.seen.append(type(error))
        self.seen.append(self.alone.circuit.snapshot(self.clock.time))


def run(coroutine) -> None:
    with pytest.raises(StopIteration):
        coroutine.send(None)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("settings", SETTINGS, ids=["defaults", "count window", "time window"])
@pytest.mark.parametrize("form", ["guarded", "guarded_async", "call_sync", "call"])
def test_the_short_way_and_the_long_way_come_out_the_same(form: str, settings: CircuitSettings, seed: int) -> None:
    """Good, failing, slow and nested calls, outages and recoveries: after each, and in the middle, the circuits look the same."""
    draw = random.Random(seed)
    short, long = World(settings), World(settings, inner="calling")
    for _ in range(300):
        is_down = draw.random() < 0.2
        took = draw.choice([0.0, 0.004, 0.01, 0.5, 3.0])
        depth, pause = draw.choice([0, 0, 0, 1, 2]), draw.choice([0.0, 0.0, 0.1, 4.0, 25.0])
        for world, way in ((short, form), (long, "calling")):
            world.clock.time += pause
            world.attempt(way, took, depth, fails=is_down)

    assert short.seen == long.seen
    assert short.alone.circuit.read_totals() == long.alone.circuit.read_totals()
    assert {State.CLOSED, State.OPEN} <= {seen.state for seen in short.seen if not isinstance(seen, type)} or settings == SETTINGS[0]


def test_a_clock_that_steps_back_admits_and_counts_as_ever() -> None:
    """The last time seen is taken instead, so that the calls in flight stay in the order of their ages."""
    world = World(SETTINGS[1])
    world.guarded(1.0, 0, fails=False)
    world.guarded(1.0, 0, fails=False)
    began = []

    def work() -> None:
        began.extend(permit.acquired_at for permit in world.alone.circuit.live)

    guarded = world.dependency.guarded(work)
    guarded()
    world.clock.time = 0.25
    guarded()

    assert began == [2.0, 2.0]
    assert world.alone.circuit.snapshot(2.0).calls == 4


def test_what_a_transition_meanwhile_makes_late_is_late() -> None:
    """A call that was admitted before a reset says nothing to the window after it; the one after it belongs to the new generation."""
    world = World(SETTINGS[1])
    circuit = world.alone.circuit
    world.guarded(1.0, 0, fails=False)
    world.dependency.guarded(lambda: circuit.reset(world.clock.time))()
    assert (circuit.snapshot(1.0).calls, circuit.snapshot(1.0).late_results) == (0, 1)
    generations = []
    guarded = world.dependency.guarded(lambda: generations.extend(permit.generation for permit in circuit.live))
    guarded()
    circuit.reset(world.clock.time)
    guarded()

    assert generations == [1, 2]


def test_a_refusal_is_counted_on_the_short_way() -> None:
    """Open and on the circuit's own thread: refused, with the time to come back."""
    world = World(SETTINGS[1])
    world.guarded(0.0, 0, fails=False)
    world.alone.circuit.open_for(9.0, world.clock.time)
    with pytest.raises(CallNotPermitted) as refusal:
        world.guarded(0.0, 0, fails=False)

    assert refusal.value.retry_at == world.clock.time + 9.0
    assert world.alone.circuit.snapshot(world.clock.time).rejected == 1


async def test_a_thread_is_refused_without_a_trip_through_the_loop() -> None:
    """The loop waits for the thread here, so that whoever asked it would wait for ever."""
    clock = ManualClock()
    circuit = Circuit("payments", SETTINGS[1])
    dependency = Dependency("payments", settings=SETTINGS[1])
    dependency.bind(GuardCircuit("guard A", circuit, clock, lambda: None, asyncio.get_running_loop()))
    circuit.open_for(9.0, 0.0)
    refused = []

    def call() -> None:
        try:
            dependency.guarded(lambda: None)()
        except CallNotPermitted as refusal:
            refused.append(refusal.retry_at)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(120)

    assert refused == [9.0]
    assert circuit.snapshot(0.0).rejected == 1


@pytest.fixture
def eager_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switches")
def test_the_owner_and_threads_that_come_later_lose_no_call() -> None:
    """One thread calls alone, past the lock, and then seven more join it: every call is counted once, and none stays in flight."""
    dependency = Dependency("payments", settings=CircuitSettings(window=CountWindow(100_000)))
    guarded = dependency.guarded(lambda: None)
    guarded()
    others = [threading.Thread(target=lambda: [guarded() for _ in range(CALLS)]) for _ in range(THREADS - 1)]
    for thread in others:
        thread.start()
        for _ in range(CALLS):
            guarded()
    for thread in others:
        thread.join(120)

    snapshot = dependency.circuit.snapshot(dependency.access.now())
    assert (snapshot.calls, snapshot.in_flight) == (1 + 2 * (THREADS - 1) * CALLS, 0)


def test_the_first_thread_owns_the_circuit_until_another_one_calls() -> None:
    """From then on nobody goes past the lock."""
    dependency = Dependency("payments")
    guarded = dependency.guarded(lambda: None)
    guarded()
    guarded()
    assert dependency.access.thread == threading.get_ident()
    other = threading.Thread(target=guarded)
    other.start()
    other.join(120)
    guarded()

    assert dependency.access.thread is None


@pytest.mark.parametrize(("look", "locked"), [(1, ["acquire", "succeeded"]), (2, ["succeeded"])], ids=["beginning", "end"])
def test_an_owner_that_loses_the_circuit_at_the_last_moment_takes_the_lock(look: int, locked: list[str]) -> None:
    """Another thread calls between the owner's look at who owns the circuit and its step."""
    world = World(SETTINGS[0])
    alone, clock_now = world.alone, world.alone.now
    plain = world.dependency.guarded(lambda: None)
    plain()
    plain()
    looks, taken = [], []

    def now() -> float:
        looks.append(None)
        if len(looks) == look:
            other = threading.Thread(target=lambda: alone.succeeded(alone.acquire()))
            other.start()
            other.join(120)
            alone.acquire = lambda acquire=alone.acquire: taken.append("acquire") or acquire()
            alone.succeeded = lambda permit, succeeded=alone.succeeded: taken.append("succeeded") or succeeded(permit)
        return clock_now()

    alone.now = now
    plain()

    assert taken == locked
    assert alone.circuit.snapshot(0.0).calls == 4


def test_a_thread_waits_for_the_owners_step() -> None:
    """While the owner is in the middle of a step, another thread's call does not begin."""
    dependency = Dependency("payments")
    guarded = dependency.guarded(lambda: None)
    guarded()
    access = dependency.access
    access.busy = True
    other = threading.Thread(target=guarded)
    other.start()
    while access.thread is not None:
        pass
    assert access.circuit.snapshot(access.now()).calls == 1
    access.busy = False
    other.join(120)

    assert access.circuit.snapshot(access.now()).calls == 2


def test_a_permit_that_failed_is_not_used_again() -> None:
    """An exception keeps its frames, and they keep the permit: the next call takes another."""
    dependency = Dependency("payments")
    access = dependency.access
    permits = []

    def work(*, fails: bool) -> None:
        permits.append(next(iter(access.circuit.live)))
        if fails:
            raise OSError("down")

    guarded = dependency.guarded(work)
    guarded(fails=False)
    guarded(fails=False)
    with pytest.raises(OSError, match="down"):
        guarded(fails=True)
    guarded(fails=False)

    assert permits[2] is not permits[3]


# -- the two colours are twins --------------------------------------------------------------------------------------------------------


class _Plain(ast.NodeTransformer):
    """Takes the colour off a function: `async`, `await`, `_async` in names, and types and strings that speak of it."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit(ast.FunctionDef(**{field: getattr(node, field) for field in node._fields}))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
            del node.body[0]  # its docstring
        node.name = _neutral(node.name)
        return self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = _neutral(node.id)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        awaits_what_it_is_given = isinstance(node.func, ast.Name) and node.func.id in {"answer_with", "awaitable"}
        return self.visit(node.args[-1]) if awaits_what_it_is_given else self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return self.visit(node.slice) if isinstance(node.value, ast.Name) and node.value.id == "Awaitable" else self.generic_visit(node)


def _neutral(name: str) -> str:
    return name.removesuffix("_async").removesuffix("_sync")


# What one colour has to look at and the other has not.
_PLAIN_ALONE = "if result.__class__ is CoroutineType:\n    no_coroutine(fn, result)"  # an async function that was called as a plain one
_ASYNC_ALONE = "if get_ident() != access.thread:\n    access.succeeded(permit)\n    return result"  # another thread drove the coroutine on


def _statements(function: object) -> list[str]:
    """Return the function without its colour, one text for each line."""
    (tree,) = ast.parse(inspect.getsource(function)).body  # type: ignore[arg-type]
    text = ast.unparse(ast.fix_missing_locations(_Plain().visit(tree)))
    return [line.strip() for line in text.splitlines()]


def _without(lines: list[str], own: str, times: int) -> list[str]:
    block = [line.strip() for line in own.splitlines()]
    for _ in range(times):
        start = next(at for at in range(len(lines)) if lines[at : at + len(block)] == block)
        lines = lines[:start] + lines[start + len(block) :]
    return lines


@pytest.mark.parametrize(
    ("plain", "colourful", "plain_alone", "async_alone"),
    [
        (guarded._guard_sync, guarded._guard_async, 1, 1),
        (guarded._long_way, guarded._long_way_async, 1, 0),
        (calling.run_sync, calling.run_async, 1, 0),
        (calling._run_sync, calling._run_async, 1, 0),
    ],
    ids=["guarded", "the long way", "call", "call, the long way"],
)
def test_the_two_colours_are_equal_but_for_async_and_await(plain: object, colourful: object, plain_alone: int, async_alone: int) -> None:
    """A change of one that the other misses would be a rule that holds for half of the calls."""
    assert _without(_statements(plain), _PLAIN_ALONE, plain_alone) == _without(_statements(colourful), _ASYNC_ALONE, async_alone)
