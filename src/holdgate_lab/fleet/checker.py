"""Looks on while a fleet works: counts everything, and complains the moment an invariant is broken.

It knows what really happened, from the model brokers (whose ledger it is) and from the handlers. It keeps no history, so an hour of
traffic costs it nothing. What a scenario itself brings about (a worker that is killed may cost a rebalance and delivery counts) is
*excused* while it happens; everything else that the same numbers show is a violation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from holdgate.flow.inbox import Order
from holdgate.flow.message import Partition, Queue, Source
from holdgate.testing.memory.message import Ledger, LedgerEvent
from holdgate_lab.fleet.clock import Schedule
from holdgate_lab.fleet.outcome import Violation
from holdgate_lab.fleet.records import AssignmentRecord, ChannelRecord, Parcel, PartitionRecord, QueueRecord
from holdgate_lab.fleet.scenario import QueueSpec, Scenario
from holdgate_lab.fleet.traffic import StreamTraffic

# A broken rule is often broken by every message after it. More of the same tells nobody anything.
_MOST = 50


class Checker(Ledger):
    """The ledger of the model brokers, and the record of everything that handlers came to. `is_strict` False: it only counts.

    `on_violation` hears of each violation as it happens.
    """

    def __init__(
        self,
        scenario: Scenario,
        traffic: Mapping[str, StreamTraffic],
        schedule: Schedule,
        *,
        is_strict: bool,
        tell: Callable[[str], None] | None,
    ) -> None:
        super().__init__()
        self.violations: list[Violation] = []
        self.tell = tell
        self.produced = self.processed = self.duplicates = 0
        self.dead_lettered = self.wrongly_dead_lettered = 0
        self.calls = self.failed_calls = self.wasted_calls = 0
        self.redeliveries = 0
        self.delivery_counts = self.highest_delivery_count = 0
        self._counts: dict[tuple[Source, int], int] = {}  # of messages that have one and are still there
        self.processed_by_name: Counter[str] = Counter()
        self.finished_by_name: Counter[str] = Counter()
        self.poison_by_name: Counter[str] = Counter()  # finished, in whatever way
        self.partitions: dict[Source, PartitionRecord] = {}
        self.queues: dict[Source, QueueRecord] = {}
        self._traffic = traffic
        self._schedule = schedule
        self._is_strict = is_strict
        self._excuses = 0
        self._keeps_order = scenario.queue_order == "source"
        # Where a share of calls fails, a policy that asks for it convicts by so few probes that a good message may be unlucky.
        hasty = scenario.retry.reject_after_probes is not None
        self._unlucky = {fault.dependency for fault in scenario.faults if hasty and fault.kind == "errors"}
        self._victims = {(fault.dependency, fault.key) for fault in scenario.faults if fault.kind == "key"}
        self._read_up_to: dict[Source, int] = {}
        self._hear: dict[LedgerEvent, Callable[[Source, int], None]] = {
            "delivered": self._delivered,
            "committed": self._committed,
            "acked": self._acked,
            "requeued": self._requeued,
            "rejected": self._buried,
            "dead": self._died,
        }
        for each in traffic.values():
            self._add(each)

    def _add(self, traffic: StreamTraffic) -> None:
        for source in traffic.sources:
            if isinstance(source, Partition):
                self.partitions[source] = PartitionRecord(traffic, source, self.complain)
            elif isinstance(traffic.spec, QueueSpec):
                is_ordered = traffic.spec.single_active and self._keeps_order
                self.queues[source] = QueueRecord(source, is_ordered=is_ordered, complain=self.complain)

    def complain(self, invariant: str, words: str) -> None:
        """An invariant is broken."""
        if not self._is_strict or len(self.violations) >= _MOST:
            return
        self.violations.append(Violation(at=self._schedule.now, invariant=invariant, words=words))
        self.say(f"BROKEN, {invariant}: {words}")
        self.tell = None  # the story ends here: what the same step goes on to do explains nothing

    def say(self, words: str) -> None:
        """Tell whoever listens to the story."""
        if self.tell is not None:
            self.tell(f"{self._schedule.now:10.3f} s  {words}")

    @contextmanager
    def excused(self) -> Generator[None]:
        """What the broker does meanwhile is the scenario's doing."""
        self._excuses += 1
        try:
            yield
        finally:
            self._excuses -= 1

    # -- what the model brokers say ---------------------------------------------------------------------------------------------------

    def note(self, event: LedgerEvent, source: Source, position: int = 0) -> None:
        """Hear of it, and keep no line."""
        hear = self._hear.get(event)
        if hear is not None:
            hear(source, position)

    def _delivered(self, source: Source, position: int) -> None:
        newest = self._read_up_to.get(source, -1)
        if position > newest:
            self._read_up_to[source] = position
        else:
            self.redeliveries += 1

    def _committed(self, source: Source, offset: int) -> None:
        if self.tell is not None:
            self.say(f"{source} is committed at {offset}")
        self.partitions[source].was_committed(offset)

    def _acked(self, source: Source, number: int) -> None:
        self.queues[source].was_acked(number)
        self._counts.pop((source, number), None)

    def _requeued(self, source: Source, number: int) -> None:
        self.say(f"{source}@{number} goes back into its queue")
        if not self._excuses:
            self.complain("quiet", f"{source}@{number} was given back, and nobody had come or gone")

    def _died(self, source: Source, number: int) -> None:
        spec = self._traffic[source.name].spec
        if isinstance(spec, QueueSpec) and spec.delivery_limit is not None:
            self.counted(source, number, spec.delivery_limit + 1)
        self._buried(source, number)

    def _buried(self, source: Source, number: int) -> None:
        queue = self.queues[source]
        self._counts.pop((source, number), None)
        if number not in queue.done:
            self._dead(source, number, f"{source}@{number} is dead")
        queue.was_buried(number)

    # -- what handlers come to --------------------------------------------------------------------------------------------------------

    def record_of(self, partition: Partition, start: int, order: Order) -> AssignmentRecord:
        """A fresh record for an assignment that begins at this offset."""
        return AssignmentRecord(self.partitions[partition], partition, start, order, self.complain)

    def starts(self, parcels: Sequence[Parcel]) -> None:
        """A handler begins on these, of one source."""
        places = [parcel.place for parcel in parcels]
        record = parcels[0].record
        if isinstance(record, ChannelRecord):
            record.starts([parcel.tag for parcel in parcels], places)
        elif len(parcels) == 1:
            record.starts(places[0], parcels[0].facts.key)
        else:
            record.start_together(places)

    def stopped(self, parcels: Sequence[Parcel]) -> None:
        """A handler has ended, in any way."""
        for parcel in parcels:
            if isinstance(parcel.record, AssignmentRecord):
                parcel.record.stopped(parcel.place)

    def succeeded(self, parcels: Sequence[Parcel]) -> None:
        """A handler has done its work."""
        for parcel in parcels:
            if self._finish(parcel):
                self.processed += 1
                self.processed_by_name[parcel.source.name] += 1
            else:
                self.duplicates += 1
                self.say(f"{parcel.source}@{parcel.place} is processed once more")

    def buried(self, parcel: Parcel) -> None:
        """A dead letter is confirmed."""
        words = f"{parcel.source}@{parcel.place} is a dead letter"
        self.say(words)
        if self._finish(parcel):
            self._dead(parcel.source, parcel.place, words)

    def _finish(self, parcel: Parcel) -> bool:
        """Note that the work on it is over for good; False when that is not the first time."""
        source, place, record = parcel.source, parcel.place, parcel.record
        if isinstance(record, ChannelRecord):
            record.finished(parcel.tag, place)
            fresh = self.queues[source].finished(place)
        else:
            fresh = self.partitions[source].finished(place, record)
        self.finished_by_name[source.name] += fresh
        self.poison_by_name[source.name] += fresh and parcel.facts.is_poison
        return fresh

    def _dead(self, source: Source, place: int, words: str) -> None:
        self.dead_lettered += 1
        traffic = self._traffic[source.name]
        facts = traffic.facts_at(source, place)
        if isinstance(source, Queue) and place not in self.queues[source].done:
            self.finished_by_name[source.name] += 1
            self.poison_by_name[source.name] += facts.is_poison
        if facts.is_poison:
            return
        self.wrongly_dead_lettered += 1
        if not any((need, facts.key) in self._victims or need in self._unlucky for need in traffic.spec.needs):
            self.complain("dead letters", f"{words}, and it is no poison")

    def called(self, *, failed: bool, wasted: bool) -> None:
        """A call to a dependency has ended for its caller."""
        self.calls += 1
        self.failed_calls += failed
        self.wasted_calls += wasted

    def counted(self, source: Source, number: int, count: int) -> None:
        """A queue shows this delivery count for one message."""
        if count:
            self.delivery_counts += count - self._counts.get((source, number), 0)
            self.highest_delivery_count = max(self.highest_delivery_count, count)
            self._counts[source, number] = count

    def lost(self) -> int:
        """How many messages are gone for good though they were not processed: committed past, or thrown away."""
        past = 0
        for record in self.partitions.values():
            first, end = (record.traffic.index_from(offset) for offset in (record.done.low, record.committed))
            past += sum(record.traffic.offset_of(index) not in record.done for index in range(first, end))
        return past
