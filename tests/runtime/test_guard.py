from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import anyio
import pytest
from tests.runtime.stage import (
    GROUP,
    ORDERS,
    BreakingIntake,
    Down,
    Handler,
    assert_nothing_left,
    broker_with,
    dependency,
    quiet_guard,
    running,
    until,
)

from holdgate import Delivery, Guard, State
from holdgate.core.events import CircuitOpened
from holdgate.errors import CommandError, GuardClosed, IntakeError, SettingsError
from holdgate.testing import MemoryIntake, in_virtual_time, run_virtual

ORDER = ORDERS[0]


def now() -> float:
    return asyncio.get_running_loop().time()


def intake(broker: Any, **settings: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"], **settings)


# -- life ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", [3, "system", 0, object()])
def test_a_clock_gives_time_and_chance(clock: Any) -> None:
    """Anything else is refused when the guard is made, and shown."""
    with pytest.raises(SettingsError, match=r"clock must have now\(\) and draw\(\), got"):
        Guard(clock=clock)


@in_virtual_time
async def test_a_run_processes_and_commits_everything() -> None:
    """The plain case: every message reaches the handler once, in order, and is committed."""
    broker, handler, payments = broker_with(5), Handler(), dependency()
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, needs=[payments])):
        await until(lambda: len(handler.done) == 5)
    assert handler.started == [("orders[0]", position) for position in range(5)]
    assert broker.committed(GROUP) == {ORDER: 5}
    await assert_nothing_left(guard)


@in_virtual_time
async def test_run_before_entering_is_an_error() -> None:
    """A guard that was not entered names the way to use it, and nothing is consumed."""
    broker, guard = broker_with(1), quiet_guard()
    with pytest.raises(GuardClosed, match="async with Guard"):
        await guard.run(intake(broker), Handler())
    with pytest.raises(GuardClosed, match="async with Guard"):
        guard.deliveries(intake(broker))
    assert not broker.ledger.positions("delivered", ORDER)


@in_virtual_time
async def test_run_after_stopping_is_an_error() -> None:
    """Nothing new runs on a guard that is stopping or has been left."""
    broker = broker_with(1)
    async with quiet_guard() as guard:
        early = guard.deliveries(intake(broker))
        await guard.stop()
        with pytest.raises(GuardClosed, match="stopping"):
            await guard.run(intake(broker), Handler())
        with pytest.raises(GuardClosed, match="stopping"):
            await early.__aenter__()
    with pytest.raises(GuardClosed, match="stopping"):
        await guard.run(intake(broker), Handler())
    assert not broker.ledger.positions("delivered", ORDER)


@in_virtual_time
async def test_a_guard_is_entered_once() -> None:
    """Its circuits end with it, so a second entering would be another guard."""
    async with quiet_guard() as guard:
        with pytest.raises(GuardClosed, match="make a new one"):
            await guard.__aenter__()


@pytest.mark.parametrize("setting", ["drain_timeout", "hold_warn_after", "stall_after"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), "25", None, True])
def test_settings_that_make_no_sense_are_refused(setting: str, value: Any) -> None:
    """The message names the setting and its value."""
    with pytest.raises(SettingsError, match=f"{setting} must be .*, got {value!r}"):
        Guard(**{setting: value})


def test_durations_may_be_a_timedelta() -> None:
    """As everywhere in public settings."""
    assert Guard(hold_warn_after=timedelta(minutes=5)).hold_warn_after == 300.0


def test_only_dependencies_are_dependencies() -> None:
    """A name in their place is refused at construction."""
    with pytest.raises(SettingsError, match=r"got 'payments' \(str\)"):
        Guard("payments")  # type: ignore[arg-type]


@in_virtual_time
async def test_stop_returns_when_every_run_has_ended_and_is_idempotent() -> None:
    """Two runs drain, both `run` calls return None, and a second stop has nothing to do."""
    broker = broker_with(2, partitions=2)
    handler = Handler(1.0)
    async with quiet_guard() as guard:
        runs = [asyncio.create_task(guard.run(intake(broker, group=group), handler)) for group in ("a", "b")]
        await until(lambda: len(handler.started) == 4)
        await guard.stop()
        assert len(handler.done) == 4
        assert await asyncio.gather(*runs) == [None, None]
        await guard.stop()
    await assert_nothing_left(guard)


@in_virtual_time
async def test_stop_that_is_cancelled_leaves_the_drain_going() -> None:
    """Whoever gives up waiting does not take the running handler down."""
    broker, handler = broker_with(1), Handler(10.0)
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)) as run:
        await until(lambda: handler.running == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await guard.stop()
        assert not run.done()
        await run
    assert handler.done == [("orders[0]", 0)]


@in_virtual_time
async def test_a_handler_that_stops_the_guard_is_processed() -> None:
    """`await guard.stop()` in a handler only asks: it does not wait for itself until the drain timeout is over."""
    broker = broker_with(3)
    async with quiet_guard() as guard:

        async def handler(delivery: Delivery[Any]) -> None:
            await guard.stop()

        await guard.run(intake(broker), handler)
        assert now() < 1.0
    assert broker.committed(GROUP) == {ORDER: 1}


@in_virtual_time
async def test_leaving_drains_runs_that_are_going() -> None:
    """The block ends while a handler runs: it may finish, and only then are the dependencies let go."""
    broker, handler, payments = broker_with(3), Handler(2.0), dependency()
    async with quiet_guard() as guard:
        run = asyncio.create_task(guard.run(intake(broker), handler, needs=[payments]))
        await until(lambda: handler.running == 1)
        circuit = payments.circuit
    assert handler.done == [("orders[0]", 0)]
    assert payments.circuit is not circuit
    assert await run is None
    assert broker.committed(GROUP) == {ORDER: 1}
    await assert_nothing_left(guard)


@in_virtual_time
async def test_leaving_that_is_cancelled_interrupts_and_still_ends_everything() -> None:
    """A cancellation while leaving waits for no handler any more, lets nothing run on, and goes through."""
    broker, handler = broker_with(3), Handler(20.0)
    guard = quiet_guard()

    async def use() -> None:
        async with guard:
            run.append(asyncio.create_task(guard.run(intake(broker), handler)))
            await until(lambda: handler.running == 1)

    run: list[asyncio.Task[None]] = []
    user = asyncio.create_task(use())
    await asyncio.sleep(5)
    user.cancel()
    await asyncio.wait({user})
    assert user.cancelled()
    assert now() < 6.0
    assert handler.interrupted == 1
    assert await run[0] is None
    await assert_nothing_left(guard)


@in_virtual_time
async def test_a_guard_that_was_left_takes_no_turn() -> None:
    """No timer of an open circuit, and no late wake-up, calls observers after the guard was left."""
    broker, events = broker_with(1), []
    guard = quiet_guard(observers=[events.append])
    async with guard, running(guard.run(intake(broker), Handler(down=True), needs=[dependency()])):
        await until(lambda: any(isinstance(event, CircuitOpened) for event in events))
    told = len(events)
    guard.wake()
    guard.turn()
    await asyncio.sleep(100)
    assert len(events) == told


# -- cancelling a run ------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_cancelling_a_run_drains_it() -> None:
    """The running handler ends by itself, is committed, nothing more starts, and CancelledError goes on."""
    broker, handler = broker_with(5), Handler(3.0)
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)) as run:
        await until(lambda: handler.running == 1)
        run.cancel()
        await asyncio.wait({run})
        assert run.cancelled()
        assert handler.done == [("orders[0]", 0)]
        assert broker.committed(GROUP) == {ORDER: 1}
        await assert_nothing_left(guard)


@in_virtual_time
async def test_a_drain_takes_at_most_its_timeout() -> None:
    """A handler that goes on is interrupted after `drain_timeout`, and its message stays uncommitted."""
    broker, handler = broker_with(2), Handler(3600.0)
    async with quiet_guard(drain_timeout=7.0) as guard, running(guard.run(intake(broker), handler)) as run:
        await until(lambda: handler.running == 1)
        began = now()
        run.cancel()
        await asyncio.wait({run})
        assert 7.0 <= now() - began < 7.5
        assert handler.interrupted == 1
    assert not broker.committed(GROUP)


@in_virtual_time
async def test_a_second_cancellation_interrupts_at_once() -> None:
    """The second Ctrl-C: handlers are cancelled now, what they had comes again, and the run ends tidily."""
    broker, handler = broker_with(2), Handler(3600.0)
    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)) as run:
        await until(lambda: handler.running == 1)
        run.cancel()
        await asyncio.sleep(1)
        assert not run.done()
        began = now()
        run.cancel()
        await asyncio.wait({run})
        assert now() - began < 0.5
        assert handler.interrupted == 1
        await assert_nothing_left(guard)


@in_virtual_time
async def test_a_second_cancellation_waits_for_the_interrupted_to_let_go() -> None:
    """A handler that needs half a second to roll back gets it, also in a hurry."""
    broker, rolled_back = broker_with(1), []

    async def handler(delivery: Delivery[Any]) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.5)
            rolled_back.append(delivery.position)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler)) as run:
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
        assert rolled_back == [0]


@in_virtual_time
async def test_an_anyio_scope_that_is_cancelled_drains() -> None:
    """Anyio cancels again at every step; that is one cancellation to us, and the handler ends by itself."""
    broker, handler = broker_with(5), Handler(3.0)
    async with quiet_guard() as guard:
        with anyio.move_on_after(1.0) as scope:
            await guard.run(intake(broker), handler)
        assert scope.cancelled_caught
        assert handler.done == [("orders[0]", 0)]
        assert handler.interrupted == 0
        await assert_nothing_left(guard)


@in_virtual_time
async def test_asyncio_timeout_around_a_run_drains() -> None:
    """`asyncio.timeout` becomes TimeoutError as usual, after the drain."""
    broker, handler = broker_with(5), Handler(3.0)
    async with quiet_guard() as guard:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await guard.run(intake(broker), handler)
        assert handler.done == [("orders[0]", 0)]


@in_virtual_time
async def test_a_task_group_that_aborts_drains_its_runs() -> None:
    """A sibling's failure cancels the run, which drains, and the group raises the failure alone."""
    broker, handler = broker_with(5), Handler(3.0)

    async def fail() -> None:
        await asyncio.sleep(1)
        raise Down

    async with quiet_guard() as guard:
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - what is tested is a block
            async with asyncio.TaskGroup() as group:
                group.create_task(guard.run(intake(broker), handler))
                group.create_task(fail())
        assert [type(error) for error in caught.value.exceptions] == [Down]
        assert handler.done == [("orders[0]", 0)]
        await assert_nothing_left(guard)


@in_virtual_time
async def test_what_ends_a_drained_run_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled run raises CancelledError, so what its end ran into is said in the log."""
    broker = broker_with(1)
    source = BreakingIntake(broker, topics=["orders"])
    async with quiet_guard() as guard, running(guard.run(source, Handler())) as run:
        await asyncio.sleep(1)
        source.breaks["close"] = IntakeError("no goodbye")
        run.cancel()
        await asyncio.wait({run})
        assert run.cancelled()
    assert "orders ended with IntakeError while it drained: no goodbye" in caplog.text


def test_keyboard_interrupt_in_a_handler_ends_the_process_and_keeps_the_message() -> None:
    """KeyboardInterrupt goes out of the loop at once; the message is not committed, and the intake is closed on the way."""
    broker = broker_with(2)
    source = BreakingIntake(broker, topics=["orders"])

    async def handler(delivery: Delivery[Any]) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with quiet_guard() as guard:
            await guard.run(source, handler, needs=[dependency()])

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main())
    assert not broker.committed(GROUP)
    assert source.closed


def test_cancelling_every_task_of_the_loop_ends_everything() -> None:
    """The shutdown that some programs have: it reaches our tasks too, and neither hangs nor loses a permit."""
    broker, handler, guard = broker_with(4, partitions=2), Handler(3600.0), quiet_guard()

    async def use() -> None:
        async with guard:
            await guard.run(intake(broker), handler, needs=[dependency()])

    async def main() -> None:
        user = asyncio.create_task(use())
        await until(lambda: handler.running == 2)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait({user}, timeout=60)
        assert user.cancelled()
        await assert_nothing_left(guard)

    run_virtual(main())
    assert not broker.committed(GROUP)


# -- dependencies ----------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_two_guards_cannot_share_a_dependency() -> None:
    """The second guard's run is refused before anything is consumed, and may have it once the first is left."""
    broker, payments, handler = broker_with(2), dependency(), Handler()
    async with quiet_guard() as second:
        async with quiet_guard(payments) as first:
            with pytest.raises(SettingsError, match=r"'payments' is used by .* at the same time") as caught:
                await second.run(intake(broker), handler, needs=[payments])
            assert repr(first) in str(caught.value)
            assert repr(second) in str(caught.value)
            assert not handler.started
        async with running(second.run(intake(broker), handler, needs=[payments])):
            await until(lambda: len(handler.done) == 2)


@in_virtual_time
async def test_two_dependencies_of_one_name_are_refused() -> None:
    """Whether two runs bring them or the guard itself; the name is the label everywhere."""
    broker = broker_with(1)
    async with quiet_guard(dependency()) as guard:
        with pytest.raises(SettingsError, match="two dependencies are named 'payments'"):
            await guard.run(intake(broker), Handler(), needs=[dependency()])
    twice = quiet_guard(dependency(), other := dependency())
    with pytest.raises(SettingsError, match="two dependencies are named 'payments'"):
        await twice.__aenter__()
    async with quiet_guard(other):
        pass  # the guard that could not be entered has let go of it


@in_virtual_time
async def test_a_dependency_can_be_declared_twice() -> None:
    """Given to the guard and needed by two runs, it is one circuit."""
    payments = dependency()
    async with quiet_guard(payments, payments) as guard, running(guard.run(intake(broker_with(1)), Handler(), needs=[payments])):
        await asyncio.sleep(1)
        assert guard.circuit("payments") is payments.circuit


# -- acting ----------------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_observer_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The others are told all the same, and the run goes on; a CancelledError out of an observer is only its own too."""
    events: list[object] = []

    def broken(event: object) -> None:
        raise asyncio.CancelledError if isinstance(event, CircuitOpened) else ValueError("observer")

    broker, handler = broker_with(3), Handler(down=True)
    guard = quiet_guard(observers=[broken, events.append])
    async with guard, running(guard.run(intake(broker), handler, needs=[dependency()])):
        await until(lambda: any(isinstance(event, CircuitOpened) for event in events))
        handler.down = False
        await until(lambda: len(handler.done) == 3)
    assert "raised CancelledError on CircuitOpened" in caplog.text
    assert "raised ValueError on SourceHeld" in caplog.text


@in_virtual_time
async def test_a_timer_moves_circuits_without_traffic() -> None:
    """After the open wait the circuit is half-open and the waiting head starts, though nothing was received."""
    broker, handler, payments = broker_with(1), Handler(down=True), dependency()
    async with quiet_guard(payments) as guard:
        source = BreakingIntake(broker, topics=["orders"])
        async with running(guard.run(source, handler, needs=[payments])):
            await until(lambda: guard.circuit("payments").state is State.OPEN)
            opened, calls = now(), len(handler.started)
            source.slow["receive"] = 1000.0
            handler.down = False
            await until(lambda: bool(handler.done))
            assert len(handler.started) == calls + 1
            assert 4.9 <= now() - opened < 5.2


@in_virtual_time
async def test_a_turn_that_fails_on_its_timer_ends_every_run() -> None:
    """A mistake of ours must be loud: out of a timer nobody would hear of it."""
    source = BreakingIntake(broker_with(1), topics=["orders"])
    async with quiet_guard() as guard, running(guard.run(source, Handler())) as run:
        await asyncio.sleep(1)
        source.slow["receive"] = 1000.0  # the poll takes a turn too, but not now
        await asyncio.sleep(1)
        guard.engine.next_deadline = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        guard.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del guard.engine.next_deadline
        with pytest.raises(ZeroDivisionError):
            await run
        assert now() < 10


@in_virtual_time
async def test_a_run_that_ends_leaves_its_siblings_alone() -> None:
    """What ends one intake is raised by its own run, after draining; the other goes on."""
    broker = broker_with(2)
    broken, handler, other = BreakingIntake(broker, topics=["orders"], group="a"), Handler(1.0), Handler()
    async with quiet_guard() as guard:
        first = asyncio.create_task(guard.run(broken, handler, needs=[payments := dependency()]))
        async with running(guard.run(intake(broker, group="b"), other, needs=[payments])) as second:
            await until(lambda: handler.running == 1)
            broken.breaks["receive"] = IntakeError("not authorised")
            with pytest.raises(IntakeError, match="not authorised"):
                await first
            assert handler.done == [("orders[0]", 0)]
            assert broker.committed("a") == {ORDER: 1}
            assert not second.done()
            broker.produce("orders", b"more")
            await until(lambda: len(other.done) == 3)


# -- another loop -----------------------------------------------------------------------------------------------------------------------


async def test_a_run_on_another_event_loop_is_refused() -> None:
    """Its timers and wake-ups would come in the wrong thread, and some of them never."""
    broker = broker_with(2)
    async with quiet_guard() as guard:

        def elsewhere() -> None:
            asyncio.run(guard.run(intake(broker), Handler()))

        with pytest.raises(CommandError, match="entered on another event loop"):
            await asyncio.to_thread(elsewhere)
    assert not broker.ledger.positions("delivered", ORDER)


async def test_a_guard_may_be_stopped_from_another_event_loop() -> None:
    """A thread of the program waits for the drain there, and is woken at its end."""
    broker = broker_with(2)
    async with quiet_guard() as guard, running(guard.run(intake(broker), Handler())) as run:
        async with asyncio.timeout(60):
            while broker.committed(GROUP).get(ORDER) != 2:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(lambda: asyncio.run(guard.stop()))
            await run
    await asyncio.to_thread(lambda: asyncio.run(guard.stop()))  # and afterwards it has nothing to do


def test_a_guard_whose_event_loop_is_closed_has_stopped() -> None:
    """Nobody could answer any more."""

    async def enter(guard: Guard) -> None:
        await guard.__aenter__()

    guard = Guard(signals=False)
    asyncio.run(enter(guard))
    asyncio.run(guard.stop())
