"""How much waits in the topics of a share group, or why that is not known.

The broker is asked beside the work, through aiokafka (offsets.py), since confluent-kafka cannot ask. Where that is not possible, the log
says why, once: a figure that is missing without a reason looks like a defect. An answer that does not come now is no reason, and is asked
for again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdgate.brokers.share.offsets import GroupOffsets

log = logging.getLogger(__name__)

_NOT_INSTALLED = (
    "confluent-kafka cannot ask a broker for it, and aiokafka 0.14 or newer, which can, is not installed: pip install 'holdgate[kafka]'"
)
_TOO_OLD = "this broker does not know the question: it comes with Kafka 4.2"


class ShareBacklogs:
    """Asks how much waits in `topics`. `settings` are those of librdkafka. `close` ends a question that is under way."""

    def __init__(self, settings: Mapping[str, Any], group: str, topics: Collection[str]) -> None:
        self._settings = settings
        self._group = group
        self._topics = topics
        self._offsets: GroupOffsets | None = None
        self._unknown = ""  # why it never will be known
        self._is_logged = False

    async def ask(self) -> Mapping[str, int]:
        """Return how many records of each topic are not settled, those in hand included. A topic that is not known now is left out."""
        offsets = self._begin()
        if offsets is not None:
            try:
                return await offsets.lags(self._topics)
            except NotImplementedError:
                await self.close()
                self._unknown = _TOO_OLD
        if not self._is_logged:
            self._is_logged = True
            log.warning("share group %s: how many records wait is not known: %s", self._group, self._unknown)
        return {}

    async def waiting(self, topics: Collection[str]) -> Mapping[tuple[str, int], int]:
        """Return the same by topic and partition, for those who can do without: nothing is logged."""
        offsets = self._begin()
        try:
            return {} if offsets is None else await offsets.waiting(topics)
        except Exception as error:  # noqa: BLE001 - aiokafka's errors have no names here: without it this package works, too
            log.debug("share group %s: how many records wait is not known now: %s", self._group, type(error).__name__)
            return {}

    async def close(self) -> None:
        """Disconnect."""
        offsets, self._offsets = self._offsets, None
        if offsets is not None:
            await offsets.close()

    def _begin(self) -> GroupOffsets | None:
        """Return what can be asked. None means that nothing can, and `_unknown` says why."""
        if self._offsets is None and not self._unknown:
            try:
                from holdgate.brokers.share.offsets import GroupOffsets  # noqa: PLC0415 - it needs aiokafka, and only who asks needs it

                self._offsets = GroupOffsets(self._settings, self._group)
            except ImportError:
                self._unknown = _NOT_INSTALLED
            except OSError as error:
                self._unknown = f"a file of the TLS settings cannot be read ({type(error).__name__})"
            except ValueError as error:
                self._unknown = str(error)
        return self._offsets
