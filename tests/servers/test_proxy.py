from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.servers import ports
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE = 60.0  # only a failing test waits so long


class Echo:
    """A server that answers what it hears, with what its connections have come to."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        try:
            while piece := await reader.read(100):
                writer.write(piece)
            self.ended.append("end")
        except ConnectionResetError:
            self.ended.append("reset")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def finish(self) -> None:
        await asyncio.gather(*(task for task in self._tasks if task is not None))


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[tuple[Proxy, Echo]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with server:
        async with Proxy(server.sockets[0].getsockname()) as proxy:
            yield proxy, echo
        await echo.finish()


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes) -> bytes:
    writer.write(word)
    return await asyncio.wait_for(reader.readexactly(len(word)), PATIENCE)


async def hears_nothing(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), 0.1)
    except TimeoutError:
        return True
    return False


async def test_its_port_stays_its_own_while_it_refuses() -> None:
    """Nobody else listens where its clients look for it again."""
    async with echo_behind_proxy() as (proxy, _):
        proxy.refuse()
        assert proxy.port in ports._reserved
        await proxy.accept()
    assert proxy.port not in ports._reserved


async def test_it_passes_on_both_ways() -> None:
    """Without a fault, client and server talk as if it were not there."""
    async with echo_behind_proxy() as (proxy, _), connected(proxy) as link:
        assert await ask(*link, b"hello") == b"hello"
        assert (proxy.links, proxy.links_made) == (1, 1)


async def test_the_clients_end_reaches_the_server() -> None:
    """When the client closes, the server reads the end, and the proxy forgets the connection."""
    async with echo_behind_proxy() as (proxy, echo):
        async with connected(proxy) as link:
            await ask(*link, b"x")
        await _until(lambda: echo.ended)
        assert echo.ended == ["end"]
        assert proxy.links == 0


async def test_delay_slows_each_piece() -> None:
    """A round trip takes at least the delay of both ways."""
    async with echo_behind_proxy() as (proxy, _), connected(proxy) as link:
        proxy.delay = 0.05
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await ask(*link, b"x")
        assert loop.time() - begun >= 0.1


async def test_reset_reaches_both_sides_as_a_reset() -> None:
    """`reset` gives ECONNRESET, not an orderly end, and new connections work."""
    async with echo_behind_proxy() as (proxy, echo):
        async with connected(proxy) as link:
            await ask(*link, b"x")
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                await link[0].read(1)
            await _until(lambda: echo.ended)
            assert echo.ended == ["reset"]
        async with connected(proxy) as link:
            assert await ask(*link, b"again") == b"again"


async def test_refuse_refuses_new_and_keeps_old() -> None:
    """Refusing ends no connection; `accept` opens the same port again."""
    async with echo_behind_proxy() as (proxy, _), connected(proxy) as link:
        await ask(*link, b"x")
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ask(*link, b"old") == b"old"
        await proxy.accept()
        async with connected(proxy) as second:
            assert await ask(*second, b"new") == b"new"


async def test_cut_holds_bytes_and_heal_lets_them_through() -> None:
    """A black hole loses nothing: what was written meanwhile arrives in order after it."""
    async with echo_behind_proxy() as (proxy, _), connected(proxy) as (reader, writer):
        await ask(reader, writer, b"x")
        proxy.cut()
        writer.write(b"one")
        assert await hears_nothing(reader)
        writer.write(b"two")
        proxy.heal()
        assert await asyncio.wait_for(reader.readexactly(6), PATIENCE) == b"onetwo"


async def test_half_open_tells_the_server_alone() -> None:
    """The server's side is gone, and the client hears neither data nor an end."""
    async with echo_behind_proxy() as (proxy, echo), connected(proxy) as (reader, writer):
        await ask(reader, writer, b"x")
        proxy.half_open()
        await _until(lambda: echo.ended)
        writer.write(b"into nowhere")
        assert echo.ended == ["reset"]
        assert await hears_nothing(reader)


async def test_truncate_breaks_off_in_the_middle() -> None:
    """Half of the next answer arrives, then the end; a connection that is made later is whole."""
    async with echo_behind_proxy() as (proxy, _):
        async with connected(proxy) as (reader, writer):
            await ask(reader, writer, b"x")
            proxy.truncate()
            writer.write(b"12345678")
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b"1234"
        async with connected(proxy) as second:
            assert await ask(*second, b"whole") == b"whole"


async def test_a_server_that_is_down_resets_the_client() -> None:
    """With nobody behind the proxy, a client learns it at once."""
    async with echo_behind_proxy() as (proxy, _):
        proxy.target = ("127.0.0.1", 1)
        async with connected(proxy) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read(1)


async def _until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
