"""A worker process of the fault runs: a Guard around one RabbitMQIntake, a handler that calls model dependencies, a ledger of it all.

A message's body is its number in its queue; in the ledger a queue is partition 0 of the topic of its name.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.ledger.dependency import DependencyClient
from tests.ledger.ledger import LedgerWriter, hold_kind

from holdgate import CircuitSettings, Dependency, Guard, RampSettings, Reject, RetryPolicy, State
from holdgate.brokers.rabbitmq import RabbitMQDeadLetters, RabbitMQIntake
from holdgate.core import CircuitClosed, CircuitHalfOpened, CircuitOpened, LimitChanged
from holdgate.events import SourceHeld, SourceReleased

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from holdgate import Delivery
    from holdgate.flow.message import DeadLetter, Source
    from holdgate.flow.plan import Plan

SAMPLE_EVERY = 0.25


def arguments() -> argparse.Namespace:
    """Read the command line; every duration in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--queue", action="append", required=True, help="orders=payments: a queue and the dependency that it needs")
    parser.add_argument("--dependency", action="append", required=True, help="payments=127.0.0.1:1234")
    parser.add_argument("--order", choices=["source", "none"])
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--prefetch", type=int, default=50)
    parser.add_argument("--consumer-timeout", type=float)
    parser.add_argument("--single-active", action="store_true")
    parser.add_argument("--open", type=float, default=0.5)
    parser.add_argument("--open-max", type=float, default=2.0, help="what outages that follow each other lengthen it to")
    parser.add_argument("--dead", help="the queue for dead letters; left out, the queue itself rejects")
    parser.add_argument("--slow-letters", type=float, default=0.0, help="how long a dead letter's confirmation takes in addition")
    parser.add_argument("--brief", action="store_true", help="write calls down only while the circuit is not closed")
    return parser.parse_args()


class Intake(RabbitMQIntake):
    """Writes down what it tells its guard."""

    story: LedgerWriter

    async def open(self, listener: Any) -> None:
        await super().open(Listener(listener, self.story))


class Listener:
    """Between an intake and its guard."""

    def __init__(self, guard: Any, ledger: LedgerWriter) -> None:
        self._guard = guard
        self._ledger = ledger

    def assigned(self, sources: Collection[Source]) -> Plan:
        for source in sources:
            # No "assigned": several workers have a queue at the same time.
            self._ledger.write("note", took=source.name)
        return self._guard.assigned(sources)

    async def revoked(self, sources: Collection[Source]) -> None:
        await self._guard.revoked(sources)
        self._gone(sources, "given back")

    def lost(self, sources: Collection[Source]) -> None:
        self._guard.lost(sources)
        self._gone(sources, "lost")

    def _gone(self, sources: Collection[Source], how: str) -> None:
        for source in sources:
            self._ledger.write("unheld", topic=source.name, partition=0)
            self._ledger.write("note", gone=how, queue=source.name)


class Work:
    """The handler: calls what the queue needs. With a header `word` it can never be processed: "reject" says so, "broken" fails."""

    def __init__(self, options: argparse.Namespace, ledger: LedgerWriter) -> None:
        self.needs = dict(pair.split("=") for pair in options.queue)
        addresses = dict(pair.split("=") for pair in options.dependency)
        # Outages follow each other within seconds here, so that each is a relapse; a ramp of twenty seconds would only be waited for.
        ramp = RampSettings(stage_per_relapse=0.0)
        settings = CircuitSettings(open_duration=options.open, open_duration_max=max(options.open_max, options.open), ramp=ramp)
        self.dependencies = {name: Dependency(name, failures=ConnectionError, settings=settings) for name in addresses}
        self._clients = {name: DependencyClient(address) for name, address in addresses.items()}
        self._ledger = ledger
        self.is_closed: Callable[[str], bool] = lambda name: True
        self._brief = options.brief
        self._calls = itertools.count()

    async def handle(self, delivery: Delivery[Any]) -> None:
        message = {"topic": delivery.source.name, "partition": 0, "offset": int(delivery.body or b"")}
        self._ledger.write("called", **message, returns=delivery.returns, redelivered=delivery.redelivered)
        need = self.needs[delivery.source.name]
        call = self._started(need)
        try:
            if delivery.headers.get("word") == "reject":
                raise Reject("it says so")
            if delivery.headers.get("word") == "broken":
                raise ValueError
            await self._clients[need].call("|".join([self._ledger.who, *map(str, message.values())]))
        except BaseException as error:
            self._ledger.write("failed", **message, error=type(error).__name__)
            raise
        finally:
            if call is not None:
                self._ledger.write("call_ended", dependency=need, call=call)
        self._ledger.write("processed", **message)

    def _started(self, need: str) -> int | None:
        if self._brief and self.is_closed(need):
            return None
        call = next(self._calls)
        self._ledger.write("call_started", dependency=need, call=call)
        return call


class Story:
    """What the guard tells, written down."""

    def __init__(self, ledger: LedgerWriter) -> None:
        self._ledger = ledger

    def observe(self, event: Any) -> None:
        match event:
            case SourceHeld():
                self._ledger.write(hold_kind(event.reasons), topic=event.source.name, partition=0)
                self._ledger.write("note", reasons=list(event.reasons), queue=event.source.name)
            case SourceReleased():
                self._ledger.write("unheld", topic=event.source.name, partition=0)
            case CircuitOpened():
                self._ledger.write("opened", dependency=event.name)
            case CircuitHalfOpened():
                self._ledger.write("half_opened", dependency=event.name)
                self._ledger.write("limit", dependency=event.name, limit=1)
            case CircuitClosed():
                self._ledger.write("closed", dependency=event.name)
            case LimitChanged():
                self._ledger.write("limit", dependency=event.name, limit=event.limit)
            case _:
                pass


class Dead(RabbitMQDeadLetters):
    """Writes down what was confirmed, before anything can be acked for it."""

    story: LedgerWriter
    slow = 0.0

    async def publish(self, letter: DeadLetter) -> None:
        await super().publish(letter)
        self.story.write("dead_letter", topic=letter.source.name, partition=0, offset=int(letter.delivery.body or b""))
        await asyncio.sleep(self.slow)


def dead(options: argparse.Namespace, ledger: LedgerWriter) -> Dead | None:
    """Where rejected messages go; None: the queue's own dead letter exchange has them."""
    if options.dead is None:
        return None
    letters = Dead(options.url, options.dead)
    letters.story = ledger
    letters.slow = options.slow_letters
    return letters


async def sample(guard: Guard, ledger: LedgerWriter) -> None:
    """Write down now and then how much this process has in hand, which also shows that it lives."""
    while True:
        waiting = max((source.waiting for source in guard.snapshot().sources.values()), default=0)
        ledger.write("sampled", waiting=waiting, rss=_rss())
        await asyncio.sleep(SAMPLE_EVERY)


def _rss() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


async def work(options: argparse.Namespace) -> None:
    """Run until SIGTERM."""
    ledger = LedgerWriter(options.ledger, options.name)
    handlers = Work(options, ledger)
    intake = Intake(
        options.url,
        *handlers.needs,
        prefetch=options.prefetch,
        consumer_timeout=options.consumer_timeout,
        single_active=options.single_active or None,
    )
    intake.story = ledger
    async with Guard(observers=[Story(ledger).observe]) as guard:
        handlers.is_closed = lambda name: guard.circuit(name).state is State.CLOSED
        sampling = asyncio.create_task(sample(guard, ledger))
        await guard.run(
            intake,
            handlers.handle,
            needs={queue: [handlers.dependencies[need]] for queue, need in handlers.needs.items()},
            order=options.order,
            concurrency=options.concurrency,
            retry=RetryPolicy(initial_backoff=0.05, max_backoff=0.5),
            dead_letters=dead(options, ledger),
        )
        sampling.cancel()
    ledger.write("note", drained=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("aio_pika").setLevel(logging.WARNING)
    asyncio.run(work(arguments()))
