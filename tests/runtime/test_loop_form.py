from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import anyio
import pytest
from tests.runtime.stage import GROUP, ORDERS, BreakingIntake, Down, assert_nothing_left, broker_with, dependency, quiet_guard, until

from holdgate import Dependency, RetryPolicy, State
from holdgate.errors import CommandError, GuardClosed, IntakeError
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]


def now() -> float:
    return asyncio.get_running_loop().time()


def intake(broker: MemoryBroker, **settings: Any) -> BreakingIntake:
    return BreakingIntake(broker, topics=["orders"], **settings)


@in_virtual_time
async def test_each_delivery_comes_once_and_is_committed() -> None:
    """The plain loop: in order, each block one attempt, committed when it ended well."""
    broker, seen = broker_with(4), []
    async with quiet_guard() as guard:
        async with guard.deliveries(intake(broker), needs=[dependency()]) as deliveries:
            async for delivery in deliveries:
                async with delivery:
                    seen.append(delivery.position)
                if len(seen) == 4:
                    break
        assert seen == [0, 1, 2, 3]
        assert broker.committed(GROUP) == {ORDER: 4}
        await assert_nothing_left(guard)


@in_virtual_time
async def test_a_delivery_shows_what_the_client_gave() -> None:
    """The loop's delivery has the attributes of a Delivery."""
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"body", b"key", {"trace": "7"})
    async with quiet_guard() as guard, guard.deliveries(intake(broker)) as deliveries:
        async for delivery in deliveries:
            assert (delivery.source, delivery.position, delivery.attempt, delivery.redelivered) == (ORDER, 0, 1, None)
            assert (delivery.body, delivery.key, delivery.headers) == (b"body", b"key", {"trace": "7"})
            assert delivery.message.position == 0
            assert delivery.timestamp == 0.0
            async with delivery:
                break


@in_virtual_time
async def test_a_failure_is_recorded_and_the_same_delivery_comes_again() -> None:
    """Not raised: the circuit learns of it, and the loop gets the same message until it works, in its place."""
    broker, payments, seen, down = broker_with(2), dependency(), [], [True]
    async with quiet_guard(payments) as guard, guard.deliveries(intake(broker), needs=[payments]) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                seen.append((delivery.position, delivery.attempt))
                if guard.circuit("payments").state is State.HALF_OPEN:
                    down[0] = False
                if down[0]:
                    raise Down
            if delivery.position == 1:
                break
        assert seen == [(0, attempt) for attempt in range(1, 7)] + [(1, 1)]
        assert broker.committed(GROUP) == {}
    assert broker.committed(GROUP) == {ORDER: 2}


@in_virtual_time
async def test_call_forms_in_the_block_belong_to_the_delivery() -> None:
    """A declared need's call in the block uses the delivery's permit, and none outlives the block."""
    broker, payments = broker_with(2), dependency()

    async def pay() -> None:
        raise Down

    async with quiet_guard(payments) as guard, guard.deliveries(intake(broker), needs=[payments]) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                with pytest.raises(Down):
                    await payments.call(pay)
            assert guard.snapshot().dependencies["payments"].failures == delivery.position + 1
            with pytest.raises(Down):
                await payments.call(pay)  # outside of the block: a call of its own
            assert guard.snapshot().dependencies["payments"].failures == 2
            break


@in_virtual_time
async def test_going_on_without_entering_is_an_error() -> None:
    """It would never be settled: the message says what to write, and names the delivery."""
    broker = broker_with(2)
    async with quiet_guard() as guard:
        with pytest.raises(CommandError, match=r"orders\[0\]@0 was not entered: write `async with delivery:`"):  # noqa: PT012 - what is tested is a block
            async with guard.deliveries(intake(broker)) as deliveries:
                async for _ in deliveries:
                    pass
        assert not broker.committed(GROUP)
        await assert_nothing_left(guard)


@in_virtual_time
async def test_entering_twice_is_an_error() -> None:
    """One turn of the loop is one attempt; so is one use of the deliveries."""
    broker = broker_with(2)
    async with quiet_guard() as guard, guard.deliveries(intake(broker)) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                pass
            with pytest.raises(CommandError, match="entered already"):
                await delivery.__aenter__()
            break
        with pytest.raises(CommandError, match="entered already: ask the guard for new ones"):
            await deliveries.__aenter__()


@in_virtual_time
async def test_looping_before_entering_is_an_error() -> None:
    """The deliveries themselves want `async with` first."""
    async with quiet_guard() as guard:
        with pytest.raises(CommandError, match="enter it first"):
            async for _ in guard.deliveries(intake(broker_with(1))):
                pass


@pytest.mark.parametrize("inside", [True, False])
@in_virtual_time
async def test_break_drains_quickly(inside: bool) -> None:
    """Out of the block it is a success, before the block the delivery keeps its place; neither waits for a timeout."""
    broker, payments = broker_with(5), dependency()
    async with quiet_guard() as guard:
        async with guard.deliveries(intake(broker), needs=[payments]) as deliveries:
            async for delivery in deliveries:
                if not inside:
                    break
                async with delivery:
                    break
        assert now() < 1
        assert guard.snapshot().dependencies["payments"].in_flight == 0
        assert broker.committed(GROUP) == ({ORDER: 1} if inside else {})
        await assert_nothing_left(guard)


@in_virtual_time
async def test_an_error_of_the_loops_own_goes_through_after_the_drain() -> None:
    """What the user raises outside the block is the user's."""
    async with quiet_guard() as guard:
        with pytest.raises(Down):  # noqa: PT012 - what is tested is a block
            async with guard.deliveries(intake(broker_with(3))) as deliveries:
                async for delivery in deliveries:
                    async with delivery:
                        pass
                    raise Down
        await assert_nothing_left(guard)


@in_virtual_time
async def test_cancelled_error_goes_through() -> None:
    """The task is cancelled in the block: no verdict, the message keeps its place, and the loop ends."""
    broker, payments, guard = broker_with(3), dependency(), quiet_guard()

    async def use() -> None:
        async with guard, guard.deliveries(intake(broker), needs=[payments]) as deliveries:
            async for delivery in deliveries:
                async with delivery:
                    await asyncio.sleep(3600)

    user = asyncio.create_task(use())
    await asyncio.sleep(1)
    user.cancel()
    await asyncio.wait({user})
    assert user.cancelled()
    assert now() < 2
    assert not broker.committed(GROUP)
    await assert_nothing_left(guard)


@in_virtual_time
async def test_a_time_limit_around_the_block_gets_the_same_delivery_again() -> None:
    """`asyncio.timeout` around the block cancels it: the loop that goes on must not lose the message."""
    broker, seen = broker_with(2), []
    async with quiet_guard() as guard, guard.deliveries(intake(broker)) as deliveries:
        async for delivery in deliveries:
            seen.append((delivery.position, delivery.attempt))
            try:
                async with asyncio.timeout(1), delivery:
                    await asyncio.sleep(0 if delivery.attempt > 1 else 10)
            except TimeoutError:
                continue
            if delivery.position == 1:
                break
    assert seen == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert broker.committed(GROUP) == {ORDER: 2}


@in_virtual_time
async def test_a_time_limit_around_waiting_loses_no_delivery() -> None:
    """Asking for the next one with a timeout, again and again: what comes in between is there the next time."""
    broker, seen = broker_with(0), []
    async with quiet_guard() as guard, guard.deliveries(intake(broker)) as deliveries:
        while len(seen) < 3:
            with anyio.move_on_after(1):
                delivery = await anext(deliveries)
                async with delivery:
                    seen.append(delivery.position)
            await asyncio.sleep(0.5)
            broker.produce("orders", b"")
            await asyncio.sleep(0.5)
    assert seen == [0, 1, 2]


@in_virtual_time
async def test_stop_ends_the_loop_after_the_block() -> None:
    """The running block may finish; then the loop ends by itself."""
    broker, seen = broker_with(3), []
    async with quiet_guard() as guard, guard.deliveries(intake(broker)) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                stop = asyncio.create_task(guard.stop()) if not seen else None
                await asyncio.sleep(5)
                seen.append(delivery.position)
        assert seen == [0]
        assert stop is not None
        assert broker.committed(GROUP) == {ORDER: 1}


@in_virtual_time
async def test_stop_in_the_block_and_beside_it() -> None:
    """Awaited inside the block it only asks; awaited before the block was entered, the delivery is taken back and nothing hangs."""
    for inside in (True, False):
        broker = broker_with(3)
        async with quiet_guard() as guard, guard.deliveries(intake(broker)) as deliveries:
            before = now()
            async for delivery in deliveries:
                if not inside:
                    await guard.stop()
                async with delivery:
                    if inside:
                        await guard.stop()
            assert now() - before < 1
            assert broker.committed(GROUP) == ({ORDER: 1} if inside else {})


@in_virtual_time
async def test_a_drain_interrupts_a_block_that_goes_on() -> None:
    """After the drain timeout the block is cancelled, nothing of that reaches the user, and the loop ends."""
    broker = broker_with(3)
    async with quiet_guard(drain_timeout=2.0) as guard, guard.deliveries(intake(broker)) as deliveries:
        stop = None
        async for delivery in deliveries:
            async with delivery:
                stop = asyncio.ensure_future(asyncio.shield(_stop(guard)))
                await asyncio.sleep(3600)
        assert 2.0 <= now() < 3
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
        assert stop is not None
    assert not broker.committed(GROUP)


async def _stop(guard: Any) -> None:
    await guard.stop()


@in_virtual_time
async def test_what_comes_of_a_lost_delivery_settles_nothing() -> None:
    """Lost before its block was entered: the block runs, its failure is nobody's, and the message comes again."""
    broker, seen, payments = broker_with(1), [], dependency()
    source = intake(broker)
    async with quiet_guard() as guard, guard.deliveries(source, needs=[payments]) as deliveries:
        async for delivery in deliveries:
            seen.append(delivery.attempt)
            if len(seen) == 1:
                broker.drop(source)
                await asyncio.sleep(0.1)
            async with delivery:
                if len(seen) == 1:
                    raise Down
            if len(seen) == 2:
                break
        assert seen == [1, 1]
        assert guard.snapshot().dependencies["payments"].failures == 0
    assert broker.committed(GROUP) == {ORDER: 1}


@in_virtual_time
async def test_lost_in_the_block_interrupts_it_and_the_loop_goes_on() -> None:
    """The block is cancelled, the loop gets the message again in its new assignment."""
    broker, seen = broker_with(1), []
    source = intake(broker)
    async with quiet_guard() as guard, guard.deliveries(source) as deliveries:
        async for delivery in deliveries:
            seen.append(delivery.attempt)
            async with delivery:
                if len(seen) == 1:
                    asyncio.get_running_loop().call_later(1, broker.drop, source)
                    await asyncio.sleep(3600)
            if len(seen) == 2:
                break
        assert now() < 2
    assert broker.committed(GROUP) == {ORDER: 1}


@in_virtual_time
async def test_given_while_nobody_waits_and_revoked_before_anybody_asks() -> None:
    """The wait was cancelled, a delivery was given, its source went away: the next one asked for is a live one."""
    broker, source = broker_with(0, partitions=2), None
    source = intake(broker)
    async with quiet_guard() as guard, guard.deliveries(source) as deliveries:
        with anyio.move_on_after(1):
            await anext(deliveries)
        broker.produce("orders", b"", partition=0)
        await asyncio.sleep(1)
        assert source.listener is not None
        await source.listener.revoked([ORDER])
        broker.produce("orders", b"", partition=1)
        delivery = await anext(deliveries)
        async with delivery:
            assert delivery.source == ORDERS[1]


@in_virtual_time
async def test_what_ends_the_intake_is_raised_by_the_loop() -> None:
    """The loop's next step raises it, once."""
    broker = broker_with(1)
    source = intake(broker)
    async with quiet_guard() as guard:
        with pytest.raises(IntakeError, match="not authorised"):  # noqa: PT012 - what is tested is a block
            async with guard.deliveries(source) as deliveries:
                async for delivery in deliveries:
                    async with delivery:
                        source.breaks["receive"] = IntakeError("not authorised")
        assert broker.committed(GROUP) == {ORDER: 1}


@in_virtual_time
async def test_an_end_that_fails_is_raised_by_leaving(caplog: pytest.LogCaptureFixture) -> None:
    """After a `break` nobody else would hear of it; with an error on the way it is logged instead."""
    source = intake(broker_with(1))
    async with quiet_guard() as guard:
        with pytest.raises(IntakeError, match="no goodbye"):
            async with guard.deliveries(source):
                source.breaks["close"] = IntakeError("no goodbye")
        source = intake(broker_with(1))
        with pytest.raises(Down):  # noqa: PT012 - what is tested is a block
            async with guard.deliveries(source):
                source.breaks["close"] = IntakeError("never again")
                raise Down
    assert "while it drained: never again" in caplog.text


@in_virtual_time
async def test_an_intake_that_cannot_open_is_raised_by_entering() -> None:
    """Nothing to loop over: the error comes where it can be seen."""
    source = intake(broker_with(1))
    source.breaks["open"] = IntakeError("no broker")
    async with quiet_guard() as guard:
        with pytest.raises(IntakeError, match="no broker"):
            async with guard.deliveries(source):
                pass
        await assert_nothing_left(guard)


@in_virtual_time
async def test_cancelled_while_entering_ends_the_run() -> None:
    """A slow broker and a caller who gives up: nothing goes on behind their back."""
    source = intake(broker_with(1))
    source.slow["open"] = 5.0
    async with quiet_guard() as guard:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), guard.deliveries(source):
                pass
        await assert_nothing_left(guard)
        assert source.closed == 1


@in_virtual_time
async def test_stopped_while_entering_gives_an_empty_loop() -> None:
    """The guard stops before the intake has opened: the loop has no turn."""
    source = intake(broker_with(1))
    source.slow["open"] = 5.0
    async with quiet_guard() as guard:
        asyncio.get_running_loop().call_later(1, guard._ask_to_stop)
        async with guard.deliveries(source) as deliveries:
            assert [delivery async for delivery in deliveries] == []


@in_virtual_time
async def test_a_cancellation_while_leaving_is_not_swallowed() -> None:
    """It interrupts what still runs, and goes through."""
    source, guard = intake(broker_with(1)), quiet_guard()
    source.slow["flush"] = 5.0

    async def use() -> None:
        async with guard:
            async with guard.deliveries(source):
                pass
            pytest.fail("a cancelled task went on")

    user = asyncio.create_task(use())
    await asyncio.sleep(1)
    user.cancel()
    await asyncio.wait({user})
    assert user.cancelled()
    await assert_nothing_left(guard)


@in_virtual_time
async def test_after_the_guard_has_stopped_no_loop_begins() -> None:
    """Deliveries made before, entered after."""
    async with quiet_guard() as guard:
        deliveries = guard.deliveries(intake(broker_with(1)))
        await guard.stop()
        with pytest.raises(GuardClosed):
            await deliveries.__aenter__()


@in_virtual_time
async def test_a_body_that_never_waits_lets_others_run() -> None:
    """Each turn of the loop is a step of the event loop, so that the poll is not kept out."""
    broker, seen, steps = broker_with(50), 0, []

    async def others() -> None:
        while seen < 50:
            steps.append(seen)
            await asyncio.sleep(0)

    async with quiet_guard() as guard, guard.deliveries(intake(broker)) as deliveries:
        beside = asyncio.create_task(others())
        async for delivery in deliveries:
            async with delivery:
                seen += 1
            if seen == 50:
                break
        await beside
    assert set(steps) == set(range(50))


@in_virtual_time
async def test_losing_its_own_source_cancels_nothing_that_comes_after_the_block() -> None:
    """The block brings the interruption about in its last step: the user's task must not be cancelled a moment later."""
    broker, seen = broker_with(1), []
    source = intake(broker)
    async with quiet_guard() as guard, guard.deliveries(source) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                seen.append(delivery.attempt)
                if len(seen) == 1:
                    assert source.listener is not None
                    source.listener.lost([ORDER])
                    broker.drop(source)
            await asyncio.sleep(1)
            if len(seen) == 2:
                break
    assert seen == [1, 1]
    assert broker.committed(GROUP) == {ORDER: 1}


@in_virtual_time
async def test_stopped_in_the_step_in_which_a_delivery_was_given() -> None:
    """Granted, but the guard stops before the loop wakes: it is handed back, and the loop ends."""
    broker, payments = broker_with(0), dependency()
    source = intake(broker)
    async with quiet_guard() as guard, guard.deliveries(source, needs=[payments]) as deliveries:
        waiting = asyncio.ensure_future(anext(deliveries, None))
        await asyncio.sleep(1)
        (worker,) = guard._workers
        broker.model.produce("orders", b"", 0.0)
        guard.engine.received(worker.run, list(source._side.take()))
        guard.turn()
        assert worker.lanes[0].delivery is not None
        guard._ask_to_stop()
        assert await waiting is None
        assert guard.snapshot().dependencies["payments"].in_flight == 0


@in_virtual_time
async def test_all_sources_take_turns_on_one_lane() -> None:
    """Two partitions: one block at a time, both served."""
    broker, seen = broker_with(6, partitions=2), []
    async with quiet_guard() as guard, guard.deliveries(MemoryIntake(broker, topics=["orders"])) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                seen.append(delivery.source.number)  # type: ignore[union-attr]
                await asyncio.sleep(0.1)
            if len(seen) == 6:
                break
    await until(lambda: True)
    assert sorted(seen) == [0, 0, 0, 1, 1, 1]
    assert seen[:2] in ([0, 1], [1, 0])


class Odd(BaseException):
    """No error of anybody's."""


async def cut_off(kind: str) -> None:
    """End the block in this way."""
    if kind == "by hand":
        raise asyncio.CancelledError
    if kind == "a child's":
        child = asyncio.ensure_future(asyncio.sleep(10))
        child.cancel()
        await child
    if kind == "a group":
        raise BaseExceptionGroup("several", [asyncio.CancelledError()])
    if kind == "a kind of its own":
        raise Odd
    await asyncio.sleep(3600)


@pytest.mark.parametrize("kind", ["by hand", "a child's", "a limit around the block", "a group", "a kind of its own"])
@in_virtual_time
async def test_a_block_that_is_cut_off_by_its_own_making_is_charged(kind: str) -> None:
    """It comes again so often as the policy says and is rejected then: uncounted it would come for ever."""
    broker, payments, attempts, dead = broker_with(2), Dependency("payments"), [], MemoryDeadLetters()

    retry = RetryPolicy(attempts=2)
    async with quiet_guard(payments) as guard:
        needs = [] if kind.startswith("a limit") else [payments]  # whose failure a TimeoutError would be
        async with guard.deliveries(intake(broker), needs=needs, retry=retry, dead_letters=dead) as deliveries:
            async for delivery in deliveries:
                attempts.append(delivery.position)
                with contextlib.suppress(TimeoutError, Odd):
                    async with asyncio.timeout(1 if kind.startswith("a limit") else None), delivery:
                        if delivery.position == 0:
                            await cut_off(kind)
                if delivery.position == 1:
                    break
        assert attempts == [0, 0, 1]
        assert [letter.attempts for letter in dead.letters] == [2]
        assert guard.snapshot().dependencies["payments"].failures == 0
        await assert_nothing_left(guard)


@in_virtual_time
async def test_a_time_limit_around_the_block_is_a_failure_of_what_it_needs() -> None:
    """A server that hangs opens the circuit, and the messages that met it are charged nothing."""
    broker, payments, dead = broker_with(3), Dependency("payments", failures=TimeoutError), MemoryDeadLetters()
    down = True
    async with quiet_guard(payments) as guard:
        circuit = guard.circuit("payments")
        run = guard.deliveries(intake(broker), needs=[payments], retry=RetryPolicy(attempts=1), dead_letters=dead)
        async with run as deliveries:
            async for delivery in deliveries:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1), delivery:
                        await asyncio.sleep(3600 if down else 0)
                down = down and circuit.state is State.CLOSED
                if delivery.position == 2 and not down:
                    break
    assert not dead.letters
    assert broker.committed(GROUP) == {ORDER: 3}


@in_virtual_time
async def test_a_loop_that_goes_on_though_its_task_is_being_cancelled_charges_nothing() -> None:
    """Somebody outside has cancelled it and has not taken it back: that may be the end of the program."""
    broker, attempts, dead = broker_with(1), [], MemoryDeadLetters()

    async def work() -> None:
        async with guard.deliveries(intake(broker), retry=RetryPolicy(attempts=1), dead_letters=dead) as deliveries:
            async for delivery in deliveries:
                attempts.append(delivery.position)
                with contextlib.suppress(asyncio.CancelledError):
                    async with delivery:
                        if len(attempts) == 3:
                            break
                        await asyncio.sleep(3600)

    async with quiet_guard() as guard:
        task = asyncio.create_task(work())
        for count in (1, 2):
            await until(lambda count=count: len(attempts) == count)
            task.cancel()
        await task
    assert attempts == [0, 0, 0]
    assert not dead.letters


@pytest.mark.parametrize("way_out", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
@in_virtual_time
async def test_what_ends_more_than_the_block_goes_through_it(way_out: BaseException) -> None:
    """The delivery is given back when the loop ends, and nothing is counted."""
    broker, dead = broker_with(1), MemoryDeadLetters()
    async with quiet_guard() as guard:
        with pytest.raises(type(way_out)) as caught:  # noqa: PT012 - what is tested is a block
            async with guard.deliveries(intake(broker), retry=RetryPolicy(attempts=1), dead_letters=dead) as deliveries:
                async for delivery in deliveries:
                    async with delivery:
                        raise way_out
        assert caught.value is way_out
        await assert_nothing_left(guard)
    assert not dead.letters
    assert not broker.committed(GROUP)
