"""A test of yours: a FastStream app whose guard can be asked and commanded over HTTP, with FastStream's own test client."""

from faststream import AckPolicy, FastStream, TestApp
from faststream.kafka import KafkaBroker, TestKafkaBroker

from holdgate import Dependency, Guard
from holdgate.control import Control
from holdgate.integrations.faststream import FastStreamGuard

charged: list[str] = []

broker = KafkaBroker("localhost:9092")
app = FastStream(broker)
payments = Dependency("payments")
# region guard
guarded = FastStreamGuard(app, needs={"orders": [payments]}, guard=Guard(signals=False, control=Control(port=9099)))
# endregion


@broker.subscriber("orders", group_id="charger", ack_policy=AckPolicy.MANUAL, listener=guarded.listener)
async def charge(order: str) -> None:
    charged.append(order)


async def test_an_order_is_charged() -> None:
    """The handler runs as without a guard, and the guard is there."""
    async with TestKafkaBroker(broker), TestApp(app):
        await broker.publish("order 1", "orders")
        assert guarded.guard.health().live
    assert charged == ["order 1"]
