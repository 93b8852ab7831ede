"""Fetching: the poll, and the pauses that decide what it may bring.

Polling: never cancelled, never all partitions by accident, and never deaf to a resume.

What happens when `more()` is called: a poll that does not wait takes what aiokafka has buffered, and that is the way of nearly every
record. Only when there is nothing does a waiting poll start, as a task of its own. `more()` then waits for it, or for `wake()`: a poll
that waits for other partitions does not notice that one was resumed, and a hot partition next to idle ones would stand still for the
rest of the wait each time its inbox had been full. The waiting poll is left alone, it ends by itself; until then it is asked for again
only for partitions it does not name.

A position moves in the step in which a poll hands out its records. `take` is called in that same step, so that no commit can run between
a position that has moved and records that nobody knows of.

Makes what is paused match the plan, again and again: a pause is a flag that every rebalance forgets.

Desired: every assigned partition whose plan does not fetch, and every one whose place in the log was not compared with the log's start
since it was assigned or held (retention.py): it is resumed only after that. And, for a moment, one that has just handed out much: aiokafka
fetches more in the step after that in which a poll has emptied a buffer, and the plan comes later. Actual: `paused()` of the client. The
difference is applied in one synchronous step. What the application paused itself is never resumed: only our own pauses are undone.

A new plan usually differs from the last one in one source of a thousand, so only what changed is looked at, and what was paused is
remembered; `look` asks the client, and finds what others did to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from itertools import compress
from operator import is_, is_not

from aiokafka import TopicPartition

from holdgate.brokers.kafka.assignments import AssignedPartitions, Record
from holdgate.brokers.kafka.client import NOWHERE, Client
from holdgate.flow.message import Partition, Source
from holdgate.flow.plan import Plan
from holdgate.tasks import begin_later

# Names are searched one after the other by aiokafka, for each buffered partition: with very many, throwing away the buffers of paused
# partitions and fetching them again (98 ms, once per resume) costs less than 64 x 64 comparisons in every poll.
_NAMES_AT_MOST = 64


class Poll:
    """The polls of one consumer. `timeout` is what one waits for in seconds, `most` the records that one hands out."""

    def __init__(self, client: Client, take: Callable[[dict[TopicPartition, list[Record]]], None], timeout: float, most: int) -> None:
        self._client = client
        self._take = take
        self._timeout = timeout
        self._most = most
        self._names: tuple[TopicPartition, ...] = (NOWHERE,)
        self._waiting: dict[asyncio.Task[None], frozenset[TopicPartition]] = {}
        self._wake: asyncio.Future[None] | None = None

    def name(self, assigned: frozenset[TopicPartition], paused: frozenset[TopicPartition]) -> None:
        """Poll these from now on: the assigned ones that are not paused."""
        active = assigned - paused
        if not active:
            self._names = (NOWHERE,)
        elif len(active) == len(assigned) or len(active) > _NAMES_AT_MOST:
            self._names = ()
        else:
            self._names = tuple(active)

    def wake(self) -> None:
        """There may be something to poll for that the waiting poll does not name."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def more(self, *, now: bool) -> bool:
        """Poll once: without waiting if `now`, then at most `timeout`. Returns whether records were taken without waiting.

        Raises what a poll raised.
        """
        if now and await self._once(self._names, 0):
            return True
        if not self._covered():
            names = self._names
            task = begin_later(self._wait(names), "kafka poll")
            self._waiting[task] = frozenset(names)
        self._wake = asyncio.get_running_loop().create_future()
        await asyncio.wait((*self._waiting, self._wake), timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        self._reap()
        return False

    async def end(self, within: float) -> bool:
        """Wait until no poll is under way, at most `within` seconds; returns whether none is."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=within)
        return not any(not task.done() for task in self._waiting)

    async def abandon(self) -> None:
        """End what is left when the consumer has stopped; a poll of a consumer that lives on ends by itself."""
        if self._client.is_stopped:
            for task in self._waiting:
                task.cancel()
            await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _once(self, names: tuple[TopicPartition, ...], timeout: float) -> bool:
        records = await self._client.getmany(names, timeout, self._most)
        if records:
            self._take(records)
        return bool(records)

    async def _wait(self, names: tuple[TopicPartition, ...]) -> None:
        await self._once(names, self._timeout)

    def _covered(self) -> bool:
        """Whether a poll under way would notice records of every partition polled for."""
        wanted = self._names
        return any(not named or (wanted and named.issuperset(wanted)) for named in self._waiting.values())

    def _reap(self) -> None:
        done = [task for task in self._waiting if task.done()]
        for task in done:
            del self._waiting[task]
        for task in done:
            task.result()


class Pauses:
    """The pauses of one consumer. `paused` is what is paused now, whoever did it."""

    def __init__(self, client: Client, assignments: AssignedPartitions) -> None:
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
