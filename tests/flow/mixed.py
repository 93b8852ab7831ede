"""An engine whose messages have needs of their own: the even ones need payments, the odd ones mail."""

from __future__ import annotations

from typing import Any

from tests.flow.stage import ORDERS, QUICK, Message, Stage, messages

from holdgate.core import Circuit
from holdgate.flow.engine import Engine
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.policy import ByMessage, Needs
from holdgate.flow.state import Run

BOTH = ByMessage(("payments", "mail"))


class Mixed(Stage):
    """A stage whose messages need by turns payments and mail: the even positions payments, the odd ones mail."""

    def __init__(self, order: Order = "none", *, concurrency: int | None = 4, memory: int | None = None, **more: Any) -> None:
        run = Run(Needs(BOTH), order=order, concurrency=concurrency, inbox=more.pop("inbox", 500), **more)
        super().__init__("payments", "mail", run=run)
        if memory is not None:
            self.engine = Engine(draw=lambda: 0.5, memory=memory)
            self.gates = [self.engine.add_gate(Circuit(name, QUICK)) for name in BOTH]
            self.engine.add_run(run)
            self.engine.assigned(run, [ORDERS], self.now)
            self.turn()

    def needing(self, *names: str) -> Any:
        return self.run.kinds.needing(tuple(self.engine.gates[name] for name in names), ORDERS)

    def sort(self, came: list[Message]) -> list[Message]:
        for message in came:
            message.needs = self.needing(BOTH[message.position % 2])
        return came

    def receive(self, count: int = 1, source: Partition = ORDERS, first: int = 0) -> list[Message]:
        came = self.sort(messages(source, count, first))
        self.engine.received(self.run, came)
        self.turn()
        return came

    def succeed(self, *deliveries: Delivery[Any]) -> None:
        for delivery in deliveries:
            self.engine.succeeded(delivery, self.now)
        self.turn()
