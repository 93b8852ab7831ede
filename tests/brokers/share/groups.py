"""Share groups of a real broker, and consumers of them that no guard has: what it does, what is left, what a record has been through."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from confluent_kafka import AcknowledgeType, ShareConsumer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource


class ShareGroups:
    """Makes groups at one broker, and consumers of them."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._open: list[ShareConsumer] = []

    async def create(self, *, lock: float = 30.0, limit: int = 5, **more: str) -> str:
        """Return a new group that reads from the beginning; `more` are settings with underscores for dots."""
        group = f"group-{uuid.uuid4().hex[:8]}"
        settings = {
            "share.auto.offset.reset": "earliest",
            "share.record.lock.duration.ms": str(int(lock * 1000)),
            "share.delivery.count.limit": str(limit),
            **{name.replace("_", "."): value for name, value in more.items()},
        }
        entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()]
        resource = ConfigResource(ConfigResource.Type.GROUP, group, incremental_configs=entries)
        (answer,) = self._admin.incremental_alter_configs([resource]).values()
        await asyncio.to_thread(answer.result)
        return group

    def settings(self, group: str) -> dict[str, Any]:
        """What a ShareIntake of the group is made with."""
        return {"bootstrap.servers": self.bootstrap, "group.id": group}

    def consumer(self, group: str, topic: str, **settings: Any) -> ShareConsumer:
        """Return a subscribed consumer without a guard, which acknowledges explicitly."""
        more = {name.replace("_", "."): value for name, value in settings.items()}
        consumer = ShareConsumer({**self.settings(group), "share.acknowledgement.mode": "explicit", **more})
        consumer.subscribe([topic])
        self._open.append(consumer)
        return consumer

    async def drain(
        self, group: str, topic: str, *, quiet: float = 1.5, how: AcknowledgeType = AcknowledgeType.RELEASE
    ) -> dict[bytes, int]:
        """Return what a new consumer of the group gets, with the number of deliveries of each, until nothing has come for `quiet` seconds.

        Each is released at once, and so has one delivery more afterwards; or it is what `how` says.
        """
        return await asyncio.to_thread(self._drain, group, topic, quiet, how)

    def _drain(self, group: str, topic: str, quiet: float, how: AcknowledgeType) -> dict[bytes, int]:
        consumer = self.consumer(group, topic)
        found: dict[bytes, int] = {}
        held: list[Any] = []
        last = time.monotonic()
        while time.monotonic() < last + quiet:
            records = list(consumer.poll(0.1))
            fresh = [record for record in records if record.value() not in found]
            for record in records:
                found.setdefault(record.value(), record.delivery_count())
                consumer.acknowledge(record, how)
            consumer.commit_sync(5)
            if fresh:
                last = time.monotonic()
            elif records:
                break
        held.clear()
        self._shut(consumer)
        return found

    def _shut(self, consumer: ShareConsumer) -> None:
        self._open.remove(consumer)
        consumer.close()

    async def close(self) -> None:
        for consumer in list(self._open):
            await asyncio.to_thread(self._shut, consumer)
