from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from tests.runtime.stage import (
    GROUP,
    ORDERS,
    BreakingIntake,
    Handler,
    assert_nothing_left,
    broker_with,
    dependency,
    quiet_guard,
    running,
    until,
)

from holdgate import Delivery, Reject
from holdgate.errors import CommandError, IntakeError, SettingsError
from holdgate.flow.message import Queue
from holdgate.flow.plan import Plan
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]


def now() -> float:
    return asyncio.get_running_loop().time()


def breaking(broker: MemoryBroker, **settings: Any) -> BreakingIntake:
    return BreakingIntake(broker, topics=["orders"], **settings)


# -- opening ---------------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_intake_that_cannot_open_ends_the_run_with_its_error() -> None:
    """Nothing was consumed, the intake is closed, and the guard is as before."""
    source = breaking(broker_with(1))
    source.breaks["open"] = IntakeError("no such broker")
    async with quiet_guard() as guard:
        with pytest.raises(IntakeError, match="no such broker"):
            await guard.run(source, Handler())
        assert source.closed == 1
        await assert_nothing_left(guard)


@in_virtual_time
async def test_the_error_of_opening_comes_before_that_of_closing(caplog: pytest.LogCaptureFixture) -> None:
    """What a person must act on is raised; what followed from it is in the log."""
    source = breaking(broker_with(1))
    source.breaks = {"open": IntakeError("no such broker"), "close": IntakeError("no goodbye")}
    async with quiet_guard() as guard:
        with pytest.raises(IntakeError, match="no such broker"):
            await guard.run(source, Handler())
    assert "orders: another error while the run ended, IntakeError: no goodbye" in caplog.text


@in_virtual_time
async def test_cancelled_while_opening_ends_at_once() -> None:
    """Nothing is in hand, so no drain timeout is waited for; the intake is closed."""
    source = breaking(broker_with(1))
    source.slow["open"] = 3600.0
    async with quiet_guard() as guard, running(guard.run(source, Handler())) as run:
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
        assert run.cancelled()
        assert now() == 1.0
        assert source.closed == 1
        await assert_nothing_left(guard)


@in_virtual_time
async def test_stopped_while_opening_consumes_nothing() -> None:
    """The run ends at once, well, and before anything starts: a pod may go while its broker says nothing."""
    broker, handler = broker_with(3), Handler()
    source = breaking(broker)
    source.slow["open"] = 3600.0
    async with quiet_guard() as guard, running(guard.run(source, handler)) as run:
        await asyncio.sleep(1)
        await guard.stop()
        assert await run is None
        assert now() == 1.0
        assert not handler.started
    assert source.closed == 1


@in_virtual_time
async def test_what_an_opening_that_was_given_up_runs_into_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """It was cancelled in the middle of something: the run ends well, and no error is logged."""

    class Torn(BreakingIntake):
        async def open(self, listener: Any) -> None:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                raise IntakeError("torn apart") from None

    async with quiet_guard() as guard, running(guard.run(Torn(broker_with(1), topics=["orders"]), Handler())) as run:
        await asyncio.sleep(1)
        await guard.stop()
        assert await run is None
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@in_virtual_time
async def test_an_opening_that_ends_well_all_the_same_is_drained() -> None:
    """It was done in the very step in which the stop came: what it opened is closed in order."""

    class Swift(BreakingIntake):
        async def open(self, listener: Any) -> None:
            await super().open(listener)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(20)

    broker, handler = broker_with(3), Handler()
    source = Swift(broker, topics=["orders"])
    async with quiet_guard() as guard, running(guard.run(source, handler)) as run:
        await asyncio.sleep(1)
        await guard.stop()
        assert await run is None
        assert not handler.started
        assert source.closed == 1
        await assert_nothing_left(guard)


@in_virtual_time
async def test_opening_cancelled_by_the_client_is_an_error() -> None:
    """A CancelledError that nobody sent would end a task group's child in silence."""
    source = breaking(broker_with(1))
    source.breaks["open"] = asyncio.CancelledError()
    async with quiet_guard() as guard:
        with pytest.raises(IntakeError, match="opening was cancelled"):
            await guard.run(source, Handler())


@in_virtual_time
async def test_an_opening_that_does_not_let_go_is_left_behind() -> None:
    """A client that swallows its cancellation costs two seconds, not the shutdown."""

    class Stubborn(BreakingIntake):
        async def open(self, listener: Any) -> None:
            for _ in range(3):
                try:
                    await asyncio.sleep(20)
                except asyncio.CancelledError:
                    continue

    source = Stubborn(broker_with(1), topics=["orders"])
    async with quiet_guard(drain_timeout=1.0) as guard, running(guard.run(source, Handler())) as run:
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
        assert now() < 5
    await asyncio.sleep(100)


# -- the end of an intake --------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_receive_that_raises_ends_the_run_after_draining() -> None:
    """The running handler ends, is committed, and then the intake's error is raised."""
    broker, handler = broker_with(3), Handler(2.0)
    source = breaking(broker)
    async with quiet_guard() as guard, running(guard.run(source, handler)) as run:
        await until(lambda: handler.running == 1)
        source.breaks["receive"] = IntakeError("not authorised")
        with pytest.raises(IntakeError, match="not authorised"):
            await run
        assert handler.done == [("orders[0]", 0)]
        assert broker.committed(GROUP) == {ORDER: 1}
        await assert_nothing_left(guard)


@pytest.mark.parametrize("batch", [None, 2])
@in_virtual_time
async def test_a_receive_that_raises_ends_the_run_with_its_last_handler(batch: int | None) -> None:
    """And not with the drain timeout: nobody polls any more, and the handler's end is noticed all the same."""
    source = breaking(broker_with(4))
    began: list[float] = []

    async def handle(_: object) -> None:
        began.append(now())
        await asyncio.sleep(2.0)

    async with quiet_guard() as guard, running(guard.run(source, handle, batch=batch)) as run:
        await until(lambda: began != [])
        source.breaks["receive"] = IntakeError("not authorised")
        with pytest.raises(IntakeError, match="not authorised"):
            await run
        assert now() == pytest.approx(began[-1] + 2.0)
        assert len(began) == 1


@in_virtual_time
async def test_a_receive_that_is_cancelled_by_others_is_an_error() -> None:
    """Somebody cancelled all tasks of the loop but the run: it ends with an error that says so."""
    source = breaking(broker_with(1))
    async with quiet_guard() as guard, running(guard.run(source, Handler())) as run:
        await asyncio.sleep(1)
        next(task for task in asyncio.all_tasks() if task.get_name().startswith("holdgate poll")).cancel()
        with pytest.raises(IntakeError, match="poll was cancelled from outside"):
            await run


@in_virtual_time
async def test_a_receive_that_never_returns_does_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """It is given up after five seconds, which no poll timeout reaches."""
    source = breaking(broker_with(1))
    async with quiet_guard() as guard, running(guard.run(source, Handler())) as run:
        await asyncio.sleep(1)
        source.slow["receive"] = 1e6
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
        assert 6.9 < now() < 7.5
        await assert_nothing_left(guard)
    assert "a receive has not returned" in caplog.text


@pytest.mark.parametrize("method", ["flush", "close"])
@in_virtual_time
async def test_an_end_that_fails_is_raised_and_the_intake_closed(method: str) -> None:
    """The last commit may be lost: that is said, and everything else ends all the same."""
    source = breaking(broker_with(1))
    async with quiet_guard() as guard, running(guard.run(source, Handler())) as run:
        await asyncio.sleep(1)
        source.breaks[method] = IntakeError("broker gone")
        await guard.stop()
        with pytest.raises(IntakeError, match="broker gone"):
            await run
        assert source.closed == 1
        await assert_nothing_left(guard)


@pytest.mark.parametrize("method", ["apply", "settle"])
@in_virtual_time
async def test_an_intake_that_breaks_its_word_ends_its_run_alone(method: str) -> None:
    """`apply` and `settle` never raise; one that does ends its own run loudly, and not its sibling's turn."""
    broker, other = broker_with(1), Handler()
    source = breaking(broker, group="a")
    async with quiet_guard() as guard, running(guard.run(source, Handler())) as run, running(guard.run(breaking(broker), other)) as sibling:
        await until(lambda: len(other.done) == 1)
        source.breaks[method] = RuntimeError("broken adapter")
        broker.produce("orders", b"")
        guard.hold(ORDER, reason="test")
        guard.unhold(ORDER, reason="test")
        broker.produce("orders", b"")
        if method == "apply":
            guard.hold(ORDER, reason="test")
            await asyncio.sleep(0.1)
            guard.unhold(ORDER, reason="test")
        with pytest.raises(RuntimeError, match="broken adapter"):
            await run
        assert not sibling.done()
        await until(lambda: len(other.done) == 3)


# -- what the intake says --------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_revoked_waits_for_the_running_handler_and_its_commit() -> None:
    """Another member joins: the handler may finish, its work is committed, and nobody does it again."""
    broker, handler = broker_with(8, partitions=2), Handler(2.0)
    async with quiet_guard() as guard, running(guard.run(breaking(broker), handler)):
        await until(lambda: handler.running == 2)
        broker.add_member(GROUP)
        await until(lambda: len(broker.committed(GROUP)) == 2)
        assert handler.interrupted == 0
        assert broker.committed(GROUP) == {ORDERS[0]: 1, ORDERS[1]: 1}
        await asyncio.sleep(30)
        assert len(guard.snapshot().sources) == 1
        assert len(set(handler.done)) == len(handler.done)


@in_virtual_time
async def test_revoked_interrupts_after_half_the_rebalance_timeout() -> None:
    """A handler that takes longer is cancelled in time, so that the member is not thrown out."""
    broker, handler = broker_with(1), Handler(3600.0)
    async with quiet_guard() as guard, running(guard.run(breaking(broker, rebalance_timeout=10.0), handler)):
        await until(lambda: handler.running == 1)
        began = now()
        broker.rebalance(GROUP)
        await until(lambda: handler.interrupted == 1)
        assert 4.9 < now() - began < 5.2
        await until(lambda: handler.running == 1)  # the same message again, in the new assignment
        assert handler.started == [("orders[0]", 0)] * 2
        assert not broker.ledger.positions("lost", ORDER)
        assert guard.engine.gates == {}


@in_virtual_time
async def test_revoked_that_is_cancelled_forgets_the_sources_all_the_same() -> None:
    """An intake whose patience is over cancels the callback; its sources must not stay as ghosts."""
    source, handler = breaking(broker_with(1)), Handler(3.0)
    async with quiet_guard() as guard, running(guard.run(source, handler)):
        await until(lambda: handler.running == 1)
        assert source.listener is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await source.listener.revoked([ORDER])
        assert not guard.snapshot().sources
        await asyncio.sleep(5)
        assert handler.done == [("orders[0]", 0)]


@in_virtual_time
async def test_revoked_with_nothing_running_returns_at_once() -> None:
    """What only waits is dropped, without a wait; unknown sources are ignored."""
    source = breaking(broker_with(0))
    async with quiet_guard() as guard, running(guard.run(source, Handler())):
        await asyncio.sleep(1)
        assert source.listener is not None
        before = now()
        await source.listener.revoked([ORDER, ORDERS[1]])
        assert now() == before


@in_virtual_time
async def test_lost_interrupts_and_settles_nothing() -> None:
    """Evicted while a handler runs: it is cancelled, gives no verdict, and the message comes again."""
    broker, handler, payments = broker_with(1), Handler(2.0), dependency()
    source = breaking(broker)
    async with quiet_guard() as guard, running(guard.run(source, handler, needs=[payments])):
        await until(lambda: handler.running == 1)
        broker.drop(source)
        await until(lambda: handler.interrupted == 1)
        assert not broker.committed(GROUP)
        await until(lambda: broker.committed(GROUP) == {ORDER: 1})
        assert handler.started == [("orders[0]", 0)] * 2
        snapshot = guard.snapshot().dependencies["payments"]
        assert (snapshot.calls, snapshot.in_flight, snapshot.late_results) == (1, 0, 0)


@in_virtual_time
async def test_lost_while_the_handler_swallows_its_cancellation() -> None:
    """Its late return settles nothing, its permit comes back, and the lane works on."""
    broker, ends = broker_with(1), []

    async def handler(delivery: Delivery[Any]) -> None:
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            await asyncio.sleep(5)
        ends.append(delivery.position)

    source, payments = breaking(broker), dependency()
    async with quiet_guard() as guard, running(guard.run(source, handler, needs=[payments], concurrency=4)):
        await asyncio.sleep(1)
        broker.drop(source)
        await asyncio.sleep(20)
        assert ends == [0, 0]
        assert broker.committed(GROUP) == {ORDER: 1}
        assert guard.snapshot().dependencies["payments"].in_flight == 0


@in_virtual_time
async def test_a_granted_delivery_is_handed_back_when_its_source_goes_before_it_starts() -> None:
    """Between the grant and the lane's next step the source is revoked: the permit returns, the handler never sees it."""
    broker, handler, payments = broker_with(0), Handler(), dependency()
    source = breaking(broker)
    async with quiet_guard() as guard, running(guard.run(source, handler, needs=[payments])):
        await asyncio.sleep(1)
        (worker,) = guard._workers
        delivery = await _received(source, broker)
        guard.engine.received(worker.run, [delivery])
        guard.turn()
        assert guard.snapshot().dependencies["payments"].in_flight == 1
        assert source.listener is not None
        await source.listener.revoked([ORDER])
        assert guard.snapshot().dependencies["payments"].in_flight == 0
        assert not handler.started


async def _received(source: BreakingIntake, broker: MemoryBroker) -> Delivery[Any]:
    """One delivery taken out of the intake by hand, in this very step."""
    broker.model.produce("orders", b"", 0.0)
    (delivery,) = source._side.take()
    return delivery


@in_virtual_time
async def test_assigned_again_without_revoked_interrupts_what_ran_before() -> None:
    """The earlier epoch's handler is cancelled and settles nothing; the new assignment starts afresh."""
    source, handler = breaking(broker_with(1)), Handler(3600.0)
    async with quiet_guard() as guard, running(guard.run(source, handler)):
        await until(lambda: handler.running == 1)
        assert source.listener is not None
        plan = source.listener.assigned([ORDER])
        assert isinstance(plan, Plan)
        assert plan.of(ORDER).fetch
        await asyncio.sleep(0.1)
        assert handler.interrupted == 1
        assert guard.snapshot().sources[ORDER].in_flight == 0


@in_virtual_time
async def test_a_queue_ordered_by_key_needs_a_key() -> None:
    """RabbitMQ's messages have none, and without one every message would be free: refused before anything is consumed."""
    broker = MemoryBroker(queues=["mails"])
    broker.produce("mails", b"")
    handler = Handler()
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match=r"order=\"key\" needs key= for \['mails'\]"):
            await guard.run(MemoryIntake(broker, queues=["mails"]), handler, order="key")
        assert not handler.started
        assert len(broker.waiting(Queue("mails"))) == 1


@in_virtual_time
async def test_stuck_handlers_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that ignores its cancellation is left behind, by name, and ends nothing but itself."""
    broker, ends = broker_with(2), []

    async def handler(delivery: Delivery[Any]) -> None:
        while not ends:
            try:
                await asyncio.sleep(30)
                ends.append(delivery.position)
            except asyncio.CancelledError:
                pass

    async with quiet_guard(drain_timeout=3.0) as guard, running(guard.run(breaking(broker), handler)) as run:
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
        assert 5.9 < now() < 6.5
        assert "do not end although they were cancelled: <MemoryDelivery orders[0]@0 attempt=1>" in caplog.text
    await asyncio.sleep(60)
    assert ends == [0]
    assert not broker.committed(GROUP)
    await assert_nothing_left(guard)


@in_virtual_time
async def test_messages_whose_handlers_are_cut_off_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """Those that come again, by source and position: not one whose handler ends well though it is cancelled, and not those that wait."""
    broker = broker_with(6, partitions=3)

    async def handler(delivery: Delivery[Any]) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if delivery.source == ORDERS[1]:
                return
            raise

    async with quiet_guard(drain_timeout=3.0) as guard, running(guard.run(breaking(broker), handler)) as run:
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
    why = "orders: drain_timeout (3 s) is over, and handlers were cut off."
    assert f"{why} Not settled, so these messages come again: orders[0]@0, orders[2]@0." in caplog.messages
    assert broker.committed(GROUP) == {ORDERS[1]: 1}


@in_virtual_time
async def test_of_a_batch_that_is_cut_off_its_begin_and_its_number_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """Five hundred positions would be no line that anybody reads."""
    broker = broker_with(4)

    async def handler(_: Sequence[Delivery[Any]]) -> None:
        await asyncio.sleep(3600)

    async with quiet_guard(drain_timeout=3.0) as guard, running(guard.run(breaking(broker), handler, batch=4)) as run:
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
    assert "these messages come again: orders[0]@0 and 3 after it." in caplog.text


@in_virtual_time
async def test_a_second_cancellation_names_them_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody wants that: no warning."""
    caplog.set_level(logging.INFO, "holdgate")
    async with quiet_guard() as guard, running(guard.run(breaking(broker_with(1)), Handler(3600.0))) as run:
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.wait({run})
    (found,) = [record for record in caplog.records if "handlers were cut off" in record.message]
    assert found.levelno == logging.INFO
    assert found.message.startswith("orders: it ends immediately, and handlers were cut off.")


@in_virtual_time
async def test_a_slip_in_the_handler_ends_the_run_with_its_remedy(caplog: pytest.LogCaptureFixture) -> None:
    """It will be the same at each try: neither tried for ever nor charged to the message, and nothing is committed."""
    payments = dependency()
    broker = broker_with(1)

    async def charge(_: Delivery[Any]) -> None:
        await payments.call(asyncio.sleep(0))  # type: ignore[arg-type]

    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match="write call"):
            await guard.run(breaking(broker), charge, needs=[payments])
    assert not broker.committed(GROUP)
    assert "orders[0]: the handler must be fixed: call" in caplog.text


@in_virtual_time
async def test_a_name_that_only_the_clients_message_has_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is Python's own, which knows no remedy."""

    async def charge(delivery: Delivery[Any]) -> None:
        delivery.number  # type: ignore[attr-defined]  # noqa: B018

    async with quiet_guard() as guard, running(guard.run(breaking(broker_with(1)), charge)):
        await until(lambda: "blocked" in caplog.text)
    assert "orders[0]: the handler must be fixed: MemoryDelivery has no attribute 'number': it has source, message" in caplog.text


@in_virtual_time
async def test_a_command_that_cannot_be_done_ends_the_run_of_the_handler_that_gave_it() -> None:
    """It is a slip of the same kind, and no message is charged for it."""
    broker = broker_with(1)
    async with quiet_guard() as guard:

        async def hold(_: Delivery[Any]) -> None:
            guard.hold("ordres", reason="test")

        with pytest.raises(CommandError, match="no topic or queue named 'ordres' is read here; these are: orders"):
            await guard.run(breaking(broker), hold)
    assert not broker.committed(GROUP)


@in_virtual_time
async def test_a_word_of_the_handler_is_no_slip(caplog: pytest.LogCaptureFixture) -> None:
    """A rejection's reason is the handler's own text, which may quote the message: it is not logged, and nothing has to be mended."""
    reason = f"card {4711}"

    async def charge(_: Delivery[Any]) -> None:
        raise Reject(reason)

    async with quiet_guard() as guard, running(guard.run(breaking(broker_with(1)), charge)):
        await until(lambda: "blocked" in caplog.text)
    assert "must be fixed" not in caplog.text
    assert reason not in caplog.text


@in_virtual_time
async def test_a_start_error_comes_without_the_steps_that_led_to_it(caplog: pytest.LogCaptureFixture) -> None:
    """They would be a hundred lines around our sentence. The cause is there, and at DEBUG the steps."""
    caplog.set_level(logging.DEBUG, logger="holdgate")

    class Unreachable(BreakingIntake):
        async def open(self, listener: Any) -> None:
            try:
                await asyncio.sleep(0)
                raise ConnectionRefusedError
            except ConnectionRefusedError as error:
                raise IntakeError("no broker answers") from error

    with pytest.raises(IntakeError, match="no broker answers") as caught:
        async with quiet_guard() as guard:
            await guard.run(Unreachable(broker_with(0), topics=["orders"]), Handler())

    steps = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "open" not in steps
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert caught.value.__cause__.__traceback__ is None
    assert any(record.exc_info is not None for record in caplog.records)


@in_virtual_time
async def test_what_is_not_ours_keeps_its_steps() -> None:
    """A mistake in an intake must be found."""
    intake = BreakingIntake(broker_with(0), topics=["orders"])
    intake.breaks["open"] = ZeroDivisionError("a mistake")
    with pytest.raises(ZeroDivisionError) as caught:
        async with quiet_guard() as guard:
            await guard.run(intake, Handler())

    assert "_meet" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
