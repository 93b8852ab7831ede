"""How the same workers fail without the guard: the line `@guard.patient(...)` is taken out of each program, and the outage is the same."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tests.frameworks.benches import Bench, orders
from tests.frameworks.workers import FrameworkWorker

BEFORE, DURING = orders(1, 5), orders(6, 65)
LAST = "order 66"


async def go_through_an_outage(bench: Bench, worker: FrameworkWorker) -> None:
    """Let orders come before an outage, during it until each was tried once, and one afterwards until that is charged."""
    payments = bench.payments
    await bench.send(BEFORE)
    await worker.until(lambda: len(payments.charged) == len(BEFORE))
    payments.is_up = False
    await bench.send(DURING)
    await worker.until(lambda: payments.refused >= len(DURING))
    payments.is_up = True
    await bench.send([LAST])
    await worker.until(lambda: LAST in bench.charged)
    print(f"calls into the outage: {payments.refused}, orders charged: {len(payments.charged)} of {len(BEFORE + DURING) + 1}")


@pytest.mark.parametrize("framework", ["pika-rabbitmq", "arq-redis"], indirect=True)
async def test_without_the_guard_every_order_of_the_outage_is_lost(framework: AbstractAsyncContextManager[Bench], tmp_path: Path) -> None:
    """A failure is final there: pika's is rejected, and arq's job has failed. What comes after the outage overtakes nothing, as nothing
    is left."""
    async with framework as bench, bench.unguarded(tmp_path) as worker:
        await go_through_an_outage(bench, worker)
        assert sorted(bench.charged) == sorted([*BEFORE, LAST])
        assert bench.payments.refused == len(DURING)


@pytest.mark.parametrize("framework", ["dramatiq-rabbitmq", "eventiq-rabbitmq"], indirect=True)
async def test_without_the_guard_every_order_of_the_outage_is_tried(framework: AbstractAsyncContextManager[Bench], tmp_path: Path) -> None:
    """They are tried again later, each in its own time: a call for each order at the least, and an attempt of each is spent."""
    async with framework as bench, bench.unguarded(tmp_path) as worker:
        await go_through_an_outage(bench, worker)
        assert bench.payments.refused >= len(DURING)
