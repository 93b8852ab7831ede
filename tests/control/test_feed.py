from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Self

import pytest
from tests.control.served import PATIENCE, Stage, ask, command, port_of, request, served, until

from holdgate.control import Control, feed

if TYPE_CHECKING:
    from types import TracebackType


class Client:
    """One browser's event stream: `events` yields what has come, as (id, event, data)."""

    def __init__(self, control: Control, **headers: str) -> None:
        self._control = control
        self._headers = headers
        self._read = b""
        self.head = b""

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port_of(self._control))
        self.writer.write(request("GET", "/events", connection="", **self._headers))
        async with asyncio.timeout(PATIENCE):
            self.head = await self.reader.readuntil(b"\r\n\r\n")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.writer.transport.abort()

    async def block(self) -> str:
        """The next block of the stream, without the marks of the chunks around it."""
        async with asyncio.timeout(PATIENCE):
            while b"\n\n" not in self._read:
                size = int(await self.reader.readline(), 16)
                if not size:
                    raise EOFError
                self._read += (await self.reader.readexactly(size + 2))[:-2]
        block, _, self._read = self._read.partition(b"\n\n")
        return block.decode()

    async def event(self, kind: str) -> tuple[str, Any]:
        """The next event of this kind: its id and its data."""
        while True:
            fields = dict(line.split(": ", 1) for line in (await self.block()).splitlines())
            if fields.get("event") == kind:
                return fields["id"], json.loads(fields["data"])


async def test_a_stream_begins_with_the_present() -> None:
    """The time to wait before a new connection, and then a frame: a client needs nothing else to show all."""
    async with served() as stage, Client(stage.control) as client:
        assert b"text/event-stream" in client.head
        assert await client.block() == "retry: 3000"
        _, document = await client.event("status")
        assert document["dependencies"][0]["name"] in {"email", "payments"}
        assert len(document["sources"]) == 2


async def test_a_transition_comes_when_it_happens_and_the_frame_after_it_has_it() -> None:
    """Held, and why; in the order in which it happened."""
    async with served() as stage, Client(stage.control) as client:
        await client.event("status")
        await stage.outage()
        seen = []
        while "SourceHeld" not in seen:
            _, data = await client.event("transition")
            seen.append(data["event"])
        assert seen.index("ThresholdExceeded") < seen.index("CircuitOpened") < seen.index("SourceHeld")
        assert (data["source"], data["reasons"]) == (data["source"], ["circuit:payments"])
        while True:
            _, document = await client.event("status")
            if document["summary"]["open"]:
                break


async def test_events_that_follow_each_other_are_sent_together() -> None:
    """A hundred partitions that are held in one step are one write, and not a hundred."""
    async with served() as stage:
        sent: list[bytes] = []
        stream = feed.EventStream(stage.control._feed, stage.control._views, "")  # type: ignore[arg-type]

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        async def receive() -> Any:
            await asyncio.Event().wait()

        task = asyncio.create_task(stream({}, receive, send))
        await until(lambda: len(sent) == 3)
        for number in range(50):
            stage.guard.hold("orders", reason=f"number {number}", actor="a test")
        await until(lambda: b"number 49" in b"".join(sent))
        assert len([body for body in sent[3:] if b"event: transition" in body]) <= 3
        task.cancel()
        await asyncio.wait({task})


async def test_a_client_that_comes_back_gets_what_it_has_missed() -> None:
    """From the event after the id that it names."""
    async with served() as stage:
        async with Client(stage.control) as client:
            await client.event("status")
            await command(stage.control, "hold", target="orders", reason="first", actor="a")
            last_id, _ = await client.event("transition")
        await command(stage.control, "hold", target="orders", reason="second", actor="a")
        async with Client(stage.control, last_event_id=last_id) as client:
            while True:
                _, data = await client.event("transition")
                assert data.get("reason") != "first"
                if data.get("reason") == "second":
                    break


@pytest.mark.parametrize(
    "last_id",
    ["nonsense", "ffffffff-1", "-", "-1", "1", "{mark}-999999", "{mark}-x", "{mark}--1", "{mark}-²", "x" * 3000, "{mark}-" + "9" * 5000],
)
async def test_an_id_that_is_not_ours_is_answered_with_the_present(last_id: str) -> None:
    """Another process's, from the future, or made up: no history, and a frame."""
    async with served() as stage:
        await command(stage.control, "hold", target="orders", reason="before", actor="a")
        mark = stage.control._feed._mark
        async with Client(stage.control, last_event_id=last_id.format(mark=mark)) as client:
            assert await client.block() == "retry: 3000"
            assert "event: status" in await client.block()


def test_what_is_too_old_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last events are kept, and no more. Who has missed others begins with the present."""
    events = feed.EventFeed()
    for _ in range(feed._KEPT + 5):
        events.note(None)  # type: ignore[arg-type]
    newest = feed._KEPT + 5
    assert events.place_of(f"{events._mark}-4") == newest
    assert events.place_of(f"{events._mark}-5") == 5
    assert events.place_of(f"{events._mark}-{newest}") == newest
    assert events.place_of(f"{events._mark}-{newest + 1}") == newest
    assert feed.EventFeed().place_of(f"{events._mark}-5") == 0


async def test_open_streams_do_not_delay_a_drain() -> None:
    """They end by themselves when the guard has drained, and the guard waits for none of them."""
    async with served() as stage:
        clients = [Client(stage.control) for _ in range(5)]
        for client in clients:
            await client.__aenter__()
            await client.event("status")
        ended = asyncio.create_task(stage.guard.stop())
        await ended
        assert stage.control._feed.open_streams == 5
    for client in clients:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                await client.reader.read()
        client.writer.transport.abort()
    assert stage.control._feed.open_streams == 0


async def test_a_client_that_goes_leaves_nothing_behind() -> None:
    """Its stream ends, and so does the task that waited for its going."""
    async with served() as stage:
        async with Client(stage.control) as client:
            await client.event("status")
            assert stage.control._feed.open_streams == 1
        await until(lambda: stage.control._feed.open_streams == 0)
        await until(lambda: not [task for task in asyncio.all_tasks() if "event stream" in task.get_name()])


async def test_a_client_that_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """When the buffers are full for too long its stream ends, its connection is aborted, and the flow has gone on meanwhile."""
    monkeypatch.setattr(feed, "_SEND_WITHIN", 0.2)
    monkeypatch.setattr("holdgate.control.server._PATIENCE", 0.2)
    monkeypatch.setattr(feed, "_FRAME_EVERY", 0.001)
    monkeypatch.setattr(feed, "_APART", 0.0)
    monkeypatch.setattr("holdgate.control.views.Views.frame", lambda _: b"x" * 1_000_000)
    async with served() as stage:
        async with Client(stage.control) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: stage.control._feed.open_streams == 0)
            stage.broker.produce("orders", b"1")
            await until(lambda: stage.handled == [b"1"])
            await until(lambda: not open_connections(stage))
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def open_connections(stage: Stage) -> Any:
    """The connections that the server has now."""
    return stage.control._server._server.server_state.connections  # type: ignore[union-attr]


async def test_streams_are_counted() -> None:
    """One too many is refused: each costs the worker something every second."""
    async with served() as stage:
        stage.control._feed.open_streams = 100
        answer = await ask(stage.control, "/events")
        assert (answer.status, answer.json["error"].partition(",")[0]) == (503, "there are 100 event streams already")
        stage.control._feed.open_streams = 0


async def test_a_client_that_has_seen_nothing_can_have_all() -> None:
    """The page's timeline begins with the events that the worker still has."""
    async with served() as stage:
        await stage.outage()
        async with Client(stage.control, last_event_id="first") as client:
            seen = [(await client.event("transition"))[1]["event"] for _ in range(2)]
        assert seen == ["ThresholdExceeded", "CircuitOpened"]
