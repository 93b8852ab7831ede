"""The worker of the fault table on share groups: a Guard around one ShareIntake, a handler that calls model dependencies, a ledger.

A message's body is its number in its topic; in the ledger a topic is partition 0 of itself, since no order is kept in its partitions.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, KafkaException, ShareConsumer

from holdgate import CircuitSettings, Dependency, RampSettings, Reject, RetryPolicy
from holdgate.brokers.kafka import KafkaDeadLetters
from holdgate.brokers.share import LateAccept, ShareIntake
from holdgate.brokers.share import intake as module_of_intake
from holdgate.brokers.share.client import ShareClient
from tests.faults import strikes
from tests.faults.variant import Options, Variant, ignore_until_ready
from tests.integration.rabbitmq.worker import Listener, Story, sample
from tests.ledger.dependency import DependencyClient
from tests.ledger.ledger import LedgerWriter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from confluent_kafka import Message

    from holdgate import Delivery
    from holdgate.flow.message import DeadLetter

BLOCK = 5.0


def arguments() -> argparse.Namespace:
    """Read the command line; every duration in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--topic", action="append", required=True, help="orders=payments: a topic and the dependency that it needs")
    parser.add_argument("--dependency", action="append", required=True, help="payments=127.0.0.1:1234")
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--in-hand", "--inbox", type=int, required=True)
    parser.add_argument("--open", type=float, required=True)
    parser.add_argument("--max-poll", type=float)
    parser.add_argument("--dead", help="the topic for dead letters")
    return parser.parse_args()


class Work:
    """The handler: calls what the topic needs. With a header `word` it can never be processed: "reject" says so, "broken" fails."""

    def __init__(self, options: argparse.Namespace, ledger: LedgerWriter, make: type[Dependency]) -> None:
        self.needs = dict(pair.split("=") for pair in options.topic)
        addresses = dict(pair.split("=") for pair in options.dependency)
        # Outages follow each other within seconds here, so that each is a relapse; a ramp of twenty seconds would only be waited for.
        ramp = RampSettings(stage_per_relapse=0.0)
        settings = CircuitSettings(open_duration=options.open, open_duration_max=max(2.0, options.open), ramp=ramp)
        self.dependencies = {name: make(name, failures=ConnectionError, settings=settings) for name in addresses}
        self._clients = {name: DependencyClient(address) for name, address in addresses.items()}
        self._ledger = ledger
        self._calls = itertools.count()

    async def handle(self, delivery: Delivery[Any]) -> None:
        """Write down each step."""
        message = {"topic": delivery.source.name, "partition": 0, "offset": int(delivery.body or b"")}
        self._ledger.write("called", **message, deliveries=delivery.message.delivery_count())
        need, call = self.needs[delivery.source.name], next(self._calls)
        self._ledger.write("call_started", dependency=need, call=call)
        try:
            match delivery.headers.get("word"):
                case b"reject":
                    raise Reject("it says so")
                case b"broken":
                    raise ValueError
                case _:
                    await self._clients[need].call("|".join([self._ledger.who, *map(str, message.values())]))
        except BaseException as error:
            self._ledger.write("failed", **message, error=type(error).__name__)
            raise
        finally:
            self._ledger.write("call_ended", dependency=need, call=call)
        self._ledger.write("processed", **message)


class Told(ShareClient):
    """Writes down every accept that the broker took."""

    ledger: LedgerWriter

    async def commit(self, accepted: Collection[Message], released: Collection[Message], within: float) -> Mapping[int, BaseException]:
        """As it does."""
        errors = await super().commit(accepted, released, within)
        for message in accepted:
            if (message.partition() or 0) not in errors:
                self.ledger.write("acked", topic=self.topic, partition=0, offset=int(message.value() or b""))
        return errors


class Intake(ShareIntake):
    """Writes down what it tells its guard."""

    ledger: LedgerWriter

    async def open(self, listener: Any) -> None:
        """As it does."""
        await super().open(Listener(listener, self.ledger))


class Dead(KafkaDeadLetters):
    """Writes down what was confirmed, before anything can be accepted for it."""

    def __init__(self, ledger: LedgerWriter, bootstrap: str, topic: str) -> None:
        # Quick to notice that a topic has gone, and that it is there again.
        settings = {"request_timeout_ms": 1000, "metadata_max_age_ms": 500}
        super().__init__(AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", **settings), topic)
        self._ledger = ledger

    async def publish(self, letter: DeadLetter) -> None:
        """As it does."""
        await super().publish(letter)
        self._ledger.write("dead_letter", topic=letter.source.name, partition=0, offset=int(letter.delivery.body or b""))


class ShareVariant(Variant):
    """Polls and commits can be struck, and the event loop blocked."""

    def install(self) -> None:
        """Put a consumer with the strikes in the place of the client's."""
        strike = self.strike

        class Consumer(ShareConsumer):
            def poll(self, timeout: float = -1) -> Any:
                if strike.takes_one("polls-stall"):
                    time.sleep(strikes.POLLS_STALL)
                return super().poll(timeout)

            def commit_sync(self, timeout: float = -1) -> Any:
                if strike.takes_one("commits-fail"):
                    raise KafkaException(KafkaError(KafkaError.REQUEST_TIMED_OUT))
                if strike.takes_one("commits-hang"):
                    time.sleep(strikes.COMMIT_HANGS)
                return super().commit_sync(timeout)

        Told.ledger = Intake.ledger = self.ledger
        module_of_intake.ShareClient = lambda topic, settings: Told(topic, settings, make=Consumer)  # type: ignore[misc,assignment]

    async def work(self, left: argparse.Namespace) -> None:
        """Run until SIGTERM."""
        self.strike.listen()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._block)
        settings: dict[str, Any] = {"bootstrap.servers": left.bootstrap, "group.id": left.group}
        if left.max_poll is not None:
            settings["max.poll.interval.ms"] = int(left.max_poll * 1000)
        work = Work(left, self.ledger, self.worker.Dependency)
        intake = Intake(settings, *work.needs, in_hand=left.in_hand, on_late_accept=self._tell_late)
        async with self.worker.Guard(observers=[Story(self.ledger).observe]) as guard:
            sampling = asyncio.create_task(sample(guard, self.ledger))
            await guard.run(
                intake,
                work.handle,
                needs={topic: [work.dependencies[need]] for topic, need in work.needs.items()},
                concurrency=left.concurrency,
                retry=RetryPolicy(initial_backoff=0.05, max_backoff=0.5),
                dead_letters=Dead(self.ledger, left.bootstrap, left.dead) if left.dead else None,
            )
            sampling.cancel()
        self.ledger.write("note", drained=True)

    def _tell_late(self, late: LateAccept) -> None:
        self.ledger.write("note", late=len(late.places), queue=late.source.name)

    def _block(self) -> None:
        self.ledger.write("note", blocking="begin")
        time.sleep(BLOCK)
        self.ledger.write("note", blocking="end")


def main() -> None:
    """Run the worker that the command line asks for."""
    ignore_until_ready()
    options, rest = Options.take(sys.argv[1:])
    sys.argv[1:] = rest
    left = arguments()
    variant = ShareVariant(sys.modules[__name__], options, left)
    variant.install()
    asyncio.run(variant.work(left))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    main()
