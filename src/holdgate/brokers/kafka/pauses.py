"""Makes what is paused match the plan, again and again: a pause is a flag that every rebalance forgets.

Desired: every assigned partition whose plan does not fetch, and every one whose place in the log was not compared with the log's start
since it was assigned or held (retention.py): it is resumed only after that. Actual: `assignment()` and `paused()`. The difference is
applied in one synchronous step. What the application paused itself is never resumed: only our own pauses are undone.
"""

from __future__ import annotations

from collections.abc import Collection

from aiokafka import TopicPartition

from holdgate.brokers.kafka.assignments import Assignments
from holdgate.brokers.kafka.client import Client
from holdgate.flow.plan import Plan


class Pauses:
    """The pauses of one consumer."""

    def __init__(self, client: Client, assignments: Assignments) -> None:
        self._client = client
        self._assignments = assignments
        self._plan = Plan()
        self._ours: frozenset[TopicPartition] = frozenset()
        self._unchecked: set[TopicPartition] = set()
        self.paused: frozenset[TopicPartition] = frozenset()

    def take_over(self, plan: Plan) -> None:
        """The assignment is a fresh one: nothing is paused any more, and no place is known to exist still."""
        self._ours = frozenset()
        self._unchecked = set(self._assignments.tps())
        self.store(plan)
        self.match()

    def store(self, plan: Plan) -> bool:
        """Keep `plan` as the desired state; returns whether a source is held that was not."""
        before, self._plan = self._plan, plan
        return any(wanted.held and not before.of(source).held for source, wanted in plan.sources.items())

    def match(self) -> bool:
        """Apply the difference now; returns whether a partition was resumed."""
        wanted = self._wanted()
        paused = self._client.paused()
        pause = wanted - paused
        resume = (self._ours - wanted) & paused
        if pause:
            self._client.pause(pause)
        if resume:
            self._client.resume(resume)
        self._ours = (self._ours | pause) & wanted
        self.paused = (paused | pause) - resume
        return bool(resume)

    def give_up(self) -> None:
        """Undo our pauses: the consumer goes back to its owner."""
        self._client.resume(self._ours)
        self._ours = frozenset()

    @property
    def unchecked(self) -> frozenset[TopicPartition]:
        """Partitions whose place in the log is to be compared with its start."""
        return frozenset(self._unchecked & self._assignments.tps())

    def due(self) -> frozenset[TopicPartition]:
        """Those of `unchecked` that only wait for the comparison: their plan fetches."""
        return frozenset(tp for tp in self._unchecked if (found := self._assignments.get(tp)) and self._plan.of(found.source).fetch)

    def suspect(self, tps: Collection[TopicPartition]) -> None:
        """The place of these in the log may not exist any more."""
        self._unchecked.update(tps)

    def checked(self, tps: Collection[TopicPartition]) -> None:
        """The place of these was compared, or cannot be: they are fetched from when their plan says so."""
        self._unchecked.difference_update(tps)

    def _wanted(self) -> frozenset[TopicPartition]:
        wanted: set[TopicPartition] = set()
        for assignment in self._assignments:
            plan = self._plan.of(assignment.source)
            if plan.held:
                self._unchecked.add(assignment.tp)
            if not plan.fetch or assignment.tp in self._unchecked:
                wanted.add(assignment.tp)
        return frozenset(wanted)
