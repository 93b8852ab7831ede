"""What waits in one source, and which of it may start next: the inboxes of the three orders and of batches, and what they weigh.

An inbox never looks at circuits. It answers one question, "which delivery could a free lane take now", and keeps the order it is named
after: `SourceInbox` one at a time, `KeyInbox` one at a time per key, `FreeInbox` any. What was taken stays unfinished until `done`, also
while it waits for a retry. That keeps the order, and the `Span` is measured from the oldest of these.

`BatchInbox` keeps messages to make batches of, and pieces of batches that have failed. It hands out what is in hand, up to so many
messages, and never waits for more. Pieces come first, and are not joined with anything: the message that is searched for in them is in none
of the others.

`Weights` keeps how many bytes came in with each poll, so that memory.py can tell how many are in hand.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from holdgate.flow.batch import Batch
from holdgate.flow.inflight import EMPTY
from holdgate.flow.message import AnyDelivery

Weigh: TypeAlias = Callable[[Sequence[AnyDelivery]], int]

# What a message costs beside its body: the client's object and ours, measured for aiokafka's records (benchmarks/held_memory.py).
OVERHEAD = 700
# Polls of small messages are weighed together up to so many bytes: which of them is left makes no difference.
_TOGETHER = 65_536


def weigh(deliveries: Sequence[AnyDelivery]) -> int:
    """Return the bytes that these take, by bodies and keys. An intake that knows a quicker way is asked instead (`ports.Weighing`)."""
    return sum(OVERHEAD + len(one.body or b"") + len(one.key or b"") for one in _singles(deliveries))


def unweighed(deliveries: Sequence[AnyDelivery]) -> int:  # noqa: ARG001 - it does not look
    """Return 0, for a run whose messages take no memory worth a look, as in a simulation."""
    return 0


def _singles(deliveries: Iterable[AnyDelivery]) -> Iterator[AnyDelivery]:
    for delivery in deliveries:
        if isinstance(delivery, Batch):
            yield from delivery.origin.deliveries(delivery.message)
        else:
            yield delivery


class Weights:
    """What came in for one assignment and may not be finished yet, poll by poll; messages go by their number of arrival, from 0.

    `most` is an upper bound of what is in hand, in bytes: what has ended since the last `settle` still counts.
    """

    __slots__ = ("_next", "_polls", "most", "typical")

    def __init__(self) -> None:
        self._polls: deque[tuple[int, int, int]] = EMPTY  # the first number, one past the last, and their bytes
        self._next = 0
        self.most = 0
        self.typical = 0  # the mean size of a poll's messages, the biggest of the last few polls; 0 before the first

    def add(self, count: int, size: int) -> None:
        """Note that so many messages came in, which take so many bytes."""
        start, end = self._next, self._next + count
        self._next = end
        self.most += size
        self.typical = max(size // max(1, count), self.typical * 7 // 8)
        if self._polls and self._polls[-1][2] + size <= _TOGETHER:
            start, _, before = self._polls.pop()
            size += before
        if start < end:
            if self._polls is EMPTY:
                self._polls = deque()
            self._polls.append((start, end, size))

    def pass_by(self) -> None:
        """Note that one message came in whose bytes are not counted."""
        self._next += 1

    def settle(self, oldest: int, finished: Collection[int]) -> int:
        """Return the bytes of what is unfinished: everything from number `oldest` on that is not in `finished`."""
        while self._polls and self._polls[0][1] <= oldest:
            self._polls.popleft()
        self._polls = self._polls or EMPTY
        ended = sorted(finished)
        total = 0
        for start, end, size in self._polls:
            done = max(0, oldest - start) + bisect_left(ended, end) - bisect_left(ended, start)
            total += size * (end - start - done) // (end - start)
        self.most = total
        return total

    def newest(self, count: int) -> int:
        """Return the bytes of the last `count` that came in."""
        total = 0
        for start, end, size in reversed(self._polls):
            if count <= 0:
                break
            total += size * min(count, end - start) // (end - start)
            count -= end - start
        return total

    def clear(self) -> None:
        """Forget all: nothing of it is in hand any more."""
        self._polls = EMPTY
        self.most = 0


class MemoryBound(Protocol):
    """What an assignment (state.py) asks of the bound on memory (memory.py), and tells it."""

    tight: bool

    def came(self, assignment: Any, size: int) -> None:
        """Note that so many bytes came in."""

    def freed(self) -> None:
        """Note that something has ended."""

    def is_enough(self, assignment: Any) -> bool:
        """Return whether as much waits as may."""
        ...


class Unbounded:
    """No bound: what a run has before an engine gives it its own."""

    tight = False

    def came(self, assignment: Any, size: int) -> None:
        """Count nothing."""

    def freed(self) -> None:
        """Count nothing."""

    def is_enough(self, assignment: Any) -> bool:  # noqa: ARG002 - it does not look
        """Return False: there is always room."""
        return False


# How many may start beside a stuck message, in all and for each of its attempts. Eight good ones make a failure one in nine (blame.py).
# Seven such failures are less than one in a million, and 64 is enough for eight.
_WITNESSES = 64
_PER_ATTEMPT = 8

Order = Literal["source", "key", "none"]


class Inbox(Protocol):
    """One source's waiting room."""

    @property
    def waiting(self) -> int:
        """Return how many messages have not been taken yet."""
        ...

    @property
    def behind_passed(self) -> int:
        """Return how many more stand behind messages that others pass (passing.py); they do not count as waiting."""
        ...

    @property
    def oldest(self) -> int:
        """Return the number, by arrival, of the oldest message that is not finished; if all are, that of the next to come."""
        ...

    @property
    def ended(self) -> Collection[int]:
        """Return the numbers of those past `oldest` that are finished all the same."""
        ...

    def put(self, deliveries: Iterable[AnyDelivery]) -> None:
        """Add deliveries, in the order in which the broker gave them."""
        ...

    def take(self) -> AnyDelivery | None:
        """Take the next delivery that may start; None means that there is none."""
        ...

    def done(self, delivery: AnyDelivery) -> bool:
        """Finish a delivery that was taken; True if another one may start now."""
        ...

    def failed(self, delivery: AnyDelivery) -> bool:
        """Note that a delivery which was taken failed by its dependency, and comes again; True if another one may start beside it."""
        ...

    def clear(self) -> None:
        """Forget what has not started."""
        ...


class SourceInbox:
    """One delivery at a time: the processed sequence equals the sequence of the source."""

    __slots__ = ("_busy", "_came", "_queue")

    behind_passed = 0
    ended: Collection[int] = ()

    def __init__(self) -> None:
        self._queue: deque[AnyDelivery] = EMPTY
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
        if self._queue is EMPTY:
            self._queue = deque()
        before = len(self._queue)
        self._queue.extend(deliveries)
        self._came += len(self._queue) - before

    def start(self, delivery: AnyDelivery) -> bool:  # noqa: ARG002 - it is the one in work
        """Do `put` and `take` for one delivery in one step. False, and nothing has changed, if another one is in work or waits."""
        if self._busy or self._queue:
            return False
        self._came += 1
        self._busy = True
        return True

    def take(self) -> AnyDelivery | None:
        if self._busy or not self._queue:
            return None
        self._busy = True
        return self._queue.popleft()

    def done(self, delivery: AnyDelivery) -> bool:  # noqa: ARG002 - only one was taken
        self._busy = False
        self._queue = self._queue or EMPTY
        return self._queue is not EMPTY

    def failed(self, delivery: AnyDelivery) -> bool:  # noqa: ARG002 - nothing starts beside it
        return False

    def pass_on(self) -> AnyDelivery | None:
        """Do `done` and `take` in one step."""
        queue = self._queue
        if queue:
            return queue.popleft()
        self._busy = False
        self._queue = EMPTY
        return None

    def clear(self) -> None:
        self._came -= len(self._queue)
        self._queue = EMPTY


class Span:
    """How far work may run ahead of the oldest unfinished delivery, in messages, so that one stuck message cannot pile up finished ones.

    The last of them are kept for *witnesses*: some start each time the oldest delivery fails by its dependency. Without witnesses, a poison
    message would end all other work as soon as the span is full. It would be the only one to vote, and keep the circuit open for ever.
    What it fails before that spends none of them: in an outage it may fail many times, and others start in any case when that is over.
    When those places are used up, it gets witnesses still, as many as the span once more: each opening of the circuit forgets what has
    spoken against it (blame.py), and it is compared anew.
    """

    __slots__ = ("_is_full", "_reserved", "finished", "limit", "next", "oldest")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._reserved = self._reserve
        self._is_full = False  # the arrival that was asked for last may not start
        self.next = 0  # the number of the next arrival
        self.oldest = 0
        self.finished: set[int] = set()

    def add(self) -> int:
        """Return the number of the next arrival."""
        serial = self.next
        self.next = serial + 1
        return serial

    @property
    def _reserve(self) -> int:
        # A span that is not twice as long has no room for them.
        return _WITNESSES if self.limit >= 2 * _WITNESSES else 0

    def allows(self, serial: int) -> bool:
        """Return whether that arrival, the next one of all that wait, may start now."""
        self._is_full = serial - self.oldest >= self.limit - self._reserved
        return not self._is_full

    def failed(self, serial: int) -> None:
        """Note that an arrival failed by its dependency: if it is the oldest, and others wait for it, some more witnesses may start."""
        if serial == self.oldest and self._is_full:
            self._reserved = max(-self.limit if self._reserve else 0, self._reserved - _PER_ATTEMPT)

    def finish(self, serial: int) -> None:
        """Finish an arrival; the oldest unfinished one is then past all that are finished."""
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

    behind_passed = 0

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

    def start(self, delivery: AnyDelivery) -> bool:
        """Do `put` and `take` for one delivery in one step. False, and nothing has changed, if others wait or the span is full."""
        span = self._span
        if self._queue or not span.allows(span.next):
            return False
        delivery.serial = span.add()
        return True

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

    behind_passed = 0

    def __init__(self, span: int) -> None:
        # A heap by serial number: the oldest first. If the span does not allow that one, it allows none. The oldest unfinished delivery of
        # all is ready or in work, so the span never waits for one that waits for the span.
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


class BatchInbox:
    """An `Inbox` that gives batches of up to `most`. One at a time, the order of the source kept; with a `span` of messages any number."""

    __slots__ = ("_chunks", "_done", "_most", "_next", "_out", "_pieces", "_span", "waiting")

    behind_passed = 0

    def __init__(self, most: int, span: int | None = None) -> None:
        self._most = most
        self._span = None if span is None else Span(span)
        self._chunks: deque[Batch] = deque()  # as they came in
        self._pieces: deque[Batch] = deque()
        self._next = 0  # number of the first message in `_chunks`
        self._out = 0  # taken and not done
        self._done = 0  # messages finished, in the order of the source
        self.waiting = 0  # messages

    @property
    def oldest(self) -> int:
        return self._done if self._span is None else self._span.oldest

    @property
    def ended(self) -> Collection[int]:
        return () if self._span is None else self._span.finished

    def put(self, deliveries: Iterable[AnyDelivery]) -> None:
        for batch in deliveries:
            if isinstance(batch, Batch):
                self._chunks.append(batch)
                self.waiting += len(batch)

    def put_back(self, piece: Batch) -> None:
        """Put a piece that was taken and not started to the front: it comes next."""
        self.waiting += len(piece)
        if self._span is None and piece.history is None and not piece.attempt:  # as if it had never been taken
            self._next -= len(piece)
            self._chunks.appendleft(piece)
        else:
            self._pieces.appendleft(piece)

    def take(self) -> AnyDelivery | None:
        if not self._may_start():
            return None
        batch = self._pieces.popleft() if self._pieces else self._gather()
        self._out += 1
        self.waiting -= len(batch)
        return batch

    def divided(self, units: int) -> None:
        """Let one batch that was taken go on as so many deliveries. In the order of the source, all are done before another one starts."""
        self._out += units - 1

    def done(self, delivery: AnyDelivery) -> bool:
        self._out -= 1
        self.finished(delivery.numbers if isinstance(delivery, Batch) else (delivery.serial,))
        return self._may_start()

    def failed(self, delivery: AnyDelivery) -> bool:
        if self._span is not None:
            self._span.failed(delivery.numbers[0] if isinstance(delivery, Batch) else delivery.serial)
        return self._may_start()

    def finished(self, numbers: Sequence[int]) -> None:
        """Finish these messages."""
        if self._span is None:
            self._done += len(numbers)
        else:
            for number in numbers:
                self._span.finish(number)

    def clear(self) -> None:
        self._chunks.clear()
        self._pieces.clear()
        self.waiting = 0

    def _may_start(self) -> bool:
        if self._span is None:
            return not self._out and self.waiting > 0
        return bool(self._pieces) or (bool(self._chunks) and self._span.allows(self._next))

    def _gather(self) -> Batch:
        first = self._chunks[0]
        messages = self._first(self._most)
        while self._chunks and len(messages) < self._most:
            messages = messages + self._first(self._most - len(messages))
        batch = Batch(first.source, messages, first.origin)
        batch.assignment = first.assignment
        batch.numbers = range(self._next, self._next + len(messages))
        self._next += len(messages)
        return batch

    def _first(self, most: int) -> list[Any]:
        chunk = self._chunks[0]
        if len(chunk) <= most:
            return self._chunks.popleft().message  # the very list: an intake recognises it when the batch is settled as a whole
        messages = chunk.message[:most]
        chunk.message = chunk.message[most:]
        return messages
