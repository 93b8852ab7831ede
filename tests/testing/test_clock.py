"""Time for tests: the manual clock, and the loop whose time jumps."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import holdgate.testing.clock
from holdgate.testing import LoopClock, ManualClock, Stalled, VirtualEventLoop, in_virtual_time, run_virtual
from holdgate.testing.outside import uncounted_threads

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
    with pytest.raises(ValueError, match="got -1: a monotonic clock cannot go back"):
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
    with pytest.raises(ValueError, match="must be one or more numbers in"):
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

    with pytest.raises(Stalled, match="a future that is never resolved"):
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


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor])
def test_time_stands_still_while_a_job_is_in_a_thread(pool: type[ThreadPoolExecutor] | None) -> None:
    """However slow it is: fifty real milliseconds are five times what an unknown thread gets, and a timeout of a second is not due."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        executor = None if pool is None else pool(1)
        async with asyncio.timeout(1):
            await loop.run_in_executor(executor, time.sleep, 0.05)
            await asyncio.to_thread(time.sleep, 0.05)
        if executor is not None:
            executor.shutdown()
        return loop.time()

    assert run_virtual(main()) == 0.0


def test_time_stands_still_while_a_thread_works_for_nobody() -> None:
    """Whoever waited for it was cancelled; what it still does belongs to the second in which it began."""
    release, seen = threading.Event(), []
    loops: list[asyncio.AbstractEventLoop] = []

    def work() -> None:
        release.wait(10)
        time.sleep(0.05)
        seen.append(loops[0].time())

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        task = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0)
        task.cancel()
        release.set()
        await asyncio.sleep(HOUR)

    run_virtual(main())
    assert seen == [0.0]


def test_a_name_is_looked_up_in_no_time() -> None:
    """A resolver is asked in a thread, too."""

    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0.001):
            found = await loop.getaddrinfo("localhost", 80)
        return len(found), loop.time()

    found, at = run_virtual(main())
    assert found > 0
    assert at == 0.0


def test_a_server_in_a_thread_answers_in_no_time() -> None:
    """An open connection is waited for in real time, however slow the server is; once it is closed, time passes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(3):
            connection, _address = server.accept()
            with connection:
                connection.recv(10)
                time.sleep(0.05)
                connection.sendall(b"answer")

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(*server.getsockname())
        writer.write(b"question")
        async with asyncio.timeout(1):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def main() -> list[tuple[bytes, float]]:
        answers = []
        for _ in range(3):
            answers.append((await ask(), asyncio.get_running_loop().time()))
            await asyncio.sleep(HOUR)
        return answers

    thread = threading.Thread(target=serve)
    thread.start()
    with server:
        assert run_virtual(main()) == [(b"answer", 0.0), (b"answer", HOUR), (b"answer", 2 * HOUR)]
        thread.join()


def test_a_server_on_the_same_loop_is_no_stranger() -> None:
    """It listens for ever and keeps its connections open: nothing of that is waited for, and an hour of the server's is an hour here."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(10):
            await asyncio.sleep(HOUR)
            writer.write(b"answer")
        writer.close()

    async def main() -> list[float]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        times = []
        for _ in range(2):
            writer.write(b"question")
            await reader.read(10)
            times.append(asyncio.get_running_loop().time())
        writer.close()
        server.close()
        await asyncio.sleep(1)
        return times

    assert run_virtual(main()) == [HOUR, 2 * HOUR]


def impatient() -> VirtualEventLoop:
    return VirtualEventLoop(work_patience=0.05)


def test_a_thread_that_waits_for_virtual_time_is_told() -> None:
    """It can never end, since time stands still for it: named, and no hang, not even at the end."""
    release = threading.Event()

    def wait_for_the_timer() -> None:
        release.wait(10)

    async def main() -> None:
        asyncio.get_running_loop().call_later(1, release.set)
        await asyncio.to_thread(wait_for_the_timer)

    with pytest.raises(Stalled, match=r"0\.05 s of real time, because .*wait_for_the_timer did not return from its thread"):  # noqa: SIM117
        with asyncio.Runner(loop_factory=impatient) as runner:
            runner.run(main())
    release.set()


def test_a_connection_that_is_kept_open_is_told() -> None:
    """Nobody can see whether an answer is on its way: named with its address, and no hang."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def main() -> None:
            _reader, writer = await asyncio.open_connection(*server.getsockname())
            try:
                await asyncio.sleep(HOUR)
            finally:
                writer.close()

        port = server.getsockname()[1]
        with pytest.raises(Stalled, match=f"a connection to 127.0.0.1:{port} is open and nothing comes by it"):  # noqa: SIM117
            with asyncio.Runner(loop_factory=impatient) as runner:
                runner.run(main())


def test_a_pipe_that_is_silent_is_told() -> None:
    """It has no address: its descriptor names it."""
    here, there = os.pipe()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(here, lambda: None)
        try:
            await asyncio.sleep(HOUR)
        finally:
            loop.remove_reader(here)

    with pytest.raises(Stalled, match=f"descriptor {here} is open"), asyncio.Runner(loop_factory=impatient) as runner:
        runner.run(main())
    os.close(here)
    os.close(there)


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


# -- threads that wait for virtual time -----------------------------------------------------------------------------------------------


def test_a_thread_may_wait_for_virtual_time() -> None:
    """An hour passes for it and for the loop alike, and no real one."""

    async def main() -> tuple[float, list[float]]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualEventLoop)
        seen: list[float] = []

        def work() -> None:
            loop.wait_in_thread(HOUR)
            seen.append(loop.time())
            loop.wait_in_thread(HOUR)

        async with asyncio.timeout(2 * HOUR + 1):
            await asyncio.to_thread(work)
        return loop.time(), seen

    assert run_virtual(main()) == (2 * HOUR, [HOUR])


def test_while_one_thread_waits_time_stands_still_for_another() -> None:
    """The one that works gets all the real time that it needs."""

    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualEventLoop)
        ends: list[tuple[str, float]] = []

        def wait() -> None:
            loop.wait_in_thread(1)
            ends.append(("waited", loop.time()))

        def work() -> None:
            time.sleep(0.1)
            ends.append(("worked", loop.time()))

        await asyncio.gather(asyncio.to_thread(wait), asyncio.to_thread(work))
        return ends

    assert run_virtual(main()) == [("worked", 0.0), ("waited", 1.0)]


def test_in_the_loops_own_thread_a_wait_blocks_the_loop() -> None:
    """As a plain client does that is called from a coroutine: the clock jumps, and what was due meanwhile comes late."""

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualEventLoop)
        due: asyncio.Future[float] = loop.create_future()
        loop.call_later(1, lambda: due.set_result(loop.time()))
        loop.wait_in_thread(5)
        return loop.time(), await due

    assert run_virtual(main()) == (5.0, 5.0)


def test_a_loop_that_is_closed_lets_go_of_who_waits() -> None:
    """Or the interpreter would wait for that thread at its exit."""
    begun = threading.Event()
    threads: list[threading.Thread] = []

    async def main() -> VirtualEventLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualEventLoop)

        def wait() -> None:
            loop.call_soon_threadsafe(begun.set)
            loop.wait_in_thread(HOUR)

        threads.append(threading.Thread(target=wait, daemon=True))
        threads[0].start()
        while not begun.is_set():
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return loop

    loop = run_virtual(main())
    threads.append(threading.Thread(target=loop.wait_in_thread, args=(HOUR,), daemon=True))  # that comes too late
    threads[1].start()
    for thread in threads:
        thread.join(120)

    assert [thread.is_alive() for thread in threads] == [False, False]


def test_a_thread_that_ends_while_the_loop_looks_has_woken_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is gone when threads are counted, and what it has brought came after the loop's look at its sockets."""

    async def answered() -> str:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def count_threads() -> int:
            monkeypatch.undo()
            ending = threading.Thread(target=loop.call_soon_threadsafe, args=(answer.set_result, "in time"))
            ending.start()
            ending.join()
            return uncounted_threads()

        monkeypatch.setattr(holdgate.testing.clock, "uncounted_threads", count_threads)
        return await answer

    assert run_virtual(answered()) == "in time"
