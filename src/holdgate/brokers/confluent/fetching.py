"""Fetching: what is consumed, what of it is kept back, and which partitions are paused.

Theory of operation: a pause is dear
====================================

librdkafka throws away what it has fetched of a partition when the partition is paused, and fetches it again after the resume: up to a
megabyte, and half a second until the first message. In a ramp or with a full inbox `fetch` of a plan goes off and on for every few
messages. With a pause for each, fifty times as much would be received as is handled.

So there are two ways to stop a partition. Each has its place:

    kept back   what is consumed of a partition that must not deliver stays in a list here (`Tap.kept`), and is handed out when the plan
                says so, without a word to the broker
    paused      when that list has as much as one fetch has at most. It is resumed when the list is empty and the plan fetches: then
                everything that was received has been handled, and one more fetch is worth its bytes

All partitions share one queue inside librdkafka, so one that delivers brings along what others have in front of it. There are two cases:

    something is hungry     `consume` takes as much as a receive may give. What comes of the others is kept back
    nothing is hungry       nothing needs to come, but rebalances and errors do: every half second one message is taken. A partition that
                            is held for as long as a fetch has messages, in half seconds, is paused by then, and no half second sooner

A pause outlives its assignment in librdkafka, even an `unsubscribe`. So `Taps` remembers for each partition whether it is paused, also
while another member has it.

Theory of operation: positions
==============================

`Tap.after` is where librdkafka goes on: one past the last message that came, or what an event at the log's end says, which has passed the
markers of transactions. The position, for commits, backlogs and retention, is that of the oldest message kept back, or `after`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from confluent_kafka import KafkaException, Message

from holdgate.brokers.confluent.client import Client
from holdgate.brokers.confluent.deliveries import TopicPartition, offset_of, weight_of
from holdgate.flow.inbox import OVERHEAD
from holdgate.flow.message import Partition
from holdgate.flow.plan import Plan
from holdgate.tasks import begin_later

# Seconds between two polls for rebalances alone, each of which brings a message that must be kept back. A group that rebalances waits so
# long for this member: it waits three seconds for the next heartbeat of each member anyway.
_IDLE_EVERY = 0.5

# Bytes that a record takes in a fetch beside its value, at least.
_IN_FETCH = 16


class Tap:
    """One assigned partition: whether it may deliver, what was consumed and is kept back, and where it goes on."""

    __slots__ = ("after", "kept", "opened", "seek_to", "weight")

    def __init__(self, after: int | None) -> None:
        self.opened = False
        self.kept: deque[Message] = deque()
        self.weight = 0  # bytes of what is kept back
        self.after = after
        self.seek_to: int | None = None  # where it is to go on instead; None means nowhere else

    @property
    def position(self) -> int | None:
        """Where the next message that is handed out stands. None means not known yet."""
        return offset_of(self.kept[0]) if self.kept else self.after

    @property
    def is_hungry(self) -> bool:
        return self.opened and not self.kept

    @property
    def fetched(self) -> int:
        """The bytes that what is kept back had in its fetch, about."""
        return self.weight - (OVERHEAD - _IN_FETCH) * len(self.kept)

    def keep(self, messages: Sequence[Message]) -> None:
        self.kept.extend(messages)
        self.weight += weight_of(messages)

    def take(self, most: int) -> list[Message]:
        """Return up to `most` messages of those kept back."""
        taken = [self.kept.popleft() for _ in range(min(most, len(self.kept)))]
        self.weight = self.weight - weight_of(taken) if self.kept else 0
        return taken

    def skip_to(self, at: int) -> None:
        """Go on at this offset when what is kept back has been handed out."""
        self.after = self.seek_to = at

    def forget(self) -> None:
        """Drop what is kept back."""
        self.kept.clear()
        self.weight = 0


class Taps:
    """The taps of all assigned partitions. `most` is how many messages a receive may give.

    A partition is paused when `enough` bytes of its fetches are kept back, or, with `bound`, so many bytes of this process's memory.

    Retention.py looks at these: `unchecked`, `due` and `checked`.
    """

    def __init__(self, client: Client, most: int, enough: int) -> None:
        self._client = client
        self._most = most
        self._enough = enough
        self._bound: float = math.inf
        self._plan = Plan()
        self._taps: dict[TopicPartition, Tap] = {}
        self._topics: frozenset[str] = frozenset()
        self.gaps: dict[TopicPartition, tuple[int, int]] = {}  # the first of each that nobody has looked at yet
        self._paused: set[TopicPartition] = set()  # in librdkafka, whether they are assigned or not

    def bound(self, memory: int) -> None:
        """Keep back at most about so many bytes of memory for each partition from now on."""
        self._bound = memory

    def give_at_most(self, most: int) -> None:
        """Give at most so many messages in one receive."""
        self._most = most

    # -- What is assigned, and the plan --------------------------------------------------------------------------------------------------

    def open(self, starts: Mapping[TopicPartition, int | None]) -> None:
        """Begin with these partitions, at these offsets; None is not known yet. None of them delivers before `store`."""
        for tp, start in starts.items():
            self._taps[tp] = Tap(start)
        self._topics = frozenset(tp.topic for tp in self._taps)

    def shut(self, tps: Collection[TopicPartition]) -> None:
        """Forget these, with what is kept back of them."""
        for tp in tps:
            self._taps.pop(tp, None)
            self.gaps.pop(tp, None)
        self._topics = frozenset(tp.topic for tp in self._taps)

    def store(self, plan: Plan) -> bool:
        """Keep `plan` as the desired state. Returns whether it holds a source that was not held."""
        before, self._plan = self._plan, plan
        holds = False
        for tp, tap in self._taps.items():
            wanted, had = plan.of(Partition(*tp)), before.of(Partition(*tp))
            tap.opened = wanted.fetch
            holds = holds or (wanted.held and not had.held)
        return holds

    def position(self, tp: TopicPartition) -> int | None:
        tap = self._taps.get(tp)
        return None if tap is None else tap.position

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on at this offset, with what is kept back forgotten."""
        tap = self._taps.get(tp)
        if tap is not None:
            tap.forget()
            tap.skip_to(offset)

    def of(self, tp: TopicPartition) -> Tap | None:
        return self._taps.get(tp)

    # -- What comes ----------------------------------------------------------------------------------------------------------------------

    @property
    def is_hungry(self) -> bool:
        """Whether a partition waits for messages, or none is there that could bring any."""
        return any(tap.is_hungry for tap in self._taps.values()) or not self._sated()

    @property
    def kept(self) -> int:
        """The bytes of what is kept back."""
        return sum(tap.weight for tap in self._taps.values())

    def sort(self, messages: Sequence[Message], *, events: bool) -> Iterator[tuple[TopicPartition, list[Message]]]:
        """Note what was consumed, and yield what may be delivered now, by partition.

        `events` is whether there are any that say that a log's end is reached. They move a position, and are no messages.
        """
        for tp, run in self._runs(messages):
            tap = self._taps.get(tp)
            # Without a tap it is of a partition that was taken away meanwhile: its next owner gets it.
            if tap is not None and tap.seek_to is None:
                yield from self._noted(tp, tap, run, events=events)

    def _runs(self, messages: Sequence[Message]) -> Iterator[tuple[TopicPartition, list[Message]]]:
        if len(self._topics) == 1:  # a call of C for each message instead of one of Python
            (topic,) = self._topics
            numbers = list(map(_partition_of, messages))
            if numbers.count(numbers[0]) == len(numbers):  # a fetch has thousands of one partition
                yield TopicPartition(topic, numbers[0]), list(messages)
                return
            for number, run in groupby(messages, _partition_of):
                yield TopicPartition(topic, number), list(run)
        else:
            for (topic, number), run in groupby(messages, _place_of):
                yield TopicPartition(topic, number), list(run)

    def _noted(self, tp: TopicPartition, tap: Tap, run: list[Message], *, events: bool) -> Iterator[tuple[TopicPartition, list[Message]]]:
        expected, tap.after = tap.after, offset_of(run[-1]) + (not events or run[-1].error() is None)
        if events:
            run = [message for message in run if message.error() is None]
            if not run:
                return
        if expected is not None and offset_of(run[0]) > expected:
            self.gaps.setdefault(tp, (expected, offset_of(run[0])))
        if not tap.is_hungry:
            tap.keep(run)
            return
        if len(run) > self._most:
            tap.keep(run[self._most :])
        yield tp, run[: self._most] if len(run) > self._most else run

    def release(self) -> Iterator[tuple[TopicPartition, list[Message]]]:
        """Yield what was kept back and may be delivered now."""
        for tp, tap in list(self._taps.items()):
            if tap.opened and tap.kept:
                yield tp, tap.take(self._most)

    # -- What librdkafka is told ---------------------------------------------------------------------------------------------------------

    @property
    def differs(self) -> bool:
        """Whether `match` has something to do."""
        return bool(self._to_pause() or self._to_resume() or any(tap.seek_to is not None for tap in self._taps.values()))

    async def match(self) -> None:
        """Pause, resume and seek what differs. Between two polls, so that it never waits for one."""
        pause, resume = self._to_pause(), self._to_resume()
        if pause:
            self._paused |= pause
            await self._client.pause(pause)
        for tp, tap in list(self._taps.items()):
            if tap.seek_to is not None:
                offset, tap.seek_to = tap.seek_to, None
                try:
                    await self._client.seek(tp, offset)
                except KafkaException:  # its fetches have not begun yet, or have ended: the next turn tries again
                    tap.seek_to = offset
        if resume:
            self._paused -= resume
            await self._client.resume(resume)

    def _to_pause(self) -> set[TopicPartition]:
        return {
            tp for tp, tap in self._taps.items() if (tap.fetched >= self._enough or tap.weight >= self._bound) and tp not in self._paused
        }

    def _to_resume(self) -> set[TopicPartition]:
        return {tp for tp in self._paused if tp in self._taps and self._taps[tp].is_hungry}

    def _sated(self) -> bool:
        """Return whether a partition could bring messages that nobody wants now."""
        return any(not tap.is_hungry and tp not in self._paused for tp, tap in self._taps.items())

    # -- What retention compares ---------------------------------------------------------------------------------------------------------

    @property
    def unchecked(self) -> frozenset[TopicPartition]:
        """The paused partitions: nothing else would show that retention passes them. What librdkafka has fetched of others is safe."""
        return frozenset(tp for tp in self._paused if tp in self._taps)

    def due(self) -> frozenset[TopicPartition]:
        """None waits for a comparison: what was fetched before is here, and a log that has lost the rest shows a gap (intake.py)."""
        return frozenset()

    def checked(self, tps: Collection[TopicPartition]) -> None:
        """Nothing waits for it."""


class Ahead:
    """Where librdkafka reads, for retention.py: what was deleted before it was read there is lost, and what is kept back is not."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps

    def position(self, tp: TopicPartition) -> int | None:
        tap = self._taps.of(tp)
        return None if tap is None else tap.after

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Read on at this offset."""
        tap = self._taps.of(tp)
        if tap is not None:
            tap.skip_to(offset)


class Poller:
    """Poll one consumer, one poll at a time, none of which is ever cancelled.

    `take` gets the messages of each, in the step in which they come. `timeout` is how many seconds a poll waits for the first one.
    """

    def __init__(self, client: Client, taps: Taps, take: Callable[[list[Message]], None], timeout: float, most: int) -> None:
        self._client = client
        self._taps = taps
        self._take = take
        self._timeout = timeout
        self.most = most
        self._turn: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._last = float("-inf")  # when a poll began, by the loop's clock

    def wake(self) -> None:
        """End the wait of `poll`: there may be something to hand out, or to tell librdkafka."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def poll(self) -> None:
        """Poll once, or wait for the poll under way, for at most `timeout`. Raises what a poll raised."""
        self._wake = asyncio.get_running_loop().create_future()
        waited: set[Any] = {self._wake}
        if self._turn is not None or self._is_due():
            waited.add(self._begin())
        await asyncio.wait(waited, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        self._reap()

    async def poll_until(self, work: asyncio.Future[Any]) -> None:
        """Poll, without waiting for messages, until `work` is done: it may wait for an answer that a poll brings."""
        while not work.done():
            turn = self._begin(0.0)
            await asyncio.wait((turn,))
            self._reap()
            await asyncio.wait((work,), timeout=_BETWEEN)

    async def end(self, within: float) -> bool:
        """Wait until no poll is under way, for at most `within` seconds. Returns whether none is."""
        if self._turn is not None:
            await asyncio.wait((self._turn,), timeout=within)
        return self._turn is None or self._turn.done()

    def _is_due(self) -> bool:
        if self._taps.is_hungry or self._taps.differs or self._client.has_commits:
            return True
        return asyncio.get_running_loop().time() - self._last >= (_AWAITS_EVERY if self._client.awaits_commit else _IDLE_EVERY)

    def _begin(self, timeout: float | None = None) -> asyncio.Task[None]:
        if self._turn is None:
            self._last = asyncio.get_running_loop().time()
            self._turn = begin_later(self._once(self._timeout if timeout is None else timeout), "confluent poll")
        return self._turn

    async def _once(self, timeout: float) -> None:
        await self._client.send_commits()
        await self._taps.match()
        hungry = self._taps.is_hungry
        messages = await self._client.consume(self.most if hungry else 1, timeout if hungry else 0)
        if messages:
            self._take(messages)

    def _reap(self) -> None:
        if self._turn is not None and self._turn.done():
            turn, self._turn = self._turn, None
            turn.result()


# Seconds between two polls that look for the answer to a commit while nothing else is wanted.
_AWAITS_EVERY = 0.1
# Seconds between two polls at the end of an intake, which wait for an answer alone.
_BETWEEN = 0.01


_partition_of: Callable[[Message], Any] = Message.partition


def _place_of(message: Message) -> tuple[Any, Any]:
    return message.topic(), message.partition()
