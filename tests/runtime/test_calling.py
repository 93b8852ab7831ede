from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.runtime.fake_lane import FakeLane, ManualClock, trip

from holdgate.core import Circuit, CircuitSettings, CountWindow, Outcome, Permit, RampSettings, Rejected, State
from holdgate.errors import CallNotPermitted, SettingsError
from holdgate.runtime.access import GuardCircuit
from holdgate.runtime.calling import current_attempt
from holdgate.runtime.clock import SystemClock
from holdgate.runtime.dependency import Dependency
from holdgate.runtime.threads import HandlerThreads

REFUSED = "dependency 'payments' does not admit calls now"
TRIPS_AT_ONCE = CircuitSettings(consecutive_failures=1)


class PaymentError(Exception):
    """What the payments client raises."""


def charge(amount: int) -> str:
    """Charge a card."""
    if amount < 0:
        raise PaymentError
    return f"charged {amount}"


async def charge_async(amount: int) -> str:
    """Charge a card, in time."""
    await asyncio.sleep(0)
    return charge(amount)


def apology(refusal: CallNotPermitted) -> str:
    return f"sorry, no {refusal.dependency}"


async def apology_async(refusal: CallNotPermitted) -> str:
    await asyncio.sleep(0)
    return apology(refusal)


@pytest.fixture
def payments() -> Dependency:
    return Dependency("payments", failures=PaymentError, settings=TRIPS_AT_ONCE)


@pytest.fixture
def refusing(payments: Dependency) -> Dependency:
    payments.circuit.force_open(0.0)
    return payments


# Every form as "call with this amount", to test what they have in common.


async def by_call(payments: Dependency, amount: int) -> object:
    return await payments.call(charge_async, amount)


async def by_call_sync(payments: Dependency, amount: int) -> object:
    return payments.call_sync(charge, amount)


async def by_with(payments: Dependency, amount: int) -> object:
    with payments.calling():
        return charge(amount)


async def by_async_with(payments: Dependency, amount: int) -> object:
    async with payments.calling():
        return await charge_async(amount)


async def by_guarded(payments: Dependency, amount: int) -> object:
    return payments.guarded(charge)(amount)


async def by_guarded_async(payments: Dependency, amount: int) -> object:
    return await payments.guarded(charge_async)(amount)


Form = Callable[[Dependency, int], Awaitable[object]]
every_form = pytest.mark.parametrize("form", [by_call, by_call_sync, by_with, by_async_with, by_guarded, by_guarded_async])


def results(payments: Dependency) -> tuple[int, int, int]:
    """Calls, failures, and permits in flight."""
    snapshot = payments.circuit.snapshot(payments.access.now())
    return snapshot.calls, snapshot.failures, snapshot.in_flight


@every_form
async def test_a_good_call_returns_its_result_and_is_a_success(payments: Dependency, form: Form) -> None:
    """Arguments go in, the result comes out, the circuit hears of it."""
    assert await form(payments, 5) == "charged 5"
    assert results(payments) == (1, 0, 0)


@every_form
async def test_a_failing_call_raises_as_it_is_and_is_a_failure(payments: Dependency, form: Form) -> None:
    """The client's own exception comes out, and the circuit opens by it."""
    with pytest.raises(PaymentError):
        await form(payments, -1)
    assert payments.circuit.state is State.OPEN


@every_form
async def test_a_refused_call_never_runs(refusing: Dependency, form: Form) -> None:
    """Not even its first line: -1 would raise PaymentError."""
    with pytest.raises(CallNotPermitted, match=REFUSED):
        await form(refusing, -1)


@every_form
async def test_refusals_are_no_outcomes(refusing: Dependency, form: Form) -> None:
    """The circuit's own word tells it nothing."""
    with pytest.raises(CallNotPermitted):
        await form(refusing, 5)
    assert results(refusing) == (0, 0, 0)


async def test_a_refusal_says_when_to_come_back(payments: Dependency) -> None:
    """The monotonic second of the circuit's next try."""
    with pytest.raises(PaymentError):
        payments.call_sync(charge, -1)
    with pytest.raises(CallNotPermitted) as caught:
        payments.call_sync(charge, 5)
    assert caught.value.retry_at == payments.circuit.next_deadline()


async def test_inner_refusal_is_no_failure_of_the_outer_call(refusing: Dependency) -> None:
    """A call inside a call was refused: the outer dependency is neither good nor bad."""
    outer = Dependency("orders", settings=TRIPS_AT_ONCE)
    with pytest.raises(CallNotPermitted):
        await outer.call(by_call, refusing, 5)
    assert results(outer) == (0, 0, 0)


@pytest.mark.parametrize("fallback", [apology, apology_async])
async def test_async_forms_answer_a_refusal_with_the_fallback(refusing: Dependency, fallback: Any) -> None:
    """Which may be async there too."""
    assert await refusing.call(charge_async, 5, fallback=fallback) == "sorry, no payments"
    assert await refusing.guarded(fallback=fallback)(charge_async)(5) == "sorry, no payments"


async def test_sync_forms_answer_a_refusal_with_the_fallback(refusing: Dependency) -> None:
    """It gets the refusal."""
    assert refusing.call_sync(charge, 5, fallback=apology) == "sorry, no payments"
    assert refusing.guarded(fallback=apology)(charge)(5) == "sorry, no payments"


async def test_fallback_never_answers_a_failure(payments: Dependency) -> None:
    """A default in place of a failure hides it from the caller."""
    with pytest.raises(PaymentError):
        await payments.call(charge_async, -1, fallback=apology)
    payments.circuit.reset(0.0)
    with pytest.raises(PaymentError):
        payments.call_sync(charge, -1, fallback=apology)


async def test_async_fallback_of_a_plain_call_is_refused(payments: Dependency) -> None:
    """Nobody would await it; said before anything is called."""
    fallback: Any = apology_async
    with pytest.raises(SettingsError, match="apology_async is async"):
        payments.call_sync(charge, 5, fallback=fallback)
    with pytest.raises(SettingsError, match="apology_async is async"):
        payments.guarded(fallback=fallback)(charge)
    assert results(payments) == (0, 0, 0)


# What is called


async def test_a_coroutine_instead_of_a_function_is_refused(payments: Dependency) -> None:
    """Trap 12: it exists before the refusal. It is closed, so that nothing warns of it, and the error shows the remedy."""
    coroutine: Any = charge_async(5)
    with pytest.raises(SettingsError, match=r"call\(fn, \*args\)"):
        await payments.call(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@pytest.mark.parametrize("form", ["call_sync", "guarded"])
def test_plain_forms_refuse_a_coroutine_too(payments: Dependency, form: str) -> None:
    """The error names the form that was used."""
    coroutine: Any = charge_async(5)
    with pytest.raises(SettingsError, match=form):
        getattr(payments, form)(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_what_cannot_be_called_is_refused(payments: Dependency) -> None:
    """Before it is taken for the dependency's failure."""
    value: Any = 5
    with pytest.raises(SettingsError, match="int cannot be called"):
        payments.call_sync(value)


async def test_a_plain_function_in_call_is_told_and_no_outcome(payments: Dependency) -> None:
    """Python's own TypeError would count as a failure of payments."""
    function: Any = charge
    with pytest.raises(SettingsError, match="charge is not an async function: use call_sync"):
        await payments.call(function, 5)
    assert results(payments) == (0, 0, 0)


async def test_an_async_function_in_call_sync_is_told_and_no_outcome(payments: Dependency) -> None:
    """A coroutine that nobody runs is no success."""
    with pytest.raises(SettingsError, match="charge_async is an async function"):
        payments.call_sync(charge_async, 5)
    assert results(payments) == (0, 0, 0)


async def test_call_takes_any_function_that_gives_an_awaitable(payments: Dependency) -> None:
    """A lambda around an async function, a partial, a future."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_result("charged later")
    assert await payments.call(lambda: charge_async(5)) == "charged 5"
    assert await payments.call(functools.partial(charge_async, 6)) == "charged 6"
    assert await payments.call(lambda: future) == "charged later"
    assert results(payments) == (3, 0, 0)


async def test_an_exception_before_the_first_await_is_a_failure_too(payments: Dependency) -> None:
    """A plain function that was to give an awaitable raised instead."""

    def prepare() -> Awaitable[str]:
        raise PaymentError

    with pytest.raises(PaymentError):
        await payments.call(prepare)
    assert payments.circuit.state is State.OPEN


@pytest.mark.parametrize("form", [by_call, by_async_with, by_guarded_async])
async def test_a_cancelled_call_gives_no_verdict(payments: Dependency, form: Form) -> None:
    """Trap 4: cancellation is routine; the slot is free at once."""
    task = asyncio.ensure_future(form(payments, 5))
    while results(payments) != (0, 0, 1):  # at once, with eager tasks
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert results(payments) == (0, 0, 0)


async def test_a_failed_result_is_returned_and_counted() -> None:
    """The caller has the response, the circuit the failure."""
    payments = Dependency("payments", result_failures=lambda result: "charged" in str(result), settings=TRIPS_AT_ONCE)
    assert payments.call_sync(charge, 5) == "charged 5"
    assert payments.circuit.state is State.OPEN


def test_a_predicate_that_raises_changes_nothing_for_the_caller() -> None:
    """The original comes out, the slot is free, nothing is counted."""
    payments = Dependency("payments", failures=lambda _: 1 / 0 > 0, settings=TRIPS_AT_ONCE)
    with pytest.raises(PaymentError) as caught:
        payments.call_sync(charge, -1)
    assert "ZeroDivisionError" in caught.value.__notes__[0]
    assert results(payments) == (0, 0, 0)


def test_result_failures_that_raises_loses_no_result() -> None:
    """The card has been charged."""
    payments = Dependency("payments", result_failures=lambda _: 1 / 0 > 0)
    assert payments.call_sync(charge, 5) == "charged 5"
    assert payments.guarded(charge)(5) == "charged 5"
    assert results(payments) == (0, 0, 0)


async def test_call_sync_runs_where_it_is_called(payments: Dependency) -> None:
    """In the caller's thread."""
    ident = await asyncio.to_thread(payments.call_sync, threading.get_ident)
    assert ident != threading.get_ident()
    assert payments.call_sync(threading.get_ident) == threading.get_ident()


# calling


def test_a_block_is_one_call_at_a_time(payments: Dependency) -> None:
    """Entered twice it would lose a permit."""
    block = payments.calling()
    with block, pytest.raises(SettingsError, match="entered already"):
        block.__enter__()
    assert results(payments) == (1, 0, 0)


def test_a_block_can_be_entered_again_after_its_end(payments: Dependency) -> None:
    """Each time it is a new call."""
    block = payments.calling()
    for _ in range(2):
        with block:
            pass
    assert results(payments) == (2, 0, 0)


def test_a_refused_block_leaves_nothing_behind(refusing: Dependency) -> None:
    """Its exit is never run by `with`; run by hand it does nothing."""
    block = refusing.calling()
    with pytest.raises(CallNotPermitted):
        block.__enter__()
    block.__exit__(None, None, None)
    assert results(refusing) == (0, 0, 0)


# guarded


def test_guarded_keeps_name_text_and_signature(payments: Dependency) -> None:
    """Tools that look at the function see it through the wrapper."""
    wrapped = payments.guarded(charge)
    assert wrapped.__name__ == "charge"
    assert wrapped.__doc__ == charge.__doc__
    assert inspect.signature(wrapped) == inspect.signature(charge)


def test_guarded_keeps_the_colour(payments: Dependency) -> None:
    """Async stays async, plain stays plain, with brackets and without."""
    assert inspect.iscoroutinefunction(payments.guarded(charge_async))
    assert inspect.iscoroutinefunction(payments.guarded()(charge_async))
    assert not inspect.iscoroutinefunction(payments.guarded(charge))
    assert not inspect.iscoroutinefunction(payments.guarded()(charge))


async def test_guarded_sees_the_colour_of_objects_and_partials(payments: Dependency) -> None:
    """An object with an async `__call__`, and a partial of an async function."""

    class Charger:
        async def __call__(self, amount: int) -> str:
            return await charge_async(amount)

    assert await payments.guarded(Charger())(5) == "charged 5"
    assert await payments.guarded(functools.partial(charge_async, 5))() == "charged 5"
    assert results(payments) == (2, 0, 0)


def test_guarded_works_on_methods(payments: Dependency) -> None:
    """`self` is passed, keyword arguments too."""

    class Till:
        @payments.guarded
        def charge(self, amount: int, *, times: int) -> list[str]:
            return [charge(amount)] * times

    assert Till().charge(5, times=2) == ["charged 5", "charged 5"]


def test_guarded_refuses_a_function_whose_coroutine_nobody_would_await(payments: Dependency) -> None:
    """A plain function that gives a coroutine has not run when it returns."""
    hidden: Any = payments.guarded(lambda: charge_async(5))
    with pytest.raises(SettingsError, match="async function"):
        hidden()
    assert results(payments) == (0, 0, 0)


def numbers() -> Iterator[int]:
    yield 1


async def numbers_async() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("generator", [numbers, numbers_async])
def test_guarded_refuses_generators(payments: Dependency, generator: Callable[[], object]) -> None:
    """Their work happens after the call has returned."""
    with pytest.raises(SettingsError, match=r"numbers.* is a generator.*calling\(\)"):
        payments.guarded(generator)


async def test_guarded_follows_the_dependency_into_a_guard(payments: Dependency) -> None:
    """A function wrapped at import time uses whatever circuit the dependency has when it is called."""
    wrapped = payments.guarded(charge)
    wrapped(5)
    first = payments.circuit
    payments.bind(GuardCircuit("guard A", Circuit("payments"), SystemClock(), lambda: None, asyncio.get_running_loop()))
    assert payments.circuit is not first
    wrapped(5)
    assert results(payments) == (1, 0, 0)


# From threads, inside a guard


class Bound:
    """Payments, bound to a circuit of a guard on the running loop, which counts who touches it."""

    def __init__(self) -> None:
        self.touched_by = touched_by = set[int]()

        class Watched(Circuit):
            def try_acquire(self, now: float, weight: int = 1) -> Permit | Rejected:
                touched_by.add(threading.get_ident())
                return super().try_acquire(now, weight)

            def record(self, *args: Any, **kwargs: Any) -> None:
                touched_by.add(threading.get_ident())
                super().record(*args, **kwargs)

        self.payments = Dependency("payments", failures=PaymentError)
        self.circuit = Watched("payments", CircuitSettings(window=CountWindow(10_000), minimum_calls=10_000, consecutive_failures=None))
        self.payments.bind(GuardCircuit("guard A", self.circuit, SystemClock(), lambda: None, asyncio.get_running_loop()))


@pytest.mark.parametrize("form", [lambda payments: payments.call_sync, lambda payments: lambda fn, *args: payments.guarded(fn)(*args)])
async def test_plain_forms_in_eight_threads_reach_the_circuit_on_its_loop(form: Callable[[Dependency], Any]) -> None:
    """The function runs in its thread, every step of the circuit on the loop; each call is counted and none stays in flight."""
    bound = Bound()
    ran_in: set[int] = set()
    barrier = threading.Barrier(8, timeout=60)

    def charge_here(amount: int) -> str:
        ran_in.add(threading.get_ident())
        return charge(amount)

    def work() -> None:
        barrier.wait()
        for number in range(10):
            with suppress(PaymentError):
                form(bound.payments)(charge_here, -1 if number % 5 == 0 else number)

    threads = HandlerThreads(8, "test")
    for call in [threads.start(work) for _ in range(8)]:
        await call.result()
    threads.close()
    await asyncio.sleep(0)
    assert results(bound.payments) == (80, 16, 0)
    assert bound.touched_by == {threading.get_ident()}
    assert len(ran_in) == 8
    assert threading.get_ident() not in ran_in


async def test_a_plain_handlers_thread_writes_into_its_deliverys_tally() -> None:
    """Its context is the lane's: a call of a declared need takes no permit and asks the loop for nothing."""
    bound = Bound()
    lane = FakeLane(bound.circuit)
    bound.touched_by.clear()
    current_attempt.set(lane)
    threads = HandlerThreads(1, "test")
    assert await threads.start(bound.payments.call_sync, charge, 5).result() == "charged 5"
    threads.close()
    assert bound.touched_by == set()
    assert lane.calls is not None
    assert lane.calls.summaries["payments"].outcome is Outcome.SUCCESS


async def test_a_guards_loop_goes_direct_in_call_sync() -> None:
    """On the loop's own thread it would otherwise wait for itself for ever."""
    bound = Bound()
    assert bound.payments.call_sync(charge, 5) == "charged 5"
    assert results(bound.payments) == (1, 0, 0)


@pytest.mark.parametrize("wrapped", [charge, charge_async])
async def test_guarded_asks_the_guard_for_a_turn_when_something_changed(wrapped: Any) -> None:
    """A good call that closes a half-open is announced now, a quiet one not at all."""
    turns: list[int] = []
    payments = Dependency("payments", settings=CircuitSettings(ramp=RampSettings(full=1, minimum_verdicts=1)))
    circuit = Circuit("payments", payments.settings)
    clock = ManualClock()
    payments.bind(GuardCircuit("guard A", circuit, clock, lambda: turns.append(1), asyncio.get_running_loop()))

    async def once() -> None:
        result = payments.guarded(wrapped)(5)
        if inspect.isawaitable(result):
            await result

    await once()
    assert turns == []
    trip(circuit)
    circuit.take_events()
    clock.time = 60.0
    await once()
    assert turns == [1]


@pytest.mark.parametrize("form", [by_guarded, by_guarded_async])
async def test_guarded_uses_the_deliverys_permit_in_a_handler(form: Form) -> None:
    """As every other form: no permit of its own, a mark in the record."""
    bound = Bound()
    lane = FakeLane(bound.circuit)
    bound.touched_by.clear()
    current_attempt.set(lane)
    assert await form(bound.payments, 5) == "charged 5"
    assert bound.touched_by == set()
    assert lane.calls is not None
    assert lane.calls.summaries["payments"].outcome is Outcome.SUCCESS


@pytest.mark.parametrize("form", [by_guarded, by_guarded_async])
async def test_guarded_reads_results(form: Form) -> None:
    """`result_failures` counts for wrapped functions too."""
    payments = Dependency("payments", result_failures=lambda result: result == "charged 5", settings=TRIPS_AT_ONCE)
    assert await form(payments, 6) == "charged 6"
    assert payments.circuit.state is State.CLOSED
    assert await form(payments, 5) == "charged 5"
    assert payments.circuit.state is State.OPEN


@every_form
@pytest.mark.parametrize("calls_before", [0, 1], ids=["first call", "a further one"])
async def test_a_failure_in_a_handler_is_gone_without_the_garbage_collector(form: Form, calls_before: int) -> None:
    """Thousands of failures in an outage must not pile up as cycles of exception, frames and calls."""
    bound = Bound()
    lane = FakeLane(bound.circuit)
    current_attempt.set(lane)
    for _ in range(calls_before):
        await form(bound.payments, 5)
    gc.collect()
    gc.disable()
    try:
        try:
            await form(bound.payments, -1)
        except PaymentError as error:
            seen = weakref.ref(error)
        assert lane.calls is not None
        assert seen() is lane.calls.excused[0]
        lane.calls = None
        assert seen() is None
    finally:
        gc.enable()
