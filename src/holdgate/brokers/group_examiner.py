"""An examination of a consumer group: which questions are asked, in which order, and what is made of the answers.

Each client asks in its own way, and implements `GroupAnswers` for that. Nothing of it joins a group, commits or changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from holdgate.brokers.group_costs import Membership, Traffic, of_group, of_topic
from holdgate.brokers.group_facts import Diagnosis, PartitionFacts, TopicFacts, diagnose

Place: TypeAlias = Any  # a client's own pair of `topic` and `partition`, with a hash


class GroupAnswers(Protocol):
    """What a client must be able to ask about one group."""

    async def committed(self) -> Mapping[Place, int]:
        """Return the offset that the group has committed, for each partition where it has."""
        ...

    async def topics(self) -> Collection[str]:
        """Return the names of all topics that this user may see."""
        ...

    async def logs(self, topic: str) -> Mapping[Place, tuple[int, int]]:
        """Return where the log of each partition begins and ends, in the order of their numbers."""
        ...

    async def ages(self, first: Mapping[Place, int], now: float) -> Mapping[Place, float]:
        """Return how many seconds old the record at each of these offsets is, as far as this is found out in time."""
        ...

    async def offsets_since(self, places: Collection[Place], since: float) -> Mapping[Place, int] | None:
        """Return the first offset of each partition that is not older than `since`, in seconds since 1970. None means not known."""
        ...

    async def membership(self) -> Membership:
        """Return how the coordinator describes the group."""
        ...

    async def topic_settings(self, topic: str) -> Mapping[str, str]:
        """Return the settings of a topic; empty where this user may not see them."""
        ...

    async def broker_settings(self) -> Mapping[str, str]:
        """Return the settings of a broker; empty where this user may not see them."""
        ...


class GroupExaminer:
    """Examines one group. `now` is in seconds since 1970. `outage`: of how many seconds; None means that costs are not worked out.

    `reset` is what the client calls the setting that says where a group without offsets begins. `of_members` says what an outage costs the
    members of the group, by what is known of such clients.
    """

    def __init__(
        self,
        answers: GroupAnswers,
        group: str,
        now: float,
        outage: float | None,
        *,
        reset: str = "auto_offset_reset",
        of_members: Callable[[Membership, float], list[str]] = of_group,
    ) -> None:
        self._answers = answers
        self._group = group
        self._now = now
        self._outage = outage
        self._reset = reset
        self._of_members = of_members

    async def examine(self, topics: Collection[str]) -> list[Diagnosis]:
        """Return what would hurt, and the costs. Empty `topics` means those in which the group has committed something."""
        committed = await self._answers.committed()
        names = sorted(topics or {at.topic for at in committed})
        if not names:
            text = f"group {self._group!r} has committed nothing here, so its topics are not known: name them with --topic"
            return [Diagnosis(self._group, text, refused=True)]
        existing = set(await self._answers.topics())
        missing = [
            Diagnosis(name, "there is no such topic: create it, correct the name, or allow this user to describe it", refused=True)
            for name in names
            if name not in existing
        ]
        facts = [await self._topic(name, committed) for name in names if name in existing]
        costs = [] if self._outage is None else await self._costs(facts, self._outage)
        return missing + diagnose(self._group, facts, await self._offsets_kept(), reset=self._reset) + costs

    async def _topic(self, name: str, committed: Mapping[Place, int]) -> TopicFacts:
        logs = await self._answers.logs(name)
        first = {at: max(committed.get(at, begin), begin) for at, (begin, _) in logs.items()}
        ages = await self._answers.ages({at: offset for at, offset in first.items() if offset < logs[at][1]}, self._now)
        partitions = (PartitionFacts(at.partition, begin, end, committed.get(at), ages.get(at)) for at, (begin, end) in logs.items())
        return TopicFacts.from_settings(name, await self._answers.topic_settings(name), tuple(partitions))

    async def _offsets_kept(self) -> float | None:
        minutes = (await self._answers.broker_settings()).get("offsets.retention.minutes")
        return None if minutes is None else 60.0 * int(minutes)

    async def _costs(self, topics: Sequence[TopicFacts], outage: float) -> list[Diagnosis]:
        found = [(each.name, text) for each in topics for text in of_topic(await self._traffic(each, outage), outage)]
        found += [(self._group, text) for text in self._of_members(await self._answers.membership(), outage)]
        return [Diagnosis(about, text, refused=False, cost=True) for about, text in found]

    async def _traffic(self, topic: TopicFacts, outage: float) -> Traffic:
        ages = [each.oldest_age for each in topic.partitions if each.oldest_age is not None]
        return Traffic(
            topic.name,
            await self._came(topic, outage),
            waiting=sum(max(0, each.end - max(each.committed or 0, each.begin)) for each in topic.partitions),
            oldest_age=max(ages, default=None),
            retention=topic.retention,
        )

    async def _came(self, topic: TopicFacts, outage: float) -> int | None:
        """Return how many records came in as many seconds as the outage lasts."""
        places = list(await self._answers.logs(topic.name))
        found = await self._answers.offsets_since(places, self._now - outage)
        if found is None:
            return None
        first = {at.partition: offset for at, offset in found.items()}
        return sum(each.end - first.get(each.number, each.end) for each in topic.partitions)
