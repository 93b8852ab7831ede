"""Membership of the consumer group: which partitions are ours, and what a rebalance asks of us.

Theory of operation
===================

librdkafka calls back within `consume`: its thread waits until our coroutine on the event loop has ended, and so does every poll. Heartbeats
go on meanwhile. Three callbacks say what happens, of which none must raise:

    on_revoke   in order: the guard ends what runs, its offsets are committed within the callback, then the partitions are dropped
    on_lost     the group has put this member out, or another one has its partitions: nothing may be committed, and the guard forgets them
    on_assign   fresh partitions; they deliver nothing before the guard's plan is here

With an assignor that is not incremental (range, roundrobin), all partitions are revoked first and assigned anew. With cooperative-sticky
and `group.protocol=consumer` the callbacks have only what goes and what comes, and the rest is consumed before and after.

Where a partition goes on is decided here, and not by librdkafka: at the committed offset, or, without one, where the user's
auto.offset.reset says. A number is better than "the beginning", because lag is known immediately; and an offset that the log does not have
any more is then retention's doing, and no new group (settings.py).

A pause survives all of this in librdkafka. fetching.py remembers it, and resumes what is assigned and not held.

A doubt is for a process that stood still for as long as a session: others may have its partitions by now. They are lost until a commit
shows that the group still takes one from this member, or until the callbacks come. With `group.protocol=consumer` such a commit is no proof
that this member is alive in the group's eyes, but it is one that its partitions are nobody else's.

What is ugly: a commit that waits for a poll's callback when a rebalance begins can only be given up (client.py).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, KafkaException

from holdgate.brokers.commits import Commits
from holdgate.brokers.confluent.client import Asker, Client, CommitTooLate, place, said
from holdgate.brokers.confluent.deliveries import TopicPartition
from holdgate.brokers.confluent.fetching import Taps
from holdgate.brokers.partitions import AssignedPartition, AssignedPartitions
from holdgate.errors import IntakeError
from holdgate.flow.plan import Plan
from holdgate.tasks import run_beside, wait_at_most

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener

log = logging.getLogger(__name__)

# The part of the rebalance timeout in which we answer; the rest is for the join request to arrive.
_ANSWER_WITHIN = 0.9
# Seconds that the commit inside the callback may always take, even if the guard has used up the time. It takes a few milliseconds.
_COMMIT_AT_LEAST = 1.0
# Seconds between two questions to a group that does not answer; a commit is one small request.
_ASK_AGAIN_AFTER = 0.5


class Membership:
    """Keep `partitions` equal to what the group has assigned to this consumer, and report changes to the guard.

    `changed` is called when there may be something new to hand out; `failed` gets an error that ends the intake.
    """

    def __init__(
        self,
        client: Client,
        asker: Asker,
        partitions: AssignedPartitions,
        taps: Taps,
        commits: Commits,
        *,
        changed: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._asker = asker
        self._partitions = partitions
        self._taps = taps
        self._commits = commits
        self._changed = changed
        self._failed = failed
        self._asking: asyncio.Task[None] | None = None
        self._retired = False
        self.guard: IntakeListener | None = None
        self.chained: object = None

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group with our callbacks."""
        await self._client.subscribe(topics, self._on_assign, self._on_revoke, self._on_lost)

    def retire(self) -> None:
        """Answer no callback any more, and end a question to the group: the intake is closing."""
        self._retired = True
        if self._asking is not None:
            self._asking.cancel()

    def lose(self, tps: Collection[TopicPartition]) -> None:
        """Drop partitions that were taken away without a chance to finish their work."""
        sources = self._partitions.sources(tps)
        self._taps.shut(tps)
        if not sources:
            return
        self._commits.abandon()
        self._partitions.drop(tps)
        if self.guard is not None:
            self.guard.lost(sources)

    def doubt(self) -> None:
        """Lose all partitions until the group confirms this member: others may have them by now."""
        offsets = {found.tp: found.next_offset(self._client.position(found.tp)) for found in self._partitions}
        if not offsets or self._asking is not None:
            return
        log.warning(
            "this process stood still for so long that the group may have given its partitions to other members; "
            "it goes on when the group has answered"
        )
        self._commits.suspend()
        self.lose(offsets.keys())
        self._asking = run_beside(self._ask(offsets), "confluent membership", self._failed)

    def start_over(self, tp: TopicPartition) -> AssignedPartition:
        """Replace `tp` by a fresh partition: its messages do not follow those delivered before, as those of a topic that was made anew."""
        sources = self._partitions.sources([tp])
        self._commits.abandon()
        fresh = self._partitions.begin_anew(tp)
        if self.guard is not None:
            self.guard.lost(sources)
            self._taps.store(self.guard.assigned(sources))
        return fresh

    # -- The callbacks -------------------------------------------------------------------------------------------------------------------

    async def _on_assign(self, _consumer: object, parts: Sequence[Any]) -> None:
        tps = frozenset(map(place, parts))
        try:
            self._end_doubt()
            if not self._retired:
                starts = await self._starts(tps)
                await self._assign(starts)
                self._take_over({tp: start if start >= 0 else None for tp, start in starts.items()})
            await self._chain("on_partitions_assigned", tps)
        except Exception as error:  # noqa: BLE001 - librdkafka would pass it on to whatever polls
            self._failed(error)

    async def _assign(self, starts: dict[TopicPartition, int]) -> None:
        """Let librdkafka take partitions over. Raises IntakeError if it does not: no poll would bring any of them, or an error."""
        try:
            await self._client.assign(starts)
        except KafkaException as error:
            names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in sorted(starts))
            raise IntakeError(f"librdkafka has not taken over {names}: {said(error)}") from error

    async def _on_revoke(self, _consumer: object, parts: Sequence[Any]) -> None:
        tps = frozenset(map(place, parts))
        try:
            self._end_doubt()
            if not self._retired:
                await self._give_back(tps)
            await self._chain("on_partitions_revoked", tps)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)

    async def _on_lost(self, _consumer: object, parts: Sequence[Any]) -> None:
        tps = frozenset(map(place, parts))
        try:
            self._end_doubt()
            if not self._retired:
                self._client.give_up_commit()
                self.lose(tps)
            await self._chain("on_partitions_lost", tps)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)

    async def _chain(self, name: str, tps: frozenset[TopicPartition]) -> None:
        """Call the user's own listener, which has the methods of aiokafka's. One without a method for a loss gets a revocation."""
        call = getattr(self.chained, name, None) or (getattr(self.chained, "on_partitions_revoked", None) if "lost" in name else None)
        if call is not None:
            answer = call(set(tps))
            if inspect.isawaitable(answer):
                await answer

    async def _give_back(self, tps: frozenset[TopicPartition]) -> None:
        """End the work of these partitions, commit it and drop them, in time for the group whatever the guard and the broker do."""
        sources = self._partitions.sources(tps)
        self._commits.suspend()  # one of its own would wait for the poll that waits for us
        self._client.give_up_commit()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._client.settings.rebalance_timeout * _ANSWER_WITHIN
        try:
            if sources and self.guard is not None:
                await wait_at_most(self.guard.revoked(sources), "confluent revoked", end - loop.time())
        finally:
            with self._client.directly():
                await self._commits.revoke(tps, max(_COMMIT_AT_LEAST, end - loop.time()))
            self._partitions.drop(tps)
            self._taps.shut(tps)
            self._commits.resume()  # for those that stay

    def _take_over(self, starts: dict[TopicPartition, int | None]) -> None:
        self._partitions.add(starts.keys())
        self._taps.open(starts)
        plan = Plan() if self.guard is None else self.guard.assigned(self._partitions.sources(starts.keys()))
        self._taps.store(plan)
        self._commits.resume()
        self._changed()

    async def _starts(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where each goes on: an offset, or librdkafka's number for a place that it looks up by itself."""
        try:
            committed = await self._client.committed(tps)
        except KafkaException as error:
            log.warning("the group's offsets are not known (%s); librdkafka asks for them", said(error))
            return dict.fromkeys(tps, OFFSET_INVALID)  # by its own reset policy, which is the earliest
        new = [tp for tp in tps if committed.get(tp) is None]
        begins = await self._begins(new) if new else {}
        return {tp: begins[tp] if (offset := committed.get(tp)) is None else offset for tp in tps}

    async def _begins(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where a group begins that has committed nothing."""
        policy = self._client.reset_policy
        if policy == "none":
            names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in tps)
            raise IntakeError(
                f"group {self._client.settings.group_id!r} has no committed offset for {names} and auto.offset.reset='error': "
                "commit a starting offset for the group, or set auto.offset.reset='earliest'"
            )
        if policy == "latest":
            return {**dict.fromkeys(tps, OFFSET_END), **(await self._asker.log_ends(tps) or {})}
        return {**dict.fromkeys(tps, OFFSET_BEGINNING), **(await self._asker.log_starts(tps) or {})}

    # -- A doubt -------------------------------------------------------------------------------------------------------------------------

    def _end_doubt(self) -> None:
        """A callback came: it knows better than any answer, and `offsets` of a doubt are older than what others may have committed."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
            self._commits.resume()

    async def _ask(self, offsets: dict[TopicPartition, int | None]) -> None:
        """Ask until the group answers: if it takes a commit of this member, go on; if the callbacks come first, they end this.

        Of a partition whose offset is not known nothing has been delivered. If that is so of all of them there is nothing to commit, and
        librdkafka refuses that each time; so work goes on, and the next poll brings the callbacks if others have these partitions.
        """
        known = {tp: offset for tp, offset in offsets.items() if offset is not None}
        while known:
            try:
                await self._client.commit(known)
            except CommitTooLate:
                return  # the callbacks follow
            except KafkaException as error:
                log.info("the group has not answered yet: %s", said(error))
                await asyncio.sleep(_ASK_AGAIN_AFTER)
                continue
            break
        self._asking = None
        self._take_over(dict(offsets))
        for tp, offset in known.items():
            self._taps.seek(tp, offset)
