"""The second, group-less consumer: for questions about logs and topics that must not wait behind the first one's long poll.

Asking the consumer itself for log ends takes 450 ms while it polls, and as long as `fetch_max_wait_ms` says; asked from here it takes
about a millisecond. It belongs to no group and reads nothing, so it disturbs nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from holdgate.brokers.kafka.client import Client
from holdgate.errors import IntakeError
from holdgate.tasks import begin_later

T = TypeVar("T")

# A question is worth asking again in a few seconds, not worth waiting for: the answer of a healthy broker takes about a millisecond.
_ANSWER_WITHIN = 5.0
_STOP_WITHIN = 5.0


class Aside:
    """Log starts, log ends and topic names. Answers are None when the broker does not answer in time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._consumer: Any = None

    async def start(self, within: float) -> None:
        """Connect. Raises IntakeError when no broker answers within `within` seconds, or at once when none can be reached."""
        self._consumer = self._client.make_aside()
        try:
            await asyncio.wait_for(self._consumer.start(), within)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop()
            servers = self._client.bootstrap_servers
            silent = isinstance(error, TimeoutError)
            what = f"answers at {servers} within {within:g} s" if silent else f"can be reached at {servers} ({error!r})"
            raise IntakeError(
                f"no Kafka broker {what}: check bootstrap_servers, the listener's security settings and that the broker is up"
            ) from error

    async def stop(self, within: float = _STOP_WITHIN) -> None:
        """Disconnect, in a task of its own so that nobody's cancellation leaves it half stopped."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.wait((begin_later(consumer.stop(), "kafka stop aside"),), timeout=within)

    async def topics(self) -> frozenset[str] | None:
        """All topics this user may see."""
        return await self._ask(self._consumer.topics, frozenset)

    async def log_starts(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int] | None:
        return await self._ask(lambda: self._consumer.beginning_offsets(list(tps)), dict)

    async def log_ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int] | None:
        return await self._ask(lambda: self._consumer.end_offsets(list(tps)), dict)

    async def _ask(self, question: Callable[[], Awaitable[Any]], shape: Callable[[Any], T]) -> T | None:
        if self._consumer is None:
            return None
        try:
            return shape(await asyncio.wait_for(question(), _ANSWER_WITHIN))
        except (KafkaError, TimeoutError):
            return None
