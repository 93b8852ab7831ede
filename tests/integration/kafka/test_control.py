"""A worker process in an outage is asked on the command line, while hostile clients do what they can."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.cli.runner import invoke
from tests.integration.kafka.worker import CONTROL_TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.integration.kafka.scene import Scene


async def ask(path: Path, *args: str) -> Any:
    """Run a command against the worker's local socket."""
    return await asyncio.to_thread(invoke, *args, "--socket", str(path))


async def hang(path: Path) -> asyncio.StreamWriter:
    """Ask for the event stream, and never read it."""
    _, writer = await asyncio.open_unix_connection(str(path))
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return writer


async def test_an_outage_is_explained_held_and_watched(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why, since when, how much waits at the broker and what next; a hold of the topic; and not a message is lost, repeated or reordered,
    with twenty streams that nobody reads and clients that send nonsense."""
    monkeypatch.setenv("HOLDGATE_TOKEN", CONTROL_TOKEN)
    path = tmp_path / "c.sock"
    topic = await scene.topic(partitions=4)
    scene.latency(0.005)
    await scene.start(1, "--control", str(path))
    begin = await scene.produce(topic, 100)
    await scene.processing(50, since=begin)
    hanging = [await hang(path) for _ in range(20)]
    outage = await scene.down()
    await scene.produce(topic, 50)
    await scene.opened(times=2, since=outage)

    document = json.loads((await ask(path, "status", "--json")).stdout)
    # The first question begins to ask the broker, which answers for one partition after the other.
    while (document["summary"]["backlog"] or 0) < 200:
        await asyncio.sleep(0.2)
        document = json.loads((await ask(path, "status", "--json")).stdout)
    (payments,) = document["dependencies"]
    assert (payments["name"], payments["reason"]) == ("payments", "consecutive_failures")
    assert payments["failed_tries"] >= 1
    assert {each["source"] for each in document["sources"]} == {f"{topic}[{number}]" for number in range(4)}

    for junk in (b"\x00" * 5000, b"GET /status", b"POST /commands/hold HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"):
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(junk)
        hanging.append(writer)

    held = await ask(path, "hold", topic, "--reason", "the schema changes", "--actor", "alice")
    assert held.exit_code == 0
    text = (await ask(path, "explain", f"{topic}[0]")).stdout
    assert re.search(r"is held for \d+ seconds?\.", text)
    assert "alice holds it for another 30 minutes: the schema changes." in text
    assert "at the broker in all" in text

    await scene.up()
    assert (await ask(path, "health")).exit_code == 0
    assert (await ask(path, "unhold", topic, "--reason", "done", "--actor", "alice")).exit_code == 0
    await scene.closed()
    await scene.finished()
    assert (await ask(path, "explain", "payments")).stdout.startswith("payments is well")
    await scene.drained()
    for writer in hanging:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
    await scene.check(lanes=4)
    assert not path.exists()
