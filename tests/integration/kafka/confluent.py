"""What the worker of the fault runs reads with when that is confluent-kafka."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from holdgate.brokers.confluent import ConfluentDelivery, ConfluentIntake
from holdgate.brokers.confluent import intake as client_of_intake
from holdgate.brokers.confluent.client import Client

if TYPE_CHECKING:
    import argparse

    from tests.ledger.ledger import LedgerWriter

# How members of confluent-kafka share partitions; the broker has the times of the new protocol.
WAYS: dict[str, dict[str, Any]] = {
    "range": {"partition.assignment.strategy": "range"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer"},
}


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The same settings for confluent-kafka."""
    way = WAYS[options.client]
    times = {"heartbeat.interval.ms": 300, "session.timeout.ms": int(options.session * 1000)}
    return {
        "bootstrap.servers": options.bootstrap,
        "group.id": options.group,
        "auto.offset.reset": "earliest",
        "isolation.level": options.isolation,
        "max.poll.interval.ms": int(max(options.max_poll, options.session) * 1000),
        **(times if "group.protocol" not in way else {}),
        **({"group.instance.id": options.instance} if options.instance else {}),
        **way,
    }


def intake(ledger: LedgerWriter, given: dict[str, Any], **more: Any) -> ConfluentIntake:
    """An intake that writes down what it hands out, and every commit that the broker accepted."""

    class Told(Client):
        async def commit(self, offsets: Any) -> None:
            await super().commit(offsets)
            for at, offset in offsets.items():
                ledger.write("committed", topic=at.topic, partition=at.partition, offset=offset)

    class Intake(ConfluentIntake):
        async def receive(self) -> Any:
            deliveries = await super().receive()
            for _source, run in itertools.groupby(deliveries, key=lambda delivery: delivery.source):
                found: list[Any] = list(run)
                assert isinstance(found[0], ConfluentDelivery)
                place = {"topic": found[0].source.topic, "partition": found[0].source.number}  # type: ignore[union-attr]
                ledger.write("delivered", **place, offset=found[0].position, count=len(found))
            return deliveries

    client_of_intake.Client = Told  # type: ignore[misc]
    return Intake(given, **more)
