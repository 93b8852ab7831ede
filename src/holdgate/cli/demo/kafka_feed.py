"""A bare aiokafka consumer, set up as the documentation of aiokafka shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRebalanceListener

from holdgate.cli.demo.venue import Record

# Seconds that one poll waits: short, so that the end of the demo is not waited for.
POLL_TIMEOUT = 0.1
# Seconds to wait for a batch to fill: a few round trips on one machine.
REFILL_TIMEOUT = 0.02


def consumer_of(aiokafka: Any, address: str, group: str) -> Any:
    """An unstarted consumer, with the same settings for both sides.

    `fetch_max_wait_ms=100`: with the default of 500 the picture would lag behind the story by half a second.
    """
    return aiokafka.AIOKafkaConsumer(
        bootstrap_servers=address,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )


class Reassigned(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Calls `on_rebalance` for every assignment but the first."""

    def __init__(self, on_rebalance: Callable[[], None]) -> None:
        self._on_rebalance = on_rebalance
        self._assignments = 0

    # aiokafka takes both colours; its annotations show the plain one alone.

    async def on_partitions_revoked(self, revoked: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Nothing to do: assignments are counted."""

    async def on_partitions_assigned(self, assigned: object) -> None:  # noqa: ARG002  # pyright: ignore[reportIncompatibleMethodOverride]
        """Count it."""
        self._assignments += 1
        if self._assignments > 1:
            self._on_rebalance()


class KafkaFeed:
    """The client of the side without the guard.

    `kinds` maps topic names to kinds of work; `bury` writes kind, body and key to a dead letter topic.
    """

    def __init__(
        self,
        aiokafka: Any,
        address: str,
        group: str,
        kinds: Mapping[str, str],
        bury: Callable[[str, bytes, bytes | None], Awaitable[None]],
    ) -> None:
        self.rebalances = 0
        self._consumer = consumer_of(aiokafka, address, group)
        self._kinds = kinds
        self._bury = bury

    async def open(self) -> None:
        self._consumer.subscribe(list(self._kinds), listener=Reassigned(self._count))
        await self._consumer.start()

    def _count(self) -> None:
        self.rebalances += 1

    async def take(self, most: int) -> Sequence[Record]:
        records = await self._poll(POLL_TIMEOUT, most)
        # The embedded broker answers a fetch with one produced batch per partition, so one poll brings four messages of a long backlog.
        # A real broker fills its answer: polling on makes up for it, so that this side is not slow for a reason of the demo's own.
        while 0 < len(records) < most:
            more = await self._poll(REFILL_TIMEOUT, most - len(records))
            if not more:
                break
            records += more
        return records

    async def _poll(self, timeout: float, most: int) -> list[Record]:
        batches = await self._consumer.getmany(timeout_ms=int(timeout * 1000), max_records=most)
        return [Record(self._kinds[raw.topic], int(raw.value), raw) for batch in batches.values() for raw in batch]

    async def commit(self) -> None:
        await self._consumer.commit()

    async def bury(self, record: Record) -> None:
        await self._bury(record.kind, record.raw.value, record.raw.key)

    async def close(self) -> None:
        await self._consumer.stop()
