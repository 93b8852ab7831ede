"""What goes wrong with a log on Redis or Valkey: each refusal has its remedy, and nothing is written twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from holdgate.brokers.redis import RedisFleetLog, fleet_log
from holdgate.brokers.redis.fleet_log import StreamMade
from holdgate.errors import FleetLogError, SettingsError

if TYPE_CHECKING:
    from tests.servers.redis_server import RedisServer

KEY = "fleet"
PATIENCE = 60.0
# What the error for a missing permission tells to give.
RIGHTS = ("+time", "+xread", "+xrevrange", "+xadd")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisFleetLog]:
    log = RedisFleetLog(url, KEY)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


async def refusal_of(url: str) -> str:
    """Return why a log cannot be opened."""
    with pytest.raises(FleetLogError) as raised:
        await RedisFleetLog(url, KEY).open()
    return str(raised.value)


async def let_in(server: RedisServer, *rights: str) -> str:
    """Return the address for a user with these rights on the key."""
    await server.ask("ACL", "SETUSER", "worker", "reset", "on", ">canary-password", f"~{KEY}", *rights)
    return server.as_user("worker")


async def read_all(log: RedisFleetLog, last: bytes) -> list[bytes]:
    """Read until this record has come, and return all that came."""
    found: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while last not in found:
            found += [entry.data for entry in await log.read()]
    return found


async def test_the_rights_of_the_remedy_are_enough(redis_server: RedisServer) -> None:
    """A user with what the error tells to give, and nothing else, opens, writes and reads."""
    url = await let_in(redis_server, *RIGHTS)
    async with opened(url) as log:
        await log.append([b"first"])
        assert await read_all(log, b"first") == [b"first"]


@pytest.mark.parametrize("missing", RIGHTS)
async def test_a_missing_right_is_named(redis_server: RedisServer, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the command of the server that gives it."""
    monkeypatch.setattr(fleet_log, "_LOOK_AGAIN", 0.05)
    url = await let_in(redis_server, *(right for right in RIGHTS if right != missing))

    async def all_of_it() -> None:
        async with opened(url) as log:
            await (log.append([b"first"]) if missing == "+xadd" else log.read())

    with pytest.raises(FleetLogError, match=r"may not use key 'fleet' at 127\.0\.0\.1:\d+/0 .*ACL SETUSER NAME ~fleet") as raised:
        await all_of_it()
    assert missing in str(raised.value)
    assert "canary" not in str(raised.value)


async def test_a_wrong_password_is_told_without_it(redis_server: RedisServer) -> None:
    """The error says to check the URL, and quotes no password."""
    await let_in(redis_server)
    refusal = await refusal_of(redis_server.as_user("worker", "canary-wrong"))
    assert "refuses this user or password" in refusal
    assert "canary" not in refusal


async def test_a_missing_password_is_told(redis_server: RedisServer) -> None:
    """A URL without a password, for a server that wants one, is refused like a wrong one."""
    await redis_server.ask("ACL", "SETUSER", "default", "resetpass", ">canary-password")
    assert "refuses this user or password" in await refusal_of(redis_server.url)


async def test_a_key_of_another_type_is_left_alone(redis_server: RedisServer) -> None:
    """A key that holds something else is refused when the log is opened."""
    await redis_server.ask("SET", KEY, "mine")
    assert "is no stream: delete that key" in await refusal_of(redis_server.url)
    assert await redis_server.ask("GET", KEY) == b"mine"


async def test_a_replica_is_not_written_to(redis_server: RedisServer) -> None:
    """An append to a replica raises, with the remedy."""
    async with opened(redis_server.url) as log:
        await redis_server.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(FleetLogError, match=r"is a replica.*give the URL of the primary"):
            await log.append([b"first"])


async def test_a_server_without_memory_takes_no_record(redis_server: RedisServer) -> None:
    """An append raises, and works again when there is memory."""
    async with opened(redis_server.url) as log:
        await redis_server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(FleetLogError, match="no memory left"):
            await log.append([b"first"])
        await redis_server.ask("CONFIG", "SET", "maxmemory", "0")
        await log.append([b"second"])
        assert await read_all(log, b"second") == [b"second"]


@pytest.mark.parametrize(
    "words", ["CLUSTERDOWN Hash slot not served", "MOVED 3999 127.0.0.1:6381", "LOADING data", "ERR unknown command 'TIME'", "ERR other"]
)
async def test_what_other_servers_answer_has_a_remedy(words: str) -> None:
    """A cluster, a server that starts, one that is too old, and whatever else a server refuses."""
    remedies = {"CLUSTERDOWN": "of a cluster", "MOVED": "of a cluster", "LOADING": "still reads its data"}
    remedies["ERR"] = "must be Redis 5" if "unknown" in words else "refuses the log in key 'fleet'"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.strip() in (b"SETINFO", b"TIME"):
                writer.write(f"-{words}\r\n".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        assert remedies[words.split(maxsplit=1)[0]] in await refusal_of(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_where_nothing_listens_the_address_is_named() -> None:
    """The error has host and port, and what to check."""
    assert "no Redis or Valkey answers at 127.0.0.1:1/0" in await refusal_of("redis://user:canary-password@127.0.0.1:1")


async def test_a_silent_server_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What accepts and never answers ends an `open` by a limit of ours, whatever the URL says."""
    monkeypatch.setattr(fleet_log, "_CONNECT_WITHIN", 0.2)
    done = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        refusal = await refusal_of(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?socket_timeout=1000")
        done.set()
    assert "within 0.2 s" in refusal


async def test_a_record_that_was_answered_too_late_is_in_the_log_once(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py would send it again: the server has the command, and only its answer is late."""
    async with opened(redis_server.url) as log:
        await log.append([b"before"])
        monkeypatch.setattr(fleet_log, "_ANSWER_WITHIN", 0.3)
        redis_server.freeze()
        try:
            with pytest.raises(FleetLogError, match=r"within 0\.3 s"):
                await log.append([b"late"])
        finally:
            redis_server.thaw()
            monkeypatch.undo()
        await log.append([b"after"])
        found = await read_all(log, b"after")
        assert found.count(b"late") <= 1
        entries = await redis_server.ask("XRANGE", KEY, "-", "+")
        assert [fields[1] for _, fields in entries].count(b"late") == 1


async def test_a_read_from_a_frozen_server_raises_and_goes_on(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that waits for a silent server raises; the next one gets what comes, once."""
    async with opened(redis_server.url) as log, opened(redis_server.url) as writer:
        await writer.append([b"before"])
        assert await read_all(log, b"before") == [b"before"]
        monkeypatch.setattr(fleet_log, "_ANSWER_WITHIN", 0.3)
        redis_server.freeze()
        try:
            with pytest.raises(FleetLogError, match=r"within 0\.3 s"):
                await log.read()
        finally:
            redis_server.thaw()
            monkeypatch.undo()
        await writer.append([b"after"])
        assert await read_all(log, b"after") == [b"after"]


async def test_a_clock_that_was_set_back_does_not_silence_the_log(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is made anew with lower numbers: a reader that has waited in vain begins with them, and positions go back."""
    monkeypatch.setattr(fleet_log, "_LOOK_AGAIN", 0.05)
    async with opened(redis_server.url) as log:
        seconds, _ = await redis_server.ask("TIME")
        await redis_server.ask("XADD", KEY, f"{(int(seconds) + 3600) * 1000}-0", "r", "ahead")
        (ahead,) = await log.read()
        await redis_server.ask("DEL", KEY)
        await log.append([b"back"])
        async with asyncio.timeout(PATIENCE):
            (back,) = await log.read()
        assert (ahead.data, back.data) == (b"ahead", b"back")
        assert back.position < ahead.position


async def test_the_stream_stays_small(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each append drops what is over the limit, by whole nodes of the server's."""
    monkeypatch.setattr(fleet_log, "_KEPT", 100)
    async with opened(redis_server.url) as log:
        await log.append([b"%d" % number for number in range(500)])
        assert 100 <= await redis_server.ask("XLEN", KEY) < 300


async def test_entries_of_others_are_passed_over(redis_server: RedisServer) -> None:
    """Somebody else's entry in the stream is no record, and ends no read."""
    async with opened(redis_server.url) as log:
        await redis_server.ask("XADD", KEY, "*", "other", "field")
        await redis_server.ask("XADD", KEY, "*", "other", "field", "r", "mine")
        assert await read_all(log, b"mine") == [b"mine"]


async def test_a_refused_open_can_be_repeated(redis_server: RedisServer) -> None:
    """The same log opens when what refused it is gone."""
    await redis_server.ask("SET", KEY, "mine")
    log = RedisFleetLog(redis_server.url, KEY)
    with pytest.raises(FleetLogError):
        await log.open()
    await redis_server.ask("DEL", KEY)
    await log.open()
    await log.append([b"first"])
    assert await read_all(log, b"first") == [b"first"]
    await log.close()


async def test_create_makes_an_empty_stream_once(redis_server: RedisServer) -> None:
    """The first call makes it, and the second one finds it; nothing else is left behind."""
    log = RedisFleetLog(redis_server.url, KEY)
    assert [await log.create(), await log.create()] == [StreamMade(is_new=True), StreamMade(is_new=False)]
    assert await redis_server.ask("XLEN", KEY) == 0
    assert await redis_server.ask("XINFO", "GROUPS", KEY) == []


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://user:canary-password@cache:6380/2?decode_responses=true&protocol=3", "key 'fleet' at cache:6380/2"),
        ("valkey://cache", "key 'fleet' at cache:6379/0"),
        ("valkeys://:canary-password@cache", "key 'fleet' at cache:6379/0"),
        ("rediss://cache/1", "key 'fleet' at cache:6379/1"),
        ("unix:///run/redis.sock?db=3", "key 'fleet' at /run/redis.sock (database 3)"),
    ],
)
def test_the_place_has_no_password(url: str, place: str) -> None:
    """Host, port and database are known before it is open."""
    assert RedisFleetLog(url, KEY).place == place


async def test_a_url_cannot_change_what_the_log_relies_on(redis_server: RedisServer) -> None:
    """Settings of the client in the URL that would change answers or time limits are left out."""
    async with opened(redis_server.url + "?decode_responses=true&protocol=3&socket_timeout=0.001&retry_on_timeout=true") as log:
        await log.append([b"\xff"])
        assert await read_all(log, b"\xff") == [b"\xff"]


@pytest.mark.parametrize("url", [None, "http://cache", "cache:6379", "redis://user:canary-[password@cache", "redis://cache:canary", ""])
def test_a_url_that_cannot_be_read_is_refused_without_it(url: object) -> None:
    """The error shows how to write one, and no piece of this one."""
    with pytest.raises(SettingsError, match="redis://user:password@host:6379/0") as raised:
        RedisFleetLog(url)  # type: ignore[arg-type]
    assert "canary" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_key_must_have_a_name() -> None:
    """An empty one is refused."""
    with pytest.raises(SettingsError, match="must not be empty"):
        RedisFleetLog("redis://cache", "")
