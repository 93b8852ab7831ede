"""Messages with keys against plain counting: whatever happens in whatever order, no counter drifts, and in the end all are worked off."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.flow.stage import Message, run_of

from holdgate.core import Circuit, CircuitSettings, CountWindow, Limits, Outcome, RampSettings, Told
from holdgate.core.key_record import KeySlot
from holdgate.core.keys import Keys
from holdgate.errors import NeedsError
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.engine import Engine
from holdgate.flow.gate import Gate, gates_of
from holdgate.flow.keyed import KeyedNeeds, KeyOfMessage
from holdgate.flow.message import Partition
from holdgate.flow.passing import MessageNeeds
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.state import Run

SOURCES = [Partition("orders", number) for number in range(3)]
SMALL = CircuitSettings(
    window=CountWindow(4), minimum_calls=2, consecutive_failures=2, open_duration=2.0, open_duration_max=4.0, permit_lease=8.0,
    slow_call_duration=1.5, ramp=RampSettings(minimum_verdicts=1, stage_timeout=1.0),
)  # fmt: skip
LIMITS = st.sampled_from([None, Limits(concurrency=1, adaptive=False), Limits(rate=2, per=3.0), Limits(concurrency=2)])
ENDS = [
    (Cause.RETURNED, Outcome.SUCCESS), (Cause.DEPENDENCY, Outcome.FAILURE), (Cause.DEPENDENCY, Outcome.FAILURE),
    (Cause.THROTTLED, Outcome.THROTTLED), (Cause.MESSAGE, Outcome.IGNORED), (Cause.REFUSED, None), (Cause.REJECTED, Outcome.IGNORED),
]  # fmt: skip
SELDOM = st.sampled_from([False, False, True])
KEYS = st.sampled_from(["a", "a", "b", "c", "d", None])


class KeysMachine(RuleBasedStateMachine):
    """Two dependencies with keys, so that a message may lack room at either, and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.engine = Engine(draw=lambda: 0.5)
        self.runs: list[Run] = []
        self.running: list[Message] = []
        self.outside: list[tuple[Keys, str, KeySlot | None]] = []  # calls outside of handlers
        self.came = 0

    @initialize(
        limits=st.tuples(LIMITS, LIMITS),
        max_keys=st.integers(1, 4),
        orders=st.lists(st.sampled_from(["none", "key", "source"]), min_size=1, max_size=2),
    )
    def begin(self, limits: tuple[Limits | None, Limits | None], max_keys: int, orders: list[Any]) -> None:
        self.gates: list[Gate] = []
        for name, its in zip(("mail", "payments"), limits, strict=True):
            circuit = Circuit(name, SMALL)
            self.gates.append(self.engine.add_gate(circuit, keys=Keys(circuit, its, lambda: 0.5, max_keys)))
        self.gates.append(self.engine.add_gate(Circuit("search", SMALL)))
        for order in orders:
            needs = ("mail", "payments", "search")
            run = run_of(
                needs, order=order, concurrency=None if order == "source" else 3, inbox=50, retry=RetryPolicy(attempts=2), rejects=True
            )
            self.engine.add_run(run)
            self.runs.append(run)
            self.engine.assigned(run, SOURCES[:2], self.now)
        self.engine.turn(self.now)

    # -- what happens -----------------------------------------------------------------------------------------------------------------

    @rule(run=st.integers(0, 1), source=st.sampled_from(SOURCES), keys=st.lists(st.tuples(KEYS, KEYS), min_size=1, max_size=6))
    def receive(self, run: int, source: Partition, keys: list[tuple[str | None, str | None]]) -> None:
        chosen = self.runs[run % len(self.runs)]
        came = [Message(source, self.came + index) for index in range(len(keys))]
        self.came += len(keys)
        for message, both in zip(came, keys, strict=True):
            message.order_key = both[0]
            ones = [None if key is None else KeyOfMessage(gate.keys, key) for gate, key in zip(self.gates[:2], both, strict=True)]  # type: ignore[arg-type]
            message.needs = KeyedNeeds(tuple(self.gates), (*ones, None), chosen.kinds.results_of(source))
            if message.position % 7 == 6:
                message.needs = MessageNeeds((), NeedsError("key= raised"))
        self.engine.received(chosen, came)

    @rule(rounds=st.integers(1, 4), fails=st.sampled_from([None, None, "a", "b"]), seconds=st.sampled_from([0.0, 0.5, 2.5]))
    def work(self, rounds: int, fails: str | None, seconds: float) -> None:
        """What a worker does for a while; all messages of one key fail, or none."""
        for _ in range(rounds):
            self._start_all()
            for message in list(self.running):
                if fails is not None and message.order_key == fails:
                    self._end(message, Cause.DEPENDENCY, (Outcome.FAILURE, Outcome.SUCCESS, Outcome.SUCCESS))
                else:
                    self._end_well(message)
            self.now += seconds

    @rule()
    def start(self) -> None:
        self._start_all()

    @rule(data=st.data(), ends=st.lists(st.sampled_from(ENDS), min_size=3, max_size=3))
    @precondition(lambda self: self.running)
    def settle(self, data: st.DataObject, ends: list[tuple[Cause, Outcome | None]]) -> None:
        self._end(data.draw(st.sampled_from(self.running)), ends[0][0], [outcome for _, outcome in ends])

    @rule(data=st.data())
    @precondition(lambda self: self.running)
    def succeeded(self, data: st.DataObject) -> None:
        self._end_well(data.draw(st.sampled_from(self.running)))

    @rule(data=st.data())
    @precondition(lambda self: self.running)
    def interrupted(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.running))
        self.running.remove(message)
        self.engine.interrupted(message, self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 10.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def turn(self) -> None:
        self.engine.turn(self.now)

    @rule(run=st.integers(0, 1), source=st.sampled_from(SOURCES), what=st.sampled_from(["assigned", "closing", "forget"]), seldom=SELDOM)
    @precondition(lambda self: self.came > 5)
    def rebalance(self, run: int, source: Partition, what: str, seldom: bool) -> None:
        if seldom:
            getattr(self.engine, what)(self.runs[run % len(self.runs)], [source], self.now)

    @rule(source=st.sampled_from(SOURCES), held=SELDOM)
    def hold(self, source: Partition, held: bool) -> None:
        if held:
            self.engine.hold(source)
        else:
            self.engine.unhold(source)

    @rule(data=st.data())
    @precondition(lambda self: self.came)
    def skip(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, self.came - 1))
        for run in self.runs:
            for source in SOURCES:
                self.engine.skip(run, source, position, "known", self.now)

    @rule(
        gate=st.integers(0, 2),
        what=st.sampled_from(["force_open", "disable", "observe", "clear_override", "reset", "limits"]),
        limits=LIMITS,
    )
    def operate(self, gate: int, what: str, limits: Limits | None) -> None:
        keys = self.gates[gate].keys
        if what == "limits":
            if keys is not None:
                keys.set_limits(limits, self.now)
            return
        getattr(self.gates[gate].circuit, what)(self.now)
        if what == "reset" and keys is not None:
            keys.begin_anew(self.now)

    @rule(gate=st.integers(0, 1), key=st.sampled_from("abcde"))
    def call_outside(self, gate: int, key: str) -> None:
        keys = self.gates[gate].keys
        assert keys is not None
        known = keys.record_of(key)
        if known is None or keys.free_of(known, self.now) != 0:
            self.outside.append((keys, key, keys.start(key, self.now)))

    @rule(data=st.data(), outcome=st.sampled_from([None, *Outcome]), told=st.sampled_from([None, Told(retry_after=3.0)]))
    @precondition(lambda self: self.outside)
    def end_outside(self, data: st.DataObject, outcome: Outcome | None, told: Told | None) -> None:
        keys, key, slot = self.outside.pop(data.draw(st.integers(0, len(self.outside) - 1)))
        if outcome is None:
            keys.give_back(slot)
        else:
            keys.end(key, slot, outcome, self.now, told=told if outcome is Outcome.THROTTLED else None)

    # -- what holds after every step --------------------------------------------------------------------------------------------------

    @invariant()
    def counters_are_what_a_recount_finds(self) -> None:
        waits = self.engine._waiting._key_waits
        listed = list(self.engine._waiting._entries.values())
        in_lines = [waiting for waiting in listed if waiting.line is not None]
        waiting = Counter(waiting.line.record for waiting in in_lines if waiting.line is not None)
        assert waits._out == sum(not waiting.is_aside for waiting in in_lines)
        assert {record: line.count for record, line in waits.lines.items()} == waiting
        for record, line in waits.lines.items():
            assert line.out == sum(not one.is_aside for one in in_lines if one.line is line)
            assert line.keys.record_of(record.key) is record
        busy: Counter[object] = Counter(slot.record for _, _, slot in self.outside if slot is not None)
        granted = [message for run in self.runs for message in run.granted]
        for message in (*self.running, *granted):
            busy.update(one.slot.record for one in message.needs.keys if one is not None and one.slot is not None)
        for gate in self.gates:
            keys = gate.keys
            if keys is None:
                continue
            records = keys._records.values()
            assert keys.held == sum(record.is_held for record in records)
            assert keys.waiting == sum(record.waiting for record in records)
            for record in records:
                assert (record.waiting, record.in_flight) == (waiting[record], busy[record])
                assert 0 <= record._probing <= max(record.in_flight, 0)

    @invariant()
    def what_is_aside_stands_nowhere_else(self) -> None:
        stands = {id(one) for gate in self.gates for line in gate.lines.values() for one in line.values()}
        for waiting in self.engine._waiting._entries.values():
            if waiting.is_aside:
                assert id(waiting) not in stands

    def teardown(self) -> None:
        """In the end all is well again, and everything that has not left is worked off."""
        if not self.runs:
            return
        for gate in self.gates:
            gate.circuit.clear_override(self.now)
        for source in SOURCES:
            self.engine.unhold(source)
        for keys, key, slot in self.outside:
            keys.end(key, slot, Outcome.SUCCESS, self.now)
        self._go_on(400, 1.0)
        assignments = [each for run in self.runs for each in run.assignments.values() if not each.going]
        assert [(each.inbox.waiting, each.in_flight) for each in assignments] == [(0, 0)] * len(assignments)
        # Who was refused after twelve minutes without a turn has found a pace of one call in five, and is held so long with nothing to do.
        self._go_on(100, 30.0)
        assert [(each.plan.reasons, each.inbox.waiting, each.in_flight) for each in assignments] == [((), 0, 0)] * len(assignments)
        assert not [one for one in self.engine._waiting._entries if not one.assignment.going]

    # -- bookkeeping ------------------------------------------------------------------------------------------------------------------

    def _go_on(self, turns: int, seconds: float) -> None:
        for _ in range(turns):
            for message in list(self.running):
                self._end_well(message)
            self._start_all()
            self.now += seconds

    def _start_all(self) -> None:
        for _ in range(3):
            self.engine.turn(self.now)
            for run in self.runs:
                while (message := self.engine.next(run, self.now)) is not None:
                    if message.history is not None and message.history.reason is not None:
                        self.engine.rejected(message, self.now)
                    else:
                        self.running.append(message)

    def _end_well(self, message: Message) -> None:
        if message.history is None:
            self.running.remove(message)
            self.engine.succeeded(message, self.now)
        else:
            self._end(message, Cause.RETURNED, [Outcome.SUCCESS] * 3)

    def _end(self, message: Message, cause: Cause, outcomes: Any) -> None:
        self.running.remove(message)
        count = len(gates_of(message))
        refused = ("payments",) if cause is Cause.REFUSED else ()
        findings = tuple(NeedVerdict(outcome) for outcome in outcomes)[:count]
        error = "client.ConnectError" if cause is Cause.MESSAGE else ""
        verdict = self.engine.settle(message, Attribution(findings, cause, refused, unclaimed=error), "OSError", self.now, reason="bad")
        if verdict is Verdict.REJECT:
            self.engine.rejected(message, self.now)


TestKeys = KeysMachine.TestCase
TestKeys.runTest.__doc__ = "Whatever happens in whatever order: held, waiting and in flight are what a recount finds, and nothing is left."
TestKeys.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
