"""The patient form in real workers of other frameworks, on real brokers: an outage, a restart in it, and an order's own failure."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest
from tests.frameworks.benches import Bench, orders
from tests.frameworks.workers import MOST_CALLS, MOST_CPU

# How long an outage is looked at (seconds). The circuit waits for three and a half, and then a tenth of the outage's age.
HOLD = 15.0


@pytest.mark.slow
async def test_an_outage_loses_nothing_and_costs_few_calls(framework: AbstractAsyncContextManager[Bench]) -> None:
    """Orders wait in the worker's threads or tasks and in the broker, nearly without work, and each is charged once afterwards."""
    async with framework as bench, bench.worker() as held:
        payments = bench.payments
        payments.retry_after = None
        await bench.send(orders(1, 5))
        await held.until(lambda: len(payments.charged) == 5)
        payments.is_up = False
        await bench.send(orders(6, 65))
        await held.until(lambda: payments.refused >= 5)
        share = await held.cpu_share(HOLD)
        print(f"calls into the outage: {payments.refused}, CPU of the held worker: {share:.2%}")
        assert payments.refused <= MOST_CALLS
        payments.is_up = True
        await held.until(lambda: len(payments.charged) >= 65)
        assert sorted(bench.charged) == sorted(orders(1, 65))
        assert share < MOST_CPU


@pytest.mark.slow
async def test_a_worker_that_is_ended_in_an_outage_leaves_its_orders_to_the_next(framework: AbstractAsyncContextManager[Bench]) -> None:
    """SIGTERM while all of its threads or tasks wait: it ends soon, and the next worker charges every order."""
    async with framework as bench:
        payments = bench.payments
        payments.is_up = False
        async with bench.worker() as held:
            await bench.send(orders(1, 12))
            await held.until(lambda: payments.refused >= 5)
            await held.terminate()
        payments.is_up = True
        async with bench.worker() as other:
            await other.until(lambda: len(payments.charged) >= 12)
            assert sorted(bench.charged) == sorted(orders(1, 12))
