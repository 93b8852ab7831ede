"""Messages live and die by chance, and everything that decides their fate is kept here a second time, by hand.

Nobody is rejected without evidence, everybody is with it; nothing is settled but what was processed or confirmed as a dead letter; the
order of each lane is kept, and what may be committed never passes the oldest unfinished message.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.flow.stage import Message, Stage, dependency_failed, own_failure, partitions, refused, rejected, returned, run_of

from holdgate.core import CircuitSettings, CountWindow, RampSettings, State
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.inbox import Order
from holdgate.flow.inflight import InFlight
from holdgate.flow.message import Partition
from holdgate.flow.policy import RetryPolicy, Verdict

SOURCES = partitions(3)
SPAN = 80
# Opens in some of the stories and not in others; and finds a message guilty after a few failures among neighbours.
SMALL = CircuitSettings(
    window=CountWindow(8), minimum_calls=6, failure_rate_threshold=0.8, consecutive_failures=4, open_duration=2.0, open_jitter=0.0,
    ramp=RampSettings(minimum_verdicts=1, stage_timeout=1.0),
)  # fmt: skip
# With so much doubt either of the two conditions, attempts and blame, may be the last to be met.
POLICY = RetryPolicy(attempts=2, initial_backoff=0.1, max_backoff=0.2, doubt=0.2, jitter=0.0)

POSTPONED = Attribution(returned().findings, Cause.POSTPONED)


class Suspicion:
    """What is known by hand of one message: the rule of fate, told with lists."""

    def __init__(self) -> None:
        self.own = 0
        self.generation = -1
        self.blame = 0.0
        self.attempts = 0
        self.heard = 0  # results of the others, up to its last attempt
        self.voted: tuple[int, int] | None = None  # the generation, and how many had succeeded, at its first failure there


class Life:
    """One run with one need, and its books."""

    def __init__(self, order: Order) -> None:
        run = run_of(["payments"], order=order, concurrency=None if order == "source" else 4, span=SPAN, retry=POLICY, rejects=True)
        self.order = order
        self.stage = Stage("payments", settings=SMALL, run=run, sources=SOURCES)
        self.circuit = self.stage.gates[0].circuit
        self.unfinished: dict[Partition, list[Message]] = defaultdict(list)
        self.watermarks = {source: InFlight() for source in SOURCES}
        self.running: list[Message] = []
        self.sending: list[Message] = []
        self.settled: set[Message] = set()
        self.processed: set[Message] = set()
        self.confirmed: set[Message] = set()
        self.suspicions: dict[Message, Suspicion] = {}
        self.results: list[bool] = []  # one for each message, its first success or a vote of its failures
        self.successes: list[Message] = []
        self.convicted = 0
        self._count = 0

    def receive(self, count: int, where: int) -> None:
        source = SOURCES[where % len(SOURCES)]
        came = [Message(source, self._count + number) for number in range(count)]
        self._count += count
        for message in came:
            message.order_key = message.position % 3
        self.unfinished[source] += came
        self.watermarks[source].delivered_many([message.position for message in came])
        self.stage.engine.received(self.stage.run, came)

    def start(self) -> None:
        self.stage.turn()
        while (started := self.stage.engine.next(self.stage.run, self.stage.now)) is not None:
            message: Any = started
            if message.history is not None and message.history.reason is not None:
                self.sending.append(message)  # its letter is to be sent again, and no handler starts
                continue
            self._check_order(message)
            self.running.append(message)

    def end(self, which: int, attribution: Attribution) -> None:
        message = self.running.pop(which % len(self.running))
        expected = self._expected(message, attribution)
        verdict = self.stage.engine.settle(message, attribution, "ValueError", self.stage.now)
        self._note(message, attribution)
        assert expected is None or verdict is (self._after(message) if expected == "look" else expected)
        if verdict is Verdict.DONE:
            self.processed.add(message)
            self._settle(message)
        elif verdict is Verdict.REJECT:
            self.convicted += attribution.cause is Cause.DEPENDENCY
            self.sending.append(message)

    def interrupt(self, which: int) -> None:
        message = self.running.pop(which % len(self.running))
        assert self.stage.engine.interrupted(message, self.stage.now) is Verdict.AGAIN

    def answer(self, which: int, *, confirmed: bool) -> None:
        """The target of the dead letters has spoken."""
        message = self.sending.pop(which % len(self.sending))
        if not confirmed:
            assert self.stage.engine.reject_failed(message, self.stage.now) is Verdict.AGAIN
            return
        self.confirmed.add(message)
        assert self.stage.engine.rejected(message, self.stage.now) is Verdict.DONE
        self._settle(message)

    def check(self) -> None:
        assert self.settled == self.processed | self.confirmed
        for source, inflight in self.watermarks.items():
            oldest = min((message.position for message in self.unfinished[source]), default=None)
            assert oldest is None or inflight.next_position == oldest

    # -- the rule, by hand ------------------------------------------------------------------------------------------------------------

    def _expected(self, message: Message, attribution: Attribution) -> Verdict | str | None:
        """The verdict; "look": what the books say when this failure is in them."""
        suspicion = self.suspicions.setdefault(message, Suspicion())
        if attribution.cause is Cause.MESSAGE:
            suspicion.own += 1
            return Verdict.REJECT if suspicion.own >= POLICY.attempts else Verdict.AGAIN
        if attribution.cause is not Cause.DEPENDENCY:
            return {Cause.RETURNED: Verdict.DONE, Cause.REJECTED: Verdict.REJECT}.get(attribution.cause, Verdict.AGAIN)
        if message.permits[0].generation == self.circuit.generation:
            self._failed(suspicion)
        return "look"

    def _failed(self, suspicion: Suspicion) -> None:
        others = self.results[suspicion.heard :]
        n, f = len(others), others.count(False)
        if suspicion.generation != self.circuit.generation:
            window = self.circuit.snapshot(self.stage.now)
            n, f = window.calls, window.failures
            suspicion.generation, suspicion.blame, suspicion.attempts = self.circuit.generation, 0.0, 0
        if self.circuit.state is State.CLOSED:
            likely = (f + 1) / (n + 1)
            suspicion.blame -= math.log(likely)
            suspicion.attempts += likely <= 0.5

    def _after(self, message: Message) -> Verdict | None:
        suspicion = self.suspicions[message]
        if suspicion.generation != self.circuit.generation:  # this very failure has opened it
            return Verdict.AGAIN
        guilty = suspicion.attempts >= POLICY.attempts and suspicion.blame >= math.log(1 / POLICY.doubt)
        return Verdict.REJECT if guilty else Verdict.AGAIN

    def _note(self, message: Message, attribution: Attribution) -> None:
        """What this end is to the others."""
        suspicion = self.suspicions[message]
        if attribution.cause in (Cause.RETURNED, Cause.POSTPONED):
            self.successes.append(message)
            if suspicion.generation < 0:
                self.results.append(True)
        elif attribution.cause is Cause.DEPENDENCY and self._has_voted(message, suspicion):
            self.results.append(False)
        if attribution.cause is Cause.DEPENDENCY:
            suspicion.heard = len(self.results)

    def _has_voted(self, message: Message, suspicion: Suspicion) -> bool:
        """Whether its failure just now was a vote: its first in this generation, or nobody else has succeeded since that."""
        voted, generation = suspicion.voted, suspicion.generation
        if voted is None or voted[0] != generation:
            suspicion.voted = (generation, len(self.successes))
            return True
        return all(other is message for other in self.successes[voted[1] :])

    # -- order ------------------------------------------------------------------------------------------------------------------------

    def _check_order(self, message: Message) -> None:
        assert message not in self.settled
        waiting = self.unfinished[message.source]  # type: ignore[index]
        if self.order == "source":
            assert message is waiting[0]
        elif self.order == "key":
            assert message is next(other for other in waiting if other.order_key == message.order_key)

    def _settle(self, message: Message) -> None:
        assert message not in self.settled
        self.settled.add(message)
        self.unfinished[message.source].remove(message)  # type: ignore[index]
        self.watermarks[message.source].finished(message.position)  # type: ignore[index]


ENDS = [*[returned()] * 10, *[dependency_failed()] * 8, own_failure(), own_failure(), rejected(), refused("payments"), POSTPONED]
steps = st.one_of(
    st.tuples(st.just("receive"), st.integers(1, 12), st.integers(0, 2)),
    st.tuples(st.just("end"), st.integers(0, 20), st.sampled_from(ENDS)),
    st.tuples(st.just("end"), st.integers(0, 20), st.sampled_from(ENDS)),
    st.tuples(st.just("rest"), st.integers(1, 12), st.none()),
    st.tuples(st.just("interrupt"), st.integers(0, 20), st.none()),
    st.tuples(st.just("answer"), st.integers(0, 20), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([1, 2, 30]), st.none()),
)


def play(life: Life, step: tuple[str, int, Any]) -> None:
    kind, number, what = step
    if kind == "receive":
        life.receive(number, what)
    elif kind == "wait":
        life.stage.now += number / 10
    elif kind == "answer" and life.sending:
        life.answer(number, confirmed=what)
    elif kind == "interrupt" and life.running:
        life.interrupt(number)
    elif kind == "end" and life.running:
        life.end(number, what)
    elif kind == "rest":  # all goes well for a while, but for those that have failed before
        for _ in range(number):
            life.start()
            if life.running:
                suspect = life.running[0] in life.suspicions
                life.end(0, dependency_failed() if suspect else returned())
            life.stage.now += 0.05
    life.start()
    life.check()


@pytest.mark.parametrize("order", ["source", "key", "none"])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(story=st.lists(steps, min_size=10, max_size=60))
def test_a_verdict_is_that_of_the_rule_worked_out_by_hand(order: Order, story: list[tuple[str, int, Any]]) -> None:
    """Rejected with evidence and never without; settled is what was processed or confirmed; order and watermark are kept."""
    life = Life(order)
    for number in range(9):
        life.receive(1, number)
    for step in story:
        play(life, step)


def test_the_stories_come_to_convictions_and_outages() -> None:
    """The property above would show little if its stories never came so far: among healthy neighbours a suspect is found."""
    life = Life("source")
    for number in range(120):
        life.receive(1, number)
    life.start()
    life.end(0, dependency_failed())
    play(life, ("rest", 60, None))
    assert life.convicted >= 1

    life = Life("none")
    life.receive(12, 0)
    for _ in range(8):
        life.start()
        while life.running:
            life.end(0, dependency_failed())
        life.stage.now += 0.1
    assert life.circuit.state is not State.CLOSED
    assert life.convicted == 0
