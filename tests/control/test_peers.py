from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.control.served import PATIENCE, TOKEN, ask, port_of, served, until
from tests.flow.test_status import circuit, document

from holdgate import State
from holdgate.control import Control
from holdgate.control.peers import Peers, check_peers
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

READ = "read-" + TOKEN
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
# What a worker answers, as it comes back from JSON.
STATUS = json.loads(json.dumps(document(circuit(state=State.OPEN))))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers are in this process: where it stands still for two seconds, no peer is to blame."""
    monkeypatch.setattr("holdgate.control.peers._WITHIN", PATIENCE)


class Impostor:
    """Something that listens where a peer should. It answers every request with the same bytes, and keeps what it was asked."""

    def __init__(self, answer: bytes, *, hangs: bool) -> None:
        self.asked: list[bytes] = []
        self.closed = 0
        self.url = ""
        self._answer = answer
        self._hangs = hangs

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self._answer)
            if self._hangs:
                await reader.read()
            await writer.drain()
        except OSError:
            pass
        finally:
            self.closed += 1
            writer.close()


@asynccontextmanager
async def impostor(answer: bytes, *, hangs: bool = False) -> AsyncIterator[Impostor]:
    made = Impostor(answer, hangs=hangs)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    async with server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


def http(body: bytes, head: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return head + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def answers(*peers: str, token: str | None = None) -> list[dict[str, Any]]:
    return await Peers(check_peers(peers), token).get()


async def test_a_peer_is_read_without_its_sources() -> None:
    """Each worker answers for itself; a name of a peer that stands for several addresses means all of them."""
    async with served(Control(port=0, read_token=READ, name="worker-2")) as other:
        own = Control(port=0, read_token=READ, name="worker-1", peers=[str(other.control.url)])
        async with served(own) as stage:
            await other.outage()
            found = (await ask(stage.control, "/peers", authorization=f"Bearer {READ}")).json["peers"]
    (peer,) = found
    assert peer["url"] == f"{other.control.url}/" or peer["url"].startswith("http://127.0.0.1:")
    assert peer["error"] is None
    assert peer["status"]["worker"] == "worker-2"
    assert peer["status"]["summary"]["open"] == 1
    assert "sources" not in peer["status"]


async def test_without_peers_nobody_is_asked() -> None:
    """The page then has no fleet."""
    async with served() as stage:
        assert (await ask(stage.control, "/peers")).json == {"peers": []}


async def test_a_peer_with_another_token_is_named() -> None:
    """The others are shown all the same."""
    async with served(Control(port=0, read_token=READ, name="worker-2")) as other:
        wrong, gone = await answers(str(other.control.url), "http://127.0.0.1:1", token="another-token-than-that")  # noqa: S106
    assert wrong["error"] == "it answers 401"
    assert gone == {"url": "http://127.0.0.1:1/", "status": None, "error": "no connection: Connection refused"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http(b"{}"), "its answer is no status"),
        (http(b"[]"), "its answer is no status"),
        (http(b"not JSON"), "its answer is not JSON"),
        (http(b"[" * 100_000), "its answer is not JSON"),
        (http(b" " * 300_000), "its answer is too long"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000, "its answer comes in too many pieces"),
        (CHUNKED + b"1\r\n \r\n" * 10_000, "its answer comes in too many pieces"),
        (b"SSH-2.0-OpenSSH\r\n", "no connection: RemoteProtocolError"),
        (b"", "no connection: RemoteProtocolError"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "it answers 302"),
    ],
)
async def test_what_is_no_worker_is_said(answer: bytes, words: str) -> None:
    """Nothing of its answer is passed on, and no redirect is followed."""
    async with impostor(answer) as peer:
        (found,) = await answers(peer.url)
    assert found["status"] is None
    assert found["error"].startswith(words)


async def test_a_peer_that_does_not_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time; its connection ends."""
    monkeypatch.setattr("holdgate.control.peers._WITHIN", 1.0)
    async with impostor(b"HTTP/1.1 200 OK\r\n", hangs=True) as peer:
        (found,) = await answers(peer.url)
        await until(lambda: peer.closed == 1)
    assert found["error"] == "no answer within 1 seconds"


async def test_only_known_fields_are_passed_on() -> None:
    """Whatever else a peer adds stays away from the page, also further in."""
    known = {name: STATUS[name] for name in ("schema", "at", "worker", "version", "began", "health", "summary", "dependencies")}
    more = {**STATUS, "payload": "canary", "health": {**STATUS["health"], "payload": "canary"}}
    async with impostor(http(json.dumps(more).encode())) as peer:
        (found,) = await answers(peer.url)
    assert (found["error"], found["status"]) == (None, known)


@pytest.mark.parametrize(
    "changed",
    [
        {"at": float("nan")},  # no JSON: the page could read no peer at all
        {"began": float("inf")},
        {"summary": None},  # the page would stop in the middle of drawing
        {"dependencies": [{}]},
        {"worker": ["x"]},
        {"schema": 2},
    ],
)
async def test_a_status_of_another_form_is_not_passed_on(changed: dict[str, Any]) -> None:
    """One such peer may not take the others from the page."""
    async with impostor(http(json.dumps({**STATUS, **changed}).encode())) as bad, impostor(http(json.dumps(STATUS).encode())) as good:
        wrong, right = await answers(bad.url, good.url)
    assert (wrong["status"], wrong["error"][:22]) == (None, "its answer is no statu")
    assert right["status"]["worker"] == STATUS["worker"]


async def test_a_round_is_shared() -> None:
    """Who asks while a round is under way, or shortly after it, gets that one: many pages are one question."""
    async with impostor(http(b"{}")) as peer:
        peers = Peers(check_peers([peer.url + "/prefix/"]), READ)
        await asyncio.gather(*(peers.get() for _ in range(10)))
        await peers.get()
    (asked,) = peer.asked
    assert asked.startswith(b"GET /prefix/status?limit=0 HTTP/1.1\r\n")
    assert b"authorization: Bearer " + READ.encode() in asked.lower().replace(b"bearer", b"Bearer")


async def test_who_asks_may_go_away() -> None:
    """The round of the others goes on."""
    async with impostor(http(b"{}")) as peer:
        peers = Peers(check_peers([peer.url]), None)
        leaves = asyncio.create_task(peers.get())
        stays = asyncio.create_task(peers.get())
        await until(lambda: peer.asked != [])
        leaves.cancel()
        assert len(await stays) == 1
    assert leaves.cancelled() or leaves.done()


async def test_a_round_under_way_does_not_keep_a_worker_from_its_end() -> None:
    """The guard ends, and the question with it."""
    async with impostor(b"", hangs=True) as peer:
        async with served(Control(port=0, peers=[peer.url])) as stage:
            assert port_of(stage.control)
            asking = asyncio.create_task(ask(stage.control, "/peers"))
            await until(lambda: peer.asked != [])
        await asyncio.wait({asking})
        asking.exception()


async def test_after_the_end_nobody_is_asked() -> None:
    """A request that comes while the worker ends would leave a task behind."""
    async with impostor(http(json.dumps(STATUS).encode())) as peer:
        peers = Peers(check_peers([peer.url]), None)
        peers.end()
        assert await peers.get() == []
    assert peer.asked == []


async def test_the_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for each question: that stops the loop for tens of milliseconds."""
    read: list[ssl.SSLContext] = []
    original = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda: read.append(original()) or read[-1])
    found = await answers("https://127.0.0.1:1", "https://127.0.0.1:1/at")
    assert [each["error"] for each in found] == ["no connection: Connection refused"] * 2
    assert len(read) == 1


async def test_no_more_are_asked_than_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that stands for ten thousand addresses would keep the worker asking for minutes."""
    asked: list[str] = []

    async def resolve(host: str, port: int, **more: Any) -> list[Any]:
        return [(None, None, 0, "", (f"127.0.{number // 250}.{number % 250}", port)) for number in range(90)]

    async def fetch(self: Peers, peer: Any, host: str) -> bytes:
        asked.append(host)
        return b"{}"

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    monkeypatch.setattr(Peers, "_fetch", fetch)
    assert len(await answers("http://workers", "http://others")) == len(asked) == 100


async def test_a_name_of_many_addresses_is_many_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a headless service is; each has the address under which a browser reaches that one."""
    server = await asyncio.start_server(Impostor(http(b"{}"), hangs=False).serve, ["127.0.0.1", "127.0.0.2"], 0)
    first, second = (port for _, port in sorted(each.getsockname() for each in server.sockets))  # they are opened in any order
    async with server:

        async def resolve(host: str, port: int, **more: Any) -> list[Any]:
            assert host == "workers"
            return [(None, None, 0, "", ("127.0.0.1", port)), (None, None, 0, "", ("127.0.0.2", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        found = await Peers(check_peers([f"http://workers:{first}/at"]), None).get()
    assert [each["url"] for each in found] == [f"http://127.0.0.1:{first}/at/", f"http://127.0.0.2:{first}/at/"]
    assert found[0]["error"].startswith("its answer is no status")
    assert second


@pytest.mark.parametrize(
    "peers",
    [
        "http://worker-2:9099",
        7,
        ["worker-2:9099"],
        ["ftp://worker-2"],
        ["ftp://worker-2:9099"],
        ["javascript://worker-2:9099/%0aalert(1)"],
        ["http://"],
        ["http://user:canary@worker-2"],
        ["http://worker-2:99999"],
        ["http://worker-2/?token=canary"],
        ["http://worker-2/#canary"],
        ["http://worker 2"],
        ["http://worker-2\r\nHost: x"],
        [b"http://worker-2"],
        ["http://worker-2"] * 101,
    ],
)
def test_what_is_no_address_is_refused(peers: Any) -> None:
    """When the Control is made; a password that may be in it is not repeated."""
    with pytest.raises(SettingsError, match="control: peers must be") as caught:
        Control(peers=peers)
    assert "canary" not in str(caught.value)
