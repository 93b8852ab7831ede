"""The examples of share groups, on a real broker and through a real outage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.brokers.share.groups import ShareGroups
from tests.examples.payments import Payments
from tests.examples.running import example

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

pytestmark = pytest.mark.versions

BEFORE = [b"order %d" % number for number in range(1, 4)]
DURING = [b"order %d" % number for number in range(4, 8)]


@pytest.mark.parametrize("name", ["share_worker", "share_overflow"])
async def test_an_outage_is_waited_out(share_kafka: KafkaAddress, topic, name: str) -> None:
    """Every order is charged once, the outage costs a few calls, and SIGTERM ends it with nothing left."""
    orders = await topic()
    for more in (".overflow", ".dead"):
        await share_kafka.create_topic(f"{orders}{more}")
    groups = ShareGroups(share_kafka.bootstrap)
    group = await groups.create()
    async with Payments() as payments:
        where = {"KAFKA": share_kafka.bootstrap, "TOPIC": orders, "GROUP": group, "PAYMENTS_HOST": payments.host}
        async with example(name, **where) as worker:
            await share_kafka.produce(orders, BEFORE)
            await worker.until(lambda: sorted(payments.charged) == BEFORE)
            payments.is_up = False
            await share_kafka.produce(orders, DURING)
            await worker.until(lambda: payments.refused >= 2)
            payments.is_up = True
            await worker.until(lambda: len(payments.charged) == len(BEFORE + DURING))
            assert sorted(payments.charged) == BEFORE + DURING
            assert payments.refused < 12  # what runs side by side when it begins, and a probe or two
            assert await worker.terminate() == 0
    assert await groups.drain(group, orders) == {}
    for more in (".overflow", ".dead"):
        await share_kafka.delete_topic(f"{orders}{more}")
