"""The producer: orders and receipts at a steady rate, whatever happens behind them."""

from __future__ import annotations

import asyncio
import itertools

from holdgate.cli.demo.clock import StoryClock
from holdgate.cli.demo.ledger import Production
from holdgate.cli.demo.scenario import ORDERS, RECEIPTS, Scenario
from holdgate.cli.demo.tasks import all_or_none
from holdgate.cli.demo.venue import Venue


class Traffic:
    """Produces until `scenario.quiet_at`, on schedule: a pause of the process is made up for, so that the number of messages is the same
    on a busy machine."""

    def __init__(self, scenario: Scenario, clock: StoryClock, production: Production, venue: Venue) -> None:
        self._scenario = scenario
        self._clock = clock
        self._production = production
        self._venue = venue
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Produce both kinds; returns when the last message is stored."""
        await all_or_none(
            self._produce(ORDERS, self._scenario.orders_per_second),
            self._produce(RECEIPTS, self._scenario.receipts_per_second),
        )

    async def _produce(self, kind: str, rate: float) -> None:
        for index in range(int(self._scenario.quiet_at * rate)):
            await asyncio.sleep(max(0.0, index / rate - self._clock.now()))
            number = next(self._numbers)
            self._production.send(number, self._clock.now())
            self._production.store(number, await self._venue.produce(kind, number))
