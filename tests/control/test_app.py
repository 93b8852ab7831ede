from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.control.served import TOKEN, ask, command, exchange, parsed, request, served

from holdgate import Guard
from holdgate.control import Control
from holdgate.testing import MemoryBroker, MemoryIntake

if TYPE_CHECKING:
    from holdgate.control.views import Views

# -- probes ---------------------------------------------------------------------------------------------------------------------------


async def test_an_open_circuit_is_alive_ready_and_degraded() -> None:
    """No probe fails in an outage: a restart would not help, and a readiness failure would block the rollout that does."""
    async with served() as stage:
        await stage.outage()
        for path in ("/livez", "/readyz", "/startupz"):
            answer = await ask(stage.control, path)
            assert (answer.status, answer.json["status"]) == (200, "degraded")
        assert "circuit:payments holds 2 of 2 sources" in answer.json["reasons"]


async def test_a_worker_that_starts_is_alive_and_not_ready() -> None:
    """Before the first assignment."""
    control = Control(port=0)
    async with Guard(control=control, signals=False):
        assert [(await ask(control, path)).status for path in ("/livez", "/readyz", "/startupz")] == [200, 503, 503]


async def test_a_worker_that_drains_is_alive_and_not_ready() -> None:
    """And it can be asked what it waits for: the control plane is the last thing that ends."""
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(delivery: Any) -> None:
        started.set()
        await release.wait()

    broker = MemoryBroker(topics={"slow": 1})
    broker.produce("slow", b"1")
    control = Control(port=0)
    async with Guard(control=control, signals=False) as guard:
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["slow"]), slow))
        await started.wait()
        stopping = asyncio.create_task(guard.stop())
        await asyncio.sleep(0)
        assert [(await ask(control, path)).status for path in ("/livez", "/readyz", "/startupz")] == [200, 503, 200]
        assert (await ask(control, "/status")).json["sources"][0]["reasons"] == ["draining"]
        release.set()
        await asyncio.gather(stopping, run)


# -- reading --------------------------------------------------------------------------------------------------------------------------


async def test_the_status_of_an_outage_answers_the_five_questions() -> None:
    """What is held, why, since when, how much waits, and what happens next."""
    async with served() as stage:
        await stage.outage()
        found = (await ask(stage.control, "/status")).json
        worst, other = found["dependencies"]
        assert (worst["name"], worst["state"], worst["reason"], worst["held"]) == ("payments", "open", "consecutive_failures", 2)
        assert (other["name"], other["state"]) == ("email", "closed")
        assert {each["source"] for each in found["sources"]} == {"orders[0]", "orders[1]"}
        for each in found["sources"]:
            assert each["reasons"] == ["circuit:payments"]
            assert each["since"] <= found["at"] < each["next_try"]
            assert each["waiting"]
        assert found["worker"] == "worker-1"
        assert found["health"]["status"] == "degraded"


async def test_a_limit_cuts_the_list_of_sources() -> None:
    """And says how many it has cut."""
    async with served() as stage:
        found = (await ask(stage.control, "/status?limit=1")).json
        assert (len(found["sources"]), found["sources_left_out"]) == (1, 1)
        for wrong in ("-1", "x", "", "1e3", "%31%32%33%34%35%36%37%38%39", "\u00b2".encode().hex()):
            assert (await ask(stage.control, f"/status?limit={wrong}")).status in {400, 200}
        assert (await ask(stage.control, "/status?limit=x")).json == {
            "error": "limit must be a whole number from 0: how many sources to list"
        }


async def test_a_status_after_a_command_shows_it() -> None:
    """What is kept for a moment is not kept over a change."""
    async with served() as stage:
        assert (await ask(stage.control, "/status")).json["commands"] == []
        assert (await command(stage.control, "hold", target="orders", reason="migration", actor="alice")).status == 200
        assert [each["reason"] for each in (await ask(stage.control, "/status")).json["commands"]] == ["migration"]


async def test_metrics_are_scraped_in_both_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same series, by what the scraper asks for; without prometheus-client the answer says what to install."""
    async with served() as stage:
        await stage.outage()
        plain = await ask(stage.control, "/metrics")
        assert plain.headers["content-type"].startswith("text/plain")
        assert b'holdgate_circuit_state{dependency="payments",state="open"} 1.0' in plain.body
        asked = "application/openmetrics-text;version=1.0.0"
        other = await ask(stage.control, "/metrics", accept=asked)
        assert other.headers["content-type"].startswith("application/openmetrics-text")
        assert other.body.endswith(b"# EOF\n")
    monkeypatch.delitem(sys.modules, "holdgate.telemetry.prometheus")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    async with served() as stage:
        missing = await ask(stage.control, "/metrics")
        assert (missing.status, missing.json) == (501, {"error": "prometheus-client is not installed: pip install 'holdgate[prometheus]'"})


async def test_the_audit_log_is_read_oldest_first() -> None:
    """What `guard.audit()` has."""
    async with served() as stage:
        await command(stage.control, "hold", target="orders", reason="migration", actor="alice")
        await command(stage.control, "unhold", target="orders", reason="done", actor="bob")
        entries = (await ask(stage.control, "/audit")).json
        assert [(each["command"], each["actor"]) for each in entries] == [("hold", "alice"), ("unhold", "bob")]


# -- what is not answered -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/status/",
        "//status",
        "/status/../status",
        "/%2e%2e/etc/passwd",
        "/commands",
        "/commands/",
        "/commands/hold/x",
        "/" + "a" * 5000,
    ],
)
async def test_a_path_that_is_not_there_is_not_there(path: str) -> None:
    """No redirect, no guess, and nothing of the path in the answer."""
    async with served() as stage:
        answer = await ask(stage.control, path)
        assert (answer.status, answer.json) == (404, {"error": "nothing is here"})
        assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/commands/hold"), ("HEAD", "/commands/hold"), ("PUT", "/status"), ("DELETE", "/livez")]
)
async def test_a_method_that_would_surprise_is_refused(method: str, path: str) -> None:
    """A GET has no effect, so a link, an image or a prefetch cannot command anything."""
    async with served() as stage:
        answer = await ask(stage.control, path, method, authorization=f"Bearer {TOKEN}")
        assert answer.status == 405
        assert stage.guard.audit() == ()


async def test_every_answer_has_the_headers_of_a_careful_server() -> None:
    """Errors, too: nothing is cached, sniffed or framed."""
    async with served() as stage:
        for path in ("/status", "/nothing"):
            headers = (await ask(stage.control, path)).headers
            assert headers["cache-control"] == "no-store"
            assert headers["content-security-policy"].startswith("default-src 'self'")
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /status HTTP/1.1\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"POST /commands/hold HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://127.0.0.1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"HEAD /status HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\ncanary-token\r\n",
    ],
    ids=["not HTTP", "TLS", "no host", "a head too large", "two lengths", "a negative length", "a HEAD that cannot be refused"],
)
async def test_what_is_no_request_is_answered_or_cut(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it is logged: a client could fill the disk with that."""
    async with served() as stage:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            await exchange(stage.control, raw)
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
        assert (await ask(stage.control, "/livez")).status == 200


async def test_a_large_document_waits_for_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes out in pieces, one when the one before was taken, so that two hundred clients that take nothing keep two hundred pieces in
    memory and not two hundred documents. One that takes nothing for long is cut: the end of the document does not come."""
    monkeypatch.setattr("holdgate.control.app._PIECE_WITHIN", 0.05)
    async with served(topics={"orders": 1000}) as stage:
        whole = (await ask(stage.control, "/status")).body
        assert len(json.loads(whole)["sources"]) == 1000
        for takes in (None, 2):
            sent: list[Any] = []

            async def send(message: Any, sent: list[Any] = sent, takes: int | None = takes) -> None:
                sent.append(message)
                if takes is not None and len(sent) > takes:
                    await asyncio.Event().wait()

            await stage.control.app(scope_of("/status"), None, send)
            assert max(len(message.get("body", b"")) for message in sent) <= 64 * 1024
            if takes is None:
                assert len(json.loads(b"".join(message.get("body", b"") for message in sent))["sources"]) == 1000
                assert len(sent) > 4
            else:
                assert len(sent) == 3
                assert sent[-1]["more_body"]


async def test_a_mistake_inside_is_hidden(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the answer nor the log quotes an exception, whose text may be anything."""

    def broken(self: Views, limit: int | None = None) -> bytes:
        raise ValueError("canary-payload")

    monkeypatch.setattr("holdgate.control.views.Views.status", broken)
    async with served() as stage:
        answer = await ask(stage.control, "/status")
        assert (answer.status, answer.json) == (500, {"error": "this is a mistake of holdgate's: the log has its kind"})
        assert answer.headers["cache-control"] == "no-store"
        assert "control: a request ended with ValueError" in caplog.text
        assert "canary" not in caplog.text


# -- mounted --------------------------------------------------------------------------------------------------------------------------


def scope_of(path: str, *, method: str = "GET", root: str = "", host: str = "workers.example") -> dict[str, Any]:
    """A request as a server hands it on."""
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": root + path, "raw_path": (root + path).encode(), "query_string": b"", "root_path": root,
        "headers": [(b"host", host.encode())], "client": ("10.0.0.1", 1), "server": ("10.0.0.2", 80),
    }  # fmt: skip


async def call(app: Any, path: str, *, method: str = "GET", root: str = "", host: str = "workers.example") -> tuple[int, bytes]:
    """Call an ASGI app as a server does."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of(path, method=method, root=root, host=host), receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def test_the_app_is_mounted_in_another_under_any_name() -> None:
    """Who may reach it is then the other app's affair: the host is not looked at."""
    control = Control()
    assert control.url is None
    assert (await call(control.app, "/readyz"))[0] == 503
    assert (await call(control.app, "/livez"))[0] == 200
    assert (await call(control.app, "/status"))[0] == 503
    async with served(control):
        assert control.url is None
        assert (await call(control.app, "/readyz", root="/holdgate"))[0] == 200
        assert (await call(control.app, "/status"))[0] == 200
    assert (await call(control.app, "/livez"))[0] == 200
    assert (await call(control.app, "/readyz"))[0] == 503
    for path in ("/status", "/audit", "/metrics", "/peers", "/events"):
        assert (await call(control.app, path))[0] == 503


async def test_an_answer_to_a_keep_alive_client_is_followed_by_another() -> None:
    """A scraper keeps its connection."""
    async with served() as stage:
        both = request("GET", "/livez", connection="") + request("GET", "/livez")
        first, _, second = (await exchange(stage.control, both)).partition(b"}HTTP/1.1")
        assert parsed(first + b"}").status == 200
        assert second.startswith(b" 200")
