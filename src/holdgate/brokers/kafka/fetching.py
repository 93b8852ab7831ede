"""Fetching: the polls of one consumer, and the pauses that decide which partitions a poll may bring.

Theory of operation: polls
==========================

`Poller.poll()` first polls without waiting, which takes what aiokafka has buffered. Nearly every record comes this way. Only if there is
nothing does a waiting poll start, in a task of its own, and `poll()` waits for that task or for `wake()`. Three races shape the rest:

- A poll is never cancelled. aiokafka moves a partition's position when it takes the records out of its buffer, before the caller has them.
  A cancellation between the two would skip them silently.
- Records are noted before anything else can run. `take` is called in the step in which a poll hands out its records. With an `await` in
  between, a commit could run there: it would see the position moved and nothing unfinished, and commit records that no handler has seen.
- A resume must not wait. Say A is paused because its inbox is full, and a waiting poll names B and C, which are idle. A's inbox drains and
  A is resumed, but the poll under way does not name A and notices nothing for the rest of its timeout. So `wake()` ends the wait of
  `poll()`, though not the poll, and the next call starts a second poll that names A. A partition that a poll under way already names
  starts no further one, so there are few of them.

Theory of operation: pauses
===========================

`Pauses` makes what is paused match the plan, again and again, because a pause is a flag that every rebalance forgets.

    desired     paused are the partitions whose plan does not fetch; those whose position was not compared with the log's start since they
                were assigned or held (retention.py); and those that have just handed out much, until there is a newer plan
    actual      `paused()` of the client
    applied     the difference, in one step without `await`

The last kind is for a race with aiokafka, which fetches again in the step after a poll has emptied a buffer. The guard's plan takes those
records into account only later, and by then the next fetch is on its way.

Only pauses that we set are undone: what the application paused stays paused. A new plan usually differs from the last one in one source of
a thousand, so `store` looks at what changed, and `match` uses what it remembers to be paused. `refresh` asks the client, and so finds what
others did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from itertools import compress
from operator import is_, is_not

from aiokafka import TopicPartition

from holdgate.brokers.kafka.client import NO_PARTITION, Client
from holdgate.brokers.kafka.deliveries import Record
from holdgate.brokers.partitions import AssignedPartitions
from holdgate.flow.message import Partition, Source
from holdgate.flow.plan import Plan
from holdgate.tasks import begin_later

# aiokafka compares each buffered partition with each name. Above this many a poll names none, and aiokafka throws away the buffers of
# paused partitions: fetching them again (98 ms, once per resume) costs less than 64 x 64 comparisons in every poll.
_NAMES_AT_MOST = 64


class Poller:
    """Poll one consumer.

    `take` gets the records of each poll, in the step in which they are handed out. `timeout` is how many seconds a waiting poll waits,
    `most` how many records one poll may hand out.
    """

    def __init__(self, client: Client, take: Callable[[dict[TopicPartition, list[Record]]], None], timeout: float, most: int) -> None:
        self._client = client
        self._take = take
        self._timeout = timeout
        self._most = most
        self._names: tuple[TopicPartition, ...] = (NO_PARTITION,)
        self._waiting: dict[asyncio.Task[None], frozenset[TopicPartition]] = {}
        self._wake: asyncio.Future[None] | None = None

    def poll_only(self, assigned: frozenset[TopicPartition], paused: frozenset[TopicPartition]) -> None:
        """Poll the assigned partitions that are not paused from now on."""
        active = assigned - paused
        if not active:
            self._names = (NO_PARTITION,)
        elif len(active) == len(assigned) or len(active) > _NAMES_AT_MOST:
            self._names = ()
        else:
            self._names = tuple(active)

    def wake(self) -> None:
        """End the wait of `poll`: there may be records that the poll under way does not name. That poll goes on."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def poll(self, *, now: bool) -> bool:
        """Poll once: first without waiting if `now`, then for at most `timeout`. Returns whether records came without waiting.

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
        """Wait until no poll is under way, for at most `within` seconds. Returns whether none is."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=within)
        return not any(not task.done() for task in self._waiting)

    async def abandon(self) -> None:
        """Cancel the polls that are left if the consumer has stopped. A poll of a consumer that lives on ends by itself."""
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
        """Return whether a poll under way would notice records of every partition that is to be polled."""
        wanted = self._names
        return any(not named or (wanted and named.issuperset(wanted)) for named in self._waiting.values())

    def _reap(self) -> None:
        done = [task for task in self._waiting if task.done()]
        for task in done:
            del self._waiting[task]
        for task in done:
            task.result()


class Pauses:
    """Make the pauses of one consumer match the plan. `paused` is everything that is paused now, by us or by the application."""

    def __init__(self, client: Client, partitions: AssignedPartitions) -> None:
        self._client = client
        self._partitions = partitions
        self._plan = Plan()
        self._stopped: set[TopicPartition] = set()  # their plan does not fetch
        self._unchecked: set[TopicPartition] = set()
        self._awaiting_plan: set[TopicPartition] = set()
        self._ours: frozenset[TopicPartition] = frozenset()
        self.paused: frozenset[TopicPartition] = frozenset()

    def take_over(self, plan: Plan) -> None:
        """Start with a fresh assignment: nothing is paused any more, and no position was compared with the log's start."""
        self._ours = frozenset()
        self._unchecked = set(self._partitions.tps())
        self._plan = plan
        self._see_all()
        self.refresh()

    def store(self, plan: Plan) -> bool:
        """Keep `plan` as the desired state. Returns whether it holds a source that was not held."""
        before, self._plan = self._plan, plan
        changed = _changes(before, plan)
        if changed is None:
            self._see_all()
            changed = plan.sources
        else:
            self._see(changed)
        return any(plan.of(source).held and not before.of(source).held for source in changed)

    def match(self) -> bool:
        """Pause and resume what differs from the plan. Returns whether a partition was resumed."""
        wanted = self._partitions.tps() & (self._stopped | self._unchecked | self._awaiting_plan)
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

    def refresh(self) -> bool:
        """Ask the client what is paused, then `match`."""
        self.paused = self._client.paused()
        return self.match()

    def await_plan(self, tp: TopicPartition) -> None:
        """Pause `tp` until `plan_is_current`: the plan does not count the records yet that it has just handed out."""
        self._awaiting_plan.add(tp)

    @property
    def awaits_plan(self) -> bool:
        """Whether a partition is paused until the plan is up to date."""
        return bool(self._awaiting_plan)

    def plan_is_current(self) -> None:
        """Note that the plan counts everything that was handed out."""
        self._awaiting_plan.clear()

    def undo(self) -> None:
        """Resume what we paused, before the consumer goes back to its owner."""
        self._client.resume(self._ours)
        self._ours = frozenset()

    @property
    def unchecked(self) -> frozenset[TopicPartition]:
        """The assigned partitions whose position is to be compared with the log's start."""
        return self._partitions.tps() & self._unchecked

    def due(self) -> frozenset[TopicPartition]:
        """Return those of `unchecked` whose plan fetches: they are paused for the comparison alone."""
        return self.unchecked - self._stopped if self._unchecked else frozenset()

    def recheck(self, tps: Collection[TopicPartition]) -> None:
        """Compare these again before they are fetched from: the records at their position may be deleted."""
        self._unchecked.update(tps)

    def checked(self, tps: Collection[TopicPartition]) -> None:
        """Let these be fetched from when their plan says so: they were compared, or cannot be."""
        self._unchecked.difference_update(tps)

    def _see_all(self) -> None:
        self._stopped.clear()
        self._see(partition.source for partition in self._partitions)

    def _see(self, sources: Iterable[Source]) -> None:
        for source in sources:
            if isinstance(source, Partition):
                plan, tp = self._plan.of(source), TopicPartition(source.topic, source.number)
                (self._stopped.discard if plan.fetch else self._stopped.add)(tp)
                if plan.held:
                    self._unchecked.add(tp)


def _changes(before: Plan, after: Plan) -> Collection[Source] | None:
    """Return the sources whose plan differs. None means that the sources themselves are not the same as before."""
    old, new = before.sources, after.sources
    if len(old) != len(new) or not all(map(is_, old, new)):
        return None
    return list(compress(new, map(is_not, old.values(), new.values())))
