"""The example of dead letters, and the replay that the page shows after it, on a real broker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.examples.payments import Payments
from tests.examples.running import PATIENCE, example

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

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
