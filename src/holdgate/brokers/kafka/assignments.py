"""What is assigned to this member now: one object per partition, fresh with every assignment.

A rebalance gives every partition a new `Assignment`, also one that stays. Deliveries keep a reference to theirs, so that a result which
comes after the partition went away finishes something in an object that nobody commits from any more: no comparison of epochs can be
forgotten, because there is none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterator, Sequence

from aiokafka import TopicPartition

from holdgate.brokers.kafka.delivery import KafkaBatch, KafkaDelivery, Record, wrap
from holdgate.brokers.kafka.whole_polls import Column, WholePolls
from holdgate.flow.inflight import InFlight
from holdgate.flow.sources import Partition


class Rewound(Exception):
    """A record came whose offset does not follow what was delivered: somebody sought back, or the partition was made anew."""


class Assignment:
    """One partition, from the moment it was assigned until it is given back or lost.

    `alive` is False from then on. `began` is the first offset delivered; None before. `sent` is what needs no commit any more: the last
    offset committed, or where reading began; None before that is known.
    """

    __slots__ = ("_chunks", "_whole", "alive", "began", "epoch", "inflight", "sent", "source", "tp")

    def __init__(self, tp: TopicPartition, epoch: int, *, in_batches: bool = False) -> None:
        self.tp = tp
        self.source = Partition(tp.topic, tp.partition)
        self.epoch = epoch
        self._whole = WholePolls() if in_batches else None
        self.inflight = self._whole or InFlight()
        self.alive = True
        self.began: int | None = None
        self.sent: int | None = None
        # Offsets and times of what is in hand, a pair per poll: the age of the oldest is asked for once in seconds, so nothing is kept
        # up to date per message.
        self._chunks: deque[tuple[Sequence[int], Sequence[int]]] = deque()

    def delivered(self, records: list[Record]) -> Sequence[KafkaDelivery | KafkaBatch]:
        """Note the records of one poll and wrap them. Raises Rewound, with nothing noted, when they do not follow the earlier ones."""
        try:
            chunk = self._note(records) if self._whole is None else self._note_whole(self._whole, records)
        except ValueError as error:
            raise Rewound(str(error)) from error
        if self.began is None:
            self.began = records[0].offset
        self._forget_finished()
        self._chunks.append(chunk)
        return self.deliveries(records) if self._whole is None else [KafkaBatch(self, records)]

    def deliveries(self, messages: list[Record]) -> list[KafkaDelivery]:
        """One delivery for each of these records, which were noted before."""
        return wrap(self, messages)

    def finished_together(self, records: list[Record]) -> None:
        """The work on all of these is over; they come in their order. For an assignment in batches."""
        if self._whole is not None:
            self._whole.finished_records(records)

    def next_offset(self, position: int | None) -> int | None:
        """Where the work of this partition goes on: the oldest unfinished offset, and with none the client's `position`.

        The position lies behind the markers of transactions and what compaction took away; with nothing unfinished it is as safe as
        one past the newest delivered, and without it a partition read to its end would keep the last gap as lag for ever. None: not
        known yet.
        """
        offset = self.inflight.next_position
        if self.inflight.unfinished or position is None:
            return offset
        return position if offset is None else max(offset, position)

    def oldest_timestamp(self) -> int | None:
        """When the oldest unfinished record was produced, in milliseconds since the epoch; None when nothing is in hand."""
        if not self.inflight.unfinished:
            return None
        self._forget_finished()
        offsets, times = self._chunks[0]
        return times[bisect_left(offsets, self.inflight.next_position or 0)]

    def _note(self, records: list[Record]) -> tuple[Sequence[int], Sequence[int]]:
        offsets = [record.offset for record in records]
        self.inflight.delivered_many(offsets)
        return offsets, [record.timestamp for record in records]

    def _note_whole(self, whole: WholePolls, records: list[Record]) -> tuple[Sequence[int], Sequence[int]]:
        whole.delivered_poll(records)
        return Column(records, "offset"), Column(records, "timestamp")

    def _forget_finished(self) -> None:
        next_offset = self.inflight.next_position or 0
        chunks = self._chunks
        while chunks and chunks[0][0][-1] < next_offset:
            chunks.popleft()


class Assignments:
    """The live assignments by partition. `epoch` grows with every change. `in_batches`: what polls give becomes batches."""

    def __init__(self) -> None:
        self.epoch = 0
        self.in_batches = False
        self._live: dict[TopicPartition, Assignment] = {}

    def add(self, tps: Collection[TopicPartition]) -> None:
        """A fresh assignment for each of `tps`; one that is alive already is replaced."""
        self.drop(tps)
        for tp in sorted(tps):
            self._live[tp] = Assignment(tp, self.epoch, in_batches=self.in_batches)

    def drop(self, tps: Collection[TopicPartition]) -> None:
        """These are not ours any more: whatever comes late for them is ignored."""
        self.epoch += 1
        for tp in tps:
            gone = self._live.pop(tp, None)
            if gone is not None:
                gone.alive = False

    def get(self, tp: TopicPartition) -> Assignment | None:
        return self._live.get(tp)

    def tps(self) -> frozenset[TopicPartition]:
        return frozenset(self._live)

    def sources(self, tps: Collection[TopicPartition]) -> list[Partition]:
        """The sources of those of `tps` that are alive, in a stable order."""
        return [self._live[tp].source for tp in sorted(tps) if tp in self._live]

    def __iter__(self) -> Iterator[Assignment]:
        return iter(tuple(self._live.values()))

    def __len__(self) -> int:
        return len(self._live)
