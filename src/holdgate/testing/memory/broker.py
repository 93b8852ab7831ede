"""The in-memory broker: what a test produces to, disturbs, and inspects afterwards; and the bell that wakes waiting intakes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from holdgate.flow.message import Partition, Source
from holdgate.testing.memory.message import Ledger, Message
from holdgate.testing.memory.models import Broker, QueueSettings


class Bell:
    """Wakes all tasks that wait when it rings.

    Check the state first, and then wait, without an await in between: so no ring can fall into the gap. The bell is built from futures and
    loop timers alone, so that it works on a loop with virtual time.
    """

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], None] = {}  # in the order in which they came, the same in every process

    def ring(self) -> None:
        """Wake all that wait now. Later ones wait for the next ring."""
        for waiter in tuple(self._waiters):
            _wake(waiter)

    async def wait(self, timeout: float | None = None) -> None:
        """Wait for a ring, at most `timeout` seconds, and do not report which came first. None means without a limit."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _wake, waiter)
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)
            if timer is not None:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


_NOTHING: Mapping[str, int] = MappingProxyType({})


class Droppable(Protocol):
    """What `MemoryBroker.drop` can cut off: every `MemoryIntake`."""

    def drop(self) -> None: ...


class MemoryBroker:
    """Topics and queues in this process, for `MemoryIntake`.

    `topics` maps each topic to its number of partitions. `queues` names classic queues (`create_queue` makes other kinds). Everything acts
    immediately and in one event loop. Time is the loop's, so that a test under `run_virtual` waits for nothing. Not thread-safe.
    """

    def __init__(self, *, topics: Mapping[str, int] = _NOTHING, queues: Collection[str] = ()) -> None:
        self.model = Broker()
        self._bells: list[Bell] = []
        self._others: dict[str, set[str]] = {}
        self._timers: dict[str, tuple[float, asyncio.Handle]] = {}  # and for when each was set
        self._names = 0
        for topic, partitions in topics.items():
            self.create_topic(topic, partitions)
        for queue in queues:
            self.create_queue(queue)

    @property
    def ledger(self) -> Ledger:
        """Everything that happened, oldest first, as (event, source, position)."""
        return self.model.ledger

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic. Raises ValueError for a name that is taken."""
        self.model.create_topic(name, partitions)

    def create_queue(self, name: str, settings: QueueSettings | None = None) -> None:
        """Make a queue. `settings` None means a classic one. Raises ValueError for a name that is taken."""
        self.model.create_queue(name, settings)

    def delete(self, name: str) -> None:
        """Delete a topic or queue. An intake that reads from it fails with IntakeError at its next receive."""
        self.model.delete(name)
        self.changed()

    def produce(
        self,
        name: str,
        body: bytes | None,
        key: bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        *,
        partition: int | None = None,
    ) -> tuple[Source, Message]:
        """Store one message in a topic or queue, and return where it went.

        `partition` None means that equal keys share a partition, and that messages without a key take the partitions in turn. Raises
        LookupError for a name that does not exist.
        """
        stored = self.model.produce(name, body, self.now(), key=key, headers=headers, partition=partition)
        self.changed()
        return stored

    def committed(self, group: str) -> Mapping[Partition, int]:
        """Return the next offset per partition that the group has committed. Partitions without a commit are left out."""
        return dict(self.model.group(group).committed)

    def waiting(self, source: Source, group: str = "holdgate") -> Sequence[Message]:
        """Return what a new consumer would get, oldest first: from the group's commit on, or all that is not settled in a queue."""
        return self.model.waiting(source, group)

    def members(self, group: str) -> Collection[str]:
        """Return the names of a group's members, intakes and others."""
        return tuple(self.model.group(group).members)

    def rebalance(self, group: str) -> None:
        """Take every partition of the group away and deal them anew, without a change of members."""
        self.model.group(group).rebalance(self.now())
        self.changed()

    def add_member(self, group: str, topics: Collection[str] | None = None) -> str:
        """Add a member to the group that takes a share of the partitions and does nothing with them, and return its name.

        `topics` None means all of them.
        """
        member = self.new_name("other")
        self._others.setdefault(group, set()).add(member)
        self.model.group(group).join(member, self.model.topics if topics is None else topics, self.now())
        self.changed()
        return member

    def remove_member(self, group: str, member: str) -> None:
        """Remove a member that `add_member` made. Its partitions go to those that stay."""
        self._others.get(group, set()).discard(member)
        self.model.group(group).leave(member, self.now())
        self.changed()

    def drop(self, intake: Droppable) -> None:
        """Cut an intake off: evict it from its group, or close its channels. The intake loses its sources, and comes back by itself."""
        intake.drop()
        self.changed()

    def now(self) -> float:
        """Return the seconds of the running loop's clock; without a loop the monotonic time, which is what a real loop's clock shows."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()

    # -- for the intakes --------------------------------------------------------------------------------------------------------------

    def watch(self, bell: Bell) -> None:
        """Ring `bell` at every change from now on."""
        self._bells.append(bell)

    def unwatch(self, bell: Bell) -> None:
        """Stop ringing `bell`."""
        self._bells.remove(bell)

    def new_name(self, kind: str) -> str:
        """Return a member's name that no other member has."""
        self._names += 1
        return f"{kind}-{self._names}"

    async def joining(self) -> None:
        """Wait until a member that has joined may get its first partitions. Here that is immediately, while a real group waits."""

    def changed(self) -> None:
        """Let added members rejoin, bring the timers up to date and ring every bell, after a change of the model."""
        for name, members in self._others.items():
            for member in members:
                self.model.groups[name].rejoin(member)
        for name in self.model.groups:
            self._watch_deadline(name)
        for bell in self._bells:
            bell.ring()

    def _watch_deadline(self, name: str) -> None:
        deadline = self.model.groups[name].next_deadline()
        at, timer = self._timers.get(name, (None, None))
        if at == deadline:
            return
        if timer is not None:
            self._timers.pop(name)[1].cancel()
        if deadline is not None:
            self._timers[name] = deadline, asyncio.get_running_loop().call_at(deadline, self._expire, name)

    def _expire(self, name: str) -> None:
        del self._timers[name]
        self.model.groups[name].expire(self.now())
        self.changed()
