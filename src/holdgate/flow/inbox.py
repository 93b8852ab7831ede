"""What waits in one source, and which of it may start next: the three orders.

An inbox never looks at circuits. It answers one question, "which delivery could a free lane take now", and keeps the order it is named
after: `SourceInbox` one at a time, `KeyInbox` one at a time per key, `FreeInbox` any. What was taken stays unfinished until `done`, also
while it waits for a retry: that is what keeps the order, and what the span is measured from.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable
from typing import Any, Literal, Protocol

from holdgate.flow.delivery import Delivery

AnyDelivery = Delivery[Any]

# Eight good ones make a failure one in nine: seven of those are less than one in a million, and 64 is enough for eight.
_WITNESSES = 64
_PER_ATTEMPT = 8

Order = Literal["source", "key", "none"]


class Inbox(Protocol):
    """One source's waiting room."""

    @property
    def waiting(self) -> int:
        """How many messages have not been taken yet."""
        ...

    @property
    def oldest(self) -> int:
        """The number, by arrival, of the oldest message that is not finished; what comes next has it when all are."""
        ...

    @property
    def ended(self) -> Collection[int]:
        """The numbers of those past `oldest` that are finished all the same."""
        ...

    def put(self, deliveries: Iterable[AnyDelivery]) -> None:
        """Add deliveries in the order in which the broker gave them."""
        ...

    def take(self) -> AnyDelivery | None:
        """The next delivery that may start, now in work; None when there is none."""
        ...

    def done(self, delivery: AnyDelivery) -> bool:
        """A delivery that was taken is finished for good; True when another one may start now."""
        ...

    def failed(self, delivery: AnyDelivery) -> bool:
        """A delivery that was taken failed as its dependency does, and comes again; True when another one may start beside it."""
        ...

    def clear(self) -> None:
        """Forget what has not started."""
        ...


class SourceInbox:
    """One delivery at a time: the processed sequence equals the sequence of the source."""

    __slots__ = ("_busy", "_came", "_queue")

    ended: Collection[int] = ()

    def __init__(self) -> None:
        self._queue: deque[AnyDelivery] = deque()
        self._busy = False
        self._came = 0

    @property
    def waiting(self) -> int:
        # Counted only when asked: a number kept up to date costs something with every message.
        return len(self._queue)

    @property
    def oldest(self) -> int:
        return self._came - self.waiting - self._busy

    def put(self, deliveries: Iterable[AnyDelivery]) -> None:
        before = len(self._queue)
        self._queue.extend(deliveries)
        self._came += len(self._queue) - before

    def take(self) -> AnyDelivery | None:
        if self._busy or not self._queue:
            return None
        self._busy = True
        return self._queue.popleft()

    def done(self, delivery: AnyDelivery) -> bool:  # noqa: ARG002 - only one was taken
        self._busy = False
        return bool(self._queue)

    def failed(self, delivery: AnyDelivery) -> bool:  # noqa: ARG002 - nothing starts beside it
        return False

    def pass_on(self) -> AnyDelivery | None:
        """`done` and `take` in one step."""
        if not self._queue:
            self._busy = False
            return None
        return self._queue.popleft()

    def clear(self) -> None:
        self._came -= len(self._queue)
        self._queue.clear()


class Span:
    """How far work may run ahead of the oldest unfinished delivery, in places, so that one stuck message cannot pile up finished ones.

    The last places are for *witnesses*: some start each time the oldest delivery fails as its dependency does. Without them a poison
    message would end all other work when the span is full, be the only one to vote, and keep the circuit open for ever.
    """

    __slots__ = ("_next", "_reserved", "finished", "limit", "oldest")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._reserved = self._reserve
        self._next = 0
        self.oldest = 0
        self.finished: set[int] = set()

    def add(self) -> int:
        """A number for the next arrival."""
        serial = self._next
        self._next = serial + 1
        return serial

    @property
    def _reserve(self) -> int:
        # A span that is not twice as long has no room for them.
        return _WITNESSES if self.limit >= 2 * _WITNESSES else 0

    def allows(self, serial: int) -> bool:
        """Whether that arrival may start now."""
        return serial - self.oldest < self.limit - self._reserved

    def failed(self, serial: int) -> None:
        """That arrival failed as its dependency does: if it is the oldest, some witnesses more may start."""
        if serial == self.oldest:
            self._reserved = max(0, self._reserved - _PER_ATTEMPT)

    def finish(self, serial: int) -> None:
        """That arrival is finished; the oldest unfinished moves up past all that are."""
        if serial == self.oldest:
            self.oldest += 1
            self._reserved = self._reserve
        else:
            self.finished.add(serial)
        while self.oldest in self.finished:
            self.finished.remove(self.oldest)
            self.oldest += 1


class FreeInbox:
    """No order: whatever came first starts first, as long as the span allows it."""

    __slots__ = ("_queue", "_span")

    def __init__(self, span: int) -> None:
        self._queue: deque[AnyDelivery] = deque()
        self._span = Span(span)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def oldest(self) -> int:
        return self._span.oldest

    @property
    def ended(self) -> Collection[int]:
        return self._span.finished

    def put(self, deliveries: Iterable[AnyDelivery]) -> None:
        for delivery in deliveries:
            delivery.serial = self._span.add()
            self._queue.append(delivery)

    def take(self) -> AnyDelivery | None:
        if not self._may_start():
            return None
        return self._queue.popleft()

    def done(self, delivery: AnyDelivery) -> bool:
        self._span.finish(delivery.serial)
        return self._may_start()

    def failed(self, delivery: AnyDelivery) -> bool:
        self._span.failed(delivery.serial)
        return self._may_start()

    def clear(self) -> None:
        self._queue.clear()

    def _may_start(self) -> bool:
        return bool(self._queue) and self._span.allows(self._queue[0].serial)


class KeyInbox:
    """One delivery at a time per `order_key`; a blocked key blocks only itself. A delivery whose key is None has no order to keep."""

    __slots__ = ("_behind", "_ready", "_span", "waiting")

    def __init__(self, span: int) -> None:
        # A heap by serial number: the oldest first, and when the span does not allow that one, it allows none. The oldest unfinished
        # delivery of all is ready or in work, so the span never waits for one that waits for the span.
        self._ready: list[tuple[int, AnyDelivery]] = []
        self._behind: dict[object, deque[AnyDelivery]] = {}  # a key that is ready or in work, and what waits behind it
        self._span = Span(span)
        self.waiting = 0

    @property
    def oldest(self) -> int:
        return self._span.oldest

    @property
    def ended(self) -> Collection[int]:
        return self._span.finished

    def put(self, deliveries: Iterable[AnyDelivery]) -> None:
        for delivery in deliveries:
            delivery.serial = self._span.add()
            self.waiting += 1
            key = delivery.order_key
            behind = None if key is None else self._behind.get(key)
            if behind is not None:
                behind.append(delivery)
                continue
            if key is not None:
                self._behind[key] = deque()
            heapq.heappush(self._ready, (delivery.serial, delivery))

    def take(self) -> AnyDelivery | None:
        if not self._may_start():
            return None
        self.waiting -= 1
        return heapq.heappop(self._ready)[1]

    def done(self, delivery: AnyDelivery) -> bool:
        self._span.finish(delivery.serial)
        key = delivery.order_key
        behind = None if key is None else self._behind.get(key)
        if behind:
            following = behind.popleft()
            heapq.heappush(self._ready, (following.serial, following))
        elif behind is not None:
            del self._behind[key]
        return self._may_start()

    def failed(self, delivery: AnyDelivery) -> bool:
        self._span.failed(delivery.serial)
        return self._may_start()

    def clear(self) -> None:
        self._ready.clear()
        for behind in self._behind.values():
            behind.clear()
        self.waiting = 0

    def _may_start(self) -> bool:
        return bool(self._ready) and self._span.allows(self._ready[0][0])
