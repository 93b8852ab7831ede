"""Many messages on eight partitions in strict order, by chance: what becomes of the innocent and of the poison."""

from __future__ import annotations

import heapq
from random import Random
from typing import Any

from tests.flow.stage import Message, dependency_failed, partitions, returned, run_of

from holdgate.core import Circuit
from holdgate.core.events import CircuitOpened
from holdgate.flow.engine import Engine
from holdgate.flow.message import Delivery
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.state import Assignment

LANES = 8
SECONDS = 0.01  # that a handler takes
# So short that a poison message is rejected before chance puts one at the head of every lane, which is an outage to whoever looks.
RETRY = RetryPolicy(initial_backoff=0.05, max_backoff=0.1)


class Crowd:
    """Drives an engine with default settings. `failing`: the share of innocent attempts that fail; `poison`: of messages that always do;
    `watched`: the circuit never opens.

    Afterwards `attempts` has those of each rejected poison message, `innocents` the number of the others that were rejected.
    """

    def __init__(self, failing: float, poison: float, *, seed: int, watched: bool = False) -> None:
        self._random = Random(seed)
        self._failing = failing
        self._poison = poison
        self.now = 0.0
        self.engine = Engine(draw=self._random.random)
        circuit = self.engine.add_gate(Circuit("payments", draw=self._random.random)).circuit
        if watched:
            circuit.observe(0.0)
        self.run = run_of(["payments"], rejects=True, retry=RETRY)
        self.engine.add_run(self.run)
        self._sources = partitions(LANES)
        self.engine.assigned(self.run, self._sources, 0.0)
        self._ends: list[tuple[float, int, Delivery[Any], bool]] = []
        self._number = 0
        self._is_poison: set[Delivery[Any]] = set()
        self.attempts: list[int] = []
        self.innocents = 0
        self.finished = 0
        self.opened = 0

    def go(self, messages: int, seconds: float = 1e9) -> Crowd:
        """Until so many messages are finished, or so much time has passed."""
        for assignment in self.run.assignments.values():
            self._feed(assignment)
        while self.finished < messages and self.now < seconds:
            self._turn()
            while (delivery := self.engine.next(self.run, self.now)) is not None:
                self._start(delivery)
            times = [self._ends[0][0]] if self._ends else []
            deadline = self.engine.next_deadline()
            self.now = max(self.now, min(times + ([] if deadline is None else [deadline])))
            while self._ends and self._ends[0][0] <= self.now:
                self._end(*heapq.heappop(self._ends)[2:])
        return self

    def _turn(self) -> None:
        self.engine.turn(self.now)
        while self.engine.needs_turn:
            self.engine.turn(self.now)
        self.opened += sum(isinstance(event, CircuitOpened) for event in self.engine.take_events())

    def _feed(self, assignment: Assignment) -> None:
        self._number += 1
        message = Message(assignment.source, self._number)
        if self._random.random() < self._poison:
            self._is_poison.add(message)
        self.engine.received(self.run, [message])

    def _start(self, delivery: Delivery[Any]) -> None:
        failed = delivery in self._is_poison or self._random.random() < self._failing
        took = SECONDS * (0.5 + self._random.random())
        heapq.heappush(self._ends, (self.now + took, self._number * LANES + len(self._ends), delivery, failed))

    def _end(self, delivery: Delivery[Any], failed: bool) -> None:
        if not failed and delivery.history is None:
            verdict = self.engine.succeeded(delivery, self.now)
        else:
            verdict = self.engine.settle(delivery, dependency_failed() if failed else returned(), "ConnectionError", self.now)
        if verdict is Verdict.AGAIN:
            return
        if verdict is Verdict.REJECT:
            self._rejected(delivery)
        self.finished += 1
        self._feed(delivery.assignment)

    def _rejected(self, delivery: Delivery[Any]) -> None:
        self.engine.rejected(delivery, self.now)
        if delivery in self._is_poison:
            self._is_poison.remove(delivery)
            self.attempts.append(delivery.attempt)
        else:
            self.innocents += 1
