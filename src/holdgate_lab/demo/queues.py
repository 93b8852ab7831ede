"""The demo on Kafka's own queues (share groups): `--broker share`, embedded, or `--broker share@HOST:PORT`, a Kafka from 4.2 on.

The side without the guard releases what fails, so that it comes again: what most people would write. Each release uses up one of a record's
few deliveries, and after the last of them the broker archives it without an error. So here that side loses messages, where on partitions it
wrote them to dead letters; and nothing but its own count of deliveries shows it.

A share group begins with what comes after its first member has. So both groups are begun before the story: markers are produced until both
have taken the same one from each partition, and with it all that came before.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from holdgate.errors import IntakeError, SettingsError
from holdgate.ports import Intake
from holdgate_lab.demo.scenario import CONCURRENCY, KINDS, PARTITIONS
from holdgate_lab.demo.venues import ADDRESS, GUARDED, NAIVE, POLL_TIMEOUT, Feed, KafkaVenue, Place, Record

# What --broker begins with here.
SHARE = "share"
# How often a broker delivers a record where nobody has set anything: share.delivery.count.limit of the demo's groups.
LIMIT = 5
# Seconds until both groups have begun: a first join takes about three, and a busy machine several times that.
BEGIN_TIMEOUT = 60.0
# Seconds for a consumer to leave.
CLOSE_TIMEOUT = 5.0


class Queues:
    """One ShareConsumer of both topics, and the thread that calls it: it may be called from one thread at a time."""

    def __init__(self, address: str, group: str, topics: Sequence[str]) -> None:
        self._settings = settings_for(address, group) | {"share.acknowledgement.mode": "explicit", "max.poll.records": CONCURRENCY}
        self._topics = list(topics)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="demo-share")
        self._consumer: Any = None

    async def open(self) -> None:
        await self._call(self._open)

    async def poll(self) -> list[Any]:
        """Return what one poll gives."""
        found: list[Any] = await self._call(lambda: list(self._consumer.poll(POLL_TIMEOUT)))
        return found

    async def settle(self, accepted: Iterable[Any], released: Iterable[Any] = ()) -> None:
        """Accept these and release those; returns when the broker has answered."""
        await self._call(self._settle, accepted, released)

    async def close(self) -> None:
        """Leave the group. Idempotent."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await asyncio.wait([asyncio.ensure_future(self._call(consumer.close))], timeout=CLOSE_TIMEOUT)
        self._thread.shutdown(wait=False)

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments))

    def _open(self) -> None:
        from confluent_kafka import ShareConsumer

        self._consumer = ShareConsumer(self._settings)
        self._consumer.subscribe(self._topics)

    def _settle(self, accepted: Iterable[Any], released: Iterable[Any]) -> None:
        from confluent_kafka import AcknowledgeType

        for messages, how in ((accepted, AcknowledgeType.ACCEPT), (released, AcknowledgeType.RELEASE)):
            for message in messages:
                self._consumer.acknowledge(message, how)
        self._consumer.commit_sync(CLOSE_TIMEOUT)


def settings_for(address: str, group: str) -> dict[str, Any]:
    """Return librdkafka's settings of both sides. `log_level` 0: it writes to stderr by itself, in the middle of the live screen."""
    return {"bootstrap.servers": address, "group.id": group, "log_level": 0}


class ShareFeed:
    """The client of the side without the guard: it accepts what was handled, and releases what failed.

    `archived` gets the place of each message that was released after its last delivery.
    """

    comes_again = True

    def __init__(self, queues: Queues, kinds: dict[str, str], archived: set[Place]) -> None:
        self.rebalances = 0  # records are shared one by one: there is nothing to hand out again
        self._queues = queues
        self._kinds = kinds
        self._archived = archived
        self._taken: dict[Place, Any] = {}
        self._failed: set[Place] = set()

    async def open(self) -> None:
        await self._queues.open()

    async def take(self, most: int) -> Sequence[Record]:  # noqa: ARG002 - max.poll.records is a setting, and the broker rounds it up
        messages = [message for message in await self._queues.poll() if message.error() is None]
        self._taken = {_place(message): message for message in messages}
        return [Record(self._kinds[message.topic()], int(message.value()), message) for message in messages]

    async def commit(self) -> None:
        failed = [self._taken[place] for place in self._failed]
        await self._queues.settle([message for place, message in self._taken.items() if place not in self._failed], failed)
        self._archived |= {_place(message) for message in failed if message.delivery_count() >= LIMIT}
        self._taken, self._failed = {}, set()

    async def bury(self, record: Record) -> None:
        """Have it come again instead of burying it."""
        self._failed.add(_place(record.raw))

    async def close(self) -> None:
        await self._queues.close()


def _place(message: Any) -> Place:
    return Place(message.topic(), message.partition(), message.offset())


class ShareVenue(KafkaVenue):
    """The demo's topics, read by share groups. `address` None means the embedded broker, which speaks their protocol, too."""

    prefix = "holdgate-share-demo"

    def __init__(self, address: str | None = None) -> None:
        super().__init__(address)
        self._archived: set[Place] = set()

    async def open(self) -> None:
        await super().open()
        groups = [Queues(self.address, self.group(group), self._topics) for group in (GUARDED, NAIVE)]
        try:
            async with asyncio.timeout(BEGIN_TIMEOUT):
                await asyncio.gather(*(queues.open() for queues in groups))
                await self._begin(groups)
        except TimeoutError as error:
            raise IntakeError(
                f"no share group begins at {self.address} within {BEGIN_TIMEOUT:g} s: they need Kafka 4.2 or newer, with share.version=1"
            ) from error
        finally:
            await asyncio.gather(*(queues.close() for queues in groups))

    async def _begin(self, groups: Sequence[Queues]) -> None:
        wanted = {(topic, number) for topic in self._topics for number in range(PARTITIONS)}
        rounds = 0
        seen = [-1]
        while min(seen) < 0 or len(set(seen)) > 1 or seen[0] != rounds:
            rounds += 1
            for topic, number in wanted:
                await self.mark(topic, number, rounds)
            seen = await asyncio.gather(*(self._take_markers(queues, wanted) for queues in groups))

    async def _take_markers(self, queues: Queues, wanted: Collection[tuple[str, int]]) -> int:
        """Take what is there; returns the last round of which there was a marker from every partition, or -1."""
        last = dict.fromkeys(wanted, -1)
        while messages := await queues.poll():
            for message in messages:
                last[message.topic(), message.partition()] = int(message.value())
            await queues.settle(messages)
        return min(last.values())

    @property
    def _topics(self) -> list[str]:
        return [self.topic(kind) for kind in KINDS]

    def feed(self) -> Feed:
        kinds = {self.topic(kind): kind for kind in KINDS}
        return ShareFeed(Queues(self.address, self.group(NAIVE), self._topics), kinds, self._archived)

    def intake(self, on_rebalance: Callable[[], None]) -> Intake[Any]:  # noqa: ARG002 - there are none
        from holdgate.brokers.share import ShareIntake

        return ShareIntake(settings_for(self.address, self.group(GUARDED)), *self._topics)

    async def lost(self, group: str, places: Collection[Place]) -> int:
        return sum(place in self._archived for place in places) if group == NAIVE else 0


def share_venue(address: str | None) -> ShareVenue:
    """The venue of `--broker share`, or `share@ADDRESS`.

    Raises `SettingsError` for what is no address, `MissingExtra` without its client.
    """
    if address is not None and not ADDRESS.fullmatch(address):
        raise SettingsError(f"--broker share@{address} must have an address like localhost:9092 after the @")
    importlib.import_module("holdgate.brokers.share")  # before a broker is started: it accepts one minor version of its client
    return ShareVenue(address)
