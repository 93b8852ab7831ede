from __future__ import annotations

import asyncio
from typing import Any

from tests.runtime.stage import ORDERS, BreakingIntake, Down, Handler, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, Partition, State
from holdgate.runtime.health import Health
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]


def intake(broker: MemoryBroker, **settings: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"], **settings)


async def watched(guard: Any, seconds: float, every: float = 10.0) -> Health:
    """Ask as a probe does; returns the last answer."""
    for _ in range(int(seconds / every)):
        await asyncio.sleep(every)
        guard.health()
    return guard.health()


@in_virtual_time
async def test_from_starting_to_ok_to_stopping() -> None:
    """Started and ready from the first assignment on; stopping is alive and not ready."""
    source = BreakingIntake(broker_with(1), topics=["orders"])
    source.slow["open"] = 5.0
    async with quiet_guard() as guard:
        assert guard.health() == Health(live=True, ready=False, started=False, status="starting", reasons=())
        async with running(guard.run(source, Handler())):
            await asyncio.sleep(1)
            assert guard.health() == Health(live=True, ready=False, started=False, status="starting", reasons=())
            await asyncio.sleep(5)
            assert guard.health() == Health(live=True, ready=True, started=True, status="ok", reasons=())
            await guard.stop()
            health = guard.health()
            assert (health.live, health.ready, health.started, health.status) == (True, False, True, "stopping")


@in_virtual_time
async def test_an_empty_assignment_is_a_start() -> None:
    """More members than partitions: the spare one is ready."""
    broker = broker_with(0)
    other = quiet_guard()
    async with other, quiet_guard() as guard, running(other.run(intake(broker), Handler())), running(guard.run(intake(broker), Handler())):
        await asyncio.sleep(1)
        assert not guard.snapshot().sources
        assert guard.health().status == "ok"


@in_virtual_time
async def test_a_second_run_does_not_take_the_start_back() -> None:
    """A startup probe that has succeeded is never asked again, and readiness must not flap."""
    broker = broker_with(0)
    late = BreakingIntake(broker, topics=["orders"], group="late")
    late.slow["open"] = 60.0
    async with quiet_guard() as guard, running(guard.run(intake(broker), Handler())):
        await asyncio.sleep(1)
        assert guard.health().started
        async with running(guard.run(late, Handler())):
            await asyncio.sleep(1)
            assert guard.health().status == "ok"
            late.slow.clear()


@in_virtual_time
async def test_two_runs_start_together() -> None:
    """Started means all of them, the first time."""
    broker = broker_with(0)
    late = BreakingIntake(broker, topics=["orders"], group="late")
    late.slow["open"] = 60.0
    async with quiet_guard() as guard, running(guard.run(intake(broker), Handler())), running(guard.run(late, Handler())):
        await asyncio.sleep(1)
        assert not guard.health().started
        await asyncio.sleep(60)
        assert guard.health().started


@in_virtual_time
async def test_an_open_circuit_is_degraded_ready_and_alive() -> None:
    """For as long as the outage lasts; the reasons say what holds how much."""
    broker, handler, payments = broker_with(4, partitions=2), Handler(down=True), dependency()
    async with quiet_guard(payments) as guard, running(guard.run(intake(broker), handler, needs=[payments])):
        await until(lambda: guard.circuit("payments").state is State.OPEN)
        reasons = ("circuit:payments is OPEN", "circuit:payments holds 2 of 2 sources")
        assert guard.health() == Health(live=True, ready=True, started=True, status="degraded", reasons=reasons)
        assert (await watched(guard, 400)).live
        guard.circuit("payments").force_open(guard.now())
        guard.wake()
        guard.hold(ORDER, reason="test")
        await asyncio.sleep(0.1)
        assert guard.health().reasons == (
            "circuit:payments is FORCED_OPEN",
            "circuit:payments holds 2 of 2 sources",
            "operator holds 1 of 2 sources",
        )
        assert (await watched(guard, 400)).live


@in_virtual_time
async def test_a_source_that_stands_still_is_not_alive() -> None:
    """A handler that never ends, with others waiting behind it: after `stall_after` the process should be restarted, and says why."""
    broker, handler = broker_with(3), Handler(1e6)
    async with quiet_guard(stall_after=60.0, drain_timeout=1.0) as guard, running(guard.run(intake(broker), handler)):
        assert (await watched(guard, 60)).live
        health = await watched(guard, 30)
        assert not health.live
        assert (health.ready, health.status) == (True, "degraded")
        assert health.reasons == ("orders[0]: 2 waiting, and nothing has ended for 80 s",)


@in_virtual_time
async def test_one_stuck_source_among_busy_ones_is_seen() -> None:
    """Progress is counted by source, not for the process."""
    broker = broker_with(0, partitions=2)

    async def handler(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(1e6 if delivery.source == ORDER else 1)

    for number in range(400):
        broker.produce("orders", b"", partition=number % 2)
    async with quiet_guard(stall_after=60.0, drain_timeout=1.0) as guard, running(guard.run(intake(broker), handler)):
        health = await watched(guard, 100)
        assert [reason.split(":")[0] for reason in health.reasons] == ["orders[0]"]


@in_virtual_time
async def test_a_slow_source_is_alive() -> None:
    """Each message takes most of `stall_after`: it moves."""
    broker, handler = broker_with(20), Handler(50.0)
    async with quiet_guard(stall_after=60.0, drain_timeout=60.0) as guard, running(guard.run(intake(broker), handler)):
        assert (await watched(guard, 800)).live


@in_virtual_time
async def test_a_long_handler_with_nothing_behind_it_is_alive() -> None:
    """There is no backlog here that a restart would help."""
    broker, handler = broker_with(1), Handler(1e6)
    async with quiet_guard(stall_after=60.0, drain_timeout=1.0) as guard, running(guard.run(intake(broker), handler)):
        health = await watched(guard, 200)
        assert (health.live, health.status) == (True, "ok")


@in_virtual_time
async def test_a_message_that_is_retried_is_no_stall() -> None:
    """It waits for its backoff with others behind it: a restart would change nothing."""
    broker, handler = broker_with(5), Handler(down=True)
    payments = dependency()
    async with quiet_guard(payments, stall_after=20.0) as guard, running(guard.run(intake(broker), handler, needs=[payments])):
        guard.circuit("payments").disable(guard.now())
        health = await watched(guard, 600, every=1.0)
        assert health.live
        assert health.reasons == ("circuit:payments is DISABLED",)
        handler.down = False
        await until(lambda: len(handler.done) == 5)


@in_virtual_time
async def test_a_ramp_is_no_stall() -> None:
    """In half-open a slow probe holds everybody else up: that is the dependency's affair."""
    broker, handler, payments = broker_with(10, partitions=2), Handler(down=True), dependency()
    guard = quiet_guard(payments, stall_after=20.0, drain_timeout=1.0)
    async with guard, running(guard.run(intake(broker), handler, needs=[payments])):
        await until(lambda: guard.circuit("payments").state is State.OPEN)
        handler.seconds, handler.down = 100.0, False
        await until(lambda: guard.circuit("payments").state is State.HALF_OPEN)
        health = await watched(guard, 90)
        assert guard.circuit("payments").state is State.HALF_OPEN
        assert (health.live, health.status) == (True, "degraded")


@in_virtual_time
async def test_a_poll_that_does_not_come_back_is_not_alive() -> None:
    """Whatever the broker does, a receive returns after its poll timeout."""
    source = BreakingIntake(broker_with(1), topics=["orders"])
    async with quiet_guard(stall_after=60.0) as guard, running(guard.run(source, Handler())):
        await asyncio.sleep(1)
        source.slow["receive"] = 1e6
        assert (await watched(guard, 50)).live
        health = await watched(guard, 20)
        assert not health.live
        assert health.reasons[0].startswith("orders: no poll has returned for ")


@in_virtual_time
async def test_what_it_remembers_goes_with_the_assignment() -> None:
    """After a rebalance the clock of a source starts again, and nothing of the earlier one is kept."""
    broker, handler = broker_with(3), Handler(1e6)
    async with quiet_guard(stall_after=60.0, drain_timeout=1.0) as guard, running(guard.run(intake(broker), handler)):
        await watched(guard, 50)
        broker.rebalance("holdgate")
        assert (await watched(guard, 50)).live
        assert len(guard._pulse._seen) == 1
        assert next(iter(guard._pulse._seen)).source == Partition("orders", 0)


@in_virtual_time
async def test_a_source_that_only_sometimes_fails_is_ok() -> None:
    """Below every threshold there is nothing to say."""
    broker = broker_with(20)

    async def handler(delivery: Delivery[Any]) -> None:
        if delivery.position == 3 and delivery.attempt == 1:
            raise Down

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, needs=[dependency()])):
        await asyncio.sleep(60)
        assert guard.health() == Health(live=True, ready=True, started=True, status="ok", reasons=())
