"""Real processes that get SIGTERM while a handler sleeps for ten minutes. Who waited for it would run into the limit of `communicate`."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading

import pytest

from holdgate.runtime.last_resort import CUT_OFF, LastResort, name_some

WORKER = """
import asyncio, atexit, logging, signal, sys, threading, time
from holdgate import Guard
from holdgate.testing import MemoryBroker, MemoryIntake

way, *more = sys.argv[1:]
logging.basicConfig(level=logging.WARNING, format="%(message)s")
let_go = threading.Event()


def sleep():
    print("begun", flush=True)
    let_go.wait(600)


def plain(delivery):
    sleep()


async def to_thread(delivery):
    await asyncio.to_thread(sleep)


async def abandoned(delivery):
    try:
        await asyncio.wait_for(asyncio.to_thread(sleep), 0.01)
    except TimeoutError:
        pass


async def blocks(delivery):
    sleep()


async def swallows(delivery):
    print("begun", flush=True)
    while not let_go.is_set():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            pass


async def swallows_for_a_while(delivery):
    print("begun", flush=True)
    until = None
    while until is None or time.monotonic() < until:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            until = time.monotonic() + 2.7  # longer than a guard waits for an interrupted handler


async def ends_late(delivery):
    print("begun", flush=True)
    time.sleep(2.5)  # past the end of drain_timeout, and long before the patience with a loop that does not answer


atexit.register(lambda: print("atexit", flush=True))


async def main():
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"secret")
    if "theirs" in more:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(stopping.set))
    try:
        async with Guard(drain_timeout=2.0 if way == "ends_late" else 0.2) as guard:
            run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), globals()[way]))
            if "theirs" in more:
                await stopping.wait()
                await guard.stop()
            await run
        print("left", flush=True)
        if "goes on" in more:
            await asyncio.to_thread(sys.stdin.readline)
            let_go.set()
            await asyncio.sleep(0.2)
            print("committed", broker.committed("holdgate"), flush=True)
    finally:
        print("finally", flush=True)
        if "closes" in more:
            await asyncio.sleep(4)
            print("closed", flush=True)


asyncio.run(main())
print("main ended", flush=True)
"""


def worker(*arguments: str) -> subprocess.Popen[str]:
    """A process whose handler has begun."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", WORKER, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def ended(*arguments: str, by: signal.Signals = signal.SIGTERM) -> tuple[int, list[str], str]:
    """What became of a process that got the signal in the middle of its handler: exit code, lines, log."""
    process = worker(*arguments)
    process.send_signal(by)
    out, err = process.communicate(timeout=120)
    assert "secret" not in out + err
    return process.returncode, out.splitlines(), err


def test_a_plain_handler_that_sleeps_is_left_behind() -> None:
    """The process ends as any other does, `finally` and `atexit` included, with a code of its own; its log names the message."""
    code, out, err = ended("plain")
    assert code == CUT_OFF == 75
    assert out == ["finally", "atexit"]
    assert "drain_timeout (0.2 s) is over, and handlers were cut off. Not settled, so these messages come again: orders[0]@0." in err
    assert "In threads, which cannot be stopped, these go on, and what they do settles nothing: orders[0]@0." in err
    assert "ending the process" not in err


def test_a_thread_of_asyncio_is_left_behind() -> None:
    """`asyncio.run` does not wait for it, since the loop has another pool, and the interpreter is not let wait for it."""
    code, out, err = ended("to_thread")
    assert code == CUT_OFF
    assert out == ["left", "finally", "main ended"]
    assert "ending the process with exit code 75" in err
    assert "threads still run (asyncio_0). Not settled, so these come again: orders[0]@0." in err


def test_a_thread_that_a_handler_has_given_up_is_left_behind() -> None:
    """Its message was settled, and so nothing comes again; the thread keeps the process from nothing all the same."""
    code, _, err = ended("abandoned")
    assert code == CUT_OFF
    assert "threads still run (asyncio_0)." in err
    assert "come again" not in err


def test_a_handler_that_blocks_the_loop_is_cut_off() -> None:
    """Nothing that runs on the loop can end it, and no drain can begin."""
    code, out, err = ended("blocks")
    assert code == CUT_OFF
    assert out == []
    assert "a handler blocks the event loop. Not settled, so these come again: orders[0]@0." in err


def test_a_handler_that_swallows_its_cancellation_is_cut_off() -> None:
    """`asyncio.run` would wait for its task for ever."""
    code, out, err = ended("swallows")
    assert code == CUT_OFF
    assert out == ["finally"]
    assert "handlers go on although they were cancelled. Not settled, so these come again: orders[0]@0." in err


def test_a_program_has_time_to_close_where_no_handler_goes_on_any_more() -> None:
    """A handler swallowed its cancellation, and ended soon after its guard. What the program does then is its own affair."""
    code, out, err = ended("swallows_for_a_while", "closes")
    assert out == ["finally", "closed", "atexit"]
    assert code == CUT_OFF
    assert "ending the process" not in err


def test_a_handler_that_blocks_the_loop_for_a_while_has_used_up_its_drain() -> None:
    """`drain_timeout` counts from the signal, and not from when the loop could see it. The handler ends, and the process in order."""
    code, out, err = ended("ends_late")
    assert code == 0
    assert out == ["left", "finally", "main ended", "atexit"]
    assert "come again" not in err


def test_later_signals_neither_hurry_nor_lengthen_the_end() -> None:
    """A supervisor that repeats itself changes nothing."""
    process = worker("to_thread")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == CUT_OFF
    assert "ending the process with exit code 75" in err


def test_ctrl_c_leaves_a_plain_handler_behind() -> None:
    """It is asyncio's signal, and ends the process as it always does, after the drain: nobody waits for the thread."""
    code, out, err = ended("plain", by=signal.SIGINT)
    assert code == -signal.SIGINT
    assert out == ["finally", "atexit"]
    assert "these messages come again: orders[0]@0." in err


def test_a_program_that_goes_on_after_its_guard_is_left_alone() -> None:
    """It may have work of its own; its thread ends when it ends, which settles nothing any more, and the exit code is the program's."""
    process = worker("to_thread", "goes on")
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "left\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)  # more than a thread that is waited for would be given
    out, err = process.communicate("go on\n", timeout=120)
    assert process.returncode == 0
    assert out.splitlines() == ["committed {}", "finally", "main ended", "atexit"]
    assert "ending the process" not in err


def test_a_process_whose_signal_is_somebody_elses_is_not_ended() -> None:
    """As in a web server: `guard.stop()` comes back in time and names the message, and what becomes of the process is its owner's."""
    process = worker("plain", "theirs", "goes on")
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "left\n"
    out, err = process.communicate("go on\n", timeout=120)
    assert process.returncode == 0
    assert out.splitlines() == ["committed {}", "finally", "main ended", "atexit"]
    assert "these messages come again: orders[0]@0." in err


async def test_the_time_of_a_drain_counts_from_the_signal() -> None:
    """What a blocked loop has taken is not given again; without a signal it is all of it."""
    last_resort = LastResort(10.0, list)
    assert last_resort.drain_for == 10.0
    now = 100.0
    last_resort._now = lambda: now  # type: ignore[method-assign]
    last_resort._start = lambda: None  # type: ignore[method-assign]
    last_resort.watch(asyncio.get_running_loop())
    now = 104.0
    assert last_resort.drain_for == 6.0
    now = 111.0
    assert last_resort.drain_for == 0.0


def test_a_long_list_of_messages_is_cut() -> None:
    """A line of a log names twenty, and how many more there are."""
    assert name_some(["a", "b"]) == "a, b"
    assert name_some([str(number) for number in range(23)]).endswith("18, 19 and 3 more")


async def test_no_thread_is_started_before_a_signal_comes() -> None:
    """A guard that nobody stops costs none."""
    before = threading.active_count()
    LastResort(10.0, list)
    await asyncio.sleep(0)
    assert threading.active_count() == before


_ENDING_ALREADY = """
import threading, time
from holdgate.runtime import last_resort

def start(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

last_resort._is_over = lambda: True
watch = last_resort.LastResort(0.1, list)
threading.Thread.start = start
watch.watch(None)
watch.left()
time.sleep(60)
"""


def test_a_program_that_ends_before_the_last_resort_has_threads_is_ended_by_one() -> None:
    """CPython 3.12 and later start none while the interpreter ends."""
    assert subprocess.run([sys.executable, "-c", _ENDING_ALREADY], check=False, timeout=50).returncode == CUT_OFF
