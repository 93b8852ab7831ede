"""What looks for canaries sees one wherever it may show itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from holdgate import Delivery, Dependency, Guard
from holdgate.control.app import Door
from holdgate.telemetry.prometheus import render
from holdgate.telemetry.spans import Spans
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time
from tests import canary
from tests.cli.runner import invoke
from tests.control.served import ask, request, served
from tests.runtime.stage import broker_with, quiet_guard, running, until

SHOWN = f"{canary.CANARY}shown"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Nothing that these tests show is left to fail them at their end."""
    yield
    canary.findings()


async def delivered(**message: Any) -> Delivery[Any]:
    """One message in memory, as a handler gets it."""
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", **message)
    got: list[Delivery[Any]] = []

    async def handler(delivery: Delivery[Any]) -> None:
        got.append(delivery)

    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler)):
        await until(lambda: bool(got))
    return got[0]


@in_virtual_time
async def test_a_message_works_as_what_it_is_and_gives_itself_away() -> None:
    """It compares and computes as its own bytes; only what writes it out shows the canary."""
    delivery = await delivered(body=b"7", key=b"k", headers={"n": b"9", "word": "x", "count": 3})
    assert (delivery.body, delivery.key, dict(delivery.headers)) == (b"7", b"k", {"n": b"9", "word": "x", "count": 3})
    assert (int(delivery.body or b""), hash(delivery.key), (delivery.body or b"").decode()) == (7, hash(b"k"), "7")
    for part in (delivery.body, delivery.key, delivery.headers, delivery.headers["n"], delivery.headers["word"]):
        for written in (str(part), repr(part), f"{part}", "%s" % (part,), "%r" % (part,)):  # noqa: UP031 - as logging does
            assert canary.CANARY in written
    assert not canary.findings()


@in_virtual_time
async def test_a_log_line_and_its_fields_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the fields alone, which a formatter for JSON writes."""
    monkeypatch.setattr(logging.getLogger("holdgate"), "propagate", False)  # or pytest would have it in the log of this test
    delivery = await delivered(body=b"7")
    log = logging.getLogger("holdgate.somewhere")
    log.warning("the message was %s", delivery.body)
    (line,) = canary.findings()
    assert "a log record" in line
    log.warning("nothing here", extra={"holdgate_key": SHOWN})
    assert len(canary.findings()) == 1
    log.warning("nothing here", extra={"holdgate_key": "fine"})
    assert not canary.findings()


async def test_an_event_and_a_metric_are_looked_at() -> None:
    """By the name of a dependency here, which may be shown: it stands for what may not."""
    async with Guard(Dependency(SHOWN), signals=False) as guard:
        guard.force_open(SHOWN, reason="a test")
        await asyncio.sleep(0)
        render(guard)
    places = {each.partition(":")[0] for each in canary.findings()}
    assert places == {"an event", "a metric"}


@in_virtual_time
async def test_a_span_is_looked_at() -> None:
    """With what a handler puts into it, which is its own affair elsewhere."""

    class Leaky(Spans):
        def begin(self, attempted: Any, message: Any, *, fallback: bool = False) -> object | None:
            attempt: Any = super().begin(attempted, message, fallback=fallback)
            attempt.span.set_attribute("holdgate.body", repr(message.body))
            return attempt

    done: list[object] = []

    async def handler(delivery: Delivery[Any]) -> None:
        done.append(delivery)

    async with (
        quiet_guard(spans=Leaky(TracerProvider(), at_most=None)) as guard,
        running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), handler)),
    ):
        await until(lambda: bool(done))
    assert {each.partition(":")[0] for each in canary.findings()} == {"a span"}


async def test_an_answer_is_looked_at() -> None:
    """Of whatever path, and by whichever server."""
    async with served() as stage:
        stage.guard.hold("orders", reason="canary", actor="alice")
        assert (await ask(stage.control, "/status")).status == 200
        assert not canary.findings()
        door = stage.control.app
        assert isinstance(door, Door)
        sent: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": SHOWN.encode()})

        async def send(message: Any) -> None:
            sent.append(message)

        door._app = app  # type: ignore[assignment]
        await door({"type": "http", "path": "/status", "headers": []}, None, send)  # type: ignore[arg-type]
    assert any(each.startswith("an answer to /status: ") for each in canary.findings())
    assert request("GET", "/").startswith(b"GET / ")
    assert len(sent) == 2


def test_what_a_command_prints_is_looked_at() -> None:
    """Its errors, too."""
    invoke("status", "--url", f"http://127.0.0.1:1/{SHOWN}")
    assert any(each.startswith("what holdgate status prints") for each in canary.findings())
