"""`holdgate fleet` with a log on Redis or Valkey."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.cli.runner import invoke

from holdgate.brokers.redis import RedisFleetLog
from holdgate.cli import FAILED, REFUSED

if TYPE_CHECKING:
    import pytest
    from click.testing import Result
    from tests.servers.redis_server import RedisServer


async def run(*arguments: str) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(invoke, "fleet", *arguments)


async def test_create_and_show(redis_server: RedisServer) -> None:
    """Create makes the stream in the database and under the key of the URL, and show counts what is in it."""
    url = redis_server.url.removesuffix("/0") + "/3?key=ours"
    place = f"key 'ours' at 127.0.0.1:{redis_server.port}/3"
    assert [(await run("create", url)).output for _ in range(2)] == [f"{place} is made\n", f"{place} exists, as it must be\n"]
    log = RedisFleetLog(redis_server.url.removesuffix("/0") + "/3", "ours")
    await log.open()
    await log.append([b"12", b"345"])
    await log.close()
    shown = await run("show", url.replace("redis", "valkey"), "--for", "0.5", "--json")
    assert {name: json.loads(shown.output)[name] for name in ("place", "records", "bytes")} == {"place": place, "records": 2, "bytes": 5}


async def test_the_url_of_the_environment_is_not_printed(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password comes with the environment, and a refusal does not show it."""
    monkeypatch.setenv("HOLDGATE_FLEET_URL", redis_server.as_user("nobody"))
    result = await run("create")
    assert result.exit_code == FAILED
    assert "refuses this user or password" in result.stderr


async def test_options_are_of_kafka(redis_server: RedisServer) -> None:
    """What is meant for aiokafka's clients is refused here, and so is a URL that names no server."""
    result = await run("create", redis_server.url, "--option", "client_id=me")
    assert (result.exit_code, "--option is for kafka://" in result.stderr) == (REFUSED, True)
    result = await run("create", "redis://host:port/0")
    assert (result.exit_code, "redis://user:password@host:6379/0" in result.stderr) == (REFUSED, True)
