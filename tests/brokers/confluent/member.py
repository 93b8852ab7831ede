"""Another member of a group: a bare consumer of confluent-kafka that polls in a thread, and commits nothing.

It is there when it has its share. One that closed in the middle of its join would keep the group waiting for a whole session.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from confluent_kafka import Consumer


class Member:
    """Joins with `start`, leaves with `stop`, and takes what comes meanwhile."""

    def __init__(self, settings: dict[str, Any], topic: str) -> None:
        self._consumer = Consumer({**settings, "enable.auto.commit": False})
        self._topic = topic
        self._ends = threading.Event()
        self._has_share = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.taken: list[bytes | None] = []

    async def start(self) -> None:
        self._thread.start()
        await asyncio.to_thread(self._has_share.wait)

    async def stop(self) -> None:
        self._ends.set()
        self._has_share.set()
        await asyncio.to_thread(self._thread.join)

    def _assigned(self, _consumer: object, partitions: list[Any]) -> None:
        if partitions:
            self._has_share.set()

    def _work(self) -> None:
        self._consumer.subscribe([self._topic], on_assign=self._assigned)
        while not self._ends.is_set():
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None:
                self.taken.append(message.value())
        self._consumer.close()
