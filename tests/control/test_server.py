from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.control.served import PATIENCE, TOKEN, ask, command, connections, exchange, request, served, until
from tests.control.test_feed import open_connections

from holdgate import Guard
from holdgate.control import Control, server
from holdgate.errors import SettingsError
from holdgate.testing import MemoryBroker, MemoryIntake

if TYPE_CHECKING:
    from holdgate import Delivery

# -- at the start ---------------------------------------------------------------------------------------------------------------------


async def test_a_port_that_is_taken_is_an_error_before_anything_is_consumed() -> None:
    """The guard is not entered; afterwards it has left nothing behind, and the port's owner is not disturbed."""
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        with pytest.raises(SettingsError, match=f"control: port {port} on 127.0.0.1 is taken: end the other process, or give"):
            async with Guard(control=Control(port=port)):
                pytest.fail("entered")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    async with Guard(control=Control(port=port)):
        pass


async def test_two_workers_cannot_share_a_port() -> None:
    """Also in the moment in which the first has only begun."""
    first = Control(port=0)
    async with Guard(control=first, signals=False):
        assert first.url is not None
        with pytest.raises(SettingsError, match="is taken"):
            async with Guard(control=Control(port=int(first.url.rpartition(":")[2])), signals=False):
                pytest.fail("entered")


async def test_an_address_that_is_not_this_machines_is_an_error() -> None:
    """With what the system says."""
    with pytest.raises(SettingsError, match=r"port 0 on 192\.0\.2\.1 cannot be opened \(Cannot assign requested address\)"):
        async with Guard(control=Control(port=0, host="192.0.2.1", token="x" * 16), signals=False):
            pytest.fail("entered")


async def test_what_is_bound_first_is_released_if_the_second_fails(tmp_path: Path) -> None:
    """A port without a local socket would be half a control plane."""
    with pytest.raises(SettingsError, match="cannot be made"):
        async with Guard(control=(control := Control(port=0, socket=tmp_path / "none" / "s")), signals=False):
            pytest.fail("entered")
    assert control.url is None


async def test_a_control_belongs_to_one_guard() -> None:
    """A second one would show the first one's events."""
    control = Control()
    async with Guard(control=control, signals=False):
        pass
    with pytest.raises(SettingsError, match="belongs to one guard"):
        async with Guard(control=control, signals=False):
            pytest.fail("entered")


# -- the local socket -----------------------------------------------------------------------------------------------------------------


async def ask_path(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request("GET", "/livez", host="localhost"))
    async with asyncio.timeout(PATIENCE):
        found = await reader.read()
    writer.close()
    return found


async def test_a_local_socket_answers_this_user_alone(tmp_path: Path) -> None:
    """Without a port. It goes with the guard."""
    path = tmp_path / "worker.sock"
    async with Guard(control=(control := Control(socket=path)), signals=False):
        assert control.url is None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await ask_path(path)).startswith(b"HTTP/1.1 200")
    assert not path.exists()


async def test_the_socket_of_a_killed_worker_is_taken_over(tmp_path: Path) -> None:
    """Nobody listens there any more."""
    path = tmp_path / "worker.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with Guard(control=Control(socket=path), signals=False):
        assert (await ask_path(path)).startswith(b"HTTP/1.1 200")


async def test_the_socket_of_a_running_worker_is_left_alone(tmp_path: Path) -> None:
    """And so is a file of another kind, and a socket that has come in place of ours."""
    path = tmp_path / "worker.sock"
    async with Guard(control=Control(socket=path), signals=False):
        with pytest.raises(SettingsError, match="another process listens on"):
            async with Guard(control=Control(socket=path), signals=False):
                pytest.fail("entered")
        assert (await ask_path(path)).startswith(b"HTTP/1.1 200")
        path.unlink()
        path.write_text("precious")
    assert path.read_text() == "precious"
    with pytest.raises(SettingsError, match="is there already, and is no socket"):
        async with Guard(control=Control(socket=path), signals=False):
            pytest.fail("entered")
    assert path.read_text() == "precious"


# -- beside the worker ----------------------------------------------------------------------------------------------------------------


async def test_signals_stay_the_guards() -> None:
    """Uvicorn would take SIGINT and SIGTERM; here SIGTERM drains, and SIGINT is as it was."""
    interrupt = signal.getsignal(signal.SIGINT)
    async with served() as stage:
        assert signal.getsignal(signal.SIGINT) == interrupt
    broker = MemoryBroker(topics={"orders": 1})

    async def handle(delivery: Delivery[Any]) -> None: ...

    async with Guard(control=(control := Control(port=0))) as guard:
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handle))
        await until(lambda: guard.health().started)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await run
        assert (await ask(control, "/readyz")).status == 503
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert stage.control.url is None


async def test_a_server_that_dies_leaves_the_flow_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It is named in the log, the messages go on, and the guard ends in order."""
    async with served() as stage:
        uvicorn = stage.control._server._server
        assert uvicorn is not None

        async def broken(counter: int) -> bool:
            raise SystemExit(3)

        uvicorn.on_tick = broken  # type: ignore[method-assign]
        task = stage.control._server._task
        assert task is not None
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait({task})
        stage.broker.produce("orders", b"1")
        await until(lambda: stage.handled == [b"1"])
    assert "control: the server has ended with RuntimeError; the worker goes on without it" in caplog.text


async def test_a_server_that_is_cancelled_leaves_the_flow_alone() -> None:
    """By whoever cancels all tasks that it finds."""
    async with served() as stage:
        task = stage.control._server._task
        assert task is not None
        task.cancel()
        await asyncio.wait({task})
        stage.broker.produce("orders", b"1")
        await until(lambda: stage.handled == [b"1"])


async def test_an_end_does_not_wait_for_a_client_that_hangs() -> None:
    """A request that never ends, half a head, a connection that says nothing: cut off, and the guard ends."""
    async with AsyncExitStack() as stack:
        async with served() as stage:
            clients = await stack.enter_async_context(connections(stage.control, 3))
            clients[0][1].write(request("POST", "/commands/hold", content_length="10", authorization=f"Bearer {TOKEN}"))
            clients[1][1].write(b"GET /status HT")
            assert (await ask(stage.control, "/livez")).status == 200
        for reader, _ in clients:
            async with asyncio.timeout(PATIENCE):
                with suppress(ConnectionError):
                    await reader.read()


async def test_an_end_that_is_cancelled_leaves_nothing_open() -> None:
    """A second Ctrl-C while the last streams end."""
    control = Control(port=0)
    guard = Guard(control=control, signals=False)
    await guard.__aenter__()
    assert (await ask(control, "/livez")).status == 200
    leaving = asyncio.create_task(guard.__aexit__(None, None, None))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert control.url is None
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "holdgate control server"]


# -- clients that harm ----------------------------------------------------------------------------------------------------------------


async def test_a_connection_without_a_request_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing, and one that sends its head a byte at a time."""
    monkeypatch.setattr(server, "_PATIENCE", 0.3)
    async with served() as stage, connections(stage.control, 2) as ((silent, _), (_, slow)):
        async with asyncio.timeout(PATIENCE):
            while not slow.transport.is_closing():
                slow.write(b"X")
                await asyncio.sleep(0.02)
            with suppress(ConnectionError):
                assert await silent.read() == b""
        await until(lambda: not open_connections(stage))


async def test_too_many_connections_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there stay; the process keeps its files for its broker."""
    monkeypatch.setattr(server, "_CONNECTIONS_AT_MOST", 3)
    async with served() as stage, connections(stage.control, 6) as clients:
        await until(lambda: len(open_connections(stage)) == 3)
        reader, writer = clients[0]
        writer.write(request("GET", "/livez"))
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).startswith(b"HTTP/1.1 200")


async def test_clients_that_hang_do_not_slow_the_flow(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred bad requests and a hundred silent connections, while messages are processed: none is lost, and no line is logged."""
    async with served() as stage, connections(stage.control, 100):
        caplog.clear()
        for number in range(200):
            stage.broker.produce("orders", str(number).encode())
            if number % 10 == 0:
                await asyncio.gather(*(exchange(stage.control, b"BAD\r\n\r\n") for _ in range(5)))
        await until(lambda: len(stage.handled) == 200)
        assert len(set(stage.handled)) == 200
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full: this system has no disk that is always full")
async def test_a_full_disk_leaves_the_flow_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of the log fails to be written, in an outage with commands and clients: everything is processed, once."""
    monkeypatch.setattr(logging, "raiseExceptions", False)  # as a program in production has it: nothing on stderr either
    log, full = logging.getLogger("holdgate"), logging.FileHandler("/dev/full")
    failed: list[str] = []
    monkeypatch.setattr(full, "handleError", lambda record: failed.append(record.getMessage()))
    log.addHandler(full)
    try:
        async with served() as stage:
            await stage.outage()
            assert (await ask(stage.control, "/status")).status == 200
            assert (await command(stage.control, "hold", target="orders", reason="x", actor="alice")).status == 200
            stage.down = False
            assert (await command(stage.control, "reset", target="payments", reason="x", actor="alice")).status == 200
            assert (await command(stage.control, "unhold", target="orders", reason="x", actor="alice")).status == 200
            await until(lambda: len(stage.handled) == 10)
            assert sorted(int(body or b"") for body in stage.handled) == list(range(10))
    finally:
        log.removeHandler(full)
        with suppress(OSError):
            full.close()
    assert any("payments is down" in line for line in failed)
