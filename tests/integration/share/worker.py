"""A worker of the fault runs on a share group: with a guard, or a naive one whose handler just waits until the dependency is back.

The dependency is a file: while it is there, the dependency is down. What becomes of each message is a line of the ledger, which all workers
of a run write: worker, event, message, number of deliveries.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from confluent_kafka import AcknowledgeType, ShareConsumer

from holdgate import Delivery, Dependency, Guard
from holdgate.brokers.kafka import KafkaDeadLetters
from holdgate.brokers.share import ShareIntake


class Ledger:
    """One file for all workers: each line is one write at the end."""

    def __init__(self, path: Path, worker: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._worker = worker

    def note(self, event: str, body: bytes, deliveries: int) -> None:
        """Write one line."""
        os.write(self._file, f"{self._worker} {event} {body.decode()} {deliveries}\n".encode())


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    return {"bootstrap.servers": options.bootstrap, "group.id": options.group}


async def guarded(options: argparse.Namespace, ledger: Ledger) -> None:
    """Run a guard until SIGTERM."""
    service = Dependency("service", failures=ConnectionError)

    async def handle(delivery: Delivery[Any]) -> None:
        body, deliveries = delivery.body or b"", delivery.message.delivery_count()
        ledger.note("begun", body, deliveries)
        await asyncio.sleep(options.work)
        if body.startswith(b"poison"):
            raise ValueError("this message can never be processed")
        if options.down.exists():
            raise ConnectionError("the service is down")
        ledger.note("done", body, deliveries)

    producer = AIOKafkaProducer(bootstrap_servers=options.bootstrap, acks="all")
    async with Guard(service) as guard:
        await guard.run(
            ShareIntake(settings_of(options), options.topic, in_hand=options.in_hand),
            handle,
            needs=[service],
            concurrency=options.concurrency,
            dead_letters=KafkaDeadLetters(producer, options.dead),
        )


def naive(options: argparse.Namespace, ledger: Ledger) -> None:
    """Take records, and let all of them wait for the dependency, with patience: what a loop without a guard does.

    What it has not handled then it releases, to try again.
    """
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    own = {"share.acknowledgement.mode": "explicit", "max.poll.records": options.in_hand}
    consumer = ShareConsumer({**settings_of(options), **own})
    consumer.subscribe([options.topic])
    while not stopping:
        records = list(consumer.poll(0.2))
        for record in records:
            ledger.note("begun", record.value(), record.delivery_count())
        end = time.monotonic() + options.patience
        while options.down.exists() and records and time.monotonic() < end:
            time.sleep(0.1)
        failed = options.down.exists()
        for record in records:
            ledger.note("failed" if failed else "done", record.value(), record.delivery_count())
            consumer.acknowledge(record, AcknowledgeType.RELEASE if failed else AcknowledgeType.ACCEPT)
        consumer.commit_sync(5)
    consumer.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=["guard", "naive"])
    for name in ("--bootstrap", "--group", "--topic", "--dead", "--name"):
        parser.add_argument(name, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--down", type=Path, required=True)
    parser.add_argument("--work", type=float, default=0.02)
    parser.add_argument("--patience", type=float, default=16.0, help="naive: how long a handler waits; longer than a lock")
    parser.add_argument("--in-hand", type=int, default=20)
    parser.add_argument("--concurrency", type=int, default=8)
    options = parser.parse_args()
    if os.environ.get("HOLDGATE_SHARE_LOG"):
        import logging  # noqa: PLC0415 - only for a person who looks

        logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {options.name} %(message)s")
    ledger = Ledger(options.ledger, options.name)
    if options.how == "guard":
        asyncio.run(guarded(options, ledger))
    else:
        naive(options, ledger)


if __name__ == "__main__":
    main()
