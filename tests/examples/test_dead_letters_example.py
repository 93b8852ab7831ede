"""The examples of dead letters, and the replay that the page shows after them, on real brokers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.examples.payments import Payments
from tests.examples.running import PATIENCE, example
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.rabbitmq_address import RabbitMQAddress

GOOD = [b'{"amount": 1}', b'{"amount": 2}']
NOT_JSON = b"amount: 4"


async def test_poison_goes_aside_and_comes_back(kafka: KafkaAddress, topic) -> None:
    """What is no order is in the topic beside, with its reason; the others are charged; a replay brings it back, and it dies once more."""
    orders = await topic()
    dead = await kafka.create_topic(f"{orders}.dead")
    replay = [sys.executable, "-m", "holdgate", "replay", dead, "--to", orders, "--bootstrap", kafka.bootstrap]
    places = {"KAFKA": kafka.bootstrap, "TOPIC": orders}
    async with Payments() as payments, example("dead_letters", **places, PAYMENTS_HOST=payments.host) as worker:
        await kafka.produce(orders, [GOOD[0], NOT_JSON, GOOD[1]])
        await worker.until(lambda: payments.charged == [b"1", b"2"])
        (letter,) = await kafka.read(dead)
        assert (letter.value, dict(letter.headers)["holdgate-reason"]) == (NOT_JSON, b"not JSON")

        dry = await asyncio.to_thread(subprocess.run, [*replay, "--dry-run"], capture_output=True, timeout=PATIENCE, check=True)
        assert b"holdgate.errors.Reject" in dry.stdout
        await asyncio.to_thread(subprocess.run, [*replay, "--yes"], capture_output=True, timeout=PATIENCE, check=True)
        await worker.until(lambda: worker.log.count("is in the dead letters") == 2)
        assert await worker.terminate() == 0
    _, again = await kafka.read(dead)
    assert dict(again.headers)["holdgate-replays"] == b"1"
    assert (await kafka.committed("charger", orders))[0] == 4
    await kafka.delete_topic(dead)


async def test_on_rabbitmq_it_is_the_same(rabbitmq: RabbitMQAddress, queue) -> None:
    """The queue beside has it; the dry run counts, the replay brings it back, and it dies once more."""
    orders = await queue(QUORUM)
    dead = await rabbitmq.declare(f"{orders}.dead", QUORUM)
    replay = [sys.executable, "-m", "holdgate", "replay", dead, "--to", orders]
    environment = {**os.environ, "HOLDGATE_AMQP_URL": rabbitmq.url}
    places = {"RABBITMQ": rabbitmq.url, "QUEUE": orders}
    async with Payments() as payments, example("dead_letters_rabbitmq", **places, PAYMENTS_HOST=payments.host) as worker:
        await rabbitmq.publish(orders, [GOOD[0], NOT_JSON, GOOD[1]])
        await worker.until(lambda: sorted(payments.charged) == [b"1", b"2"])
        await rabbitmq.becomes(dead, ready=1)

        dry = await asyncio.to_thread(
            subprocess.run, [*replay, "--dry-run"], env=environment, capture_output=True, timeout=PATIENCE, check=True
        )
        assert f"1 wait in {dead}".encode() in dry.stdout
        await asyncio.to_thread(subprocess.run, [*replay, "--yes"], env=environment, capture_output=True, timeout=PATIENCE, check=True)
        await worker.until(lambda: worker.log.count("is in the dead letters") == 2)
        assert await worker.terminate() == 0
    assert await rabbitmq.waiting_once_free(orders) == []
    assert [message.body for message in await rabbitmq.waiting(dead)] == [NOT_JSON]
    await rabbitmq.delete(dead)
