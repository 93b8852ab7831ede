"""The two ends of an intake's life with its consumer: take it in hand, and give it back or stop it. Both are bounded.

An unstarted consumer is ours: started here, stopped at the end. A started one stays its caller's: it is subscribed again with our
listener, and at the end it is put back to the first record that was not finished, with nothing of ours paused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from aiokafka.errors import KafkaError

from holdgate.brokers.kafka.assignments import Assignments
from holdgate.brokers.kafka.client import Client
from holdgate.brokers.kafka.failures import end_of_intake
from holdgate.brokers.kafka.pauses import Pauses
from holdgate.brokers.kafka.rebalance import OwnedListener
from holdgate.errors import IntakeError
from holdgate.tasks import begin_later

log = logging.getLogger(__name__)

# A join waits for the slowest member to give its partitions back: rebalance_timeout_ms, 10 s by default here; Java's
# max.poll.interval.ms is 5 minutes, but a member that needs a minute and a half of it is one to be told of.
_START_WITHIN = 90.0
# stop() took 3.8 s in the middle of a join; with its coordinator away it may never return.
_STOP_WITHIN = 10.0
# A process that is to go before it had anything in hand, or with its loop: a broker in reach has answered by then, others are left.
GIVE_UP_WITHIN = 0.25


class Opening:
    """One consumer, taken in hand and let go."""

    def __init__(self, client: Client, assignments: Assignments, pauses: Pauses) -> None:
        self._client = client
        self._assignments = assignments
        self._pauses = pauses
        self._starting: asyncio.Task[None] | None = None
        self._listener: OwnedListener | None = None
        self._is_ours = True

    def subscribe(self, topics: Collection[str] | None, pattern: str | None, listener: OwnedListener) -> None:
        """Subscribe with `listener`: to these, or to what the consumer was subscribed to already."""
        self._listener = listener
        pattern = pattern if pattern is not None else self._client.pattern
        self._client.subscribe(topics if topics is not None else self._client.topics, pattern, listener)

    @property
    def is_subscribed_by_others(self) -> bool:
        """Whether somebody subscribed the consumer again, so that our listener hears nothing any more."""
        return self._listener is not None and self._client.listener is not self._listener

    async def start(self) -> None:
        """Start a consumer that is not started. Raises IntakeError with the remedy."""
        self._is_ours = not self._client.is_started
        if not self._is_ours:
            return
        self._starting = begin_later(self._client.start(), "kafka start")
        await asyncio.wait((self._starting,), timeout=_START_WITHIN)
        if not self._starting.done():
            raise IntakeError(
                f"group {self._client.group_id!r} gave no assignment within {_START_WITHIN:g} s: is its coordinator up, "
                "and does every member answer a rebalance in time (rebalance_timeout_ms, Java: max.poll.interval.ms)?"
            )
        try:
            self._starting.result()
        except KafkaError as error:
            fallback = IntakeError(f"the consumer could not start at {self._client.bootstrap_servers}: {error!r}")
            raise end_of_intake(error, self._client) or fallback from error

    async def let_go(self, *, given_up: bool = False) -> None:
        """Stop a consumer that is ours; hand back one that is the caller's. `given_up`: nobody waits any more, as it was
        being opened, or the loop shuts down."""
        within = GIVE_UP_WITHIN if given_up else _STOP_WITHIN
        if self._starting is None and self._client.is_started:
            self._is_ours = False
        if self._starting is not None and not self._starting.done():
            if given_up:  # a group that answers now is left in order, and the others need not wait for a session timeout
                await asyncio.wait((self._starting,), timeout=within)
            self._starting.cancel()
            await asyncio.wait((self._starting,), timeout=within)
            if given_up:
                await self._client.give_up_joining()
        if self._is_ours:
            await self._stop(within, cuts=given_up)
        elif not self._client.is_stopped:
            self._hand_back()
        if self._listener is not None:
            self._listener.retire()

    async def _stop(self, within: float, *, cuts: bool) -> None:
        """In a task of its own: cancelled at its first step, stop() leaves a member that keeps its partitions as long as we live. `cuts`:
        the broker's answer is not worth waiting for, and the connections are closed under it."""
        stopping = begin_later(self._client.stop(), "kafka stop")
        done, _ = await asyncio.wait((stopping,), timeout=within)
        if not done and cuts:
            self._client.cut()
            done, _ = await asyncio.wait((stopping,), timeout=within)
        if not done:
            log.warning("the consumer did not stop within %g s; the group will notice after its session timeout", within)

    def _hand_back(self) -> None:
        self._pauses.give_up()
        for assignment in self._assignments:
            next_offset = assignment.next_offset(self._client.position(assignment.tp))
            if next_offset is not None and assignment.tp in self._client.assignment():
                self._client.seek(assignment.tp, next_offset)
