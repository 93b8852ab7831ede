"""The clients of a fleet's log, where they end: nothing of them may stay. The rest is shown by the log's own tests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import KafkaError

from holdgate.brokers.kafka.fleet_clients import LogConsumer

if TYPE_CHECKING:
    from tests.servers.kafka import KafkaServer
    from tests.servers.proxy import Proxy

pytestmark = pytest.mark.integration

PATIENCE = 60.0  # seconds
SLOW = 0.2  # seconds of each piece through the proxy: to connect takes some of them


async def is_connecting(proxy: Proxy, since: int) -> None:
    """Wait until somebody has begun to connect after so many connections."""
    async with asyncio.timeout(PATIENCE):
        while proxy.links_made == since:
            await asyncio.sleep(0.01)


async def all_ended(proxy: Proxy) -> None:
    """Wait until no connection is left."""
    async with asyncio.timeout(PATIENCE):
        while proxy.links:
            await asyncio.sleep(0.01)


async def test_a_consumer_that_stops_leaves_no_connection_that_is_being_made(own_kafka: KafkaServer, kafka_proxy: Proxy) -> None:
    """A question that goes on behind the stop has it closed, and learns so: aiokafka would leave it open for ever."""
    topic = await own_kafka.create_topic("fleet-clients-read")
    consumer = LogConsumer(topic, {"bootstrap_servers": kafka_proxy.address, "request_timeout_ms": 5000})
    await consumer.start()
    kafka_proxy.delay = SLOW
    made = kafka_proxy.links_made
    kafka_proxy.reset()
    asking = asyncio.ensure_future(consumer.partitions_now())
    await is_connecting(kafka_proxy, made)
    await consumer.stop()
    with suppress(KafkaError):
        await asking
    await all_ended(kafka_proxy)
    await own_kafka.delete_topic(topic)
