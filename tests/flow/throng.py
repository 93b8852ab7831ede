"""Many messages, some bad, some unlucky, and an outage that no need describes, by chance: who is rejected, and after how many attempts.

The error is always one that no need claims; what the innocent run into and what the bad ones raise is the same type, or they would be told
apart by it.
"""

from __future__ import annotations

import heapq
from random import Random
from typing import Any

from tests.flow.stage import Message, partitions, run_of

from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.engine import Engine
from holdgate.flow.events import OutageOver, OutageSuspected
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.state import Assignment

SECONDS = 0.01  # that a handler takes
_FED = 50  # as RabbitMQ's prefetch
_RETURNED = Attribution((), Cause.RETURNED)
_UNCLAIMED = Attribution((), Cause.MESSAGE, unclaimed="client.ConnectError")


class Throng:
    """Drives an engine whose run has no needs. `lanes` strict partitions, or one queue with so many lanes.

    `unlucky`: the share of innocent attempts that fail; `bad`: of messages that always do; `outage`: from when to when all fail.

    Afterwards `attempts` has those of each bad message that was rejected, `innocents` when the others that were rejected were.
    """

    def __init__(
        self,
        *,
        lanes: int,
        order: Order,
        seed: int,
        unlucky: float = 0.0,
        bad: float = 0.0,
        outage: tuple[float, float] = (0.0, 0.0),
        share: float = 1.0,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._random = Random(seed)
        self._unlucky = unlucky
        self._bad = bad
        self._outage = outage
        self._share = share  # of calls that fail in the outage
        self.now = 0.0
        self.engine = Engine(draw=self._random.random)
        self.run = run_of((), order=order, concurrency=lanes, rejects=True, retry=retry)
        self.engine.add_run(self.run)
        self.engine.assigned(self.run, partitions(lanes if order == "source" else 1), 0.0)
        self._ends: list[tuple[float, int, Delivery[Any]]] = []
        self._number = 0
        self._is_bad: set[Delivery[Any]] = set()
        self.attempts: list[int] = []
        self.innocents: list[float] = []
        self.finished = 0
        self.calls = 0
        self.calls_in_outage = 0
        self.events: list[OutageSuspected | OutageOver] = []

    def go(self, messages: int, seconds: float = 1e9) -> Throng:
        """Until so many messages are finished, or so much time has passed."""
        for assignment in self.run.assignments.values():
            for _ in range(2 if self.run.order == "source" else _FED):
                self._feed(assignment)
        while self.finished < messages and self.now < seconds:
            self._turn()
            while (delivery := self.engine.next(self.run, self.now)) is not None:
                self._start(delivery)
            times = [self._ends[0][0]] if self._ends else []
            deadline = self.engine.next_deadline()
            self.now = max(self.now, min(times + ([] if deadline is None else [deadline])))
            while self._ends and self._ends[0][0] <= self.now:
                self._end(heapq.heappop(self._ends)[2])
        return self

    def _turn(self) -> None:
        self.engine.turn(self.now)
        while self.engine.needs_turn:
            self.engine.turn(self.now)
        self.events += [event for event in self.engine.take_events() if isinstance(event, OutageSuspected | OutageOver)]

    def _feed(self, assignment: Assignment) -> None:
        self._number += 1
        message = Message(assignment.source, self._number)
        if self._random.random() < self._bad:
            self._is_bad.add(message)
        self.engine.received(self.run, [message])

    def _start(self, delivery: Delivery[Any]) -> None:
        self.calls += 1
        self.calls_in_outage += self._outage[0] <= self.now < self._outage[1]
        heapq.heappush(self._ends, (self.now + SECONDS * (0.5 + self._random.random()), self.calls, delivery))

    def _fails(self, delivery: Delivery[Any]) -> bool:
        is_out = self._outage[0] <= self.now < self._outage[1]
        return delivery in self._is_bad or self._random.random() < (max(self._share, self._unlucky) if is_out else self._unlucky)

    def _end(self, delivery: Delivery[Any]) -> None:
        if self._fails(delivery):
            verdict = self.engine.settle(delivery, _UNCLAIMED, "ConnectError", self.now)
        elif delivery.history is None:
            verdict = self.engine.succeeded(delivery, self.now)
        else:
            verdict = self.engine.settle(delivery, _RETURNED, "", self.now)
        if verdict is Verdict.AGAIN:
            return
        if verdict is Verdict.REJECT:
            self.engine.rejected(delivery, self.now)
            if delivery in self._is_bad:
                self._is_bad.remove(delivery)
                self.attempts.append(delivery.attempt)
            else:
                self.innocents.append(self.now)
        self.finished += 1
        self._feed(delivery.assignment)
