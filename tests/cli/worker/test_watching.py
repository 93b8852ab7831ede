"""One look at a worker after another: by its event stream, or by asking."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import islice
from typing import Any, cast

import pytest
from tests.cli.runner import invoke
from tests.control.served import TOKEN, Stage, served, until
from tests.flow.test_status import circuit, document

from holdgate import State
from holdgate.cli.worker import connection
from holdgate.cli.worker.connection import NoAnswer, NothingCame, RefusedByWorker, WorkerConnection
from holdgate.cli.worker.watching import apart, looks
from holdgate.control import Control

STREAMED, ASKED = document(circuit()), document(circuit(state=State.OPEN))


class Scripted:
    """A worker whose streams and answers are given; an exception is raised."""

    def __init__(self, streams: list[list[Any]], answers: list[Any]) -> None:
        self.streams = streams
        self.answers = answers

    def frames(self) -> Any:
        for each in self.streams.pop(0):
            if isinstance(each, Exception):
                raise each
            yield each

    def get(self, path: str) -> Any:
        assert path == "/status?limit=100"
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def seen(worker: Scripted, count: int) -> list[Any]:
    return list(islice(looks(cast("WorkerConnection", worker), 0.0), count))


def client(stage: Stage) -> WorkerConnection:
    assert stage.control.url is not None
    return WorkerConnection(stage.control.url, None, None)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks these tests do not wait."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def test_a_stream_that_ends_is_tried_again_after_a_question() -> None:
    """A worker that was deployed anew is back with its stream."""
    gone = NoAnswer("gone")
    worker = Scripted([[STREAMED, gone], [gone], [STREAMED]], [gone, ASKED])
    assert seen(worker, 4) == [STREAMED, gone, ASKED, STREAMED]


def test_a_worker_that_refuses_a_stream_is_asked_and_the_stream_is_tried_again() -> None:
    """A hundred people watch already, and one of them goes."""
    worker = Scripted([[RefusedByWorker(503, "too many")], [STREAMED]], [ASKED])
    assert seen(worker, 2) == [ASKED, STREAMED]


def test_a_stream_that_stays_empty_is_not_tried_again() -> None:
    """A proxy collects what it passes on: each try would cost seconds."""
    worker = Scripted([[NothingCame("nothing came")]], [ASKED, ASKED])
    assert seen(worker, 2) == [ASKED, ASKED]


def test_a_worker_that_starts_or_stops_is_waited_for() -> None:
    """It says so itself. A token that is wrong is nothing to wait for."""
    worker = Scripted([[], []], [RefusedByWorker(503, "no guard runs here yet"), RefusedByWorker(401, "reading needs the token")])
    looking = looks(cast("WorkerConnection", worker), 0.0)
    assert str(next(looking)) == "no guard runs here yet"
    with pytest.raises(RefusedByWorker, match="reading needs the token"):
        next(looking)


def test_looks_are_as_far_apart_as_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a frame a second every other one, with --every 2, also if one comes a little early."""
    times = iter([10.0, 11.0, 11.95, 13.0, 14.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    frames: Any = iter(range(5))
    assert list(apart(frames, 2.0)) == [0, 2, 4]


async def test_a_running_worker_is_watched_by_its_stream() -> None:
    """Its frames are the documents that /status gives."""
    async with served() as stage:
        await stage.outage()
        worker = client(stage)
        first, second = await asyncio.to_thread(lambda: list(islice(worker.frames(), 2)))
        assert second["at"] > first["at"]
        assert second["dependencies"][0]["state"] == "open"
        assert second.keys() == (await asyncio.to_thread(worker.get, "/status")).keys()


async def test_a_stream_that_comes_and_stays_empty_is_told_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is waited for, and where nobody listens nothing is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n: collected\n")
        await reader.read()
        writer.close()

    monkeypatch.setattr(connection, "_WITHIN", 0.2)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        worker = WorkerConnection(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, None)
        with pytest.raises(NothingCame):
            await asyncio.to_thread(lambda: list(worker.frames()))
    with pytest.raises(NoAnswer) as refused:
        list(WorkerConnection("http://127.0.0.1:1", None, None).frames())
    assert not isinstance(refused.value, NothingCame)


async def test_a_stream_that_needs_a_token_is_refused_with_the_workers_words() -> None:
    """As every other question."""
    async with served(Control(port=0, read_token=TOKEN)) as stage:
        with pytest.raises(RefusedByWorker, match="reading needs the token"):
            await asyncio.to_thread(lambda: next(client(stage).frames()))


async def test_a_watch_shows_a_change_that_the_stream_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking a second time."""
    asked = 0
    get = WorkerConnection.get

    def counted(self: WorkerConnection, path: str) -> Any:
        nonlocal asked
        asked += 1
        return get(self, path)

    monkeypatch.setattr(WorkerConnection, "get", counted)
    original, told = WorkerConnection.frames, threading.Event()

    def frames(self: WorkerConnection) -> Any:
        for frame in original(self):
            yield frame
            told.set()
            if frame["summary"]["open"]:
                raise KeyboardInterrupt

    monkeypatch.setattr(WorkerConnection, "frames", frames)
    monkeypatch.setenv("COLUMNS", "200")
    async with served() as stage:
        assert stage.control.url is not None
        watch = asyncio.ensure_future(asyncio.to_thread(invoke, "watch", "--every", "0.2", "--url", stage.control.url))
        await until(told.is_set)
        await stage.outage()
        ended = await watch
    assert (ended.exit_code, asked, "1 OPEN" in ended.stdout) == (130, 1, True)
