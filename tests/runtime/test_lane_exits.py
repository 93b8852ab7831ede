"""`sys.exit()` and KeyboardInterrupt in a handler: the process ends promptly, with the right code, and nothing is lost or left pending."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, BreakingIntake, Handler, assert_nothing_left, broker_with, dependency, quiet_guard, until

from holdgate import Delivery
from holdgate.runtime.lane import exit_in
from holdgate.testing import MemoryIntake, run_virtual

WORKER = """
import asyncio, logging, sys
from holdgate import Guard
from holdgate.testing import MemoryBroker, MemoryIntake

way = sys.argv[1]
logging.basicConfig(level=logging.WARNING)


async def child():
    sys.exit(3)


async def busy():
    try:
        await asyncio.sleep(3600)
    finally:
        print("let go", flush=True)


def plain(delivery):
    if delivery.position == 1:
        sys.exit(3)


async def handler(delivery):
    if delivery.source.number == 1:
        await busy()
    elif delivery.position == 1:
        await asyncio.sleep(0.1)
        if way == "in a child":
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
        elif way == "in a group":
            raise BaseExceptionGroup("two", [ValueError(), BaseExceptionGroup("one", [SystemExit(3)])])
        elif way == "interrupt":
            raise KeyboardInterrupt
        sys.exit(3)


async def run(guard, topic):
    broker = MemoryBroker(topics={topic: 1 if way == "plain" else 2})
    for number in range(6):
        broker.produce(topic, b"", partition=0 if way == "plain" else number % 2)
    intake = MemoryIntake(broker, topics=[topic])
    if way != "loop":
        await guard.run(intake, plain if way == "plain" else handler)
        return
    async with guard.deliveries(intake) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                sys.exit(3)


async def main():
    async with Guard(drain_timeout=600) as guard:  # whoever waits for it fails
        if way == "two runs":
            async with asyncio.TaskGroup() as group:
                for topic in ("orders", "mails"):
                    group.create_task(run(guard, topic))
        await run(guard, "orders")


asyncio.run(main())
"""


def exits(way: str) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run([sys.executable, "-c", WORKER, way], capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout.count("let go") == {"plain": 0, "loop": 0, "two runs": 2}.get(way, 1)
    return ended


@pytest.mark.parametrize("way", ["coroutine", "plain", "in a group", "loop"])
def test_the_process_ends_promptly_with_its_code_and_in_silence(way: str) -> None:
    """Not after the drain timeout: what runs elsewhere is interrupted at once, and no task is left for asyncio to complain of."""
    ended = exits(way)
    assert ended.returncode == 3
    of_the_run = ("no dead_letters given", "needs nothing declared", "orders stopped: 2 sources given back")
    assert [line for line in ended.stderr.splitlines() if not any(text in line for text in of_the_run)] == []


@pytest.mark.parametrize("way", ["in a child", "two runs"])
def test_where_a_task_of_the_users_own_exits_no_task_of_ours_is_left(way: str) -> None:
    """SystemExit in any task but the main one stops the loop there and then, and asyncio itself complains of the others."""
    ended = exits(way)
    assert ended.returncode == 3
    told = ended.stderr.replace(sys.base_prefix, "")  # a Python that was brought here lies in a folder of that name
    assert not [line for line in told.splitlines() if line.startswith("task: <Task") and "holdgate" in line]


def test_keyboard_interrupt_is_an_exit_too() -> None:
    """It ends as Python ends it: killed by SIGINT, after what runs elsewhere was interrupted."""
    ended = exits("interrupt")
    assert ended.returncode == -signal.SIGINT
    assert "pending" not in ended.stderr


def main_of(source: MemoryIntake, handler: Any, **settings: Any) -> Any:
    async def main() -> None:
        async with quiet_guard() as guard:
            try:
                await guard.run(source, handler, needs=[dependency()], **settings)
            finally:
                await assert_nothing_left(guard)

    return main()


@pytest.mark.parametrize("way_out", [SystemExit(3), KeyboardInterrupt()])
def test_what_is_finished_is_committed_and_the_rest_comes_again(way_out: BaseException) -> None:
    """The message that asked for the exit keeps its place, and nothing starts any more."""
    broker, started = broker_with(5), []

    async def handler(delivery: Delivery[Any]) -> None:
        started.append(delivery.position)
        await asyncio.sleep(0.01)
        if delivery.position == 2:
            raise way_out

    source = BreakingIntake(broker, topics=["orders"])
    with pytest.raises(type(way_out)) as caught:
        run_virtual(main_of(source, handler))
    assert caught.value is way_out
    assert started == [0, 1, 2]
    assert broker.committed(GROUP) == {ORDERS[0]: 2}
    assert source.closed == 1


def test_an_exit_in_a_fallback_ends_the_run_as_well() -> None:
    """It is user code like a handler."""
    broker, payments = broker_with(2), dependency()

    async def leave(delivery: Delivery[Any]) -> None:
        sys.exit(4)

    async def main() -> None:
        async with quiet_guard(payments) as guard:
            guard.circuit("payments").open_for(100.0, guard.now())
            await guard.run(MemoryIntake(broker, topics=["orders"]), Handler(), needs=[payments], fallback=leave)

    with pytest.raises(SystemExit) as caught:
        run_virtual(main())
    assert caught.value.code == 4
    assert not broker.committed(GROUP)


def test_an_exit_while_the_run_is_cancelled_is_not_lost() -> None:
    """The caller has cancelled, and a handler that drains ends the process: its code is what counts."""
    broker = broker_with(1)

    async def handler(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(2)
        sys.exit(5)

    async def main() -> None:
        async with quiet_guard() as guard, asyncio.timeout(1):
            await guard.run(MemoryIntake(broker, topics=["orders"]), handler)

    with pytest.raises(SystemExit) as caught:
        run_virtual(main())
    assert caught.value.code == 5


def test_a_handler_that_exits_when_it_is_interrupted_is_heard() -> None:
    """The drain is over, the handler is cancelled, and calls sys.exit in its clean-up."""
    broker = broker_with(1)

    async def handler(delivery: Delivery[Any]) -> None:
        stopping.append(asyncio.create_task(guard.stop()))
        try:
            await asyncio.sleep(3600)
        finally:
            sys.exit(6)

    stopping: list[asyncio.Task[None]] = []
    guard = quiet_guard(drain_timeout=1.0)

    async def main() -> None:
        async with guard:
            await guard.run(MemoryIntake(broker, topics=["orders"]), handler)

    with pytest.raises(SystemExit) as caught:
        run_virtual(main())
    assert caught.value.code == 6


def test_leaving_the_guard_by_an_exit_waits_for_no_handler() -> None:
    """`sys.exit()` beside the runs: they are interrupted, and not drained for 25 s."""
    broker, handler = broker_with(1), Handler(3600.0)
    ended: list[float] = []

    async def main() -> None:
        run: asyncio.Task[None] | None = None
        try:
            async with quiet_guard() as guard:
                run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handler))
                await until(lambda: handler.running == 1)
                sys.exit(7)
        finally:
            ended.append(asyncio.get_running_loop().time())
            assert run is not None
            assert run.done()

    with pytest.raises(SystemExit):
        run_virtual(main())
    assert handler.interrupted == 1
    assert ended[0] < 5


def test_an_exit_is_found_in_groups_of_any_depth() -> None:
    """The first one, in the order of the members; everything else lets the process go on."""
    first, second = SystemExit(1), KeyboardInterrupt()
    deep = BaseExceptionGroup("a", [ValueError(), BaseExceptionGroup("b", [asyncio.CancelledError(), first]), second])
    assert exit_in(deep) is first
    assert exit_in(second) is second
    for other in (None, ValueError(), asyncio.CancelledError(), GeneratorExit(), ExceptionGroup("c", [ValueError()])):
        assert exit_in(other) is None
