"""Time for tests: the manual clock, and the loop whose time jumps."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading

import pytest

from holdgate.testing import LoopClock, ManualClock, Stalled, VirtualEventLoop, in_virtual_time, run_virtual

HOUR = 3600.0


def test_a_manual_clock_stands_still() -> None:
    """It shows its start until it is moved, and then that much more."""
    clock = ManualClock(5.0)
    before = (clock.now(), clock.now())
    clock.advance(2.5)
    clock.advance(0)

    assert (before, clock.now()) == ((5.0, 5.0), 7.5)


def test_a_manual_clock_never_goes_back() -> None:
    """Monotonic time does not, and code under test relies on it."""
    clock = ManualClock()
    with pytest.raises(ValueError, match="cannot go back by 1 s"):
        clock.advance(-1)


@pytest.mark.parametrize("clock", [ManualClock, LoopClock])
def test_draws_are_the_middle_unless_given(clock: type[ManualClock | LoopClock]) -> None:
    """The middle is no jitter; given ones come in turn, and from the beginning again."""
    assert [clock().draw() for _ in range(2)] == [0.5, 0.5]
    given = clock(draws=(0.1, 0.9))
    assert [given.draw() for _ in range(3)] == [0.1, 0.9, 0.1]


@pytest.mark.parametrize("draws", [(), (1.0,), (0.5, -0.1)])
@pytest.mark.parametrize("clock", [ManualClock, LoopClock])
def test_draws_are_chances(clock: type[ManualClock | LoopClock], draws: tuple[float, ...]) -> None:
    """None at all, or one outside [0, 1), is refused."""
    with pytest.raises(ValueError, match="up to, but not, 1"):
        clock(draws=draws)


def test_a_sleep_takes_its_time_on_the_loops_clock() -> None:
    """The loop begins at second 0, and an hour later it shows an hour."""

    async def main() -> tuple[float, float, float]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(HOUR)
        return start, loop.time(), LoopClock().now()

    assert run_virtual(main()) == (0.0, HOUR, HOUR)


def test_a_loop_clock_needs_a_loop() -> None:
    """Without one there is no time to show."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        LoopClock().now()


def test_a_thread_sees_the_time_of_the_loop_that_used_the_clock() -> None:
    """A plain handler's call form asks for it there."""
    clock = LoopClock()

    async def main() -> tuple[float, float]:
        await asyncio.sleep(HOUR)
        return clock.now(), await asyncio.to_thread(clock.now)

    assert run_virtual(main()) == (HOUR, HOUR)


def test_timers_fire_in_the_order_of_their_time() -> None:
    """Also when they were set in another one, and those set meanwhile find their place."""

    async def main() -> list[str]:
        order: list[str] = []

        async def at(second: float, name: str) -> None:
            await asyncio.sleep(second)
            order.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(at(HOUR, "late"))
            group.create_task(at(1, "early"))
            await asyncio.sleep(2)
            group.create_task(at(5, "between"))
        return order

    assert run_virtual(main()) == ["early", "between", "late"]


def test_a_timeout_comes_when_it_is_due() -> None:
    """And not before: what is quicker is not interrupted."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        times = []
        async with asyncio.timeout(10):
            await asyncio.sleep(9)
        times.append(loop.time())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(11)
        times.append(loop.time())
        return times

    assert run_virtual(main()) == [9.0, 19.0]


def test_time_does_not_jump_while_tasks_can_run() -> None:
    """A thousand turns of the loop take no time at all."""

    async def main() -> float:
        timer = asyncio.get_running_loop().call_later(1, lambda: None)
        for _ in range(1000):
            await asyncio.sleep(0)
        timer.cancel()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 0.0


def test_what_raises_goes_through() -> None:
    """As with asyncio.run."""

    async def main() -> None:
        raise LookupError("from main")

    with pytest.raises(LookupError, match="from main"):
        run_virtual(main())


def test_waiting_for_nothing_is_an_error_and_no_hang() -> None:
    """No timer, no thread, no socket: nobody will ever resolve that future."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stalled, match="a future that nobody resolves"):
        run_virtual(main())


def test_a_thread_is_waited_for_in_real_time() -> None:
    """No timer is set: whatever the thread takes, the loop waits for its answer."""
    release = threading.Event()

    async def main() -> str:
        asyncio.get_running_loop().call_soon(release.set)
        return await asyncio.to_thread(lambda: "answered" if release.wait(10) else "never released")

    assert run_virtual(main()) == "answered"


def test_a_quick_thread_is_quicker_than_any_timer() -> None:
    """Time does not jump over its answer: a timeout of a minute is not due while it works for a moment."""

    async def main() -> float:
        async with asyncio.timeout(60):
            await asyncio.to_thread(sum, range(10))
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) < 60


def test_a_thread_that_never_answers_is_a_stall() -> None:
    """Threads that only stand about do not make it wait for ever."""
    release = threading.Event()
    bystander = threading.Thread(target=release.wait, daemon=True)

    async def main() -> None:
        bystander.start()
        await asyncio.get_running_loop().create_future()

    with asyncio.Runner(loop_factory=lambda: VirtualEventLoop(stall_patience=0.01)) as runner, pytest.raises(Stalled):
        runner.run(main())
    release.set()
    bystander.join()


def test_sockets_keep_real_time() -> None:
    """A message through one arrives though no timer is set, and is not overtaken by one that is."""

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            there.setblocking(False)
            received = []
            for timeout in (None, 60):
                reading = loop.create_task(loop.sock_recv(here, 10))
                await asyncio.sleep(0)
                writer = threading.Thread(target=there.send, args=(b"x",))
                writer.start()
                async with asyncio.timeout(timeout):
                    received.append(await reading)
                writer.join()
            return received

    assert run_virtual(main()) == [b"x", b"x"]


@in_virtual_time
async def test_a_decorated_test_runs_on_virtual_time() -> None:
    """Fixtures and parameters would reach it as always."""
    await asyncio.sleep(HOUR)

    assert asyncio.get_running_loop().time() == HOUR


def test_a_decorated_function_takes_arguments_and_returns() -> None:
    """It is the same function, only not async any more."""

    @in_virtual_time
    async def slow_sum(first: int, *, second: int) -> int:
        await asyncio.sleep(HOUR)
        return first + second

    assert (slow_sum(1, second=2), slow_sum.__name__) == (3, "slow_sum")


def test_nothing_is_left_open() -> None:
    """The loop and its pipe are closed at the end: pytest turns a ResourceWarning into an error."""
    run_virtual(asyncio.sleep(1))
    gc.collect()
