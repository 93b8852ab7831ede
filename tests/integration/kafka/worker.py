"""A worker process of the fault runs: a Guard around one KafkaIntake, a handler that calls model dependencies, and a ledger of it all."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
import signal
import socket
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.consumer import consumer as client_module
from aiokafka.consumer.group_coordinator import GroupCoordinator
from tests.ledger.dependency import DependencyClient, DependencyError
from tests.ledger.ledger import LedgerWriter, hold_kind

import holdgate
from holdgate import CircuitSettings, Dependency, Fleet, Guard, RampSettings, Reject, RetryPolicy, State
from holdgate.brokers.kafka import KafkaDeadLetters, KafkaIntake
from holdgate.cli.fleet.places import log_at
from holdgate.control import Control
from holdgate.core import CircuitClosed, CircuitHalfOpened, CircuitOpened, LimitChanged
from holdgate.events import (
    ConductorChanged,
    FleetLogCameBack,
    FleetLogFellSilent,
    FleetMembersChanged,
    FleetOpened,
    FleetRecovered,
    SourceBlocked,
    SourceHeld,
    SourceReleased,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate import Delivery
    from holdgate.flow.message import DeadLetter

SAMPLE_EVERY = 0.25
LOOK_EVERY = 0.05
PACE_LANES = 2
CLIENTS = ("aiokafka", "range", "cooperative", "consumer")
CONTROL_TOKEN = "that-of-the-tests"  # noqa: S105


def arguments() -> argparse.Namespace:
    """Read the command line; every duration in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--topic", action="append", required=True, help="orders=payments: a topic and the dependency that it needs")
    parser.add_argument("--dependency", action="append", required=True, help="payments=127.0.0.1:1234")
    parser.add_argument("--order", choices=["source", "key", "none"])
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--plain", action="store_true", help="a plain function as handler, which runs in threads")
    parser.add_argument("--session", type=float, default=30.0)
    parser.add_argument("--max-poll", type=float, default=300.0)
    parser.add_argument("--inbox", type=int, default=500)
    parser.add_argument("--commit-every", type=float, default=0.5)
    parser.add_argument("--isolation", default="read_uncommitted")
    parser.add_argument("--open", type=float, default=0.5)
    parser.add_argument("--block", type=float, default=5.0, help="how long SIGUSR1 blocks the event loop")
    parser.add_argument("--unblock", type=Path, help="the file that ends the block when somebody makes it; with it, --block is not asked")
    parser.add_argument("--pace", help="call this dependency without the guard beside, to tell what rate is possible")
    parser.add_argument("--dead", help="the topic for dead letters; left out, a rejected message blocks its partition")
    parser.add_argument("--letters-within", type=float, default=10.0, help="for how long one try of a letter may take")
    parser.add_argument("--slow-letters", type=float, default=0.0, help="how long a dead letter's confirmation takes in addition")
    parser.add_argument("--control", type=Path, help="the local socket of a control plane; its token is that of the tests")
    parser.add_argument("--settings", type=Path, help="a settings file with the dependencies, which is read again at SIGHUP")
    parser.add_argument("--client", choices=CLIENTS, default="aiokafka", help="what reads, or how members of confluent-kafka share")
    parser.add_argument("--instance", help="the static member that it is")
    parser.add_argument("--agree", help="the URL of the log of the fleet that it is in; left out, it is in none")
    parser.add_argument("--brief", action="store_true", help="write calls down only while the circuit is not closed")
    return parser.parse_args()


class BlockingClient:
    """What `DependencyClient` is, for threads: a connection for each."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._address = host, int(port)
        self._local = threading.local()

    def call(self, key: str) -> None:
        """Make one call. Raises DependencyError."""
        try:
            if not hasattr(self._local, "file"):
                self._local.file = socket.create_connection(self._address, timeout=30.0).makefile("rwb")
            self._local.file.write(key.encode() + b"\n")
            self._local.file.flush()
            answer = self._local.file.readline()
        except OSError as error:
            del self._local.file
            raise DependencyError(str(error)) from error
        if answer != b"ok\n":
            raise DependencyError("the dependency answered with an error")


class Work:
    """The handlers. What a record says decides: b"reject" can never be processed, b"broken" fails by itself, all else calls its need."""

    def __init__(self, options: argparse.Namespace, ledger: LedgerWriter) -> None:
        self.needs = dict(pair.split("=") for pair in options.topic)
        addresses = dict(pair.split("=") for pair in options.dependency)
        # Outages follow each other within seconds here, so that each is a relapse; a ramp of twenty seconds would only be waited for.
        ramp = RampSettings(stage_per_relapse=0.0)
        settings = CircuitSettings(open_duration=options.open, open_duration_max=max(2.0, options.open), ramp=ramp)
        self.file = None if options.settings is None else holdgate.load(options.settings)
        if self.file is None:
            self.dependencies = {name: Dependency(name, failures=ConnectionError, settings=settings) for name in addresses}
        else:
            self.dependencies = {name: self.file.dependency(name, failures=ConnectionError) for name in addresses}
        self.is_closed: Callable[[str], bool] = lambda name: True
        self._clients = {name: DependencyClient(address) for name, address in addresses.items()}
        self._blocking = {name: BlockingClient(address) for name, address in addresses.items()}
        self._ledger = ledger
        self._brief = options.brief
        self._calls = itertools.count()

    async def handle(self, delivery: Delivery[Any]) -> None:
        """Call what the topic needs."""
        message, need = self._begin(delivery)
        call = self._started(need)
        try:
            self._look_at(delivery)
            await self._clients[need].call(self._word(message))
        except BaseException as error:
            self._ledger.write("failed", **message, error=type(error).__name__)
            raise
        finally:
            self._ended(need, call)
        self._ledger.write("processed", **message)

    def handle_plainly(self, delivery: Delivery[Any]) -> None:
        """The same in a thread."""
        message, need = self._begin(delivery)
        call = self._started(need)
        try:
            self._look_at(delivery)
            self._blocking[need].call(self._word(message))
        except BaseException as error:
            self._ledger.write("failed", **message, error=type(error).__name__)
            raise
        finally:
            self._ended(need, call)
        self._ledger.write("processed", **message)

    async def pace(self, address: str) -> None:
        """Call without a guard, for ever."""
        client = DependencyClient(address)
        while True:
            await client.call("pace")
            self._ledger.write("paced")

    def _begin(self, delivery: Delivery[Any]) -> tuple[dict[str, Any], str]:
        source: Any = delivery.source
        message = {"topic": source.topic, "partition": source.number, "offset": delivery.position}
        self._ledger.write("called", **message)
        return message, self.needs[source.topic]

    def _word(self, message: dict[str, Any]) -> str:
        return "|".join([self._ledger.who, *map(str, message.values())])

    def _started(self, need: str) -> int | None:
        if self._brief and self.is_closed(need):
            return None
        call = next(self._calls)
        self._ledger.write("call_started", dependency=need, call=call)
        return call

    def _ended(self, need: str, call: int | None) -> None:
        if call is not None:
            self._ledger.write("call_ended", dependency=need, call=call)

    @staticmethod
    def _look_at(delivery: Delivery[Any]) -> None:
        if delivery.body == b"reject":
            raise Reject("it says so")
        if delivery.body == b"broken":
            raise ValueError("it says so")


class Story(ConsumerRebalanceListener):
    """What the guard, the group and the broker tell, written down."""

    def __init__(self, ledger: LedgerWriter, needs: dict[str, str]) -> None:
        self._ledger = ledger
        self._needs = needs
        self.is_open: Callable[[str], bool] = lambda name: False

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Called after the guard has given them back."""
        for at in revoked:
            self._ledger.write("unheld", topic=at.topic, partition=at.partition)
            self._ledger.write("revoked", topic=at.topic, partition=at.partition)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Called in the step in which the guard took them: what needs an open circuit is held from here on."""
        for at in assigned:
            self._ledger.write("assigned", topic=at.topic, partition=at.partition)
            if self.is_open(self._needs[at.topic]):
                self._ledger.write("held", topic=at.topic, partition=at.partition)

    def observe(self, event: Any) -> None:
        """Be an observer of the guard."""
        match event:
            case SourceHeld():
                self._ledger.write(hold_kind(event.reasons), **_place(event))
                self._ledger.write("note", reasons=list(event.reasons), **_place(event))
            case SourceReleased():
                self._ledger.write("unheld", **_place(event))
            case SourceBlocked():
                self._ledger.write("note", blocked=event.position, attempts=event.attempts, **_place(event))
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

    def observe_fleet(self, event: Any) -> None:
        """Be an observer of what a fleet agrees on."""
        match event:
            case ConductorChanged():
                self._ledger.write("note", conductor=event.conductor, own=event.own, epoch=event.epoch)
            case FleetLogFellSilent() | FleetLogCameBack():
                self._ledger.write("note", log=type(event).__name__)
            case FleetOpened() | FleetRecovered():
                self._ledger.write("note", fleet=type(event).__name__)
            case FleetMembersChanged():
                self._ledger.write("note", members=event.size)
            case _:
                pass

    def tell_lost(self, loss: Any) -> None:
        """Be the intake's `on_records_lost`."""
        self._ledger.write("note", lost=[loss.first, loss.last], **_place(loss))


def _place(event: Any) -> dict[str, Any]:
    return {"topic": event.source.topic, "partition": event.source.number}


class Consumer(AIOKafkaConsumer):
    """Writes down what it hands out."""

    def __init__(self, ledger: LedgerWriter, **settings: Any) -> None:
        super().__init__(**settings)
        self._story = ledger

    async def getmany(self, *partitions: Any, **settings: Any) -> Any:
        """As the client does."""
        batches = await super().getmany(*partitions, **settings)
        for at, records in batches.items():
            self._story.write("delivered", topic=at.topic, partition=at.partition, offset=records[0].offset, count=len(records))
        return batches


def record_commits(ledger: LedgerWriter) -> None:
    """Write down every commit that the broker accepted."""

    class Coordinator(GroupCoordinator):
        async def commit_offsets(self, assignment: Any, offsets: Any) -> None:
            await super().commit_offsets(assignment, offsets)
            for at, place in offsets.items():
                ledger.write("committed", topic=at.topic, partition=at.partition, offset=place.offset)

    client_module.GroupCoordinator = Coordinator


def consumer(options: argparse.Namespace, ledger: LedgerWriter) -> Consumer:
    """With quick settings: a rebalance is over in a second."""
    return Consumer(
        ledger,
        bootstrap_servers=options.bootstrap,
        group_id=options.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        heartbeat_interval_ms=300,
        session_timeout_ms=int(options.session * 1000),
        max_poll_interval_ms=int(options.max_poll * 1000),
        fetch_max_wait_ms=100,
        isolation_level=options.isolation,
    )


class Dead(KafkaDeadLetters):
    """Writes down what was confirmed, before anything can be committed for it."""

    def __init__(self, ledger: LedgerWriter, options: argparse.Namespace) -> None:
        # Quick to notice that a topic has gone, and that it is there again. What is given up too soon is written twice.
        settings = {"request_timeout_ms": int(options.letters_within * 1000), "metadata_max_age_ms": 500}
        super().__init__(AIOKafkaProducer(bootstrap_servers=options.bootstrap, acks="all", **settings), options.dead)
        self._ledger = ledger
        self._slow = options.slow_letters

    async def publish(self, letter: DeadLetter) -> None:
        """As it does."""
        await super().publish(letter)
        source: Any = letter.source
        self._ledger.write("dead_letter", topic=source.topic, partition=source.number, offset=letter.delivery.position)
        await asyncio.sleep(self._slow)


async def sample(guard: Guard, ledger: LedgerWriter) -> None:
    """Write down now and then how much this process has in hand, which also shows that it lives."""
    while True:
        waiting = max((source.waiting for source in guard.snapshot().sources.values()), default=0)
        ledger.write("sampled", waiting=waiting, rss=_rss())
        await asyncio.sleep(SAMPLE_EVERY)


def _rss() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def block(options: argparse.Namespace, ledger: LedgerWriter) -> None:
    """Be the handler that calls something slow without a thread."""
    ledger.write("note", blocking="begin")
    if options.unblock is None:
        time.sleep(options.block)
    else:
        while not options.unblock.exists():
            time.sleep(LOOK_EVERY)
    ledger.write("note", blocking="end")


async def work(options: argparse.Namespace) -> None:
    """Run until SIGTERM."""
    ledger = LedgerWriter(options.ledger, options.name)
    record_commits(ledger)
    handlers = Work(options, ledger)
    story = Story(ledger, handlers.needs)
    more: dict[str, Any] = {
        "topics": list(handlers.needs),
        "inbox": options.inbox,
        "commit_every": options.commit_every,
        "listener": story,
        "on_records_lost": story.tell_lost,
    }
    intake: Any
    if options.client == "aiokafka":
        intake = KafkaIntake(consumer(options, ledger), **more)
    else:
        from tests.integration.kafka import confluent  # noqa: PLC0415 - make test-lowest has no client of that age

        intake = confluent.intake(ledger, confluent.settings(options), **more)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, block, options, ledger)
    control = Control(socket=options.control, token=CONTROL_TOKEN) if options.control else None
    fleet = Fleet(log_at(options.agree, ()), required=True) if options.agree else None
    async with AsyncExitStack() as stack:
        guard = await stack.enter_async_context(Guard(observers=[story.observe, story.observe_fleet], control=control, fleet=fleet))
        if handlers.file is not None:  # by the signal alone, which is ignored at first where the suite runs under nohup
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            await stack.enter_async_context(handlers.file.watch(guard, every=3600))
        handlers.is_closed = lambda name: guard.circuit(name).state is State.CLOSED
        story.is_open = lambda name: guard.circuit(name).state is State.OPEN
        beside = [asyncio.create_task(sample(guard, ledger))]
        beside += [asyncio.create_task(handlers.pace(options.pace)) for _ in range(PACE_LANES if options.pace else 0)]
        await guard.run(
            intake,
            handlers.handle_plainly if options.plain else handlers.handle,
            needs={topic: [handlers.dependencies[need]] for topic, need in handlers.needs.items()},
            order=options.order,
            concurrency=options.concurrency,
            retry=RetryPolicy(initial_backoff=0.05, max_backoff=0.5),
            dead_letters=Dead(ledger, options) if options.dead else None,
        )
        for task in beside:
            task.cancel()
    ledger.write("note", drained=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    asyncio.run(work(arguments()))
