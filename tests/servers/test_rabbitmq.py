"""A RabbitMQ of our own. That its data survive a kill and an orderly restart is seen where that is needed, because each start is dear:
tests/integration/rabbitmq/test_broker.py."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aio_pika
import pytest

from tests.servers import __main__, rabbitmq_install, resolve
from tests.servers.ports import release_port, reserve_port
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.rabbitmq_address import QUORUM, RabbitMQAddress, Waiting
from tests.servers.rabbitmq_install import Installation
from tests.servers.unavailable import Unavailable


async def test_a_queue_keeps_what_was_published(rabbitmq: RabbitMQAddress, queue) -> None:
    """Messages wait in order, and looking at them leaves them there, marked as returned."""
    name = await queue(QUORUM)
    await rabbitmq.publish(name, [b"a", b"b"])
    assert await rabbitmq.waiting(name) == [Waiting(b"a", 0, redelivered=False), Waiting(b"b", 0, redelivered=False)]
    assert await rabbitmq.waiting(name) == [Waiting(b"a", 1, redelivered=True), Waiting(b"b", 1, redelivered=True)]


async def test_depth_counts_what_is_ready_and_who_consumes(rabbitmq: RabbitMQAddress, queue) -> None:
    """What a consumer has in hand is not ready; the consumer is counted."""

    async def keep(_: object) -> None:
        pass

    name = await queue()
    await rabbitmq.publish(name, [b"1", b"2", b"3"])
    async with rabbitmq.channel() as channel:
        await channel.set_qos(2)
        source = await channel.get_queue(name)
        await source.consume(keep)
        await rabbitmq.becomes(name, ready=1, consumers=1)
    await rabbitmq.becomes(name, ready=3, consumers=0)


async def test_signals_reach_the_node_itself(fresh_rabbitmq: RabbitMQServer) -> None:
    """Its process is Erlang's and no script beside it: frozen it answers nobody, thawed it goes on, and its end is the node's."""
    assert fresh_rabbitmq._process is not None
    assert _program(fresh_rabbitmq._process.pid) == "beam.smp"
    fresh_rabbitmq.freeze()
    assert _states(fresh_rabbitmq._process.pid) == {"T"}  # not one thread goes on for a moment
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await fresh_rabbitmq.answers()
    fresh_rabbitmq.thaw()
    assert await fresh_rabbitmq.answers()


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _states(pid: int) -> set[str]:
    return {path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")}


async def test_rabbitmqctl_speaks_to_the_node(own_rabbitmq: RabbitMQServer) -> None:
    """`ctl` tells the version of the node that runs, and its errors come with its words."""
    assert own_rabbitmq.version is not None
    assert own_rabbitmq.version in await own_rabbitmq.ctl("version")
    with pytest.raises(RuntimeError, match="no_such_command"):
        await own_rabbitmq.ctl("no_such_command")


async def test_clients_go_through_the_proxy(own_rabbitmq: RabbitMQServer) -> None:
    """A client that connects through a proxy loses its connection when the proxy resets it."""
    async with own_rabbitmq.proxy() as proxy:
        connection = await aio_pika.connect(own_rabbitmq.url_through(proxy))
        proxy.reset()
        with pytest.raises(aio_pika.exceptions.AMQPConnectionError):
            await asyncio.wait_for(connection.transport.connection.closing, 60)
        await connection.close()


async def test_a_named_server_that_is_silent_is_named(monkeypatch) -> None:
    """A wrong HOLDGATE_TEST_RABBITMQ is told, without the password in it, and no other server is used instead."""
    port = reserve_port()
    monkeypatch.setenv("HOLDGATE_TEST_RABBITMQ", f"amqp://guest:guest@127.0.0.1:{port}/")
    with pytest.raises(Unavailable, match="HOLDGATE_TEST_RABBITMQ names one that does not answer") as caught:
        async with resolve.shared_rabbitmq():
            pass
    assert "guest" not in str(caught.value)
    release_port(port)


def test_what_is_missing_and_the_remedy_are_told(monkeypatch, tmp_path) -> None:
    """Without the package, and without permission, nothing is installed: the error names it and the command that helps."""
    for name in ("CI", "HOLDGATE_TEST_INSTALL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rabbitmq_install, "BIN", tmp_path / "bin")
    with pytest.raises(Unavailable, match=r"not installed: rabbitmq-server.*HOLDGATE_TEST_INSTALL=1 make test"):
        rabbitmq_install.install()


def test_getting_what_cannot_be_had_says_why(monkeypatch, tmp_path) -> None:
    """`python -m tests.servers get` ends with the reason, by which .ci/run knows what it does not run."""
    for name in ("CI", "HOLDGATE_TEST_INSTALL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PATH", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(rabbitmq_install, "BIN", tmp_path / "bin")
    monkeypatch.setattr(sys, "argv", ["servers", "get", "rabbitmq", "--version", "4.3"])
    with pytest.raises(SystemExit, match="no RabbitMQ: "):
        __main__.main()


def test_getting_what_is_here_says_so(monkeypatch, capsys) -> None:
    """And ends well."""
    monkeypatch.setattr(__main__, "install", lambda version: Installation(version, None))
    monkeypatch.setattr(sys, "argv", ["servers", "get", "rabbitmq", "--version", "4.3"])
    __main__.main()
    assert capsys.readouterr().out == "RabbitMQ 4.3 is here\n"


def test_an_unknown_version_is_refused() -> None:
    """A version that no release of Debian has is named, with those there are."""
    with pytest.raises(Unavailable, match=r"version 2\.8 is none of 3\.10, 4\.0, 4\.3"):
        rabbitmq_install.install("2.8")


def test_a_folder_is_entered_without_leaving_mounts(tmp_path) -> None:
    """A version in a folder runs in mounts of its own process, and sees its data at one place, whatever that is called outside."""
    installation = Installation("4.3", tmp_path / "root")
    command = installation.command(["epmd"], tmp_path / "data")
    assert command[:4] == ["unshare", "--mount", "--propagation", "private"]
    assert command[-3:] == [str(tmp_path / "root"), str(tmp_path / "data"), "epmd"]
    assert installation.seen(tmp_path / "data") == "/srv"
