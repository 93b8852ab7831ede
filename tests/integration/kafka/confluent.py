"""What the worker of the fault runs reads with when that is confluent-kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdgate.brokers.confluent import ConfluentIntake
from holdgate.brokers.confluent import intake as client_of_intake
from holdgate.brokers.confluent.client import Client
from holdgate.flow.message import Partition

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection

    from tests.ledger.ledger import LedgerWriter

    from holdgate.flow.message import Source
    from holdgate.flow.plan import Plan

# How members of confluent-kafka share partitions; the broker has the times of the new protocol.
WAYS: dict[str, dict[str, Any]] = {
    "range": {"partition.assignment.strategy": "range"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer"},
}


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The same settings for confluent-kafka."""
    way = WAYS[options.client]
    # librdkafka takes no session that is longer than max.poll.interval.ms.
    times = {"heartbeat.interval.ms": 300, "session.timeout.ms": int(min(options.session, options.max_poll) * 1000)}
    return {
        "bootstrap.servers": options.bootstrap,
        "group.id": options.group,
        "auto.offset.reset": "earliest",
        "isolation.level": options.isolation,
        "max.poll.interval.ms": int(options.max_poll * 1000),
        **(times if "group.protocol" not in way else {}),
        **({"group.instance.id": options.instance} if options.instance else {}),
        **way,
    }


class Told(Client):
    """Writes down every commit that the broker accepted."""

    ledger: LedgerWriter

    async def commit(self, offsets: Any) -> None:
        """As it does."""
        await super().commit(offsets)
        for at, offset in offsets.items():
            self.ledger.write("committed", topic=at.topic, partition=at.partition, offset=offset)


class Listener:
    """Between an intake and its guard: after a standstill partitions are lost, and held no more, without a word to any other listener."""

    def __init__(self, guard: Any, ledger: LedgerWriter) -> None:
        self._guard = guard
        self._ledger = ledger

    def assigned(self, sources: Collection[Source]) -> Plan:
        """As the guard does."""
        plan: Plan = self._guard.assigned(sources)
        return plan

    async def revoked(self, sources: Collection[Source]) -> None:
        """As the guard does."""
        await self._guard.revoked(sources)

    def lost(self, sources: Collection[Source]) -> None:
        """As the guard does."""
        self._guard.lost(sources)
        for source in sources:
            assert isinstance(source, Partition)
            self._ledger.write("unheld", topic=source.topic, partition=source.number)


class Intake(ConfluentIntake):
    """Writes down what it hands out."""

    ledger: LedgerWriter

    async def open(self, listener: Any) -> None:
        """As it does."""
        await super().open(Listener(listener, self.ledger))

    def _deliver(self, runs: Any) -> None:
        """As it does. Here and not in `receive`: what is under way to the guard when a hold begins has been handed out before."""
        found = list(runs)
        super()._deliver(found)
        for at, run in found:
            self.ledger.write("delivered", topic=at.topic, partition=at.partition, offset=run[0].offset(), count=len(run))


def intake(ledger: LedgerWriter, given: dict[str, Any], **more: Any) -> ConfluentIntake:
    """An intake that writes down what it hands out, and every commit that the broker accepted."""
    Told.ledger = Intake.ledger = ledger
    client_of_intake.Client = Told  # type: ignore[misc]
    return Intake(given, **more)
