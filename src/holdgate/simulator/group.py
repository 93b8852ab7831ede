"""A consumer group: who is in it, who has which partition, and what is committed. The eager protocol, the only one of aiokafka.

A change of membership begins a *rebalance*: every member is asked to give everything back and to join again. When all have, the next
generation begins with a fresh assignment. Who has not within the rebalance timeout is evicted and finds out later.

What a commit may do follows the broker: a member may commit until it has joined again, so also while it gives back; between joining
again and the next generation, or with an old generation, it is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from holdgate.flow.message import Partition
from holdgate.simulator.ledger import Ledger


class Group:
    """The coordinator's state of one group.

    `partitions` tells how many partitions each topic has, and is read at each assignment. `rebalance_timeout` is in seconds.
    """

    def __init__(self, partitions: Mapping[str, Collection[object]], rebalance_timeout: float, ledger: Ledger) -> None:
        self.rebalance_timeout = rebalance_timeout
        self.generation = 0
        self.committed: dict[Partition, int] = {}
        self._partitions = partitions
        self._ledger = ledger
        self._topics: dict[str, frozenset[str]] = {}
        self._assignment: dict[str, tuple[Partition, ...]] = {}
        self._joined: set[str] = set()
        self._deadline: float | None = None  # not None: a rebalance is under way

    @property
    def members(self) -> Collection[str]:
        """Who is in the group now."""
        return self._topics.keys()

    @property
    def is_rebalancing(self) -> bool:
        """Whether members are still asked to give back and join again."""
        return self._deadline is not None

    def next_deadline(self) -> float | None:
        """When `expire` will matter; None when everybody has what is theirs."""
        return self._deadline

    def assignment(self, member: str) -> tuple[Partition, ...]:
        """The partitions of `member` in the current generation; none for a stranger, and none while a rebalance is under way."""
        return () if self.is_rebalancing else self._assignment.get(member, ())

    def must_rejoin(self, member: str) -> bool:
        """Whether the group waits for this member to give back and join again."""
        return self.is_rebalancing and member in self._topics and member not in self._joined

    def join(self, member: str, topics: Collection[str], now: float) -> None:
        """A new member, or one that was evicted and comes back; a rebalance begins."""
        self._topics[member] = frozenset(topics)
        self._begin(now)
        self._joined.add(member)
        self._complete()

    def rejoin(self, member: str) -> None:
        """A member has given everything back; from now on it may not commit until the next generation. A stranger is ignored."""
        if self.must_rejoin(member):
            self._joined.add(member)
            self._complete()

    def leave(self, member: str, now: float) -> None:
        """A member is gone, by its own will or evicted; the others share its partitions."""
        if self._topics.pop(member, None) is None:
            return
        self._assignment.pop(member, None)
        self._begin(now)
        self._complete()

    def rebalance(self, now: float) -> None:
        """Begin a rebalance though nobody came or went, as a change of the topic's partitions does."""
        if self._topics:
            self._begin(now)

    def expire(self, now: float) -> Collection[str]:
        """Evict who has not joined again in time; returns them."""
        if self._deadline is None or now < self._deadline:
            return ()
        late = self._topics.keys() - self._joined
        for member in late:
            del self._topics[member]
        self._complete()
        return late

    def commit(self, member: str, generation: int, offsets: Mapping[Partition, int]) -> bool:
        """Store the next offset to read per partition, all or none; returns whether they were accepted."""
        owned = self._assignment.get(member, ())
        if generation != self.generation or not all(partition in owned for partition in offsets):
            return False
        if self.is_rebalancing and member in self._joined:
            return False
        for partition, offset in offsets.items():
            self.committed[partition] = offset
            self._ledger.note("committed", partition, offset)
        return True

    def _begin(self, now: float) -> None:
        if self._deadline is None:
            self._deadline = now + self.rebalance_timeout
            self._joined.clear()

    def _complete(self) -> None:
        if self._topics.keys() <= self._joined:
            self._deadline = None
            self.generation += 1
            self._assignment = self._deal()

    def _deal(self) -> dict[str, tuple[Partition, ...]]:
        # Round robin over the sorted members, as aiokafka's default assignor does: with one partition the rest have nothing.
        hands: dict[str, list[Partition]] = {member: [] for member in sorted(self._topics)}
        turn = 0
        for topic in sorted(frozenset[str]().union(*self._topics.values())):
            takers = [member for member in hands if topic in self._topics[member]]
            for number in range(len(self._partitions.get(topic, ()))):
                hands[takers[turn % len(takers)]].append(Partition(topic, number))
                turn += 1
        return {member: tuple(hand) for member, hand in hands.items()}
