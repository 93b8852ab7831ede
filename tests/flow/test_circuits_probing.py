"""Health probes: when one runs, and what it may decide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.flow.stage import ORDERS, QUICK, Stage, dependency_failed, partitions, returned, run_of

from holdgate.core import Circuit, CircuitSettings, RampSettings, State
from holdgate.core.guidance import Guidance, Phase
from holdgate.flow.engine import Engine
from holdgate.flow.policy import RetryPolicy, Verdict

# A ramp that one good result closes: what a probe may never do.
HASTY = CircuitSettings(open_duration=10.0, open_jitter=0.0, ramp=RampSettings(minimum_verdicts=1))


class ProbedStage(Stage):
    """A stage whose dependency has a probe."""

    def __init__(self, retry: RetryPolicy | None = None, sources: int = 1, ramp: RampSettings = HASTY.ramp) -> None:
        self.now = 0.0
        self.engine = Engine(draw=lambda: 0.5)
        self.gates = [self.engine.add_gate(Circuit("payments", replace(HASTY, ramp=ramp)), probed=True)]
        self.run = run_of(["payments"], retry=retry, rejects=True)
        self.engine.add_run(self.run)
        self.engine.assigned(self.run, partitions(sources), self.now)
        self.turn()

    @property
    def circuit(self) -> Circuit:
        return self.gates[0].circuit

    def half_open(self) -> None:
        self.trip()
        self.turn(later=10.0)

    def probe(self, good: bool | None, retry_after: float | None = None) -> None:
        """The probe that was begun ends like this."""
        (gate,) = self.engine.take_probes()
        self.engine.probe_ended(gate, good, self.now, retry_after=retry_after)
        self.turn()


def test_a_probe_goes_before_the_first_message() -> None:
    """When the open wait is over, though a message waits."""
    stage = ProbedStage()
    stage.receive(1)
    stage.trip()
    assert stage.engine.take_probes() == []
    stage.turn(later=10.0)

    assert stage.start_all() == []
    assert stage.engine.take_probes() == stage.gates
    stage.turn()
    assert stage.engine.take_probes() == []


def test_a_good_probe_begins_the_ramp_and_closes_nothing() -> None:
    """One message at a time from now on; its success closes this hasty circuit."""
    stage = ProbedStage(sources=2)
    for source in partitions(2):
        stage.receive(1, source)
    stage.half_open()
    stage.probe(True)
    assert (stage.circuit.state, stage.circuit.limit) == (State.HALF_OPEN, 1)
    (delivery,) = stage.start_all()
    stage.end(delivery, returned())
    assert stage.engine.take_probes() == []

    assert len(stage.start_all()) == 1


def test_a_failed_probe_opens_again() -> None:
    """No message was tried, and the next probe comes after the next wait."""
    stage = ProbedStage()
    stage.receive(1)
    stage.half_open()
    stage.probe(False)
    assert (stage.circuit.state, stage.start_all()) == (State.OPEN, [])
    stage.turn(later=300.0)

    assert stage.engine.take_probes() == stage.gates


def test_a_failed_probe_waits_as_long_as_it_was_told() -> None:
    """Its server said when to come back."""
    stage = ProbedStage()
    stage.half_open()
    stage.probe(False, retry_after=77.0)

    assert stage.circuit.next_deadline() == stage.now + 77.0


def test_a_probe_that_says_nothing_lets_messages_find_out() -> None:
    """It was cancelled."""
    stage = ProbedStage()
    stage.receive(1)
    stage.half_open()
    stage.probe(None)

    assert (stage.circuit.state, len(stage.start_all())) == (State.HALF_OPEN, 1)


@pytest.mark.parametrize("good", [True, False])
def test_a_probe_of_an_earlier_half_open_decides_nothing(good: bool) -> None:
    """The circuit was opened and is half-open again: another probe runs."""
    stage = ProbedStage()
    stage.half_open()
    (gate,) = stage.engine.take_probes()
    stage.trip()
    stage.turn(later=10.0)
    assert stage.engine.take_probes() == []
    stage.engine.probe_ended(gate, good, stage.now)
    stage.turn()

    assert (stage.circuit.state, stage.circuit.is_probing) == (State.HALF_OPEN, True)
    assert stage.circuit.snapshot(stage.now).late_results == (0 if good else 1)
    assert stage.engine.take_probes() == stage.gates


@pytest.mark.parametrize("override", ["disable", "observe", "force_open"])
def test_under_an_override_no_probe_runs(override: str) -> None:
    """The operator decides."""
    stage = ProbedStage()
    stage.trip()
    getattr(stage.circuit, override)(stage.now)
    stage.turn(later=10.0)

    assert stage.engine.take_probes() == []


def suspect(reject_after_probes: int | None) -> tuple[ProbedStage, list[Verdict]]:
    """One message fails for ever behind good probes, alone on its partition: the verdicts of its attempts, the first in closed."""
    stage = ProbedStage(RetryPolicy(reject_after_probes=reject_after_probes, initial_backoff=1.0))
    stage.receive(2)
    verdicts = [stage.end(stage.start(), dependency_failed())]
    stage.trip()
    for _ in range(60):
        stage.turn(later=100.0)
        for gate in stage.engine.take_probes():
            stage.engine.probe_ended(gate, True, stage.now)
        stage.turn()
        for delivery in stage.start_all():
            verdicts.append(stage.end(delivery, dependency_failed()))
            assert stage.engine.take_probes() == []
            if verdicts[-1] is Verdict.REJECT:
                return stage, verdicts
    return stage, verdicts


def test_a_lone_suspect_is_rejected_after_so_many_good_probes() -> None:
    """Each of them right before it failed."""
    assert suspect(3)[1] == [Verdict.AGAIN] * 3 + [Verdict.REJECT]


def test_a_lone_suspect_stays_when_probes_are_not_trusted() -> None:
    """Unset, it is held for ever."""
    assert set(suspect(None)[1]) == {Verdict.AGAIN}


def test_a_probe_runs_before_each_attempt_of_a_lone_suspect() -> None:
    """Also before the second in one half-open, where its slot is free: a stage of the ramp hears nothing of it."""
    stage = ProbedStage(RetryPolicy(initial_backoff=1.0, jitter=0.0), ramp=RampSettings(minimum_verdicts=3))
    stage.receive(1)
    stage.end(stage.start(), dependency_failed())
    stage.half_open()
    stage.probe(True)
    stage.end(stage.start(), dependency_failed())
    assert stage.circuit.state is State.HALF_OPEN
    stage.probe(True)
    assert stage.circuit.snapshot(stage.now).in_flight == 0
    assert stage.circuit._half_open is not None
    assert stage.circuit._half_open.ramp.results == 1  # the message's own
    stage.turn(later=2.0)
    stage.end(stage.start(), dependency_failed())

    assert stage.circuit.state is State.OPEN


def test_what_others_came_to_makes_probes_superfluous() -> None:
    """The pairs begin anew with a word of somebody else."""
    stage = ProbedStage(RetryPolicy(reject_after_probes=2, initial_backoff=1.0, jitter=0.0), sources=2)
    for source in partitions(2):
        stage.receive(50, source)
    first, other = sorted(stage.start_all(), key=lambda delivery: delivery.source)
    stage.end(first, dependency_failed())
    stage.end(other, dependency_failed())
    verdicts = []
    stage.trip()
    for _ in range(20):
        stage.turn(later=300.0)
        for gate in stage.engine.take_probes():
            stage.engine.probe_ended(gate, True, stage.now)
        stage.turn()
        verdicts += [stage.end(delivery, dependency_failed()) for delivery in stage.start_all()]

    assert len(verdicts) > 8
    assert set(verdicts) == {Verdict.AGAIN}


def test_a_dependency_without_a_probe_has_none() -> None:
    """Messages find out."""
    stage = Stage("payments", settings=QUICK)
    stage.trip()
    stage.turn(later=10.0)

    assert stage.engine.take_probes() == []
    assert stage.run.plan.of(ORDERS).held is False


def test_a_slot_that_a_call_outside_of_handlers_has_taken_is_waited_for() -> None:
    """The probe runs when it is free again."""
    stage = ProbedStage()
    stage.trip()
    stage.now += 10.0
    permit = stage.circuit.try_acquire(stage.now)
    stage.turn()
    assert stage.engine.take_probes() == []
    stage.circuit.release(permit, stage.now)  # type: ignore[arg-type]
    stage.turn()

    assert stage.engine.take_probes() == stage.gates


def test_beside_others_no_attempt_needs_a_probe() -> None:
    """They tell more than a probe does."""
    stage = ProbedStage(RetryPolicy(initial_backoff=1.0, jitter=0.0), sources=2, ramp=RampSettings(minimum_verdicts=9))
    for source in partitions(2):
        stage.receive(9, source)
    stage.half_open()
    stage.probe(True)
    (suspect,) = stage.start_all()
    stage.end(suspect, dependency_failed())
    stage.probe(True)  # nobody has spoken yet
    (other,) = stage.start_all()
    assert other.source != suspect.source
    stage.end(other, returned())
    stage.end(stage.start_all()[0], returned())
    stage.turn(later=2.0)
    again = next(delivery for _ in range(9) for delivery in stage.start_all() if delivery is suspect or not stage.end(delivery, returned()))
    stage.end(again, dependency_failed())

    assert (stage.circuit.state, stage.engine.take_probes()) == (State.HALF_OPEN, [])


def test_a_share_of_a_fleet_needs_no_probe() -> None:
    """The conductor's probe was for all; this worker's share begins with messages, and one that conducts probes."""
    stage = ProbedStage()
    stage.receive(1)
    stage.circuit.guide(Guidance(Phase.RAMP, limit=1, stage=1), stage.now)
    stage.turn()
    assert stage.engine.take_probes() == []
    assert stage.start_all()

    conducting = ProbedStage()
    conducting.receive(1)
    conducting.circuit.guide(Guidance(Phase.PROBE), conducting.now)
    conducting.turn(later=10.0)
    assert conducting.engine.take_probes() == conducting.gates


def test_a_source_without_a_share_is_held_until_it_has_one() -> None:
    """By the reason of its circuit, and without another announcement of the outage."""
    stage = ProbedStage()
    stage.circuit.guide(Guidance(Phase.WAIT), stage.now)
    stage.turn()
    stage.circuit.guide(Guidance(Phase.RAMP, limit=0, stage=1), stage.now)
    stage.turn()
    (source,) = partitions(1)
    assert stage.run.plan.of(source).reasons == ("circuit:payments",)

    stage.circuit.guide(Guidance(Phase.RAMP, limit=1, stage=2), stage.now)
    stage.turn()
    assert stage.run.plan.of(source).reasons == ()
