from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[tuple[Proxy, list[asyncio.StreamReader]]]:
    """A server that answers what it hears, a proxy before it, and the readers of the server's connections."""
    seen: list[asyncio.StreamReader] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(reader)
        try:
            while piece := await reader.read(100):
                writer.write(piece)
        except ConnectionResetError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()) as proxy:
        yield proxy, seen


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes) -> bytes:
    writer.write(word)
    return await asyncio.wait_for(reader.readexactly(len(word)), 5)


async def hears_nothing(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), 0.1)
    except TimeoutError:
        return True
    return False


async def test_it_passes_on_both_ways() -> None:
    """Without a fault, client and server talk as if it were not there."""
    async with echo_behind_proxy() as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ask(reader, writer, b"hello") == b"hello"
        assert (proxy.links, proxy.links_made) == (1, 1)
        writer.close()


async def test_the_clients_end_reaches_the_server() -> None:
    """When the client closes, the server reads the end."""
    async with echo_behind_proxy() as (proxy, seen):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await ask(reader, writer, b"x")
        writer.close()
        await asyncio.wait_for(_until(seen[0].at_eof), 5)
        assert seen[0].at_eof()


async def test_delay_slows_each_piece() -> None:
    """A round trip takes at least the delay of both ways."""
    async with echo_behind_proxy() as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.delay = 0.05
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await ask(reader, writer, b"x")
        assert loop.time() - begun >= 0.1
        writer.close()


async def test_reset_reaches_the_client_as_a_reset() -> None:
    """`reset` gives ECONNRESET, not an orderly end, and new connections work."""
    async with echo_behind_proxy() as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await ask(reader, writer, b"x")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ask(reader, writer, b"again") == b"again"
        writer.close()


async def test_refuse_refuses_new_and_keeps_old() -> None:
    """Refusing ends no connection; `accept` opens the same port again."""
    async with echo_behind_proxy() as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await ask(reader, writer, b"x")
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ask(reader, writer, b"old") == b"old"
        await proxy.accept()
        _, second = await asyncio.open_connection("127.0.0.1", proxy.port)
        second.close()
        writer.close()


async def test_cut_holds_bytes_and_heal_lets_them_through() -> None:
    """A black hole loses nothing: what was written meanwhile arrives in order after it."""
    async with echo_behind_proxy() as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await ask(reader, writer, b"x")
        proxy.cut()
        writer.write(b"one")
        assert await hears_nothing(reader)
        writer.write(b"two")
        proxy.heal()
        assert await asyncio.wait_for(reader.readexactly(6), 5) == b"onetwo"
        writer.close()


async def test_half_open_tells_the_server_alone() -> None:
    """The server's side is gone, and the client hears neither data nor an end."""
    async with echo_behind_proxy() as (proxy, seen):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await ask(reader, writer, b"x")
        proxy.half_open()
        await asyncio.wait_for(_until(lambda: seen[0].exception() is not None), 5)
        writer.write(b"into nowhere")
        assert await hears_nothing(reader)
        writer.close()


async def _until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.01)
