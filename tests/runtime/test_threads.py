from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from holdgate.runtime.threads import HandlerThreads, start_daemon


class _Empty(Exception):
    """A client's error that has a list of what went wrong, and is false as that list is while it is empty."""

    def __len__(self) -> int:
        return 0


class _NoTruth(Exception):
    def __bool__(self) -> bool:
        raise ValueError("neither")


color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")


@pytest.fixture
def threads() -> Iterator[HandlerThreads]:
    pool = HandlerThreads(8, "orders")
    yield pool
    pool.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a handler's thread waits for; opened at the end whatever the test did."""
    event = threading.Event()
    yield event
    event.set()


def stuck(gate: threading.Event, started: threading.Event | None = None) -> str:
    if started is not None:
        started.set()
    gate.wait(60)
    return "late"


async def interrupted(task: asyncio.Task[object]) -> None:
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_result_is_what_the_function_returned(threads: HandlerThreads) -> None:
    """The call's arguments go in, its return value comes out."""
    assert await threads.start(lambda a, b: a + b, 20, 22).result() == 42


async def test_result_raises_what_the_function_raised(threads: HandlerThreads) -> None:
    """The very exception object comes out, so that attribution can tell it by identity."""
    error = ValueError("no")

    def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="no") as caught:
        await threads.start(fail).result()
    assert caught.value is error


async def test_stop_iteration_ends_the_call_too(threads: HandlerThreads) -> None:
    """An asyncio future cannot carry StopIteration; a call that raised it must not wait for ever."""

    def fail() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(threads.start(fail).result(), 60)


async def test_function_runs_in_a_named_thread_of_the_run(threads: HandlerThreads) -> None:
    """Whoever looks at a thread dump finds the run."""
    name = await threads.start(lambda: threading.current_thread().name).result()
    assert name.startswith("holdgate-orders")


async def test_function_sees_the_callers_context_and_cannot_change_it(threads: HandlerThreads) -> None:
    """The context is a copy: what the caller set is seen, what the thread sets stays there."""
    color.set("red")

    def look() -> str:
        seen = color.get()
        color.set("blue")
        return seen

    assert await threads.start(look).result() == "red"
    assert color.get() == "red"


async def test_eight_calls_run_at_once_in_one_context(threads: HandlerThreads) -> None:
    """Eight threads meet at a barrier, which one shared Context would refuse."""
    barrier = threading.Barrier(8, timeout=60)
    calls = [threads.start(barrier.wait) for _ in range(8)]
    assert sorted([await call.result() for call in calls]) == list(range(8))


async def test_cancelling_the_waiter_leaves_the_thread_running(threads: HandlerThreads, gate: threading.Event) -> None:
    """An interrupted lane can still wait for the end of its thread, and read the late result."""
    call = threads.start(stuck, gate)
    await interrupted(asyncio.ensure_future(call.result()))
    end = asyncio.ensure_future(call.ended())
    await asyncio.sleep(0)
    assert not end.done()
    gate.set()
    await asyncio.wait_for(end, 60)
    assert await call.result() == "late"


async def test_cancelling_the_wait_for_the_end_can_be_repeated(threads: HandlerThreads, gate: threading.Event) -> None:
    """A second interruption of the same wait does not lose the thread either."""
    call = threads.start(stuck, gate)
    for _ in range(2):
        await interrupted(asyncio.ensure_future(call.ended()))
    gate.set()
    await asyncio.wait_for(call.ended(), 60)


async def test_late_exception_of_an_abandoned_call_is_not_logged(
    threads: HandlerThreads, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody asks for the result of an interrupted handler, and asyncio does not complain about that."""

    def fail() -> None:
        stuck(gate)
        raise ValueError

    call = threads.start(fail)
    await interrupted(asyncio.ensure_future(call.result()))
    gate.set()
    await asyncio.wait_for(call.ended(), 60)
    del call
    assert caplog.records == []


async def test_withdrawn_call_never_starts(gate: threading.Event) -> None:
    """A call that waits for a thread can be taken back, and its waiter is told."""
    pool = HandlerThreads(1, "small")
    first = pool.start(stuck, gate)
    ran: list[int] = []
    second = pool.start(ran.append, 1)
    assert second.withdraw()
    with pytest.raises(asyncio.CancelledError):
        await second.result()
    gate.set()
    await first.ended()
    pool.close()
    assert ran == []


async def test_running_call_cannot_be_withdrawn(threads: HandlerThreads, gate: threading.Event) -> None:
    """A thread that has begun goes on to its end."""
    started = threading.Event()
    call = threads.start(stuck, gate, started)
    await asyncio.to_thread(started.wait, 60)
    assert not call.withdraw()
    gate.set()
    assert await call.result() == "late"


async def test_close_does_not_wait_for_a_stuck_thread(gate: threading.Event) -> None:
    """Leaving a run returns at once though a handler hangs; nothing new can start."""
    pool = HandlerThreads(1, "closing")
    call = pool.start(stuck, gate)
    pool.close()
    assert not gate.is_set()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.start(stuck, gate)
    gate.set()
    await call.ended()


def test_thread_that_ends_after_its_loop_is_quiet(gate: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    """The loop of an abandoned thread is closed when it comes back; it has nobody to tell, and does not complain."""
    pool = HandlerThreads(1, "orphan")

    async def abandon() -> None:
        pool.start(stuck, gate)

    asyncio.run(abandon())
    (thread,) = [each for each in threading.enumerate() if each.name == "holdgate-orphan_0"]
    pool.close()
    gate.set()
    thread.join(60)
    assert not thread.is_alive()
    assert caplog.records == []


async def test_threads_are_used_again_and_no_more_are_made_than_wanted() -> None:
    """Twenty calls, one after the other and in parallel, have two threads."""
    pool = HandlerThreads(2, "few")
    names = {await pool.start(lambda: threading.current_thread().name).result() for _ in range(10)}
    names |= set(await asyncio.gather(*(pool.start(lambda: threading.current_thread().name).result() for _ in range(10))))
    pool.close()
    assert names <= {"holdgate-few_0", "holdgate-few_1"}


async def test_one_call_after_the_other_needs_one_thread() -> None:
    """The next call comes as soon as the end of the last is known, and finds its thread: however many calls, no second one is made."""
    pool = HandlerThreads(8, "one")
    used = [await pool.start(threading.current_thread).result() for _ in range(500)]
    pool.close()
    assert {thread.name for thread in used} == {"holdgate-one_0"}


async def test_close_withdraws_what_no_thread_has_begun(gate: threading.Event) -> None:
    """A call that waits behind a stuck one never runs, and its waiter is told; the threads end."""
    pool = HandlerThreads(1, "ending")
    started = threading.Event()
    first = pool.start(stuck, gate, started)
    await asyncio.to_thread(started.wait, 60)
    ran: list[int] = []
    second = pool.start(ran.append, 1)
    (thread,) = [each for each in threading.enumerate() if each.name == "holdgate-ending_0"]
    pool.close()
    with pytest.raises(asyncio.CancelledError):
        await second.result()
    gate.set()
    assert await first.result() == "late"
    await asyncio.to_thread(thread.join, 60)
    assert ran == []
    assert not thread.is_alive()


async def test_the_interpreter_waits_for_no_thread_of_a_handler(threads: HandlerThreads) -> None:
    """They are daemons: a handler that hangs keeps no process from ending."""
    assert await threads.start(lambda: threading.current_thread().daemon).result()


async def test_a_failed_call_leaves_no_circle(threads: HandlerThreads) -> None:
    """What it raised is gone with the call, without the garbage collector: a traceback holds the message."""

    class Held(Exception):
        """What is looked for."""

    def fail() -> None:
        raise Held

    async def call() -> weakref.ref[Held]:
        try:
            await threads.start(fail).result()
        except Held as error:
            return weakref.ref(error)
        raise AssertionError

    gc.disable()
    try:
        seen = await call()
        for _ in range(1000):  # its thread lets go of the call a moment after the result is there
            if seen() is None:
                break
            await threads.start(lambda: None).result()
        assert seen() is None
    finally:
        gc.enable()


async def test_a_daemons_result_and_its_error() -> None:
    """As of any call: what the function returned, or the very exception, in a copy of the caller's context."""
    color.set("red")
    assert await start_daemon(color.get, "probe").result() == "red"
    with pytest.raises(ZeroDivisionError):
        await start_daemon(lambda: 1 // 0, "probe").result()


async def test_nobody_waits_for_a_daemon(gate: threading.Event) -> None:
    """The interpreter ends without it, and so does whoever was interrupted; it can still be waited for."""
    names: list[tuple[str, bool]] = []

    def hang() -> str:
        names.append((threading.current_thread().name, threading.current_thread().daemon))
        return stuck(gate)

    call = start_daemon(hang, "probe-payments")
    await interrupted(asyncio.create_task(call.result()))
    assert not call.withdraw()
    gate.set()
    await call.ended()
    assert names == [("holdgate-probe-payments", True)]


@pytest.mark.parametrize("kind", [_Empty, _NoTruth])
async def test_an_exception_that_is_false_is_raised_as_any_other(threads: HandlerThreads, kind: type[Exception]) -> None:
    """Python's own Future takes it for no exception, and its call for one that has returned: its message would be acknowledged."""

    def fail() -> None:
        raise kind

    with pytest.raises(kind):
        await threads.start(fail).result()
