from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.runtime.fake_lane import ManualClock, trip

from holdgate.core import Circuit, CircuitSettings, CountWindow, Outcome, Permit, Rejected, State
from holdgate.errors import GuardClosed
from holdgate.runtime.access import GuardCircuit, OwnCircuit

THREADS = 8


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads take turns as often as they can, so that a missing lock shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def permit_of(answer: Permit | Rejected) -> Permit:
    assert isinstance(answer, Permit)
    return answer


def in_threads(count: int, work: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


async def joined(threads: list[threading.Thread]) -> None:
    for thread in threads:
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


class Guarded:
    """A binding on the running loop, with a count of the turns it asked for."""

    def __init__(self, settings: CircuitSettings | None = None) -> None:
        self.clock = ManualClock()
        self.turns = 0
        self.circuit = Circuit("payments", settings or CircuitSettings())
        self.binding = GuardCircuit("guard A", self.circuit, self.clock, self.turn, asyncio.get_running_loop())

    def turn(self) -> None:
        self.turns += 1


# Alone


def test_alone_settles_with_its_circuit() -> None:
    """A failure is counted with the server's wish, a release is not."""
    clock = ManualClock()
    alone = OwnCircuit(Circuit("payments"), clock)
    alone.release(permit_of(alone.acquire()))
    assert alone.circuit.snapshot(0.0).calls == 0
    alone.record(permit_of(alone.acquire()), Outcome.FAILURE, 30.0)
    assert alone.circuit.snapshot(0.0).open_until == 30.0
    assert isinstance(alone.acquire(), Rejected)


def test_alone_keeps_no_events() -> None:
    """Nobody reads them; a flapping dependency must not fill the memory."""
    alone = OwnCircuit(Circuit("payments"), ManualClock())
    for _ in range(5):
        alone.record(permit_of(alone.acquire()), Outcome.FAILURE)
    assert alone.circuit.state is State.OPEN
    assert not alone.circuit.events_pending


@pytest.mark.usefixtures("eager_switches")
async def test_alone_is_safe_in_eight_threads() -> None:
    """Eight threads make 500 calls each: every one is counted, and none stays in flight."""
    alone = OwnCircuit(Circuit("payments", CircuitSettings(window=CountWindow(10_000))), ManualClock())

    def work() -> None:
        for _ in range(500):
            alone.record(permit_of(alone.acquire()), Outcome.SUCCESS)

    await joined(in_threads(THREADS, work))
    snapshot = alone.circuit.snapshot(0.0)
    assert snapshot.calls == THREADS * 500
    assert snapshot.in_flight == 0


# On the guard's loop


async def test_the_loops_own_thread_goes_direct() -> None:
    """No trip through the loop: acquire and record have happened when they return."""
    guarded = Guarded()
    guarded.binding.record(permit_of(guarded.binding.acquire()), Outcome.FAILURE)
    assert guarded.circuit.snapshot(0.0).failures == 1


async def test_a_quiet_call_asks_for_no_turn() -> None:
    """Closed before and after, nothing to announce: the guard has nothing to do."""
    guarded = Guarded()
    guarded.binding.record(permit_of(guarded.binding.acquire()), Outcome.SUCCESS)
    guarded.binding.release(permit_of(guarded.binding.acquire()))
    assert guarded.turns == 0


async def test_each_failure_asks_for_a_turn_as_long_as_others_count_it() -> None:
    """From when its guard pools failures with others until it no longer does, and never after the guard was left."""
    guarded = Guarded()

    def fail() -> int:
        guarded.binding.record(permit_of(guarded.binding.acquire()), Outcome.FAILURE)
        return guarded.turns

    assert fail() == 0
    guarded.binding.pool_failures()
    assert fail() == 1
    guarded.binding.stop_pooling()
    assert fail() == 1
    guarded.binding.pool_failures()
    guarded.binding.close()
    assert fail() == 1


async def test_a_call_that_opens_the_circuit_asks_for_a_turn() -> None:
    """Sources must be held now, and not when the next message comes."""
    guarded = Guarded(CircuitSettings(consecutive_failures=1))
    guarded.binding.record(permit_of(guarded.binding.acquire()), Outcome.FAILURE)
    assert guarded.turns == 1


async def test_a_slot_given_back_in_half_open_asks_for_a_turn() -> None:
    """A waiting head may have it; the circuit itself has nothing to announce."""
    guarded = Guarded()
    trip(guarded.circuit)
    guarded.clock.time = 60.0
    permit = permit_of(guarded.binding.acquire())
    assert guarded.circuit.state is State.HALF_OPEN
    guarded.circuit.take_events()
    guarded.binding.release(permit)
    assert not guarded.circuit.events_pending
    assert guarded.turns == 1


# From other threads


async def test_eight_threads_reach_the_circuit_through_the_loop() -> None:
    """Every step runs on the loop's thread, all calls are counted, none stays in flight."""
    seen: set[int] = set()

    class Watched(Circuit):
        def record(self, *args: object, **kwargs: object) -> None:
            seen.add(threading.get_ident())
            super().record(*args, **kwargs)  # type: ignore[arg-type]

    guarded = Guarded()
    guarded.circuit = guarded.binding.circuit = Watched("payments", CircuitSettings(window=CountWindow(10_000)))

    def work() -> None:
        for _ in range(50):
            guarded.binding.record(permit_of(guarded.binding.acquire()), Outcome.SUCCESS)

    await joined(in_threads(THREADS, work))
    await asyncio.sleep(0)
    snapshot = guarded.circuit.snapshot(0.0)
    assert snapshot.calls == THREADS * 50
    assert snapshot.in_flight == 0
    assert seen == {threading.get_ident()}


async def test_a_thread_measures_its_call_itself() -> None:
    """The loop hears of the end late, at 100; the call took 2 seconds, and is not slow."""
    guarded = Guarded(CircuitSettings(slow_call_duration=5.0))

    def work() -> None:
        permit = permit_of(guarded.binding.acquire())
        guarded.clock.time = 2.0
        guarded.binding.record(permit, Outcome.FAILURE)
        guarded.clock.time = 100.0

    await asyncio.to_thread(work)
    await asyncio.sleep(0)
    snapshot = guarded.circuit.snapshot(100.0)
    assert (snapshot.failures, snapshot.slow_calls) == (1, 0)


async def test_a_release_from_a_thread_gives_the_slot_back() -> None:
    """Without a verdict, through the loop."""
    guarded = Guarded()
    await asyncio.to_thread(lambda: guarded.binding.release(permit_of(guarded.binding.acquire())))
    await asyncio.sleep(0)
    snapshot = guarded.circuit.snapshot(0.0)
    assert (snapshot.calls, snapshot.in_flight) == (0, 0)


async def test_a_refusal_reaches_the_thread() -> None:
    """With the second from which a try may be admitted."""
    guarded = Guarded()
    trip(guarded.circuit)
    answer = await asyncio.to_thread(guarded.binding.acquire)
    assert isinstance(answer, Rejected)
    assert answer.retry_at is not None


async def test_an_error_on_the_loop_reaches_the_thread() -> None:
    """A thread never waits for an answer that failed."""
    guarded = Guarded()

    def fail() -> float:
        raise ArithmeticError

    guarded.binding.now = fail
    with pytest.raises(ArithmeticError):
        await asyncio.to_thread(guarded.binding.acquire)


async def acquiring_in_a_thread(binding: GuardCircuit) -> tuple[threading.Thread, list[BaseException]]:
    """A thread that waits for the loop's answer, which cannot come before the test lets the loop run again."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            binding.acquire()
        except GuardClosed as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not binding._pending:
        pass  # the thread is about to ask; awaiting here would let the loop answer
    return thread, errors


async def test_leaving_the_guard_answers_threads_that_wait() -> None:
    """A thread that was about to call does not hang, and learns which guard is gone."""
    guarded = Guarded()
    thread, errors = await acquiring_in_a_thread(guarded.binding)
    guarded.binding.close()
    await asyncio.to_thread(thread.join, 30)
    await asyncio.sleep(0)
    assert len(errors) == 1
    assert "'guard A'" in str(errors[0])
    assert "'payments'" in str(errors[0])
    assert guarded.circuit.snapshot(0.0).in_flight == 0


async def test_leaving_the_guard_leaves_answered_threads_alone() -> None:
    """Only those that still wait are told."""
    guarded = Guarded()
    permit = permit_of(await asyncio.to_thread(guarded.binding.acquire))
    guarded.binding.close()
    assert permit.acquired_at == 0.0


async def test_a_thread_that_comes_after_the_guard_is_told() -> None:
    """The answer comes from the binding itself; no loop is asked."""
    guarded = Guarded()
    guarded.binding.close()
    with pytest.raises(GuardClosed):
        await asyncio.to_thread(guarded.binding.acquire)


async def test_a_call_that_ends_after_the_guard_asks_for_no_turn() -> None:
    """Its circuit is dropped; the guard has nothing more to do."""
    guarded = Guarded(CircuitSettings(consecutive_failures=1))
    permit = permit_of(guarded.binding.acquire())
    guarded.binding.close()
    guarded.binding.record(permit, Outcome.FAILURE)
    assert guarded.turns == 0


def test_a_closed_loop_is_a_closed_guard() -> None:
    """The loop ended without leaving the guard: acquire says so, and an end that nobody can hear is dropped."""

    async def make() -> tuple[GuardCircuit, Permit]:
        binding = Guarded().binding
        return binding, permit_of(binding.acquire())

    binding, permit = asyncio.run(make())
    errors: list[BaseException] = []

    def work() -> None:
        try:
            binding.acquire()
        except GuardClosed as error:
            errors.append(error)
        binding.record(permit, Outcome.SUCCESS)
        binding.release(permit)
        errors.append(EOFError())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    assert [type(error) for error in errors] == [GuardClosed, EOFError]
