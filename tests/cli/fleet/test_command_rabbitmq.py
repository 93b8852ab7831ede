"""`holdgate fleet` with a log in a RabbitMQ stream."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING

from tests.cli.runner import invoke

from holdgate.cli import FAILED

if TYPE_CHECKING:
    import pytest
    from click.testing import Result
    from tests.servers.rabbitmq import RabbitMQServer


async def run(*arguments: str) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(invoke, "fleet", *arguments)


async def test_create_and_show(own_rabbitmq: RabbitMQServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before create show names the command; create makes the stream of the URL's query, and show counts what is in it."""
    name = f"fleet-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("HOLDGATE_FLEET_URL", f"{own_rabbitmq.url}?heartbeat=20&stream={name}")
    missing = await run("show")
    assert (missing.exit_code, f"holdgate fleet create 'amqp://HOST/VHOST?stream={name}'" in missing.stderr) == (FAILED, True)
    made = [(await run("create")).output for _ in range(2)]
    place = made[0].removesuffix(" is made\n")
    assert made[1] == f"{place} exists, as it must be\n"
    await own_rabbitmq.publish(name, [b"12", b"345"])
    shown = await run("show", "--for", "0.5", "--json")
    assert {part: json.loads(shown.output)[part] for part in ("place", "records", "bytes")} == {"place": place, "records": 2, "bytes": 5}
    await own_rabbitmq.delete(name)
