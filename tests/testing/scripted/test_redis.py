"""The far end for redis-py."""

from __future__ import annotations

from typing import Any

import pytest

from holdgate import Dependency
from holdgate.presets import redis as preset
from holdgate.testing import Answered, Dropped, Hung
from tests.testing.scripted.rehearsed import FAULTS, PATIENCE, assert_lost_nothing, first_error, name_of, real, through

redis = pytest.importorskip("redis")
from redis.asyncio.retry import Retry as AsyncRetry  # noqa: E402
from redis.backoff import NoBackoff  # noqa: E402
from redis.retry import Retry  # noqa: E402

from holdgate.testing.scripted.redis import AsyncScriptedConnection, ScriptedConnection  # noqa: E402

cache = Dependency("cache", failures=preset.failures)
# What an overloaded or loading server answers; on real sockets only connections were tried.
ANSWERS = {"503": "redis.BusyLoadingError", "429": "redis.OutOfMemoryError"}


def on_pool(**settings: Any) -> Any:
    pool = redis.ConnectionPool(
        connection_class=ScriptedConnection, dependency=cache, **{"socket_timeout": PATIENCE, "retry": Retry(NoBackoff(), 0), **settings}
    )
    return redis.Redis(connection_pool=pool)


def on_async_pool(**settings: Any) -> Any:
    pool = redis.asyncio.ConnectionPool(
        connection_class=AsyncScriptedConnection,
        dependency=cache,
        **{"socket_timeout": PATIENCE, "retry": AsyncRetry(NoBackoff(), 0), **settings},
    )
    return redis.asyncio.Redis(connection_pool=pool)


plain_client, async_client = on_pool(), on_async_pool()


def plain(delivery: Any) -> None:
    assert plain_client.set("last", delivery.body) is True


async def on_loop(delivery: Any) -> None:
    assert await async_client.set("last", delivery.body) is True


async def pipelined(delivery: Any) -> None:
    async with async_client.pipeline(transaction=False) as pipeline:
        pipeline.set("last", delivery.body)
        pipeline.set("first", delivery.body)
        assert await pipeline.execute() == [True, True]


@pytest.mark.parametrize("situation", FAULTS)
@pytest.mark.parametrize("handler", [plain, on_loop])
def test_it_fails_as_the_real_server(handler: Any, situation: str) -> None:
    """The client raises what it raised on a real socket; a connection that it has is lost first."""
    error = first_error(lambda around: through(around(handler), cache, FAULTS[situation]))

    assert name_of(error) == (ANSWERS.get(situation) or real("redis", "redis (asyncio)", situation))


@pytest.mark.parametrize("situation", FAULTS)
@pytest.mark.parametrize("handler", [plain, on_loop, pipelined])
def test_a_good_handler_loses_nothing(handler: Any, situation: str) -> None:
    """In a thread, on the loop, and with several commands at once."""
    assert_lost_nothing(through(handler, cache, FAULTS[situation]))


def test_ten_reports_are_equal() -> None:
    """In a thread and on the loop, with a retry that does not wait."""
    first = through(plain, cache, Hung())

    assert all(through(handler, cache, Hung()) == first for _ in range(5) for handler in (plain, on_loop))


def test_the_clients_own_retry_takes_part() -> None:
    """A second connection, which is refused as well: two calls for one attempt."""
    client = on_async_pool(retry=AsyncRetry(NoBackoff(), 1))

    async def handler(delivery: Any) -> None:
        await client.set("last", delivery.body)

    report = through(handler, cache, Dropped())

    assert report.problems == ()
    assert report.failed_calls > report.called_in_outage


def test_a_handler_that_swallows_is_seen() -> None:
    """A cache that is not there is no reason to fail, some think."""

    async def careless(delivery: Any) -> None:
        try:
            await on_loop(delivery)
        except redis.RedisError:
            return

    assert (
        through(careless, cache, Answered(503)).problems[0].startswith("cache: 60 messages were reported as done while every call failed")
    )


def test_an_exception_of_ones_own_is_raised_as_it_is() -> None:
    """What no stand-in knows of."""
    fault = redis.exceptions.ClusterDownError("CLUSTERDOWN")

    assert first_error(lambda around: through(around(on_loop), cache, fault)) is fault


@pytest.mark.parametrize("handler", ["plain", "async"])
def test_a_client_without_a_limit_hangs_until_the_outage_is_over(handler: str) -> None:
    """It is said, and the connection is reset in the end."""
    client = on_pool(socket_timeout=None) if handler == "plain" else on_async_pool(socket_timeout=None)
    report = through(lambda delivery: client.set("last", delivery.body), cache, Hung())

    assert report.problems == ("cache: 1 call hung until the outage was over: the client has no time limit",)


async def test_it_answers_what_it_is_given() -> None:
    """Numbers, lists, nothing, and errors; it is up where no rehearsal is."""
    said = {b"INCRBY": 7, b"LRANGE": [b"a", None], b"GET": None}

    def answer(command: Any) -> Any:
        if command[0] == b"EVALSHA":
            raise redis.exceptions.NoScriptError("NOSCRIPT")
        return said[command[0]]

    client = on_async_pool(answer=answer, decode_responses=True)
    assert (await client.incr("n"), await client.lrange("l", 0, 1), await client.get("k")) == (7, ["a", None], None)
    with pytest.raises(redis.exceptions.NoScriptError):
        await client.evalsha("0", 0)

    assert on_pool(answer=answer).lrange("l", 0, 1) == [b"a", None]
    assert plain_client.ping() is True


async def test_a_reply_that_nobody_has_read_is_lost_with_its_connection() -> None:
    """The next command must not get it."""
    plain_connection, connection = ScriptedConnection(dependency=cache), AsyncScriptedConnection(dependency=cache)
    plain_connection.send_command("GET", "k")
    await connection.send_command("GET", "k")
    assert (plain_connection.can_read(), await connection.can_read()) == (True, True)

    plain_connection.disconnect()
    await connection.disconnect()
    assert (plain_connection.can_read(), await connection.can_read()) == (False, False)
