"""The RabbitMQ worker of the fault table: it also writes down what it told the broker to forget."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from aiormq.channel import Channel

from holdgate.brokers.rabbitmq import channel
from holdgate.flow.message import Settlement
from tests.faults.variant import Options, Variant, ignore_until_ready
from tests.integration.rabbitmq import worker

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 5.0


class RabbitMQVariant(Variant):
    """Acks are written down, channels can be closed by a mistake, and deliveries acked early."""

    def install(self) -> None:
        """Put the classes below in the place of the worker's own, and listen at the client's channels."""
        record_acks(self)
        if self.options.early:
            worker.Intake = EarlyIntake  # type: ignore[misc]

    async def work(self, left: Any) -> None:
        """As any, and SIGUSR1 blocks its event loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._block)
        await super().work(left)

    def _block(self) -> None:
        self.ledger.write("note", blocking="begin")
        time.sleep(BLOCK)
        self.ledger.write("note", blocking="end")


def record_acks(variant: RabbitMQVariant) -> None:
    """Write down every message that an ack covers once the ack is written to the connection."""
    store, consume, ack = channel.store_messages, Channel.basic_consume, Channel.basic_ack  # type: ignore[attr-defined]
    queues: dict[Channel, str] = {}
    arrived: dict[Channel, dict[int, dict[str, Any]]] = {}

    def store_messages(raw: Channel, arrive: Callable[[Any], None]) -> None:
        out = arrived.setdefault(raw, {})

        def note(message: Any) -> None:
            out[message.delivery_tag] = {"topic": queues[raw], "partition": 0, "offset": int(message.body)}
            arrive(message)

        store(raw, note)

    async def basic_consume(self: Channel, queue: str, *given: Any, **more: Any) -> Any:
        queues[self] = queue
        variant.strike.channels.append(self)
        return await consume(self, queue, *given, **more)

    async def basic_ack(self: Channel, delivery_tag: int, multiple: bool = False, wait: bool = True) -> None:
        await ack(self, delivery_tag, multiple, wait)
        out = arrived.get(self, {})
        for tag in [tag for tag in out if tag == delivery_tag or (multiple and tag < delivery_tag)]:
            variant.ledger.write("acked", **out.pop(tag))

    channel.store_messages = store_messages  # type: ignore[assignment,attr-defined]
    Channel.basic_consume = basic_consume  # type: ignore[method-assign]
    Channel.basic_ack = basic_ack  # type: ignore[method-assign]


class EarlyIntake(worker.Intake):
    """Acks what has only been received."""

    async def receive(self) -> Any:
        deliveries = await super().receive()
        for delivery in deliveries:
            super().settle(delivery, Settlement.ACK)
        return deliveries

    def settle(self, delivery: Any, settlement: Settlement) -> None:
        """It was settled."""


def main() -> None:
    """Run the worker that the command line asks for."""
    ignore_until_ready()
    options, rest = Options.take(sys.argv[1:])
    sys.argv[1:] = rest
    left = worker.arguments()
    variant = RabbitMQVariant(worker, options, left)
    variant.install()
    asyncio.run(variant.work(left))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("aio_pika").setLevel(logging.WARNING)
    main()
