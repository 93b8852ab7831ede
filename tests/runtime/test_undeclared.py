"""Dependencies that nobody has declared: the line at start, and a guard that takes one up when a handler calls it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.runtime.stage import ORDERS, STEADY, Down, assert_nothing_left, broker_with, dependency, quiet_guard, running, until

from holdgate import CallNotPermitted, Delivery, Dependency, Guard, Partition, State
from holdgate.errors import GuardClosed, SettingsError
from holdgate.events import CircuitClosed, CircuitOpened, DependencyMet, SourceHeld
from holdgate.flow.message import Source
from holdgate.runtime.access import GuardCircuit, OwnCircuit
from holdgate.runtime.undeclared import CalledInHandlers
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time

HELD = ("circuit:payments",)
Form = Callable[[Dependency, Callable[[], None]], Awaitable[None]]


def intake(broker: MemoryBroker, topic: str = "orders", **settings: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=[topic], **settings)


def now() -> float:
    return asyncio.get_running_loop().time()


class Api:
    """Something downstream, down from one second to another. `call` is what a form calls."""

    def __init__(self, down: tuple[float, float] = (0.0, 0.0)) -> None:
        begin = now()
        self.down = (begin + down[0], begin + down[1])
        self.clock = asyncio.get_running_loop().time
        self.calls = 0
        self.done = 0

    def call(self) -> None:
        self.calls += 1
        if self.down[0] <= self.clock() < self.down[1]:
            raise Down
        self.done += 1


# -- the forms ------------------------------------------------------------------------------------------------------------------------


async def by_call(payments: Dependency, call: Callable[[], None]) -> None:
    async def post() -> None:
        call()

    await payments.call(post)


async def by_block(payments: Dependency, call: Callable[[], None]) -> None:
    with payments.calling():
        call()


async def by_async_block(payments: Dependency, call: Callable[[], None]) -> None:
    async with payments.calling():
        call()


async def by_call_sync(payments: Dependency, call: Callable[[], None]) -> None:
    payments.call_sync(call)


async def by_guarded(payments: Dependency, call: Callable[[], None]) -> None:
    payments.guarded(call)()


async def by_guarded_async(payments: Dependency, call: Callable[[], None]) -> None:
    @payments.guarded
    async def post() -> None:
        call()

    await post()


async def by_child_task(payments: Dependency, call: Callable[[], None]) -> None:
    await asyncio.create_task(by_call(payments, call))


async def by_thread(payments: Dependency, call: Callable[[], None]) -> None:
    await asyncio.to_thread(payments.call_sync, call)


async def by_a_look_first(payments: Dependency, call: Callable[[], None]) -> None:
    if payments.circuit.state is State.OPEN:
        raise CallNotPermitted("payments", None)
    await by_call(payments, call)


FORMS = [by_call, by_block, by_async_block, by_call_sync, by_guarded, by_guarded_async, by_child_task, by_thread, by_a_look_first]


@pytest.mark.parametrize("form", FORMS)
@in_virtual_time
async def test_its_outage_is_that_of_a_declared_one(form: Form, caplog: pytest.LogCaptureFixture) -> None:
    """Half a minute: its sources are held, events, snapshot and health have it, no refusal is a warning, and the probe wakes them."""
    caplog.set_level(logging.INFO, "holdgate")
    broker, payments, api = broker_with(250, partitions=3), dependency(), Api((1.0, 31.0))
    events: list[Any] = []
    done: list[float] = []
    attempts: list[int] = []

    async def handler(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.05)
        await form(payments, api.call)
        attempts.append(delivery.attempt)
        done.append(now())

    async with quiet_guard(observers=[events.append]) as guard:
        began = now()
        async with running(guard.run(intake(broker), handler, dead_letters=MemoryDeadLetters())):
            await until(lambda: "payments" in guard.snapshot().dependencies)
            await until(lambda: guard.snapshot().dependencies["payments"].state is State.OPEN)
            circuit = payments.circuit
            await asyncio.sleep(1.0)
            assert {source.reasons for source in guard.snapshot().sources.values()} == {HELD}
            assert guard.health().status == "degraded"
            await until(lambda: len(done) == 250)
            assert payments.circuit is circuit
        await assert_nothing_left(guard)

    assert max(done) - began < 31.0 + 20.0 + 10.0  # the third wait, and the work that was left
    assert api.calls - 250 < 12
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert not any("CallNotPermitted" in line for line in warnings)
    assert len(warnings) < 20
    assert set(attempts) <= {1, 2, 3, 4, 5}
    assert attempts.count(1) >= 240
    told = [type(event) for event in events]
    assert told.count(DependencyMet) == 1
    assert {CircuitOpened, CircuitClosed, SourceHeld} <= set(told)
    assert isinstance(payments.access, OwnCircuit)


@in_virtual_time
async def test_a_plain_handlers_thread_brings_it_too() -> None:
    """The thread asks the loop once, and waits for the answer."""
    broker, payments, api = broker_with(30, partitions=3), dependency(), Api((0.0, 4.0))
    threads: set[int] = set()

    def handler(_: Delivery[Any]) -> None:
        threads.add(threading.get_ident())
        payments.call_sync(api.call)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, concurrency=3, order="key")):
        await until(lambda: api.done == 30)
        assert "payments" in guard.snapshot().dependencies
        assert isinstance(payments.access, GuardCircuit)
    assert threading.get_ident() not in threads


@in_virtual_time
async def test_the_first_call_in_a_fallback_brings_it_as_well() -> None:
    """A fallback is no attempt, and its calls are no verdict on the message; the circuit counts them."""
    broker, payments, store = broker_with(3), dependency(), dependency("store")
    kept = []

    async def fallback(delivery: Delivery[Any]) -> None:
        store.call_sync(kept.append, delivery.position)

    async def handler(_: Delivery[Any]) -> None:
        raise AssertionError

    async with quiet_guard(payments) as guard:
        guard.circuit("payments").open_for(60.0, guard.now())
        async with running(guard.run(intake(broker), handler, needs=[payments], fallback=fallback)):
            await until(lambda: len(kept) == 3)
            assert guard.snapshot().dependencies["store"].calls == 3


# -- two of them ----------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_each_of_two_guards_has_a_circuit_of_its_own_for_its_handlers() -> None:
    """Both are held and woken; calls outside go through that of the first, and when it is left through none."""
    broker = MemoryBroker(topics={"orders": 1, "mails": 1})
    for number in range(40):
        broker.produce("orders", str(number).encode())
        broker.produce("mails", str(number).encode())
    payments, api = dependency(), Api((0.5, 40.0))

    async def handler(_: Delivery[Any]) -> None:
        await asyncio.sleep(0.05)
        await by_call(payments, api.call)

    async with (
        quiet_guard() as first,
        quiet_guard() as second,
        running(first.run(intake(broker), handler)),
        running(second.run(intake(broker, "mails", group="other"), handler)),
    ):
        await until(lambda: len(first.engine.gates) == 1 and len(second.engine.gates) == 1)
        assert first.circuit("payments") is not second.circuit("payments")
        assert payments.circuit in (first.circuit("payments"), second.circuit("payments"))
        await until(lambda: all(guard.circuit("payments").state is State.OPEN for guard in (first, second)))
        await asyncio.sleep(0.5)
        for guard in (first, second):
            assert [source.reasons for source in guard.snapshot().sources.values()] == [HELD]
        await until(lambda: api.done == 80)
    assert isinstance(payments.access, OwnCircuit)


@in_virtual_time
async def test_a_guard_that_declares_it_later_takes_it_over_and_the_other_keeps_its_own() -> None:
    """And a run of the same guard may declare it later, too; then no other guard may."""
    broker = MemoryBroker(topics={"orders": 1, "mails": 1})
    payments, api = dependency(), Api()

    async def handler(_: Delivery[Any]) -> None:
        await by_call(payments, api.call)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)):
        broker.produce("orders", b"1")
        await until(lambda: api.calls == 1)
        met = payments.circuit
        async with quiet_guard(payments) as other:
            assert payments.circuit is other.circuit("payments")
            broker.produce("orders", b"2")
            await until(lambda: api.calls == 2)
            assert (met.snapshot(guard.now()).calls, payments.circuit.snapshot(guard.now()).calls) == (2, 0)
            with pytest.raises(SettingsError, match="used by"):
                await guard.run(intake(broker, "mails", group="other"), handler, needs=[payments])
        async with running(guard.run(intake(broker, "mails", group="other"), handler, needs=[payments])):
            await asyncio.sleep(1)
            assert payments.circuit is met
            with pytest.raises(SettingsError, match="used by"):
                async with quiet_guard(payments):
                    pass


async def test_guards_on_two_loops_do_not_meet() -> None:
    """Each handler's calls stay on the thread of its own loop."""
    payments = Dependency("payments", failures=Down, settings=STEADY)
    touched: dict[str, set[int]] = {}

    async def main(name: str) -> None:
        broker = broker_with(5)
        done = []

        async def handler(_: Delivery[Any]) -> None:
            touched.setdefault(name, set()).add(threading.get_ident())
            done.append(payments.call_sync(lambda: 1))

        async with Guard(signals=False) as guard, running(guard.run(intake(broker), handler)):
            while len(done) < 5:
                await asyncio.sleep(0.01)
            assert guard.circuit("payments").snapshot(guard.now()).calls == 5

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, main(name)) for name in ("a", "b")))
    assert isinstance(payments.access, OwnCircuit)


@in_virtual_time
async def test_one_made_anew_for_each_message_shares_the_circuit_of_its_name(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred objects are one circuit, which opens and holds; one warning says what to do, and the guard keeps one of them."""
    broker, api = broker_with(100), Api((0.0, 3.0))

    async def handler(_: Delivery[Any]) -> None:
        await by_call(dependency(), api.call)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)):
        await until(lambda: api.done == 100)
        assert api.calls < 110
        assert list(guard.dependencies) == ["payments"]
    assert caplog.text.count("another Dependency that is named 'payments'") == 1


@in_virtual_time
async def test_names_without_end_stop_at_thirty_two(caplog: pytest.LogCaptureFixture) -> None:
    """The rest are plain breakers, and one warning says so."""
    broker = broker_with(100)
    seen = []

    async def handler(delivery: Delivery[Any]) -> None:
        await by_call(dependency(f"tenant-{delivery.position}"), lambda: seen.append(delivery.position))

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)):
        await until(lambda: len(seen) == 100)
        assert len(guard.dependencies) == len(guard.engine.gates) == 32
    assert caplog.text.count("dependencies that nobody has declared") == 1


# -- a run ends while a thread asks ---------------------------------------------------------------------------------------------------


async def test_a_thread_that_waits_when_the_run_ends_is_told() -> None:
    """It must not wait for ever: a process ends when its threads have."""
    asked = threading.Event()

    class Late(CalledInHandlers):
        def _answer(self, *_: Any) -> None:
            asked.set()  # and never answers

    called = Late(lambda *_: None)
    waiting = asyncio.create_task(asyncio.to_thread(called.access_of, dependency(), ORDERS[0]))
    while not asked.is_set():
        await asyncio.sleep(0.001)
    called.close()
    with pytest.raises(GuardClosed, match="first time"):
        await waiting


async def test_an_answer_that_comes_too_late_is_dropped() -> None:
    """The run has ended between the question and the loop's next step."""
    taken: list[Dependency] = []

    def take_up(one: Dependency, _: Source) -> GuardCircuit | None:
        taken.append(one)
        return None

    called = CalledInHandlers(take_up)
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            called.access_of(dependency(), ORDERS[0])
        except GuardClosed as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not called._pending:
        pass
    called.close()
    thread.join()
    await asyncio.sleep(0.01)
    assert (len(errors), taken) == (1, [])


async def test_after_the_end_it_is_a_plain_breaker() -> None:
    """In a handler's thread that could not be stopped, and on the loop."""
    called = CalledInHandlers(lambda *_: pytest.fail("it was taken up"))
    called.close()
    payments = dependency()
    assert called.access_of(payments, ORDERS[0]) is payments.access
    assert await asyncio.to_thread(called.access_of, payments, ORDERS[0]) is payments.access


async def test_what_goes_wrong_on_the_loop_is_raised_in_the_thread() -> None:
    """A thread waits for it."""

    def broken(_: Dependency, __: Source) -> GuardCircuit | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(CalledInHandlers(broken).access_of, dependency(), ORDERS[0])


def test_a_loop_that_was_closed_without_leaving_the_guard_answers_nobody() -> None:
    """The call goes on as a plain one."""

    async def made() -> CalledInHandlers:
        return CalledInHandlers(lambda *_: None)

    called, payments, found = asyncio.run(made()), dependency(), []
    thread = threading.Thread(target=lambda: found.append(called.access_of(payments, Partition("orders", 0))))
    thread.start()
    thread.join()
    assert found == [payments.access]


# -- the line at start ----------------------------------------------------------------------------------------------------------------


async def lines_at_start(caplog: pytest.LogCaptureFixture, guard: Guard, source: MemoryIntake, **settings: Any) -> list[tuple[str, str]]:
    caplog.set_level(logging.INFO, "holdgate")

    async def handler(_: Delivery[Any]) -> None:
        """Nothing to do."""

    async with guard, running(guard.run(source, handler, **settings)):
        await until(lambda: bool(guard.snapshot().sources))
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    return [(level, line) for level, line in said if "needs nothing declared" in line]


NOTHING = "needs nothing declared; a failing dependency would be charged to the messages, unless a call form calls it: add needs="


@in_virtual_time
async def test_without_needs_a_warning_says_what_an_outage_would_do(caplog: pytest.LogCaptureFixture) -> None:
    """Once, at start."""
    assert await lines_at_start(caplog, quiet_guard(), intake(broker_with(1))) == [("WARNING", f"orders: {NOTHING}")]


@in_virtual_time
async def test_what_is_not_guarded_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Topics without needs share it, and the line of the run has the needs of the others."""
    broker = MemoryBroker(topics={"orders": 1, "bills": 1, "mails": 1, "audit": 1})
    payments, smtp = dependency(), dependency("smtp")
    needs = {"orders": [payments, smtp], "bills": [], "mails": [smtp], "audit": []}
    assert await lines_at_start(caplog, quiet_guard(), MemoryIntake(broker, topics=sorted(needs)), needs=needs) == [
        ("INFO", f"audit, bills: {NOTHING}"),
    ]


@in_virtual_time
async def test_with_dependencies_given_to_the_guard_it_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Its handlers call them, most likely."""
    assert await lines_at_start(caplog, quiet_guard(dependency()), intake(broker_with(1))) == [("INFO", f"orders: {NOTHING}")]


@in_virtual_time
async def test_the_line_that_it_is_down_says_what_a_thread_has_met(caplog: pytest.LogCaptureFixture) -> None:
    """A plain handler's call is judged before its attempt has ended. What waits is what is here: nothing else is known to need it."""
    caplog.set_level(logging.INFO, "holdgate")
    payments = dependency()
    api = Api(down=(0.0, 30.0))
    run = quiet_guard()
    async with run, running(run.run(intake(broker_with(20)), lambda _: payments.call_sync(api.call), order="none")):
        await until(lambda: api.done == 20)

    down = next(line for line in caplog.messages if line.startswith("payments is down"))
    assert "the last with Down; next try" in down
    still = next(line for line in caplog.messages if line.startswith("payments is still down"))
    assert ", at least 20 wait; down for" in still
