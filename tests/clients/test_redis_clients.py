"""What the failures of real Redis and Valkey clients are taken for, on sockets, on a real Redis, and on its replies in trouble."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from tests.clients.places import IN_VAIN, PATIENCE, Serve, drop, hang, refusing, serving, talk_nonsense
from tests.clients.servers import redis
from tests.clients.verdicts import raised, verdict_on
from tests.servers.unavailable import Unavailable, in_ci

from holdgate import Dependency, Outcome
from holdgate.presets import redis as preset

Record = Callable[..., str]
Use = Callable[[Any], Awaitable[Any]]

CLIENTS = ("redis", "valkey")
SOCKETS: dict[str, Serve | None] = {"refused": None, "dropped": drop, "hung": hang, "nonsense": talk_nonsense}

LOOP = "while true do end"


@asynccontextmanager
async def connected(client: str, port: int, patience: float = PATIENCE, **more: Any) -> AsyncIterator[Any]:
    """The asyncio client, with no retries of its own."""
    library = importlib.import_module(f"{client}.asyncio")
    never = {"retry": importlib.import_module(f"{client}.asyncio.retry").Retry(importlib.import_module(f"{client}.backoff").NoBackoff(), 0)}
    connection = getattr(library, client.capitalize())(
        host="127.0.0.1", port=port, socket_timeout=patience, socket_connect_timeout=patience, **never, **more
    )
    try:
        yield connection
    finally:
        with suppress(Exception):
            await connection.aclose()


def name_of(connection: Any) -> str:
    return str(type(connection).__module__).partition(".")[0]


async def out_of_memory(connection: Any) -> None:
    await connection.config_set("maxmemory", 1)
    await connection.set("a", "b" * 1000)


async def a_replica(connection: Any) -> None:
    await connection.replicaof("127.0.0.1", 1)
    await connection.set("a", "b")


async def a_lost_master(connection: Any) -> None:
    await connection.config_set("replica-serve-stale-data", "no")
    await connection.replicaof("127.0.0.1", 1)
    await connection.get("a")


async def no_replicas(connection: Any) -> None:
    await connection.config_set("min-replicas-to-write", 1)
    await connection.set("a", "b")


async def a_script_without_end(connection: Any) -> None:
    await connection.config_set("busy-reply-threshold", 1)
    port = connection.connection_pool.connection_kwargs["port"]
    async with connected(name_of(connection), port) as other:
        looping = asyncio.create_task(other.eval(LOOP, 0))
        try:
            while True:  # until the server says that it is busy
                await connection.get("a")
        finally:
            await connection.script_kill()
            await asyncio.gather(looping, return_exceptions=True)


async def a_login(connection: Any) -> None:
    await connection.config_set("requirepass", "secret")
    port = connection.connection_pool.connection_kwargs["port"]
    async with connected(name_of(connection), port) as other:
        await other.get("a")


async def a_wrong_password(connection: Any) -> None:
    await connection.config_set("requirepass", "secret")
    port = connection.connection_pool.connection_kwargs["port"]
    async with connected(name_of(connection), port, password="wrong") as other:
        await other.get("a")


async def too_many_clients(connection: Any) -> None:
    await connection.config_set("maxclients", 1)
    port = connection.connection_pool.connection_kwargs["port"]
    async with connected(name_of(connection), port) as other:
        await other.get("a")


async def a_shutdown(connection: Any) -> None:
    await connection.get("a")
    with suppress(Exception):
        await connection.execute_command("SHUTDOWN", "NOSAVE")
    await connection.get("a")


async def a_wrong_type(connection: Any) -> None:
    await connection.set("a", "b")
    await connection.lpush("a", "c")


async def no_number(connection: Any) -> None:
    await connection.set("a", "b")
    await connection.incr("a")


async def a_watched_key(connection: Any) -> None:
    async with connection.pipeline() as pipeline:
        await pipeline.watch("a")
        await connection.set("a", "c")
        pipeline.multi()
        pipeline.set("a", "d")
        await pipeline.execute()


async def no_right(connection: Any) -> None:
    await connection.execute_command("ACL", "SETUSER", "default", "-incrby")
    await connection.incr("a")


async def a_lock(connection: Any) -> None:
    async with connection.lock("lock", timeout=10), connection.lock("lock", blocking_timeout=0.01):
        pass


FULL = "too many clients"
TROUBLES: dict[str, Use] = {
    "out of memory": out_of_memory,
    "a replica now": a_replica,
    "its master lost": a_lost_master,
    "no replicas": no_replicas,
    "script without end": a_script_without_end,
    "login needed": a_login,
    "wrong password": a_wrong_password,
    FULL: too_many_clients,
    "shut down": a_shutdown,
}
OWN_FAULTS: dict[str, Use] = {
    "wrong type": a_wrong_type,
    "no number": no_number,
    "no such command": lambda connection: connection.execute_command("NOWHERE"),
    "no such script": lambda connection: connection.evalsha("0" * 40, 0),
    "data of no kind": lambda connection: connection.set("a", {}),
    "watched key changed": a_watched_key,
    "no right": no_right,
    "lock taken": a_lock,
}
# What Redis 7 says in trouble that takes long to bring about.
REPLIES = {
    "loading": "LOADING Redis is loading the dataset in memory",
    "cannot save": "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "cluster down": "CLUSTERDOWN The cluster is down",
    "try again": "TRYAGAIN Multiple keys request during rehashing of slot",
}


def replying(reply: str) -> Serve:
    """A server that answers GET with an error, and everything else (a greeting, a login) with what the client wants to hear."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while count := await reader.readline():
            words = [await reader.readexactly(int((await reader.readline())[1:]) + 2) for _ in range(int(count[1:]))]
            answer = {b"GET": f"-{reply}\r\n", b"HELLO": "%1\r\n+proto\r\n:3\r\n"}.get(words[0].strip().upper(), "+OK\r\n")
            writer.write(answer.encode())
            await writer.drain()

    return serve


@pytest.fixture
def port() -> Iterator[int]:
    try:
        with redis() as port:
            yield port
    except Unavailable as error:
        if in_ci():
            raise
        pytest.skip(str(error))


async def verdict_of(client: str, port: int, use: Use, situation: str, record: Record, *, patience: float = PATIENCE) -> str:
    async with connected(client, port, patience) as connection:
        error = await raised(lambda: use(connection))
    return record("redis", f"{client} (asyncio)", client, situation, error)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", SOCKETS)
async def test_a_server_that_is_not_there_is_a_failure(client: str, situation: str, record: Record) -> None:
    """Refused, dropped, hung, nonsense."""
    serve = SOCKETS[situation]
    async with refusing() if serve is None else serving(serve) as port:
        patience = IN_VAIN if situation == "hung" else PATIENCE
        assert await verdict_of(client, port, lambda connection: connection.get("a"), situation, record, patience=patience) != "own"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", REPLIES)
async def test_a_reply_of_a_server_in_trouble_is_a_failure(client: str, situation: str, record: Record) -> None:
    """Whether the client has a class for the word or leaves it in the text."""
    async with serving(replying(REPLIES[situation])) as port:
        assert await verdict_of(client, port, lambda connection: connection.get("a"), situation, record) != "own"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", [each for each in TROUBLES if each != FULL])
async def test_a_server_in_trouble_is_a_failure(client: str, situation: str, port: int, record: Record) -> None:
    """Out of memory, a replica after a failover, blocked by a script, no login: what every message meets."""
    assert await verdict_of(client, port, TROUBLES[situation], situation, record) == "failure"


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_full_server_throttles_where_its_word_is_read(client: str, port: int, record: Record) -> None:
    """It says so and hangs up. valkey-py writes on before it reads that, and nearly always says that the connection was lost; with either
    client the machine decides, and either outcome is judged by what was read. What is written down is the usual one."""
    usually_read = client == "redis"
    async with asyncio.timeout(10 * PATIENCE):
        while True:
            async with connected(client, port) as connection:
                error = await raised(lambda connection=connection: TROUBLES[FULL](connection))  # type: ignore[misc]
            is_read = "max number of clients" in str(error)
            assert verdict_on(preset, error) == ("throttled" if is_read else "failure"), repr(error)
            if is_read is usually_read:
                break
    record("redis", f"{client} (asyncio)", client, FULL, error)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", OWN_FAULTS)
async def test_a_command_that_the_server_refuses_is_the_messages_own(client: str, situation: str, port: int, record: Record) -> None:
    """Wrong types, missing scripts, conflicts, missing rights."""
    assert await verdict_of(client, port, OWN_FAULTS[situation], situation, record) == "own"


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_full_pool_of_ones_own_throttles(client: str, port: int) -> None:
    """Both pools: the one that refuses at once, and the one that waits."""
    module = importlib.import_module(f"{client}.asyncio")
    prefix = "Redis" if client == "redis" else "Valkey"
    cache = Dependency("cache", failures=preset.failures)
    for pool in (
        module.ConnectionPool(host="127.0.0.1", port=port, max_connections=1),
        module.BlockingConnectionPool(host="127.0.0.1", port=port, max_connections=1, timeout=0.05),
    ):
        first = await pool.get_connection("GET")
        connection = getattr(module, prefix)(connection_pool=pool)
        error = await raised(lambda connection=connection: connection.get("a"))
        assert cache.classify(error) is Outcome.THROTTLED, repr(error)
        await pool.release(first)
        await pool.disconnect()
