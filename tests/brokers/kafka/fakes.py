"""A client's view without a client, for what a real broker cannot be made to show on purpose."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import ConsumerRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from aiokafka import TopicPartition


async def turns_until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds; a test that waits for what never comes fails instead of hanging."""
    for _ in range(200_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")


async def ended(task: asyncio.Task[Any]) -> Any:
    """What `task` returned, once the loop has turned often enough for it to end."""
    await turns_until(task.done)
    return task.result()


class FakeClient:
    """Keeps flags, positions and commits; commits and polls answer when told to."""

    def __init__(self) -> None:
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.flags: frozenset[TopicPartition] = frozenset()
        self.positions: dict[TopicPartition, int] = {}
        self.committed: list[dict[TopicPartition, int]] = []
        self.commit_error: BaseException | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.reset_policy = "earliest"
        self.instance_id: str | None = None
        self.group_id = "workers"
        self.bootstrap_servers = "somewhere:9092"
        self.rebalance_timeout = 10.0
        self.is_evicted = False
        self.is_reassigning = False
        self.is_stopped = False
        self.token: object = object()
        self.buffered: dict[TopicPartition, list[Any]] = {}
        self.polls: list[tuple[frozenset[TopicPartition], float]] = []
        self.poll_ends = asyncio.Event()
        self.limits: list[tuple[int, int]] = []

    def assignment(self) -> frozenset[TopicPartition]:
        return self.assigned

    def assignment_token(self) -> object:
        return self.token

    def paused(self) -> frozenset[TopicPartition]:
        return self.flags

    def is_paused(self, tp: TopicPartition) -> bool:
        return tp in self.flags

    def pause(self, tps: Collection[TopicPartition]) -> None:
        self.flags = self.flags.union(tps)

    def resume(self, tps: Collection[TopicPartition]) -> None:
        self.flags = self.flags.difference(tps)

    def limit_fetches(self, per_partition: int, per_response: int) -> None:
        self.limits.append((per_partition, per_response))

    def position(self, tp: TopicPartition) -> int | None:
        return self.positions.get(tp)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed.append(dict(offsets))
        await self.answers.wait()
        if self.commit_error is not None:
            raise self.commit_error

    async def getmany(self, names: tuple[TopicPartition, ...], timeout: float, most: int) -> dict[TopicPartition, list[Any]]:
        self.polls.append((frozenset(names), timeout))
        if timeout and not self._ready(names):
            await self.poll_ends.wait()
        return {tp: self.buffered.pop(tp)[:most] for tp in self._ready(names)}

    def _ready(self, names: tuple[TopicPartition, ...]) -> list[TopicPartition]:
        return [tp for tp in self.buffered if not names or tp in names]


def record(offset: int = 7, **more: Any) -> ConsumerRecord[bytes, bytes]:
    """A record of partition 3 of "orders", as aiokafka gives it."""
    fields: dict[str, Any] = {"timestamp": 1500, "key": b"k", "value": b"v", "headers": (), **more}
    key, value = fields["key"], fields["value"]
    return ConsumerRecord(
        topic="orders",
        partition=3,
        offset=offset,
        timestamp_type=0,
        checksum=None,
        serialized_key_size=-1 if key is None else len(key),
        serialized_value_size=-1 if value is None else len(value),
        **fields,
    )
