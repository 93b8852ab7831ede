from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.ledger.dependency import DependencyClient, DependencyError, Mode, ModelDependency
from tests.ledger.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def client_of(dependency: ModelDependency) -> AsyncIterator[DependencyClient]:
    client = DependencyClient(dependency.address)
    try:
        yield client
    finally:
        await client.close()


async def in_flight(dependency: ModelDependency, count: int) -> None:
    async with asyncio.timeout(60):
        while dependency.in_flight != count:
            await asyncio.sleep(0.005)


async def test_up_answers_and_counts() -> None:
    """Two calls at once are counted, and so is their peak."""
    async with ModelDependency(latency=0.05) as dependency, client_of(dependency) as client:
        await asyncio.gather(client.call(), client.call())
        assert (dependency.calls, dependency.failed, dependency.peak, dependency.in_flight) == (2, 0, 2, 0)


async def test_down_answers_with_an_error_until_it_is_up() -> None:
    """An outage ends without a new connection."""
    async with ModelDependency() as dependency, client_of(dependency) as client:
        await dependency.set_mode(Mode.DOWN)
        with pytest.raises(DependencyError):
            await client.call()
        await dependency.set_mode(Mode.UP)
        await client.call()
        assert (dependency.calls, dependency.failed) == (2, 1)


async def test_hang_answers_nothing_until_the_mode_changes() -> None:
    """A caller that gave up goes on occupying it; one that waits gets an error."""
    async with ModelDependency() as dependency, client_of(dependency) as client:
        await dependency.set_mode(Mode.HANG)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.call(), 0.05)
        await in_flight(dependency, 1)
        waiting = asyncio.create_task(client.call())
        await in_flight(dependency, 2)
        await dependency.set_mode(Mode.UP)
        with pytest.raises(DependencyError):
            await waiting
        await client.call()
        assert dependency.in_flight == 0


async def test_gone_refuses_and_comes_back_at_the_same_address() -> None:
    """Connections break, new ones are refused, and afterwards the same client gets through."""
    async with ModelDependency() as dependency, client_of(dependency) as client:
        await client.call()
        await dependency.set_mode(Mode.GONE)
        with pytest.raises(DependencyError):
            await client.call()
        with pytest.raises(ConnectionRefusedError):
            await client.call()
        await dependency.set_mode(Mode.UP)
        await client.call()


async def test_a_call_under_way_when_it_goes_down_fails() -> None:
    """What was in flight at the begin of an outage is not served."""
    async with ModelDependency(latency=0.05) as dependency, client_of(dependency) as client:
        under_way = asyncio.create_task(client.call())
        await in_flight(dependency, 1)
        await dependency.set_mode(Mode.DOWN)
        with pytest.raises(DependencyError):
            await under_way
        assert dependency.failed == 1


async def test_it_can_be_down_for_one_key() -> None:
    """Other messages get through."""
    async with ModelDependency() as dependency, client_of(dependency) as client:
        dependency.failing_keys.add("customer-7")
        await client.call("customer-8")
        with pytest.raises(DependencyError):
            await client.call("customer-7")


async def test_it_can_fail_every_second_call() -> None:
    """A rate of errors without chance."""
    async with ModelDependency() as dependency, client_of(dependency) as client:
        dependency.fail_every = 2
        await client.call()
        with pytest.raises(DependencyError):
            await client.call()
        await client.call()


async def test_calls_not_served_are_written_down_as_wasted(tmp_path) -> None:
    """The ledger gets one line for each, served ones none."""
    ledger = Ledger(tmp_path)
    writer = ledger.writer("test")
    async with ModelDependency(ledger=writer) as dependency, client_of(dependency) as client:
        await client.call()
        await dependency.set_mode(Mode.DOWN)
        with pytest.raises(DependencyError):
            await client.call("w1|k")
    writer.close()
    wasted = {"dependency": "payments", "key": "w1|k", "mode": "down", "caller": "w1"}
    assert [(entry.kind, entry.facts) for entry in ledger.entries()] == [("wasted", wasted)]


async def test_counts_begin_anew_when_asked() -> None:
    """The peak of a recovery is counted apart from what was before."""
    async with ModelDependency(latency=0.02) as dependency, client_of(dependency) as client:
        await asyncio.gather(*(client.call() for _ in range(5)))
        dependency.reset_counts()
        await client.call()
        assert (dependency.calls, dependency.peak) == (1, 1)
