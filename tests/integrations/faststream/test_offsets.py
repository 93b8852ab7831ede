"""The commits of a guarded subscriber: one at a time, and of its own partitions alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

pytest.importorskip("faststream", reason="faststream is not installed: pip install 'holdgate[faststream]'")

from holdgate.integrations.faststream.offsets import Offsets

FIRST, SECOND = TopicPartition("orders", 0), TopicPartition("orders", 1)


class Consumer:
    """Notes what is committed; each commit waits until the test lets it go on, and fails with `error`."""

    def __init__(self, *owned: TopicPartition, error: Exception | None = None) -> None:
        self.owned = set(owned)
        self.error = error
        self.commits: list[dict[TopicPartition, int]] = []
        self.go_on = asyncio.Event()
        self._closed = False  # as aiokafka's

    def assignment(self) -> set[TopicPartition]:
        return self.owned

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.commits.append(offsets)
        await self.go_on.wait()
        if self.error is not None:
            raise self.error


async def test_one_commit_carries_all_that_is_finished() -> None:
    """The newest offset of each partition, in one commit; with nothing finished there is none."""
    consumer, offsets = Consumer(FIRST, SECOND), Offsets("orders")
    consumer.go_on.set()
    assert offsets.begin() is None
    offsets.finished(consumer, FIRST, 1)
    offsets.finished(consumer, FIRST, 2)
    offsets.finished(consumer, SECOND, 7)
    assert await offsets.flush(5.0)
    assert consumer.commits == [{FIRST: 2, SECOND: 7}]
    assert await offsets.flush(5.0)
    assert len(consumer.commits) == 1


async def test_a_commit_on_its_way_is_waited_for() -> None:
    """What is finished meanwhile goes with the next one, which a flush begins by itself."""
    consumer, offsets = Consumer(FIRST), Offsets("orders")
    offsets.finished(consumer, FIRST, 1)
    first = offsets.begin()
    await asyncio.sleep(0)
    offsets.finished(consumer, FIRST, 2)
    assert offsets.begin() is first
    flushing = asyncio.create_task(offsets.flush(60.0))
    await asyncio.sleep(0)
    consumer.go_on.set()
    assert await flushing
    assert consumer.commits == [{FIRST: 1}, {FIRST: 2}]


async def test_a_flush_says_that_not_everything_is_out() -> None:
    """A broker that does not answer: the flush ends, and the commit is left alone."""
    consumer, offsets = Consumer(FIRST), Offsets("orders")
    offsets.finished(consumer, FIRST, 1)
    assert not await offsets.flush(0.01)
    task = offsets.begin()
    assert task is not None
    assert not task.done()
    consumer.go_on.set()
    await task


async def test_partitions_of_others_are_not_committed() -> None:
    """What was forgotten, and what the consumer does not have any more, would make the broker refuse the whole commit."""
    consumer, offsets = Consumer(FIRST), Offsets("orders")
    consumer.go_on.set()
    third = TopicPartition("orders", 2)
    for tp in (FIRST, SECOND, third):
        offsets.finished(consumer, tp, 1)
    offsets.forget({third})
    consumer.owned.add(third)
    assert await offsets.flush(5.0)
    assert consumer.commits == [{FIRST: 1}]


async def test_a_commit_that_fails_is_logged_and_others_go_out(caplog: pytest.LogCaptureFixture) -> None:
    """After a rebalance: nothing is raised, and the other consumer's commit is not kept from going."""
    failing, other = Consumer(FIRST, error=CommitFailedError("canary-text")), Consumer(SECOND)
    offsets: Any = Offsets("orders")
    for consumer, tp in ((failing, FIRST), (other, SECOND)):
        consumer.go_on.set()
        offsets.finished(consumer, tp, 3)
    assert await offsets.flush(5.0)
    assert other.commits == [{SECOND: 3}]
    assert [record.getMessage() for record in caplog.records] == [
        "orders: a commit failed with CommitFailedError; these records may come again"
    ]


async def test_a_commit_of_a_stopped_consumer_is_not_waited_for_for_ever(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a coordinator aiokafka tries it again and again. A subscriber that is started again has another consumer."""
    monkeypatch.setattr("holdgate.integrations.faststream.offsets._LOOK_EVERY", 0.01)
    monkeypatch.setattr("holdgate.integrations.faststream.offsets._STOPPED_WITHIN", 0.02)
    stopped, started, offsets = Consumer(FIRST), Consumer(FIRST), Offsets("orders")
    started.go_on.set()
    offsets.finished(stopped, FIRST, 1)
    offsets.begin()
    await asyncio.sleep(0)
    stopped._closed = True
    offsets.finished(started, FIRST, 2)
    assert await offsets.flush(60.0)
    assert started.commits == [{FIRST: 2}]
    assert "orders: a commit has no answer, since its consumer was stopped; these records may come again" in caplog.messages
