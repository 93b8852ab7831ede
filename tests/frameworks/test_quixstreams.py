"""The recipe for Quix Streams, on a real Kafka: its sink asks the circuit, and the app pauses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.examples.payments import Payments
from tests.frameworks.workers import ROOT, worker
from tests.servers.kafka_address import KafkaAddress

BEFORE = [b"order %d" % number for number in range(5)]
DURING = [b"order %d" % number for number in range(5, 45)]

# Of a checkpoint of ten, what was charged before the failure is charged again.
MOST_REPEATED = 9


@pytest.mark.slow
async def test_an_outage_pauses_the_app_on_kafka(
    frameworks: Path, kafka: KafkaAddress, topic: Callable[..., Awaitable[str]], tmp_path: Path
) -> None:
    """Every order is charged, the outage costs few calls and little work, and no more is repeated than a checkpoint has."""
    orders = await topic()
    async with Payments() as payments:
        payments.retry_after = None
        where = {"KAFKA": kafka.bootstrap, "TOPIC": orders, "PAYMENTS_HOST": payments.host}
        async with worker(frameworks, str(ROOT / "examples" / "quixstreams_sink.py"), folder=tmp_path, **where) as app:
            await kafka.produce(orders, BEFORE)
            await app.until(lambda: set(payments.charged) >= set(BEFORE))
            payments.is_up = False
            await kafka.produce(orders, DURING)
            await app.until(lambda: payments.refused >= 5)
            share = await app.cpu_share(15.0)
            print(f"calls into the outage: {payments.refused}, CPU of the paused app: {share:.2%}")
            assert payments.refused <= 26
            assert share < 0.02
            payments.is_up = True
            await app.until(lambda: set(payments.charged) >= {*BEFORE, *DURING})
            assert len(payments.charged) - len(BEFORE + DURING) <= MOST_REPEATED
