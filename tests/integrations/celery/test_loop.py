"""The guard's event loop in a thread of its own, and other threads that act on it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("celery", reason="celery is not installed: pip install 'holdgate[celery]'")

from holdgate.integrations.celery.loop import SharedLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 30.0


@contextmanager
def running() -> Iterator[SharedLoop]:
    loop = SharedLoop("test")
    loop.start()
    yield loop
    assert loop.stop(PATIENCE)


def test_another_thread_acts_as_a_step_of_the_loop() -> None:
    """What it schedules runs in the loop's thread, though the loop slept and would have slept on."""
    done = threading.Event()
    seen: list[int] = []

    def note() -> None:
        seen.append(threading.get_ident())
        done.set()

    with running() as loop:
        with loop:
            asyncio.get_running_loop().call_soon(note)
        assert done.wait(PATIENCE)
        done.clear()
        with loop:
            asyncio.get_running_loop().call_later(0.01, note)
        assert done.wait(PATIENCE)
    assert len(set(seen)) == 1
    assert seen[0] != threading.get_ident()


def test_asyncios_debug_mode_does_not_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks that only the loop's thread sets timers, and knows nothing of the lock."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    done = threading.Event()
    with running() as loop:
        with loop:
            asyncio.get_running_loop().call_later(0.01, done.set)
        assert done.wait(PATIENCE)


def test_no_step_of_the_loop_runs_meanwhile() -> None:
    """A counter that both change without a lock of its own loses nothing."""
    count = 0

    async def count_up() -> None:
        nonlocal count
        for _ in range(2000):
            before = count
            time.sleep(0)  # noqa: ASYNC251 - lets the other thread run, if it may
            count = before + 1
            await asyncio.sleep(0)

    with running() as loop:
        with loop:
            task = asyncio.get_running_loop().create_task(count_up())
        for _ in range(2000):
            with loop:
                before = count
                time.sleep(0)
                count = before + 1

        async def end() -> None:
            await task

        loop.run(end(), PATIENCE)
    assert count == 4000


def test_a_result_comes_back_from_the_loop() -> None:
    """`run` waits for a coroutine there, and raises what it raised."""
    with running() as loop:
        assert loop.run(asyncio.sleep(0, "result"), PATIENCE) == "result"

        async def fail() -> None:
            raise KeyError

        with pytest.raises(KeyError):
            loop.run(fail(), PATIENCE)


def test_a_forked_process_keeps_nothing_of_the_loop_open() -> None:
    """A port that the loop listens on can be bound again when the parent has closed it, though the child lives."""
    with running() as loop:

        async def listen() -> tuple[asyncio.Server, int]:
            server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            return server, server.sockets[0].getsockname()[1]

        server, port = loop.run(listen(), PATIENCE)
        reader, writer = os.pipe()
        end_reader, end_writer = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            os.write(writer, b"n" if loop.belongs_here else b"y")
            os.close(end_writer)
            os.read(end_reader, 1)
            os._exit(0)
        assert os.read(reader, 1) == b"y"
        assert loop.belongs_here

        async def close() -> None:
            server.close()
            await server.wait_closed()

        loop.run(close(), PATIENCE)
        with socket.socket() as again:
            again.bind(("127.0.0.1", port))
            again.listen()
        os.write(end_writer, b"x")
        os.waitpid(child, 0)
        for descriptor in (reader, writer, end_reader, end_writer):
            os.close(descriptor)
        assert loop.run(asyncio.sleep(0, "still there"), PATIENCE) == "still there"
