"""Memory by bytes on a real broker: a worker beside the bare client, each in a process of its own, on the same records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from benchmarks.held_memory import BOUND, MEGABYTE, Row, filled_topic, in_a_process

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress


async def watched(kafka: KafkaAddress, topic: str, row: Row) -> dict[str, float]:
    return await asyncio.to_thread(in_a_process, kafka.bootstrap, topic, row)


@pytest.mark.slow
async def test_a_backlog_of_big_records_takes_little_more_than_the_bare_client(kafka: KafkaAddress) -> None:
    """A megabyte each, a handler of a second: a few are in hand, where 500 would be half a gigabyte."""
    topic = await filled_topic(kafka.bootstrap, 1, "1 MB", 60 * MEGABYTE)
    bare = await watched(kafka, topic, Row("bare", 1, "1 MB", "slow", 8))
    guarded = await watched(kafka, topic, Row("guarded", 1, "1 MB", "slow", 8))

    assert bare["handled"] > 0
    assert guarded["handled"] > 0
    assert guarded["peak"] <= 1.5 * bare["peak"] + 8 * MEGABYTE


@pytest.mark.slow
async def test_nothing_is_fetched_twice_for_it(kafka: KafkaAddress) -> None:
    """Quick handlers, and every partition is back-pressured all the time: what comes from the broker comes once."""
    topic = await filled_topic(kafka.bootstrap, 6, "1 MB", 90 * MEGABYTE)
    seen = await watched(kafka, topic, Row("guarded", 6, "1 MB", "quick", 60, 90 * MEGABYTE))

    assert seen["handled"] == 90 * MEGABYTE
    assert seen["received"] <= 1.1 * seen["handled"]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["slow", "half-open"])
async def test_many_partitions_of_big_records_stay_within_the_bound(kafka: KafkaAddress, case: str) -> None:
    """Each has more than its share in a single record: they take turns."""
    topic = await filled_topic(kafka.bootstrap, 24, "8 MB", 24 * 8 * MEGABYTE)
    seen = await watched(kafka, topic, Row("guarded", 24, "8 MB", case, 10))

    assert seen["handled"] > 0
    assert seen["peak"] <= BOUND + 20 * MEGABYTE
