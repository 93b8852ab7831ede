"""A stage whose dependency has keys: each message belongs to a tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.flow.stage import ORDERS, QUICK, Message, Stage, dependency_failed, messages, returned, run_of, throttled

from holdgate.core import Circuit, Limits, Outcome
from holdgate.core.keys import Keys
from holdgate.flow.engine import Engine
from holdgate.flow.keyed import KeyedNeeds, KeyOfMessage

if TYPE_CHECKING:
    from collections.abc import Hashable

    from holdgate.core import KeysSnapshot
    from holdgate.flow.inbox import Order
    from holdgate.flow.message import Delivery, Partition


class Tenants(Stage):
    """An engine in which `payments` has keys; `more` are dependencies without. The messages' tenants are given as they come in."""

    def __init__(self, order: Order = "none", *more: str, concurrency: int | None = 4, limits: Limits | None = None, **run: Any) -> None:
        needs = ("payments", *more)
        super().__init__()
        self.engine = Engine(draw=lambda: 0.5, hold_warn_after=600.0)
        circuit = Circuit("payments", QUICK)
        self.keys = Keys(circuit, limits, lambda: 0.5, max_keys=100)
        self.gate = self.engine.add_gate(circuit, keys=self.keys)
        self.gates = [self.gate, *(self.engine.add_gate(Circuit(name, QUICK)) for name in more)]
        self.run = run_of(needs, order=order, concurrency=concurrency, **run)
        self.engine.add_run(self.run)
        self.engine.assigned(self.run, [ORDERS], self.now)
        self.turn()
        self.came = 0

    def come(self, *tenants: Hashable, source: Partition = ORDERS) -> list[Message]:
        """One message of each of these tenants comes in; None has no key."""
        came = messages(source, len(tenants), self.came)
        self.came += len(tenants)
        for message, tenant in zip(came, tenants, strict=True):
            message.order_key = tenant
            key = None if tenant is None else KeyOfMessage(self.keys, tenant)
            message.needs = KeyedNeeds(tuple(self.gates), (key, *(None for _ in self.gates[1:])), self.run.kinds.results_of(source))
        self.engine.received(self.run, came)
        self.turn()
        return came

    def fail(self, *deliveries: Delivery[Any]) -> None:
        for delivery in deliveries:
            self.end(delivery, dependency_failed(len(self.gates)))

    def throttle(self, *deliveries: Delivery[Any], retry_after: float | None = None) -> None:
        for delivery in deliveries:
            self.end(delivery, throttled(len(self.gates), retry_after))

    def succeed(self, *deliveries: Delivery[Any]) -> None:
        for delivery in deliveries:
            self.engine.succeeded(delivery, self.now)
        self.turn()

    def settle_well(self, delivery: Delivery[Any]) -> None:
        self.end(delivery, returned(len(self.gates)))

    def hold(self, tenant: Hashable) -> None:
        """Open the circuit of one tenant for ten seconds, as two failures in a row do."""
        record = self.keys.known(tenant, self.now)
        for _ in range(2):
            before = record.is_held
            record.end(None, Outcome.FAILURE, self.now)
            self.keys.held += record.is_held - before
        self.turn()

    def key_of(self, tenant: Hashable) -> tuple[KeyOfMessage]:
        return (KeyOfMessage(self.keys, tenant),)

    @property
    def seen(self) -> KeysSnapshot:
        seen = self.engine.snapshot(self.now).dependencies["payments"].keys
        assert seen is not None
        return seen


def of_tenants(deliveries: list[Delivery[Any]]) -> list[Hashable]:
    return [delivery.order_key for delivery in deliveries]
