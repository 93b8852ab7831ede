from __future__ import annotations

import _thread
import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from holdgate.errors import SettingsError
from holdgate.runtime.last_resort import LastResort
from holdgate.runtime.signals import Termination


@pytest.fixture(autouse=True)
def default_sigterm() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def ignore(_signum: int, _frame: object) -> None:
    """A handler of somebody else."""


async def test_first_sigterm_drains() -> None:
    """The signal becomes one call on the loop."""
    drained = asyncio.Event()
    termination = Termination(drained.set)
    assert termination.take()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(drained.wait(), 60)
    termination.restore()


async def test_sigterm_drains_where_no_thread_can_be_made_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may have reached its limit of processes. The signal handler runs in the middle of anything, and must not raise there."""

    def full(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", full)
    drained = asyncio.Event()
    last_resort = LastResort(10.0, list)
    termination = Termination(drained.set, watch=last_resort.watch)
    assert termination.take()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(drained.wait(), 60)
    assert last_resort.drain_for < 10.0
    termination.restore()


async def test_later_sigterms_do_nothing_more() -> None:
    """A supervisor that repeats itself neither drains twice nor kills."""
    calls: list[int] = []
    termination = Termination(lambda: calls.append(1))
    termination.take()
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
    termination.restore()
    assert calls == [1]


async def test_restore_gives_the_default_back() -> None:
    """After the guard a SIGTERM kills again, as before it; restoring twice is fine."""
    termination = Termination(lambda: None)
    termination.take()
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    termination.restore()
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not termination.taken


async def test_restore_leaves_a_later_owner_alone() -> None:
    """Who took the signal over from us keeps it."""
    termination = Termination(lambda: None)
    termination.take()
    signal.signal(signal.SIGTERM, ignore)
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is ignore


@pytest.mark.parametrize("taken", [ignore, signal.SIG_IGN])
async def test_handler_of_somebody_else_stays(taken: signal.Handlers) -> None:
    """Left alone, the guard takes only what nobody has."""
    signal.signal(signal.SIGTERM, taken)
    termination = Termination(lambda: None)
    assert not termination.take()
    assert signal.getsignal(signal.SIGTERM) is taken


async def test_insisting_on_a_taken_signal_is_refused_with_its_owner() -> None:
    """The error names the handler that stands in the way, and the way out."""
    signal.signal(signal.SIGTERM, ignore)
    with pytest.raises(SettingsError, match=r"ignore.*guard\.stop"):
        Termination(lambda: None, signals=True).take()


async def test_false_opts_out() -> None:
    """The default handler stays where the user wants no signal handling."""
    termination = Termination(lambda: None, signals=False)
    assert not termination.take()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def in_a_thread(signals: bool | None) -> bool | Exception:
    """What `take` came to on a loop that runs in a thread."""
    answers: list[bool | Exception] = []

    async def take() -> bool:
        return Termination(lambda: None, signals=signals).take()

    def run() -> None:
        try:
            answers.append(asyncio.run(take()))
        except SettingsError as error:
            answers.append(error)

    thread = threading.Thread(target=run, name="sidecar")
    thread.start()
    thread.join(120)
    return answers[0]


def test_other_threads_leave_the_signal_alone() -> None:
    """A guard on a loop in a side thread cannot have signals, and does not try."""
    assert in_a_thread(None) is False
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_insisting_in_another_thread_is_refused() -> None:
    """The error names the thread."""
    assert "'sidecar'" in str(in_a_thread(signals=True))


WORKER = """
import asyncio
from holdgate.runtime.signals import Termination

async def main():
    stop = asyncio.Event()
    termination = Termination(stop.set)
    termination.take()
    print("ready", flush=True)
    try:
        await stop.wait()
        print("drained by SIGTERM", flush=True)
    except asyncio.CancelledError:
        print("draining", flush=True)
        await asyncio.sleep(60)
        print("waited", flush=True)
    finally:
        termination.restore()

asyncio.run(main())
"""


def worker() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_sigterm_ends_a_process_by_draining() -> None:
    """A worker that gets SIGTERM leaves by its own end, with exit code 0."""
    process = worker()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert out == "drained by SIGTERM\n"
    assert process.returncode == 0


def test_first_ctrl_c_drains_and_the_second_stops_now() -> None:
    """Beside our SIGTERM, asyncio's own Ctrl-C keeps its two steps: cancel the main task, then KeyboardInterrupt."""
    process = worker()
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "draining\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert out == ""
    assert "KeyboardInterrupt" in err
    assert process.returncode != 0


@pytest.mark.parametrize("signals", ["no", 0, [15]])
def test_signals_is_yes_no_or_nothing_said(signals: Any) -> None:
    """A word that is true would take what it was meant to leave."""
    with pytest.raises(SettingsError, match="must be None, True or False"):
        Termination(lambda: None, signals)
