"""Makes what is paused match the plan, again and again: a pause is a flag that every rebalance forgets.

Desired: every assigned partition whose plan does not fetch, and every one whose place in the log was not compared with the log's start
since it was assigned or held (retention.py): it is resumed only after that. And, for a moment, one that has just handed out much: aiokafka
fetches more in the step after that in which a poll has emptied a buffer, and the plan comes later. Actual: `paused()` of the client. The
difference is applied in one synchronous step. What the application paused itself is never resumed: only our own pauses are undone.

A new plan usually differs from the last one in one source of a thousand, so only what changed is looked at, and what was paused is
remembered; `look` asks the client, and finds what others did to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import compress
from operator import is_, is_not

from aiokafka import TopicPartition

from holdgate.brokers.kafka.assignments import Assignments
from holdgate.brokers.kafka.client import Client
from holdgate.flow.plan import Plan
from holdgate.flow.sources import Partition, Source


class Pauses:
    """The pauses of one consumer. `paused` is what is paused now, whoever did it."""

    def __init__(self, client: Client, assignments: Assignments) -> None:
        self._client = client
        self._assignments = assignments
        self._plan = Plan()
        self._stopped: set[TopicPartition] = set()  # whose plan does not fetch
        self._unchecked: set[TopicPartition] = set()
        self._resting: set[TopicPartition] = set()
        self._ours: frozenset[TopicPartition] = frozenset()
        self.paused: frozenset[TopicPartition] = frozenset()

    def take_over(self, plan: Plan) -> None:
        """The assignment is a fresh one: nothing is paused any more, and no place is known to exist still."""
        self._ours = frozenset()
        self._unchecked = set(self._assignments.tps())
        self._plan = plan
        self._see_all()
        self.look()

    def store(self, plan: Plan) -> bool:
        """Keep `plan` as the desired state; returns whether a source is held that was not."""
        before, self._plan = self._plan, plan
        changed = _changes(before, plan)
        if changed is None:
            self._see_all()
            changed = plan.sources
        else:
            self._see(changed)
        return any(plan.of(source).held and not before.of(source).held for source in changed)

    def match(self) -> bool:
        """Apply the difference now; returns whether a partition was resumed."""
        wanted = self._assignments.tps() & (self._stopped | self._unchecked | self._resting)
        self.paused = self.paused.union(filter(self._client.is_paused, wanted - self.paused))  # by the application, just now
        pause = wanted - self.paused
        resume = (self._ours - wanted) & self.paused
        if pause:
            self._client.pause(pause)
        if resume:
            self._client.resume(resume)
        self._ours = (self._ours | pause) & wanted
        self.paused = (self.paused | pause) - resume
        return bool(resume)

    def look(self) -> bool:
        """The same, after a look at what is paused in truth."""
        self.paused = self._client.paused()
        return self.match()

    def rest(self, tp: TopicPartition) -> None:
        """Not to be fetched from until the plan counts with what was just handed out: `rested` tells that."""
        self._resting.add(tp)

    @property
    def rests(self) -> bool:
        """Whether anything waits for the plan."""
        return bool(self._resting)

    def rested(self) -> None:
        """The plan is up to date."""
        self._resting.clear()

    def give_up(self) -> None:
        """Undo our pauses: the consumer goes back to its owner."""
        self._client.resume(self._ours)
        self._ours = frozenset()

    @property
    def unchecked(self) -> frozenset[TopicPartition]:
        """Partitions whose place in the log is to be compared with its start."""
        return self._assignments.tps() & self._unchecked

    def due(self) -> frozenset[TopicPartition]:
        """Those of `unchecked` that only wait for the comparison: their plan fetches."""
        return self.unchecked - self._stopped if self._unchecked else frozenset()

    def suspect(self, tps: Collection[TopicPartition]) -> None:
        """The place of these in the log may not exist any more."""
        self._unchecked.update(tps)

    def checked(self, tps: Collection[TopicPartition]) -> None:
        """The place of these was compared, or cannot be: they are fetched from when their plan says so."""
        self._unchecked.difference_update(tps)

    def _see_all(self) -> None:
        self._stopped.clear()
        self._see(assignment.source for assignment in self._assignments)

    def _see(self, sources: Iterable[Source]) -> None:
        for source in sources:
            if isinstance(source, Partition):
                plan, tp = self._plan.of(source), TopicPartition(source.topic, source.number)
                (self._stopped.discard if plan.fetch else self._stopped.add)(tp)
                if plan.held:
                    self._unchecked.add(tp)


def _changes(before: Plan, after: Plan) -> Collection[Source] | None:
    """The sources whose plan is another one; None when there are other sources than before."""
    old, new = before.sources, after.sources
    if len(old) != len(new) or not all(map(is_, old, new)):
        return None
    return list(compress(new, map(is_not, old.values(), new.values())))
