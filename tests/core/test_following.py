"""How far a circuit follows what its fleet wants: the parts of it, one by one."""

from __future__ import annotations

from math import inf

import pytest
from tests.core.driving import FAILURE, SUCCESS, acquire

from holdgate.core import Circuit, CircuitSettings, Override, RampSettings, Reason, State
from holdgate.core.following import Following, GuidedRamp, Want
from holdgate.core.guidance import Guidance, Phase
from holdgate.core.ramp import StageResult
from holdgate.core.transitions import Situation

WAIT, PROBE, UP = Guidance(Phase.WAIT), Guidance(Phase.PROBE), Guidance(Phase.UP)
RAMP = Guidance(Phase.RAMP, limit=4, stage=1)


def test_nothing_is_wanted_without_a_fleet() -> None:
    """Whatever the state; and no call of a ramp was good."""
    following = Following()
    assert [following.want(state) for state in State] == [Want.NOTHING] * len(State)
    assert (following.active, following.lapses_at, following.is_proved, following.last_good) == (None, None, False, None)


def test_the_same_guidance_is_no_news() -> None:
    """The first time it is."""
    following = Following()
    assert not following.take(None, 0.0)
    assert following.take(WAIT, 0.0)
    assert not following.take(Guidance(Phase.WAIT), 1.0)


@pytest.mark.parametrize(("guidance", "want"), [(PROBE, Want.CLOSE), (RAMP, Want.RESUME)])
def test_what_opened_beside_a_ramp_of_the_fleet_is_closed_with_the_fleet(guidance: Guidance, want: Want) -> None:
    """Only who broke off its own share has to see a good call first."""
    following = Following()
    following.take(guidance, 0.0)
    following.want(State.HALF_OPEN)
    following.opened(Reason.CONSECUTIVE_FAILURES)
    following.take(UP, 1.0)
    assert following.want(State.OPEN) is want


def test_who_was_taken_aside_is_not_resumed() -> None:
    """An operator has decided otherwise, and a circuit that is open then goes by its own time."""
    following = Following()
    following.take(WAIT, 0.0)
    assert following.want(State.CLOSED) is Want.OPEN
    following.leave()
    assert following.active is None
    assert following.want(State.OPEN) is Want.NOTHING


def test_under_an_override_no_guidance_lapses() -> None:
    """The wait is the circuit's own."""
    following = Following()
    following.take(Guidance(Phase.WAIT, until=20.0), 0.0)
    assert following.opened_until(Situation(0.0, State.OPEN, until=30.0)) == 20.0
    assert following.opened_until(Situation(0.0, State.OPEN, Override.METRICS_ONLY, until=30.0)) == 30.0


@pytest.mark.parametrize("guidance", [None, WAIT, PROBE, RAMP])
def test_a_new_ramp_has_its_full_limit_and_its_relapses(guidance: Guidance | None) -> None:
    """Who has relapsed twice takes more time for each stage."""
    following = Following()
    following.take(guidance, 0.0)
    settings = RampSettings(stage_timeout=1.0, stage_per_relapse=5.0)
    ramp = following.new_ramp(settings, 16, 2, 100.0)
    assert (ramp.full, ramp._lasts) == (16, 10.0)
    assert ramp.limit == (4 if guidance is RAMP else 1)


def test_a_guided_ramp_counts_what_it_is_told() -> None:
    """Good results and others, with the seconds of the good ones. Its full limit may change."""
    ramp = GuidedRamp(RampSettings(), 16)
    ramp.lead(4, 0.0, is_new=True)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0, 1, 0.5)
    ramp.count(ramp.stage, StageResult.SLOW, 0.0)
    ramp.set_full(8)
    assert (ramp.good, ramp.bad, ramp.good_seconds, ramp.full, ramp.proved, ramp._weight) == (2, 1, 0.5, 8, True, 3)
    assert ramp._lasts == 0.0


# -- what a circuit knows by its own calls --------------------------------------------------------------------------------------------


def test_a_circuit_without_a_call_knows_nothing() -> None:
    """No good call, no stage, no usual duration."""
    facts = Circuit("payments").own_facts(5.0)
    assert (facts.succeeded, facts.last_good, facts.usual, facts.in_a_row) == (0, None, None, 0)
    assert (facts.stage, facts.stage_good, facts.stage_bad, facts.stage_seconds) == (0, 0, 0, 0.0)


def test_quick_calls_and_others_are_good_calls() -> None:
    """How long they took on average, and when the last was."""
    circuit = Circuit("payments")
    for began, took in ((1.0, 0.001), (2.0, 0.003), (3.0, 0.1), (4.0, 0.2)):
        circuit.record(acquire(circuit, began), SUCCESS, began + took)
    circuit.record(acquire(circuit, 4.3), FAILURE, 4.4)
    facts = circuit.own_facts(5.0)
    assert (facts.succeeded, facts.failed, facts.in_a_row) == (4, 1, 1)
    assert facts.usual == pytest.approx(0.304 / 4)
    assert facts.last_good == pytest.approx(5.0)


def test_quick_calls_that_no_rule_has_looked_at_are_good_calls() -> None:
    """Hundreds of them, of which some are not in the window any more and some not in it yet."""
    circuit = Circuit("payments")
    for now in range(250):
        circuit.record(acquire(circuit, float(now)), SUCCESS, now + 0.001)
    assert circuit.evidence.window.goods > 0
    facts = circuit.own_facts(300.0)
    assert (facts.succeeded, facts.usual) == (250, pytest.approx(0.001))


def test_what_opened_it_is_a_row_of_one_at_least() -> None:
    """Slow calls are no failures, and they have opened it all the same."""
    circuit = Circuit("payments", CircuitSettings(slow_call_duration=1.0))
    now = 0.0
    while circuit.state is State.CLOSED:
        circuit.record(acquire(circuit, now), SUCCESS, now + 2.0)
        now += 5.0
    assert circuit.evidence.in_a_row == 0
    assert circuit.own_facts(now).in_a_row == 1


def test_a_wait_that_somebody_asked_for_is_no_failure() -> None:
    """A Retry-After is one, the first of a row; an operator's wait and a fleet's are none."""
    told = Circuit("payments")
    told.record(acquire(told, 0.0), FAILURE, 0.1, retry_after=60.0)
    told.advance(200.0)
    assert told.own_facts(200.0).in_a_row >= 1
    asked = Circuit("payments")
    asked.open_for(60.0, 0.0)
    assert asked.own_facts(1.0).in_a_row == 0


def test_only_in_a_ramp_of_the_fleet_its_results_are_facts() -> None:
    """After it they are those of no stage."""
    circuit = Circuit("payments")
    circuit.guide(RAMP, 0.0)
    circuit.record(acquire(circuit, 0.0), SUCCESS, 0.5)
    facts = circuit.own_facts(0.5)
    assert (facts.stage, facts.stage_good, facts.stage_seconds) == (1, 1, 0.5)
    circuit.guide(Guidance(Phase.WAIT, stage=7, until=inf), 1.0)
    facts = circuit.own_facts(1.0)
    assert (facts.stage, facts.stage_good, facts.stage_seconds) == (7, 0, 0.0)


def test_a_guided_ramp_has_proved_nothing_when_it_begins() -> None:
    """It begins with a probe, until the fleet gives it a limit; a good call proves it."""
    ramp = GuidedRamp(RampSettings(), 16)
    assert (ramp.proved, ramp.is_probing) == (False, True)
    ramp.lead(4, 0.0, is_new=True)
    assert (ramp.proved, ramp.is_probing) == (False, False)
    ramp.count(ramp.stage, StageResult.GOOD, 0.0)
    assert ramp.proved is True
