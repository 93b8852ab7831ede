"""Patient calls from where a guard has no loop, or another one: threads, other loops, scripts, after a fork, at a program's end."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.runtime.stage import Down

from holdgate import CircuitSettings, Dependency, Guard
from holdgate.errors import CommandError, GuardClosed, WaitedTooLong
from holdgate.runtime.home import Home

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # only a failing test waits so long


class Interrupted(BaseException):
    """What a framework puts into a thread."""


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = Guard()
    yield made
    made.close()


def payments() -> Dependency:
    return Dependency("payments", failures=Down, settings=CircuitSettings(open_duration=0.05, open_duration_max=0.05))


def lodgers() -> int:
    """How many threads there are in which a guard lives."""
    return sum(thread.name == "holdgate guard" for thread in threading.enumerate())


def test_a_script_needs_no_loop(guard: Guard) -> None:
    """The first call begins a thread for the guard; `close` ends it, as often as it is called; a call after that is refused."""
    before = lodgers()
    charge = guard.patient(needs=[payments()])(lambda number: 2 * number)
    assert lodgers() == before
    assert [charge(number) for number in range(3)] == [0, 2, 4]
    assert lodgers() == before + 1
    guard.close()
    guard.close()
    assert lodgers() == before
    with pytest.raises(GuardClosed, match="make a new one"):
        charge(1)


def test_threads_wait_together(guard: Guard) -> None:
    """Eight threads meet an outage: few calls find out, and each gets its result."""
    down, tried = threading.Event(), 0
    down.set()

    @guard.patient(needs=[payments()])
    def charge(number: int) -> int:
        nonlocal tried
        tried += 1
        if tried >= 12:
            down.clear()
        if down.is_set():
            raise Down
        return 2 * number

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(charge, range(8))) == [2 * number for number in range(8)]


def test_loops_come_and_go(guard: Guard) -> None:
    """A framework that begins a loop for each job: the guard is at home elsewhere."""
    tried = 0

    @guard.patient(needs=[payments()])
    async def charge(number: int) -> int:
        nonlocal tried
        await asyncio.sleep(0)
        tried += 1
        if tried % 2:
            raise Down
        return 2 * number

    assert [asyncio.run(charge(number)) for number in range(3)] == [0, 2, 4]
    assert tried == 6


async def test_a_guard_that_was_entered_is_at_home_there() -> None:
    """Calls from its loop, from threads and from other loops all go there, and it has no thread of its own."""
    before = lodgers()
    async with Guard(signals=False) as entered:

        @entered.patient(needs=[payments()])
        async def charge(number: int) -> int:
            return 2 * number

        assert await charge(1) == 2
        assert await asyncio.to_thread(lambda: asyncio.run(charge(2))) == 4
        assert lodgers() == before
        with pytest.raises(CommandError, match="async with"):
            entered.close()


def test_what_a_framework_raises_into_a_waiting_thread_ends_the_wait(guard: Guard) -> None:
    """That of dramatiq ends jobs so, at their time limit and at shutdown. The call leaves nothing behind."""
    waits, ended = threading.Event(), threading.Event()

    @guard.patient(needs=[payments()])
    def charge() -> None:
        waits.set()
        raise Down

    def work() -> None:
        try:
            charge()
        except Interrupted:
            ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert waits.wait(PATIENCE)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupted))
    thread.join(PATIENCE)
    assert ended.is_set()


def test_what_is_raised_into_a_thread_at_the_end_of_its_attempt_leaves_nothing(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such an exception comes between any two calls, also where the thread is about to tell that its function has returned."""
    post = Home.post

    def interrupted_post(home: Home, step: Callable[..., object], *args: object) -> bool:
        if step.__name__ == "ended":
            raise Interrupted
        return post(home, step, *args)

    seen: list[int] = []

    @guard.patient(needs=[payments()])
    def charge() -> None:
        seen.append(sum(source.in_flight for source in guard.snapshot().sources.values()))

    monkeypatch.setattr(Home, "post", interrupted_post)
    with pytest.raises(Interrupted):
        charge()
    monkeypatch.undo()
    charge()  # its steps come after those of the call before
    assert seen == [1, 1]


def test_a_thread_waits_no_longer_than_it_may(guard: Guard) -> None:
    """`wait_at_most` counts in threads as well."""

    @guard.patient(needs=[payments()], wait_at_most=0.6)
    def charge() -> None:
        raise Down

    with pytest.raises(WaitedTooLong) as raised:
        charge()
    assert raised.value.waited >= 0.6
    assert isinstance(raised.value.__cause__, Down)


def test_a_guard_that_cannot_be_entered_says_so_at_the_first_call() -> None:
    """What entering raises comes out of the call, and no thread stays."""
    before = lodgers()
    charge = Guard(signals=True).patient(needs=[payments()])(lambda: None)
    with pytest.raises(ValueError, match="signals=True"):
        charge()
    assert lodgers() == before


def test_a_guard_that_could_not_be_entered_may_be_closed() -> None:
    """A `finally` that closes it does not hide why it could not."""
    made = Guard(signals=True)
    with pytest.raises(ValueError, match="signals=True"):
        made.patient(needs=[payments()])(lambda: None)()
    made.close()


def test_two_guards_cannot_wait_for_one_dependency(guard: Guard) -> None:
    """The second one's calls are refused with the reason, and not left waiting."""
    shared = payments()
    guard.patient(needs=[shared])(lambda: None)()
    second = Guard()
    with pytest.raises(ValueError, match="payments"):
        second.patient(needs=[shared])(lambda: None)()
    second.close()


FORKED = """
import os, sys
from holdgate import Dependency, Guard
from holdgate.errors import GuardClosed
guard = Guard()
charge = guard.patient(needs=[Dependency("payments")], name="charge")(lambda: 1)
assert charge() == 1
pid = os.fork()
if not pid:
    try:
        charge()
    except GuardClosed as error:
        assert "after the fork" in str(error), error
        os._exit(7)
    os._exit(1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

FORKED_BEFORE = """
import os, sys
from holdgate import Dependency, Guard
charge = Guard().patient(needs=[Dependency("payments")], name="charge")(lambda: 7)
pid = os.fork()
if not pid:
    sys.exit(charge())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

ENDS = """
import logging, sys, threading
logging.basicConfig(level=logging.INFO, format="%(message)s")
from holdgate import Dependency, Guard
charge = Guard().patient(needs=[Dependency("payments")], name="charge")(lambda: 7)
sys.exit(charge())
"""


@pytest.mark.parametrize("program", [FORKED, FORKED_BEFORE, ENDS], ids=["forked after", "forked before", "ends"])
def test_a_process_that_forks_or_ends(program: str) -> None:
    """Forked after its first call, the child is told; forked before, it has a thread of its own; at its end a program leaves the guard."""
    found = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert found.returncode == 7, found.stderr
    if program is ENDS:
        assert "charge stopped" in found.stderr
