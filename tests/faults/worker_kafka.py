"""The Kafka worker of the fault table."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from aiokafka.consumer import consumer as client_module
from confluent_kafka import KafkaError, KafkaException

from holdgate.brokers.kafka import KafkaIntake
from holdgate.flow.message import Settlement
from tests.faults.variant import Options, Variant, ignore_until_ready
from tests.integration.kafka import confluent, worker

# 40 s by default: how long a request on a connection that has died in silence is waited for.
REQUEST_TIMEOUT_MS = 6000


class KafkaVariant(Variant):
    """Commits and polls can be struck, and deliveries settled early."""

    def install(self) -> None:
        """Put the classes below in the place of the worker's own."""
        self._consumer()
        self._commits()
        confluent.Intake, confluent.Told = self._confluent()  # type: ignore[misc]
        if self.options.early:
            worker.KafkaIntake = EarlyIntake  # type: ignore[misc]

    def _consumer(self) -> None:
        strike = self.strike

        class Consumer(worker.Consumer):
            def __init__(self, ledger: Any, **settings: Any) -> None:
                super().__init__(ledger, **{"request_timeout_ms": REQUEST_TIMEOUT_MS, **settings})

            async def getmany(self, *partitions: Any, **settings: Any) -> Any:
                await strike.before_poll()
                return await super().getmany(*partitions, **settings)

        worker.Consumer = Consumer  # type: ignore[misc]

    def _commits(self) -> None:
        strike, record = self.strike, worker.record_commits

        def record_and_strike(ledger: Any) -> None:
            record(ledger)

            class Coordinator(client_module.GroupCoordinator):  # type: ignore[misc,name-defined]
                async def commit_offsets(self, assignment: Any, offsets: Any) -> None:
                    await strike.before_commit()
                    await super().commit_offsets(assignment, offsets)

            client_module.GroupCoordinator = Coordinator

        worker.record_commits = record_and_strike

    def _confluent(self) -> tuple[type[confluent.Intake], type[confluent.Told]]:
        """Return what workers of confluent-kafka have, with the strikes."""
        strike = self.strike

        class Intake(confluent.Intake):
            async def receive(self) -> Any:
                await strike.before_poll()
                return await super().receive()

        class Told(confluent.Told):
            async def commit(self, offsets: Any) -> None:
                await strike.before_commit(lambda: KafkaException(KafkaError(KafkaError.REQUEST_TIMED_OUT)))
                await super().commit(offsets)

        return Intake, Told


class EarlyIntake(KafkaIntake):
    """Commits what has only been received."""

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
    variant = KafkaVariant(worker, options, left)
    variant.install()
    asyncio.run(variant.work(left))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    main()
