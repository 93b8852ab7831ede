from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from holdgate.cli.demo import naive
from holdgate.cli.demo.clock import StoryClock
from holdgate.cli.demo.ledger import Place, Production
from holdgate.cli.demo.naive import ATTEMPTS, NaiveSide
from holdgate.cli.demo.scenario import ORDERS, Scenario
from holdgate.cli.demo.service import ServiceError
from holdgate.cli.demo.venue import Record
from holdgate.cli.demo.work import Work


class FakeFeed:
    """Gives one batch, then nothing; notes the order of what is asked of it."""

    rebalances = 0

    def __init__(self, count: int) -> None:
        self.batches: list[Sequence[Record]] = [[Record(ORDERS, number, None) for number in range(count)]]
        self.told: list[str] = []
        self.empty = asyncio.Event()

    async def open(self) -> None:
        self.told.append("open")

    async def take(self, most: int) -> Sequence[Record]:
        if self.batches:
            return self.batches.pop()
        self.empty.set()
        await asyncio.sleep(0)
        return []

    async def commit(self) -> None:
        self.told.append("commit")

    async def bury(self, record: Record) -> None:
        self.told.append(f"bury {record.number}")

    async def close(self) -> None:
        self.told.append("close")


class FlakyWork(Work):
    """Fails the first `failures` calls for each message."""

    def __init__(self, failures: int) -> None:
        production = Production()
        production.send(0, 0.0)
        production.store(0, Place(ORDERS, 0, 0))
        super().__init__(Scenario(), StoryClock(), production)
        self.failures = failures
        self.calls = 0

    async def handle(self, kind: str, number: int) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise ServiceError
        self.ledger.process(kind, number, 0.0)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(naive, "BACKOFF", 0.0)


async def lived(work: FlakyWork) -> FakeFeed:
    feed = FakeFeed(1)
    side = NaiveSide(feed, work)
    await side.start()
    await feed.empty.wait()
    await side.stop()
    return feed


async def test_a_batch_is_committed_after_it_was_handled() -> None:
    """The bare loop commits what it took once it is through with it, and leaves the group at the end."""
    work = FlakyWork(failures=0)
    assert (await lived(work)).told == ["open", "commit", "close"]
    assert work.ledger.processed == {0}


async def test_a_failure_is_tried_again() -> None:
    """Two failures, then a success: no dead letter."""
    work = FlakyWork(failures=ATTEMPTS - 1)
    assert (await lived(work)).told == ["open", "commit", "close"]
    assert (work.calls, work.ledger.dead) == (ATTEMPTS, set())


async def test_what_still_fails_after_the_last_attempt_goes_to_the_dead_letters() -> None:
    """The worker goes on at the price of a good message."""
    work = FlakyWork(failures=ATTEMPTS)
    assert (await lived(work)).told == ["open", "bury 0", "commit", "close"]
    assert (work.calls, work.ledger.dead) == (ATTEMPTS, {0})


async def test_what_ends_the_loop_is_raised_to_whoever_waits() -> None:
    """A broken client must not look like a quiet topic, and it still leaves the group."""

    class Broken(FakeFeed):
        async def take(self, most: int) -> Sequence[Record]:
            raise ConnectionError("gone")

    feed = Broken(0)
    side = NaiveSide(feed, FlakyWork(0))
    await side.start()
    with pytest.raises(ConnectionError, match="gone"):
        await side.wait()
    await side.stop()
    assert feed.told == ["open", "close"]
