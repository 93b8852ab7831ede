"""The work itself, the same for both sides: call the service that a message needs, and note that it was done."""

from __future__ import annotations

from holdgate.cli.demo.clock import StoryClock
from holdgate.cli.demo.ledger import Ledger, Production
from holdgate.cli.demo.scenario import ORDERS, RECEIPTS, Scenario
from holdgate.cli.demo.service import Service


class Work:
    """One side's handler, with services and a ledger of its own: the two sides share nothing but the messages."""

    def __init__(self, scenario: Scenario, clock: StoryClock, production: Production) -> None:
        self.clock = clock
        self.ledger = Ledger(production)
        self.payments = Service(scenario.payments, clock.now)
        self.email = Service(scenario.email, clock.now)
        self._services = {ORDERS: self.payments, RECEIPTS: self.email}

    async def handle(self, kind: str, number: int) -> None:
        """Process message `number`. Raises `ServiceError` when its service fails."""
        await self._services[kind].call()
        self.ledger.process(kind, number, self.clock.now())
