"""What becomes of a record that is delivered for the last time: to release it is to lose it, and the broker says so to nobody.

It goes to the overflow, if there is one, before its last delivery, and is accepted when the overflow has confirmed it. Otherwise a copy of
it stays in memory until a handler has succeeded with it, and the log says so. When the process ends before, the overflow is asked once
more, and the log names what is left.

The overflow has little time: what it has not confirmed before the end of the lock goes back, or is kept here. Where its answer comes too
late, the record is accepted when it comes again (settled.py).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from holdgate.brokers.share.client import Place, ShareClient
from holdgate.brokers.share.hand import ShareDelivery, messages_of
from holdgate.brokers.share.settled import Letters, Settled
from holdgate.brokers.share.terms import ShareTerms
from holdgate.flow.message import DeadLetter, Queue
from holdgate.tasks import within

if TYPE_CHECKING:
    from holdgate.ports import DeadLetters

log = logging.getLogger(__name__)

# How long the accept of what is in the overflow waits for the broker. What it misses is accepted when it comes again.
_ACCEPT_WITHIN = 10.0
_REASON = "held, and near the delivery limit of its share group"


class LastDeliveries:
    """Saves what a return to the broker would lose of one topic: in the overflow, or as copies in memory.

    `worker` names this process in what goes to the overflow. `settled` is told of it, and `letters` knows what needs none.
    """

    __slots__ = ("_copies", "_letters", "_overflow", "_settled", "_source", "_terms", "_worker")

    def __init__(
        self, source: Queue, terms: ShareTerms, overflow: DeadLetters | None, *, settled: Settled, letters: Letters, worker: str
    ) -> None:
        self._source = source
        self._terms = terms
        self._overflow = overflow
        self._settled = settled
        self._letters = letters
        self._worker = worker
        self._copies: list[ShareDelivery] = []

    @property
    def copies(self) -> Sequence[ShareDelivery]:
        """Those of which the broker has no record any more."""
        return self._copies

    def holds(self, deliveries: Iterable[ShareDelivery]) -> bool:
        """Return whether the broker has no record of any of these."""
        return all(delivery in self._copies for delivery in deliveries)

    def remove(self, delivery: ShareDelivery) -> bool:
        """Note that a copy is handled. Returns whether it was one."""
        found = delivery in self._copies
        if found:
            self._copies.remove(delivery)
        return found

    def forget(self, place: Place) -> None:
        """Note that the record of this place has its dead letter."""
        self._copies = [copy for copy in self._copies if copy.place != place]

    def renew(self, copies: Mapping[int, ShareDelivery]) -> None:
        """Note that these are offered now as other objects, by the id of the old ones."""
        self._copies = [copies.get(id(old), old) for old in self._copies]

    async def rescue(self, client: ShareClient, returning: Iterable[ShareDelivery], until: float) -> Collection[ShareDelivery]:
        """Move what would be lost by going back to the overflow, and accept it. Returns what the overflow has confirmed.

        `until` is when the accept must go out. Where there is no overflow, or it does not take them in time, and this was their last
        delivery, copies stay in memory.
        """
        endangered = [delivery for delivery in returning if self._terms.is_near_limit(delivery.deliveries)]
        moved: list[ShareDelivery] = []
        if endangered and self._overflow is not None:
            without_letter = [delivery for delivery in endangered if not self._letters.is_under_way(delivery.place)]
            await self._move(self._overflow, without_letter, until, moved)
            log.warning("%s: %d of %d records near their delivery limit went to the overflow", self._source, len(moved), len(endangered))
        if moved:
            errors = await client.commit(messages_of(moved), [], _ACCEPT_WITHIN)
            for delivery in moved:
                if delivery.place.partition not in errors:
                    self._settled.forget(delivery.place)
        self._keep([delivery for delivery in endangered if delivery not in moved and delivery.deliveries >= self._terms.limit])
        return moved

    async def part(self) -> None:
        """Save what the broker does not have any more, if the overflow takes it now; else the log names it."""
        if not self._copies:
            return
        moved: list[ShareDelivery] = []
        if self._overflow is not None:
            await self._move(self._overflow, self._copies, math.inf, moved)
        lost = [f"{each.place.partition}@{each.place.offset}" for each in self._copies if each not in moved]
        if lost:
            log.error("%s: %d records end with this process, not handled: partition@offset %s", self._source, len(lost), ", ".join(lost))

    def _keep(self, last: Sequence[ShareDelivery]) -> None:
        if last:
            self._copies += last
            log.error(
                "%s: %d records were delivered for the last time and are not handled yet: they are kept in this process's memory, and its "
                "end loses them%s; give the intake overflow=, or raise the group's delivery limit",
                self._source, len(last), f", but for topic {self._terms.dead_letters!r}" if self._terms.dead_letters else "",
            )  # fmt: skip

    async def _move(self, overflow: DeadLetters, endangered: Sequence[ShareDelivery], until: float, moved: list[ShareDelivery]) -> None:
        for delivery in endangered:
            left = min(self._terms.margin / 4, until - asyncio.get_running_loop().time())
            try:
                if left <= 0 or not await within(self._post(overflow, delivery), left):
                    return
            except Exception as error:  # noqa: BLE001 - a client's error, whatever it is: what did not go to the overflow goes back
                log.warning("%s: the overflow does not take a record (%s)", self._source, type(error).__name__)
                return
            moved.append(delivery)

    async def _post(self, overflow: DeadLetters, delivery: ShareDelivery) -> None:
        """Write one record to the overflow. Where that ends too late, or the accept does, it is accepted when it comes again."""
        now = time.time()
        await overflow.publish(DeadLetter(delivery, delivery.attempt, now, now, None, "", _REASON, self._worker))
        self._settled.add([delivery.place], asyncio.get_running_loop().time())
