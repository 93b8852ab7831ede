"""What waits in one source of a run with batches: messages to make batches of, and pieces of batches that have failed.

It hands out what is in hand, up to so many messages, and never waits for more. Pieces come first, and are not joined with anything: the
message that is looked for in them is in none of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from holdgate.flow.batch import AnyDelivery, Batch
from holdgate.flow.inbox import Span


class BatchInbox:
    """An `Inbox` that gives batches of up to `most`. One at a time, the order of the source kept; with a `span` of messages any number."""

    __slots__ = ("_chunks", "_done", "_most", "_next", "_out", "_pieces", "_span", "waiting")

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
        """What has been taken and not started, to the front: it comes next."""
        self.waiting += len(piece)
        if self._span is None and piece.trial is None and not piece.attempt:  # as if it had never been taken
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
        """One batch that was taken goes on as so many deliveries, each of which will be done before anything else starts. Without an order
        nothing waits for them anyway."""
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
        """These messages are finished for good."""
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
        batch.place = first.place
        batch.numbers = range(self._next, self._next + len(messages))
        self._next += len(messages)
        return batch

    def _first(self, most: int) -> list[Any]:
        chunk = self._chunks[0]
        if len(chunk) <= most:
            return self._chunks.popleft().message  # the very list: who made it may know it again when it is finished as a whole
        messages = chunk.message[:most]
        chunk.message = chunk.message[most:]
        return messages
