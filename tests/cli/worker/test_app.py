from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.runner import invoke
from tests.control.served import TOKEN, Stage, served, until
from tests.flow.test_status import circuit, document, source

from holdgate import Override, Partition, Queue, State
from holdgate.cli.worker.connection import NoAnswer, RefusedByWorker, WorkerConnection
from holdgate.cli.worker.options import duration
from holdgate.control import Control
from holdgate.testing import MemoryFleetLog, MemoryLogServer

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address or token of the machine's own, and a terminal that is wide enough."""
    for name in ("HOLDGATE_URL", "HOLDGATE_SOCKET", "HOLDGATE_TOKEN_FILE", "HOLDGATE_ACTOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOLDGATE_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "200")


async def run(stage: Stage, *args: str) -> Result:
    """Run a command against the stage's worker, from another thread: the worker's loop must go on."""
    assert stage.control.url is not None
    return await asyncio.to_thread(invoke, *args, "--url", stage.control.url)


async def test_the_status_of_an_outage_is_a_table() -> None:
    """Worst first, with a mark and words for each state, never by colour alone."""
    async with served() as stage:
        await stage.outage()
        shown = await run(stage, "status")
        assert shown.exit_code == 0
        first, *rest = shown.stdout.splitlines()
        assert first.startswith("worker-1 · degraded · 1 OPEN · 2 partitions held · oldest hold ")
        payments, email = (next(line for line in rest if name in line and "circuit" not in line) for name in ("payments", "email"))
        assert rest.index(payments) < rest.index(email)
        assert "■ OPEN" in payments
        assert "2 of 2" in payments
        assert "probe in" in payments
        assert "□ CLOSED" in email
        assert any("orders[0]" in line and "circuit:payments" in line for line in rest)


async def test_what_is_not_held_is_listed_when_asked_for() -> None:
    """Otherwise a worker of a thousand partitions would fill the screen in good times."""
    async with served() as stage:
        assert "orders[0]" not in (await run(stage, "status")).stdout
        assert "orders[0]" in (await run(stage, "status", "--all")).stdout


async def test_json_is_the_workers_own_document() -> None:
    """For programs, as `/status` has it."""
    async with served() as stage:
        found = json.loads((await run(stage, "status", "--json")).stdout)
        assert found["schema"] == 1
        assert len(found["sources"]) == 2


async def test_one_paragraph_explains_a_source() -> None:
    """A partition, a topic or a dependency; a name that is not here exits with 1 and those that are close."""
    async with served() as stage:
        await stage.outage()
        text = (await run(stage, "explain", "orders[0]")).stdout
        assert text.startswith("orders[0] is held for ")
        assert "because 5 calls in a row failed" in text
        assert (await run(stage, "explain", "payments")).stdout.startswith("payments has counted as down for")
        as_json = json.loads((await run(stage, "explain", "orders", "--json")).stdout)
        assert as_json["name"] == "orders"
        unknown = await run(stage, "explain", "ordres")
        assert (unknown.exit_code, unknown.stderr.startswith("Error: nothing here is named 'ordres'; close to it: orders")) == (1, True)


async def test_health_is_a_probe() -> None:
    """0 for yes, 1 for no, also while a circuit is open; 2 where nobody answers."""
    async with served() as stage:
        await stage.outage()
        live = await run(stage, "health")
        assert (live.exit_code, live.stdout.partition(";")[0]) == (0, "degraded")
        assert (await run(stage, "health", "--ready")).exit_code == 0
        assert (await run(stage, "health", "--started", "--json")).exit_code == 0
        await stage.guard.stop()
        stopping = await run(stage, "health", "--ready")
        assert (stopping.exit_code, stopping.stdout.strip().partition(";")[0]) == (1, "stopping")
    nobody = await asyncio.to_thread(invoke, "health", "--url", "http://127.0.0.1:1")
    assert nobody.exit_code == 2
    assert "no worker answers at http://127.0.0.1:1 (Connection refused)" in nobody.stderr


def watched(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> Result:
    """Run `holdgate watch` with a worker that gives these answers; the last one is what ends it."""
    looks = iter(answers)

    def get(self: WorkerConnection, path: str) -> Any:
        assert path == "/status?limit=100"
        answer = next(looks)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def frames(self: WorkerConnection) -> Any:
        raise RefusedByWorker(503, "there are 100 event streams already")

    monkeypatch.setattr(WorkerConnection, "get", get)
    monkeypatch.setattr(WorkerConnection, "frames", frames)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return invoke("watch")


def test_a_watch_goes_on_until_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Ctrl-C, which is no error and has the code of one that was stopped."""
    first, second = document(circuit()), document(circuit(state=State.OPEN))
    ended = watched(monkeypatch, first, second, KeyboardInterrupt())
    assert (ended.exit_code, "1 OPEN" in ended.stdout) == (130, True)


def test_a_watch_waits_for_a_worker_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows what was seen last, and that nobody answers."""
    down = document(circuit(state=State.OPEN))
    ended = watched(monkeypatch, down, NoAnswer("no worker answers"), KeyboardInterrupt())
    assert "no worker answers" in ended.stdout
    assert "what follows is the last that was seen" in ended.stdout
    assert "1 OPEN" in ended.stdout
    back = watched(monkeypatch, down, NoAnswer("no worker answers"), document(circuit()), KeyboardInterrupt())
    assert "no worker answers" not in back.stdout


def test_a_watch_of_nobody_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address is nothing to wait for."""
    assert watched(monkeypatch, NoAnswer("no worker answers")).exit_code == 2


async def test_a_local_socket_is_asked_as_a_port_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an option or the environment; a command, too."""
    path = tmp_path / "worker.sock"
    async with served(Control(socket=path, token=TOKEN)) as stage:
        assert (await asyncio.to_thread(invoke, "health", "--socket", str(path))).exit_code == 0
        monkeypatch.setenv("HOLDGATE_SOCKET", str(path))
        held = await asyncio.to_thread(invoke, "hold", "orders", "--reason", "migration", "--actor", "alice")
        assert (held.exit_code, held.stdout) == (0, "hold orders: done by alice, for 30 minutes\n")
        await until(lambda: stage.guard.snapshot().sources[Partition("orders", 0)].held)


async def test_every_command_reaches_the_guard() -> None:
    """Who gives it is the user of the process, unless somebody is named."""
    async with served() as stage:
        circuit = stage.guard.circuit("payments")
        words = ("--reason", "a test")
        for name, override in (("force-open", Override.FORCED_OPEN), ("disable", Override.DISABLED), ("observe", Override.METRICS_ONLY)):
            assert (await run(stage, name, "payments", *words, "--for", "90")).exit_code == 0
            assert circuit.override is override
        assert (await run(stage, "clear-override", "payments", *words)).exit_code == 0
        assert circuit.override is None
        nothing = await run(stage, "probe", "payments", *words)
        assert (nothing.exit_code, nothing.stderr) == (1, "Error: payments is not open: there is nothing to try\n")
        await stage.outage()
        assert (await run(stage, "probe", "payments", *words)).exit_code == 0
        stage.down = False
        assert (await run(stage, "reset", "payments", *words)).exit_code == 0
        assert (await run(stage, "hold", "orders[1]", *words, "--for", "forever", "--actor", "bob")).exit_code == 0
        assert stage.guard.snapshot().commands[0].until is None
        assert (await run(stage, "unhold", "orders[1]", *words)).exit_code == 0
        lines = (await run(stage, "audit")).stdout.splitlines()
        assert [line.split()[1] for line in lines] == ["force", "disable", "observe", "clear", "probe", "reset", "hold", "unhold"]
        assert lines[-2].endswith("hold orders[1] by bob: a test")
        assert len(json.loads((await run(stage, "audit", "--json")).stdout)) == 8


async def test_a_message_is_skipped_only_after_a_question() -> None:
    """It is lost. Without a terminal there is nobody to answer, so nothing happens; a retry asks nothing."""
    async with served() as stage:
        stage.rejects = True
        stage.broker.produce("orders", b"bad")
        await until(lambda: any(seen.held for seen in stage.guard.snapshot().sources.values()))
        (source,) = [str(each) for each, seen in stage.guard.snapshot().sources.items() if seen.held]
        again = await run(stage, "retry", source, "--reason", "x", "--json")
        assert json.loads(again.stdout)["messages"] == 1
        await until(lambda: any(seen.held for seen in stage.guard.snapshot().sources.values()))
        asked = await run(stage, "skip", source, "0", "--reason", "x")
        assert asked.exit_code == 130
        assert "will be lost" in asked.stderr
        assert [entry.command for entry in stage.guard.audit()] == ["retry"]  # type: ignore[union-attr]
        done = await run(stage, "skip", source, "0", "--reason", "x", "--yes")
        assert (done.exit_code, done.stdout.startswith(f"skip {source}: done by ")) == (0, True)


async def test_a_fleet_is_commanded_only_after_a_question() -> None:
    """One slip would stop twenty workers; a release asks nothing, because all come back gently."""
    server = MemoryLogServer()
    async with served(fleet=MemoryFleetLog(server)) as stage, served(fleet=MemoryFleetLog(server)) as other:
        circuits = [each.guard.circuit("payments") for each in (stage, other)]
        words = ("payments", "--reason", "a drill", "--actor", "alice")
        for name, question in (
            ("hold", "will stop calling payments"),
            ("force-open", "will stop calling payments"),
            ("reset", "full rate"),
        ):
            asked = await run(stage, "fleet", name, *words)
            assert asked.exit_code == 130
            assert question in asked.stderr
        assert stage.guard.audit() == ()
        held = await run(stage, "fleet", "hold", *words, "--for", "10m", "--yes")
        assert (held.exit_code, held.stdout) == (0, "fleet-hold payments: done by alice, for 10 minutes\n")
        await until(lambda: all(circuit.state is State.OPEN for circuit in circuits))
        shown = (await run(stage, "status")).stdout
        assert "2 workers: " in shown
        assert "■ HELD by alice" in shown
        told = (await run(stage, "explain", "payments")).stdout
        assert "alice keeps every worker of the fleet from it for another" in told
        released = await run(stage, "fleet", "release", *words)
        assert (released.exit_code, released.stdout) == (0, "fleet-release payments: done by alice\n")
        forced = await run(stage, "fleet", "force-open", *words, "--for", "forever", "--yes", "--json")
        assert json.loads(forced.stdout)["command"]["until"] is None
        assert (await run(stage, "fleet", "reset", *words, "--yes")).exit_code == 0
        await until(lambda: all(circuit.state is State.CLOSED for circuit in circuits))


async def test_what_the_guard_refuses_exits_with_one() -> None:
    """With its own words; and a worker without a token says so."""
    async with served() as stage:
        refused = await run(stage, "hold", "nope", "--reason", "x")
        assert (refused.exit_code, refused.stderr) == (1, "Error: no topic or queue named 'nope' is read here; these are: orders\n")
    async with served(Control(port=0)) as stage:
        refused = await run(stage, "hold", "orders", "--reason", "x")
        assert (refused.exit_code, refused.stderr) == (1, "Error: this worker takes no commands: give Control(token=...) to allow them\n")


async def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no option for it. A wrong one exits with 2, as wrong arguments do, and is quoted nowhere."""
    async with served() as stage:
        monkeypatch.setenv("HOLDGATE_TOKEN", "wrong-canary-token")
        wrong = await run(stage, "hold", "orders", "--reason", "x")
        assert (wrong.exit_code, "canary" in wrong.output) == (2, False)
        file = tmp_path / "token"
        file.write_text(TOKEN + "\n")
        assert (await run(stage, "hold", "orders", "--reason", "x", "--token-file", str(file))).exit_code == 0
        for content in ("", "two\nlines"):
            file.write_text(content)
            bad = await run(stage, "hold", "orders", "--reason", "x", "--token-file", str(file))
            assert (bad.exit_code, "is empty, or has more in it than a token" in bad.stderr) == (2, True)
        missing = await run(stage, "hold", "orders", "--reason", "x", "--token-file", str(tmp_path))
        assert (missing.exit_code, "cannot be read (IsADirectoryError)" in missing.stderr) == (2, True)
        assert (await run(stage, "hold", "orders", "--reason", "x", "--token", TOKEN)).exit_code == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://127.0.0.1", "must begin with http:// or https://"),
        ("127.0.0.1:9099", "must begin with http:// or https://"),
        ("http://alice:secret@127.0.0.1", "must have no user, password or query in it"),
        ("http://127.0.0.1?token=secret", "must have no user, password or query in it"),
        ("http://127.0.0.1:notaport", "the URL cannot be read"),
        ("http://[::1", "the URL cannot be read"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(url: str, words: str) -> None:
    """Before anything is sent. A password in it is not quoted."""
    refused = invoke("status", "--url", url)
    assert (refused.exit_code, words in refused.stderr) == (2, True)
    assert "secret" not in refused.output


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n<html>", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe", b"SSH-2.0-x\r\n"]
)
async def test_what_is_no_worker_is_said_to_be_none(answer: bytes) -> None:
    """Another server on the port, or one that hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        shown = await asyncio.to_thread(invoke, "status", "--url", url)
    assert shown.exit_code == 2
    assert "is no worker of holdgate's" in shown.stderr or "no worker answers" in shown.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("45s", 45), ("30m", 1800), ("2 h", 7200), ("1d", 86400), ("forever", "forever")]
)
def test_a_duration_has_a_unit(text: str, seconds: Any) -> None:
    """Or is in seconds."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "-5m", "5 minutes", "", "1w", "m", "nan", "inf"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    """An end in the past, too."""
    refused = invoke("hold", "orders", "--reason", "x", "--for", text, "--url", "http://127.0.0.1:1")
    assert (refused.exit_code, "must be a duration above 0" in refused.stderr) == (2, True)


async def test_a_wrong_token_names_where_the_right_one_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody types a header here. It exits as a wrong argument does, and neither token is shown."""
    async with served() as stage:
        monkeypatch.setenv("HOLDGATE_TOKEN", "another-0f1e2d3c4b5a")
        refused = await run(stage, "hold", "orders", "--reason", "migration")
        assert refused.exit_code == 2
        assert "put it into HOLDGATE_TOKEN, or name its file with --token-file" in refused.stderr
        assert "another" not in refused.stderr.replace("none or another", "")


async def test_a_retry_of_nothing_says_so() -> None:
    """The command was fine, and there was nothing to do."""
    async with served() as stage:
        done = await run(stage, "retry", "orders[0]", "--reason", "fixed", "--actor", "alice")
        assert (done.exit_code, done.stdout) == (
            0,
            "retry orders[0]: done by alice, but no message of it was rejected, so that nothing has changed\n",
        )


def test_a_queue_whose_name_moves_a_cursor_is_explained_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ takes any name: a terminal must not."""
    hostile = "mails\x1b[2J\x1b]0;owned\x07"
    found = document(circuit(), sources=(source(Queue(hostile)),))
    monkeypatch.setattr(WorkerConnection, "get", lambda *_args, **_named: found)
    for name in (hostile, "nothing"):
        shown = invoke("explain", name)
        assert "\x1b" not in shown.stdout + shown.stderr
        assert "mails\\x1b[2J" in shown.stdout + shown.stderr
