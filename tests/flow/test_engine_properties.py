"""The engine against plain bookkeeping: whatever happens in whatever order, its promises hold after every step.

What runs, what was received and what was dropped is kept here a second time, in dicts; limits, orders and spans are checked against that.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.flow.stage import Message, run_of

from holdgate.core import Circuit, CircuitSettings, CountWindow, Outcome, Override, RampSettings, State
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.engine import Engine
from holdgate.flow.gate import Gate
from holdgate.flow.message import Partition
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.state import Assignment, Run

NAMES = ("mail", "payments", "search")
TOPICS = ("bills", "orders")
SOURCES = [Partition(topic, number) for topic in TOPICS for number in range(2)]
SMALL = CircuitSettings(
    window=CountWindow(4), minimum_calls=2, consecutive_failures=2, open_duration=2.0, open_duration_max=4.0, permit_lease=1e6,
    ramp=RampSettings(minimum_verdicts=1, stage_timeout=1.0),
)  # fmt: skip

SELDOM = st.sampled_from([False, False, False, True])
# How a handler ends, as far as its permits are concerned; the last one is any mixture.
ENDS = [
    (Cause.RETURNED, Outcome.SUCCESS), (Cause.DEPENDENCY, Outcome.FAILURE), (Cause.DEPENDENCY, Outcome.FAILURE), (Cause.DEPENDENCY, None),
    (Cause.MESSAGE, Outcome.IGNORED), (Cause.REFUSED, None), (Cause.RETURNED, Outcome.FAILURE),
]  # fmt: skip

needs_lists = st.lists(st.sampled_from(NAMES), unique=True, max_size=3)
needs_settings = needs_lists | st.dictionaries(st.sampled_from(TOPICS), needs_lists, max_size=2)
runs_strategy = st.lists(
    st.tuples(needs_settings, st.sampled_from(["source", "key", "none"]), st.none() | st.integers(1, 3), st.integers(2, 6)),
    min_size=1,
    max_size=3,
)


class EngineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.engine = Engine(draw=lambda: 0.5, hold_warn_after=50.0)
        for name in NAMES:
            self.engine.add_gate(Circuit(name, SMALL))
        self.runs: list[Run] = []
        self.running: dict[Message, Run] = {}
        self.stale: set[Message] = set()
        self.blocked: set[Message] = set()
        self.unfinished: dict[Assignment, list[Message]] = defaultdict(list)  # received here, in order, not finished and not dropped
        self.serials: dict[Message, int] = {}
        self.received: dict[Assignment, int] = defaultdict(int)
        self.positions = 0
        self.in_flight: dict[str, tuple[int, int]] = {}

    # -- what happens -----------------------------------------------------------------------------------------------------------------

    @initialize(runs=runs_strategy)
    def begin(self, runs: list[tuple[Any, Any, int | None, int]]) -> None:
        for needs, order, concurrency, span in runs:
            # Lanes by sources are for one at a time per source; for the other orders the runtime says how many.
            lanes = concurrency if order == "source" else concurrency or 3
            run = run_of(needs, order=order, concurrency=lanes, span=span, inbox=4, retry=RetryPolicy(attempts=2))
            self.engine.add_run(run)
            self.runs.append(run)
            self.engine.assigned(run, SOURCES[:3], self.now)
        self.engine.turn(self.now)

    @rule(run=st.integers(0, 2), source=st.sampled_from(SOURCES), seldom=SELDOM)
    @precondition(lambda self: self.positions > 10)
    def assigned(self, run: int, source: Partition, seldom: bool) -> None:
        if not seldom:
            return
        chosen = self._run(run)
        self._gone(chosen, source)
        plan = self.engine.assigned(chosen, [source], self.now)
        assert source in plan.sources

    @rule(run=st.integers(0, 2), source=st.sampled_from(SOURCES), seldom=SELDOM)
    @precondition(lambda self: self.positions > 10)
    def closing(self, run: int, source: Partition, seldom: bool) -> None:
        if not seldom:
            return
        chosen = self._run(run)
        for assignment in self.engine.closing(chosen, [source], self.now):
            self._dropped(assignment)

    @rule(run=st.integers(0, 2), source=st.sampled_from(SOURCES), seldom=SELDOM)
    @precondition(lambda self: self.positions > 10)
    def forget(self, run: int, source: Partition, seldom: bool) -> None:
        if not seldom:
            return
        chosen = self._run(run)
        self._gone(chosen, source)
        self.engine.forget(chosen, [source], self.now)

    @rule(run=st.integers(0, 2), source=st.sampled_from(SOURCES), count=st.integers(1, 6), keys=st.integers(1, 3))
    def receive(self, run: int, source: Partition, count: int, keys: int) -> None:
        chosen = self._run(run)
        came = [Message(source, self.positions + index) for index in range(count)]
        self.positions += count
        for message in came:
            message.order_key = None if message.position % 4 == 3 else message.position % keys
        assignment = chosen.assignments.get(source)
        if assignment is not None and not assignment.going:
            for message in came:
                self.serials[message] = self.received[assignment]
                self.received[assignment] += 1
            self.unfinished[assignment] += came
        self.engine.received(chosen, came)

    @rule(run=st.integers(0, 2))
    def next(self, run: int) -> None:
        self._started(self.engine.next(self._run(run), self.now), self._run(run))

    @rule(data=st.data(), follow=st.booleans())
    @precondition(lambda self: self.running)
    def succeeded(self, data: st.DataObject, follow: bool) -> None:
        message = self._pick(data)
        if message.history is not None:
            return
        run, assignment = self.running.pop(message), message.assignment
        self._finished(message, self.engine.succeeded(message, self.now))
        if follow:
            self._started(self.engine.follow(assignment, self.now), run)

    @rule(data=st.data(), end=st.sampled_from(ENDS), follow=st.booleans(), poison=st.integers(0, 9))
    @precondition(lambda self: self.running)
    def settle(self, data: st.DataObject, end: tuple[Cause, Outcome | None], follow: bool, poison: int) -> None:
        cause, outcome = (Cause.REJECTED, Outcome.IGNORED) if not poison else end
        message = self._pick(data)
        run, assignment = self.running.pop(message), message.assignment
        refused = (NAMES[self.positions % 3],) if cause is Cause.REFUSED else ()
        verdict = self.engine.settle(
            message, Attribution((NeedVerdict(outcome),) * self._needs(message), cause, refused), "ValueError", self.now
        )
        self._finished(message, verdict)
        if follow:
            self._started(self.engine.follow(assignment, self.now), run)

    @rule(rounds=st.integers(1, 5), fails=st.sampled_from([0, 0, 1, 2, 3]), seconds=st.sampled_from([0.0, 0.5, 2.5]))
    def work(self, rounds: int, fails: int, seconds: float) -> None:
        """What a worker does for a while: lanes start what they can, and of their ends every fourth or none is a failure, or all are."""
        for number in range(rounds):
            self.engine.turn(self.now)
            self._start_all()
            for index, message in enumerate(list(self.running)):
                self._end(message, fails=bool(fails) and (index + number) % (4 - fails) == 0)
            self.now += seconds

    @rule(data=st.data())
    @precondition(lambda self: self.running)
    def interrupted(self, data: st.DataObject) -> None:
        message = self._pick(data)
        del self.running[message]
        self._finished(message, self.engine.interrupted(message, self.now))

    @rule()
    def turn(self) -> None:
        self.engine.turn(self.now)
        for run in self.runs:
            assert run.plan.sources.keys() == run.assignments.keys()
            for source, plan in run.plan.sources.items():
                assert plan.reasons == self._reasons(run.assignments[source])
                if not plan.reasons:
                    assert plan.fetch is not run.assignments[source].full

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(source=st.sampled_from(SOURCES), seconds=st.none() | st.floats(0.5, 5.0), seldom=SELDOM)
    def hold(self, source: Partition, seconds: float | None, seldom: bool) -> None:
        if not seldom:
            return
        known = self.engine.hold(source, None if seconds is None else self.now + seconds)
        assert known is any(source in run.assignments for run in self.runs)

    @rule(source=st.sampled_from(SOURCES))
    def unhold(self, source: Partition) -> None:
        self.engine.unhold(source)

    @rule(run=st.integers(0, 2), really=st.integers(0, 9))
    def drain(self, run: int, really: int) -> None:
        if really:  # seldom: nothing comes after it
            return
        chosen = self._run(run)
        self.engine.drain(chosen, self.now)
        for assignment in chosen.assignments.values():
            self._dropped(assignment)

    @rule(name=st.sampled_from(NAMES), what=st.sampled_from(["force_open", "disable", "observe", "clear_override", "reset"]), seldom=SELDOM)
    def operate(self, name: str, what: str, seldom: bool) -> None:
        if not seldom:
            return
        getattr(self.engine.gates[name].circuit, what)(self.now)

    # -- what holds after every step --------------------------------------------------------------------------------------------------

    @invariant()
    def no_permit_is_leaked(self) -> None:
        """What circuits count as in flight are permits of running and granted deliveries, each once."""
        admitted = [*self.running, *(message for run in self.runs for message in run.granted)]
        for name, gate in self.engine.gates.items():
            held = sum(self._has_live_permit(message, name) for message in admitted)
            assert gate.circuit.snapshot(self.now).in_flight == held

    @invariant()
    def limits_are_met(self) -> None:
        for gate in self.engine.gates.values():
            seen = gate.circuit.snapshot(self.now)
            generation, before = self.in_flight.get(gate.name, (-1, 0))
            # A limit that is cut lets the running ones end; whoever comes after that must fit into it.
            if seen.limit is not None and (seen.generation != generation or seen.in_flight > before):
                assert seen.in_flight <= seen.limit
            self.in_flight[gate.name] = (seen.generation, seen.in_flight)
        for run in self.runs:
            assert run.running == sum(its is run for its in self.running.values()) + len(run.granted)
            if run._concurrency is not None:
                assert run.running <= run._concurrency

    @invariant()
    def each_delivery_is_in_one_place(self) -> None:
        waiting = self.engine._waiting
        for run in self.runs:
            for assignment in run.assignments.values():
                mine = self.unfinished[assignment]
                heads = [message for message in mine if message in waiting]
                granted = [message for message in run.granted if message.assignment is assignment]
                running = [message for message in mine if message in self.running]
                blocked = [message for message in mine if message in self.blocked]
                assert len(mine) == assignment.inbox.waiting + len(heads) + len(granted) + len(running) + len(blocked)
                assert assignment.blocked == [message for message in assignment.blocked if message in blocked]
                assert assignment.in_flight == len([message for message in self.running if message.assignment is assignment]) + len(granted)
        assert len(waiting) == sum(message in waiting for messages in self.unfinished.values() for message in messages)

    @invariant()
    def the_snapshot_adds_up(self) -> None:
        seen = self.engine.snapshot(self.now)
        later = {source: assignment for run in self.runs for source, assignment in run.assignments.items()}
        for source, assignment in later.items():
            assert seen.sources[source].waiting + seen.sources[source].in_flight == len(self.unfinished[assignment]) + len(
                [message for message in self.running if message.assignment is assignment and message not in self.unfinished[assignment]]
            )

    def teardown(self) -> None:
        """In the end all is well again: every delivery that was not dropped and can be processed is finished."""
        if not self.runs:
            return
        for gate in self.engine.gates.values():
            gate.circuit.clear_override(self.now)
        for assignment in [assignment for run in self.runs for assignment in run.assignments.values()]:
            if (
                assignment.operator_hold
            ):  # and only then: a hold that ends looks at its place again, and would hide one that was left behind
                self.engine.unhold(assignment.source)
        for _ in range(400):
            self.now += 1.0
            for message in list(self.running):
                self._end(message, fails=False)
            self.engine.turn(self.now)
            self._start_all()
        left = [message for run in self.runs for assignment in run.assignments.values() for message in self._startable(assignment)]
        assert not left, [(message, message.assignment.run.order) for message in left]

    # -- bookkeeping ------------------------------------------------------------------------------------------------------------------

    def _run(self, index: int) -> Run:
        return self.runs[index % len(self.runs)]

    def _pick(self, data: st.DataObject) -> Message:
        return data.draw(st.sampled_from(list(self.running)))

    def _has_live_permit(self, message: Message, name: str) -> bool:
        gates = [*message.assignment.gates, *(message.history.extra if message.history is not None else ())]
        return any(
            gate.name == name and permit.generation == gate.circuit.generation
            for gate, permit in zip(gates, message.permits, strict=True)
        )  # fmt: skip

    def _reasons(self, assignment: Assignment) -> tuple[str, ...]:
        gates = [*assignment.gates, *self._waited_for(assignment)]
        reasons = [f"circuit:{gate.name}" for gate in gates if self._is_shut(gate.circuit)]
        reasons += ["operator"] if assignment.operator_hold else []
        reasons += ["draining"] if assignment.closing or assignment.run.draining else []
        reasons += ["blocked"] if assignment.blocked else []
        reasons += ["no needs"] if assignment.run.needs.of(assignment.source) is None else []
        return tuple(sorted(reasons))

    def _waited_for(self, assignment: Assignment) -> list[Gate]:
        """What keeps all of a source in order waiting, though its needs do not name it."""
        heads = [message for message in self.unfinished[assignment] if message in self.engine._waiting and message.history is not None]
        return [] if assignment.run.order != "source" else [gate for head in heads for gate in head.history.extra]

    def _is_shut(self, circuit: Circuit) -> bool:
        return circuit.override is Override.FORCED_OPEN or (circuit.override is None and circuit.state is State.OPEN)

    def _started(self, message: Any, run: Run) -> None:
        if message is None:
            return
        assignment = message.assignment
        assert message not in self.running
        assert assignment.alive
        assert not self._reasons(assignment) or self._only_just_shut(assignment)
        assert message in self.unfinished[assignment]
        oldest = self.unfinished[assignment][0]
        if run.order == "source":
            assert message is oldest
        elif run.order == "key" and message.order_key is not None:
            assert message is next(other for other in self.unfinished[assignment] if other.order_key == message.order_key)
        if run.order != "source":
            assert self.serials[message] - self.serials[oldest] < run.span
        gates = [*assignment.gates, *(message.history.extra if message.history is not None else ())]
        assert len(message.permits) == len(gates)
        self.running[message] = run

    def _only_just_shut(self, assignment: Assignment) -> bool:
        """A circuit that shut since the last turn has not reached the plan; a permit in hand is of the time before."""
        return all(reason.startswith("circuit:") for reason in self._reasons(assignment)) and not assignment.plan.reasons

    def _finished(self, message: Message, verdict: Verdict) -> None:
        assignment = message.assignment
        assert (verdict is Verdict.STALE) is (message in self.stale)
        if verdict is Verdict.DONE or (verdict is Verdict.AGAIN and assignment.going):
            self.unfinished[assignment].remove(message)
        elif verdict is Verdict.AGAIN and message in assignment.blocked:
            self.blocked.add(message)

    def _dropped(self, assignment: Assignment) -> None:
        """What waits is dropped; what runs may finish, and what is blocked stays where it is."""
        self.unfinished[assignment] = [
            message for message in self.unfinished[assignment] if message in self.running or message in self.blocked
        ]

    def _gone(self, run: Run, source: Partition) -> None:
        assignment = run.assignments.get(source)
        if assignment is not None:
            self.stale |= {message for message in self.running if message.assignment is assignment}
            self.unfinished.pop(assignment)

    def _start_all(self) -> None:
        for run in self.runs:
            while (message := self.engine.next(run, self.now)) is not None:
                self._started(message, run)

    def _startable(self, assignment: Assignment) -> list[Message]:
        """What has no reason to wait any more. Behind a blocked delivery everything has."""
        if assignment.blocked or assignment.going or assignment.run.needs.of(assignment.source) is None:
            return []
        return self.unfinished[assignment]

    def _needs(self, message: Message) -> int:
        return len(message.assignment.gates) + len(message.history.extra if message.history is not None else ())

    def _end(self, message: Message, *, fails: bool) -> None:
        del self.running[message]
        if not fails and message.history is None:
            self._finished(message, self.engine.succeeded(message, self.now))
            return
        cause, outcome = (Cause.DEPENDENCY, Outcome.FAILURE) if fails else (Cause.RETURNED, Outcome.SUCCESS)
        attribution = Attribution((NeedVerdict(outcome),) * self._needs(message), cause)
        self._finished(message, self.engine.settle(message, attribution, "", self.now))


TestEngine = EngineMachine.TestCase
TestEngine.runTest.__doc__ = "No permit is leaked, no head starves, limits and orders are kept, whatever happens in whatever order."
TestEngine.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
