"""The demo on share groups: what the side without a guard loses, on the embedded broker and on a real one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if not find_spec("confluent_kafka.aio"):  # the oldest client that the demo allows has no share consumer
    pytest.skip("this confluent-kafka has no share consumer", allow_module_level=True)

from holdgate.errors import SettingsError
from holdgate_lab.demo.queues import LIMIT, ShareFeed, ShareVenue, share_venue
from holdgate_lab.demo.scenario import ORDERS
from holdgate_lab.demo.venues import GUARDED, NAIVE, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.servers.kafka_address import KafkaAddress

DEMO = [sys.executable, "-m", "holdgate", "demo"]
# It ends by itself, after half a minute at most where nothing else runs; only a failing test waits so long.
PATIENCE = 180.0
WITHIN = 60.0


class Message:
    """A record as confluent-kafka shows one."""

    def __init__(self, offset: int, deliveries: int = 1) -> None:
        self._offset = offset
        self._deliveries = deliveries

    def topic(self) -> str:
        return ORDERS

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return b"%d" % self._offset

    def delivery_count(self) -> int:
        return self._deliveries

    def error(self) -> None:
        return None


class Queues:
    """In place of the demo's consumer: gives one batch, and notes what becomes of it."""

    def __init__(self, *messages: Message) -> None:
        self._messages = messages
        self.accepted: list[int] = []
        self.released: list[int] = []

    async def poll(self) -> Sequence[Message]:
        return self._messages

    async def settle(self, accepted: Iterable[Message], released: Iterable[Message] = ()) -> None:
        self.accepted += [message.offset() for message in accepted]
        self.released += [message.offset() for message in released]


def test_the_forms_of_the_option() -> None:
    """Embedded, or at an address; anything else after the @ is refused."""
    assert (share_venue(None).address, share_venue("localhost:9092").address) == ("", "localhost:9092")
    with pytest.raises(SettingsError, match="share@nowhere"):
        share_venue("nowhere")


async def test_what_failed_is_released_and_archived_after_its_last_delivery() -> None:
    """Nothing says so but the count of deliveries."""
    archived: set[Place] = set()
    queues = Queues(Message(0), Message(1), Message(2, LIMIT))
    feed = ShareFeed(queues, {ORDERS: ORDERS}, archived)  # type: ignore[arg-type]

    records = await feed.take(16)
    for record in records[1:]:
        await feed.bury(record)
    await feed.commit()

    assert (queues.accepted, sorted(queues.released)) == ([0], [1, 2])
    assert archived == {Place(ORDERS, 0, 2)}


async def test_only_the_side_without_a_guard_archives() -> None:
    """Of what is not settled in the end, the rest waits."""
    venue = ShareVenue("localhost:9092")
    venue._archived.add(Place(ORDERS, 0, 2))
    places = [Place(ORDERS, 0, 1), Place(ORDERS, 0, 2)]
    assert (await venue.lost(NAIVE, places), await venue.lost(GUARDED, places)) == (1, 0)


@pytest.mark.integration
async def test_nothing_of_the_beginning_is_left_for_the_story() -> None:
    """Both groups have begun on the embedded broker, and what comes next is the first produced message."""
    venue = ShareVenue()
    try:
        await venue.open()
        await venue.produce(ORDERS, 7)
        feed = venue.feed()
        try:
            await feed.open()
            async with asyncio.timeout(WITHIN):
                while not (records := await feed.take(16)):
                    pass
            await feed.commit()
        finally:
            await feed.close()
    finally:
        await venue.close()
    assert [(record.kind, record.number) for record in records] == [(ORDERS, 7)]


@pytest.mark.slow
def test_on_a_real_broker_only_the_side_without_a_guard_loses(share_kafka: KafkaAddress, tmp_path: Path) -> None:
    """What it released five times is archived; the guarded side has everything, and pays no dead letter for it."""
    ended = subprocess.run(
        [*DEMO, "--broker", f"share@{share_kafka.bootstrap}", "--seconds", "8", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=tmp_path,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    document = json.loads(ended.stdout)
    guarded, naive = document["guarded"], document["naive"]
    assert (guarded["lost"], guarded["dead_letters"], naive["dead_letters"]) == (0, 0, 0)
    assert guarded["processed"] + guarded["waiting"] == document["produced"] > 0
    assert naive["lost"] > 0
