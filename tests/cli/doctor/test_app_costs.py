"""`holdgate doctor --outage` on real brokers: what an outage costs workers that have no guard."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.cli.runner import invoke
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.rabbitmq import RabbitMQServer
    from tests.servers.rabbitmq_address import RabbitMQAddress


async def test_the_costs_of_a_group(kafka: KafkaAddress) -> None:
    """A line for each, and in JSON marked as costs; the exit code stays 0."""
    topic = await kafka.create_topic(f"costly-{uuid.uuid4().hex[:8]}", 1, config={"retention.ms": "604800000"})
    try:
        await kafka.produce(topic, [b"1", b"2"], partition=0)
        arguments = ("doctor", "kafka", "--bootstrap", kafka.bootstrap, "--group", "nobody", "--topic", topic, "--outage", "3600")
        shown = await asyncio.to_thread(invoke, *arguments)
        assert (shown.exit_code, shown.stderr) == (0, "")
        assert f"{topic}, an outage: 2 records came in the last 1 hour" in shown.stdout
        assert "nothing was found" not in shown.stdout
        found = json.loads((await asyncio.to_thread(invoke, *arguments, "--json")).stdout)
        assert {each["about"] for each in found if each["cost"]} == {topic, "nobody"}
        assert not any(each["refused"] for each in found)
    finally:
        await kafka.delete_topic(topic)


async def test_the_costs_of_a_queue(rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]]) -> None:
    """And a queue that is not there is refused beside it, with exit code 1."""
    name = await queue({**QUORUM, "x-delivery-limit": 5})
    shown = await asyncio.to_thread(invoke, "doctor", "rabbitmq", name, "no-such-queue", "--url", rabbitmq.url, "--outage", "3600")
    assert shown.exit_code == 1
    assert f"{name}, an outage: a consumer that rejects a message that failed" in shown.stdout
    assert "more than 5 returns are too many for this queue" in shown.stdout
    assert "no-such-queue, refused: there is no queue" in shown.stdout


async def test_a_user_who_may_only_read(own_rabbitmq: RabbitMQServer) -> None:
    """What cannot be found out is said, and the rest is worked out."""
    await own_rabbitmq.declare("costly", QUORUM)
    url = await own_rabbitmq.let_in("onlooker", "", "", ".*")
    try:
        shown = await asyncio.to_thread(invoke, "doctor", "rabbitmq", "costly", "--url", url, "--outage", "3600")
        assert shown.exit_code == 0
        assert "costly, warning: its type could not be found out" in shown.stdout
        assert "costly, an outage: a consumer that returns a message" in shown.stdout
        assert "onlooker" not in shown.output
    finally:
        await own_rabbitmq.remove_user("onlooker")
        await own_rabbitmq.delete("costly")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", "1e10", "1e308"])
@pytest.mark.parametrize("command", [("kafka", "--bootstrap", "x:1", "--group", "g"), ("celery", "shop:app"), ("faststream", "shop:app")])
def test_an_outage_must_last(command: tuple[str, ...], seconds: str) -> None:
    """Seconds above 0, and not for ever, nor from before 1970; refused before anything is asked or imported."""
    refused = invoke("doctor", *command, "--outage", seconds)
    assert (refused.exit_code, "--outage" in refused.stderr) == (2, True)
