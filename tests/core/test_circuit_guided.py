"""A circuit that goes by its fleet: each phase, what an operator and its own calls do meanwhile, and the end of a guidance."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.driving import FAILURE, FIRST_WAIT, SUCCESS, acquire, calls, is_refused, kinds, opened, with_ramp
from tests.core.test_circuit_model import SEQUENCES, SETTINGS, Pair

from holdgate.core import Circuit, CircuitOpened, CircuitSettings, LimitChanged, Outcome, Override, Permit, Reason, Rejected, State
from holdgate.core.guidance import Guidance, Phase

LOCAL, UP = Guidance(Phase.LOCAL), Guidance(Phase.UP, epoch=1)
WAIT = Guidance(Phase.WAIT, epoch=1)
PROBE = Guidance(Phase.PROBE, epoch=1)
LONG_AFTER = 1000.0


def ramp(limit: int, stage: int = 1, epoch: int = 1, until: float = inf) -> Guidance:
    """A share of the fleet's ramp."""
    return Guidance(Phase.RAMP, limit=limit, stage=stage, epoch=epoch, until=until)


def guided(guidance: Guidance, circuit: Circuit | None = None, now: float = 0.0) -> Circuit:
    """A circuit that has just got this guidance; its events are taken."""
    circuit = Circuit("payments") if circuit is None else circuit
    circuit.guide(guidance, now)
    circuit.take_events()
    return circuit


# -- WAIT -----------------------------------------------------------------------------------------------------------------------------


def test_a_fleet_that_waits_opens_a_closed_circuit_and_leaves_its_level() -> None:
    """No call of its own has failed, so its own return will be as quick as ever."""
    circuit = Circuit("payments")
    circuit.guide(WAIT, 5.0)
    (event,) = circuit.take_events()
    assert isinstance(event, CircuitOpened)
    assert (event.reason, event.level, event.until, event.outage_since) == (Reason.FLEET, 0, 5.0 + FIRST_WAIT, 5.0)
    assert circuit.own_facts(5.0).opened_by is Reason.FLEET


def test_a_fleet_that_waits_opens_a_half_open_circuit() -> None:
    """Its probe would be one too many: the result of one that is out is late."""
    circuit = opened()
    probe = acquire(circuit, FIRST_WAIT)
    circuit.guide(WAIT, FIRST_WAIT)
    circuit.record(probe, SUCCESS, FIRST_WAIT + 1)
    assert (circuit.state, circuit.permits.late_results) == (State.OPEN, 1)


def test_a_wait_of_the_fleet_does_not_end_by_the_circuits_own_time() -> None:
    """Neither a call nor time asks, and there is no deadline to wake for."""
    circuit = guided(WAIT, opened())
    assert is_refused(circuit, LONG_AFTER)
    circuit.advance(LONG_AFTER)
    assert circuit.state is State.OPEN
    assert circuit.next_deadline() is None
    assert circuit.try_acquire(LONG_AFTER) == Rejected(None, State.OPEN)


def test_the_same_guidance_again_changes_nothing() -> None:
    """It comes in every turn."""
    circuit = guided(WAIT, opened())
    before = circuit.snapshot(1.0)
    circuit.guide(replace(WAIT), 1.0)
    assert circuit.snapshot(1.0) == before
    assert not circuit.take_events()


# -- PROBE ----------------------------------------------------------------------------------------------------------------------------


def test_who_probes_for_all_ends_its_wait_by_its_own_time_and_makes_one_call() -> None:
    """And after a good one the limit stays at what that has proved, for the fleet judges."""
    circuit = guided(PROBE, opened())
    assert circuit.next_deadline() == FIRST_WAIT
    probe = acquire(circuit, FIRST_WAIT)
    assert circuit.is_probing
    assert is_refused(circuit, FIRST_WAIT)
    circuit.record(probe, SUCCESS, FIRST_WAIT)
    calls(circuit, "SSSSSSSS", FIRST_WAIT)
    assert (circuit.state, circuit.limit, circuit.own_facts(FIRST_WAIT).probes_succeeded) == (State.HALF_OPEN, 1, 1)


def test_a_failed_probe_for_all_opens_again_for_a_wait_of_its_own() -> None:
    """It is asked again, by the same circuit, at its next time."""
    circuit = guided(PROBE, opened())
    calls(circuit, "F", FIRST_WAIT)
    facts = circuit.own_facts(FIRST_WAIT)
    assert (facts.state, facts.probes_failed, facts.opened_by) == (State.OPEN, 1, Reason.PROBE)
    assert facts.in_a_row == 5  # what opened it
    assert circuit.next_deadline() == 2 * FIRST_WAIT


@pytest.mark.parametrize(
    ("guidance", "fails", "says_when"),
    [(WAIT, "", True), (PROBE, "F", True), (ramp(8), "FFF", False), (UP, "F", False), (LOCAL, "F", False)],
)
def test_an_opening_says_whether_the_fleet_says_when_it_is_tried(guidance: Guidance, fails: str, says_when: bool) -> None:
    """Where it does, the time of the circuit itself would be a wrong promise in a log."""
    circuit = opened()
    circuit.advance(FIRST_WAIT)
    circuit.guide(guidance, FIRST_WAIT)
    calls(circuit, fails, FIRST_WAIT)
    last = [event for event in circuit.take_events() if isinstance(event, CircuitOpened)][-1]
    assert last.in_fleet is says_when


def test_a_limit_says_whether_it_is_a_share_of_a_fleets() -> None:
    """A lower one is a turn of others then, or the beginning of its own ramp; by its own rules it is a bad stage."""
    circuit = opened()
    circuit.advance(FIRST_WAIT)
    circuit.guide(ramp(8), FIRST_WAIT)
    circuit.guide(ramp(4), FIRST_WAIT)
    circuit.guide(None, FIRST_WAIT)
    calls(circuit, "SSSS", FIRST_WAIT)
    changes = [(event.limit, event.in_fleet) for event in circuit.take_events() if isinstance(event, LimitChanged)]
    assert changes == [(8, True), (4, True), (1, True), (2, False)]


def test_a_closed_circuit_that_is_to_probe_opens_first() -> None:
    """A worker that has made no call itself may be the conductor."""
    circuit = guided(PROBE)
    assert circuit.state is State.OPEN
    acquire(circuit, FIRST_WAIT)
    assert circuit.is_probing


def test_one_that_was_on_its_own_way_back_probes_anew_for_all() -> None:
    """Its own probe was before the fleet's: the next result counts as the fleet's, and what is in flight stays so."""
    circuit = opened(with_ramp(initial=4))
    calls(circuit, "S", FIRST_WAIT)
    call = acquire(circuit, FIRST_WAIT)
    circuit.guide(PROBE, FIRST_WAIT)
    assert (circuit.limit, circuit.is_probing, is_refused(circuit, FIRST_WAIT)) == (1, True, True)
    circuit.record(call, SUCCESS, FIRST_WAIT)
    assert (circuit.is_probing, circuit.limit) == (False, 1)
    circuit.guide(replace(PROBE, until=LONG_AFTER), FIRST_WAIT)
    assert not circuit.is_probing


def test_a_wait_of_the_one_that_probes_is_no_longer_than_the_fleet_says() -> None:
    """With one probe for all, frequent ones are cheap; a wait that a server asked for is not shortened."""
    circuit = opened(CircuitSettings(open_duration=60.0))
    circuit.guide(replace(PROBE, wait_at_most=30.0), 1.0)
    assert circuit.next_deadline() == 30.0
    asked = Circuit("payments")
    asked.open_for(60.0, 0.0)
    asked.guide(replace(PROBE, wait_at_most=30.0), 1.0)
    assert asked.next_deadline() == 60.0


def test_a_new_conductor_of_a_ramp_begins_with_its_probe() -> None:
    """The ramp failed elsewhere, and a half-open that had a share is to ask for all."""
    circuit = guided(ramp(4), opened(), 1.0)
    circuit.guide(replace(PROBE, epoch=2), 2.0)
    assert (circuit.limit, circuit.is_probing) == (1, True)


# -- RAMP -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.CLOSED, State.OPEN, State.HALF_OPEN])
def test_a_share_is_the_limit_from_any_state(state: State) -> None:
    """Also for one that comes while the fleet is on its way back, and for one whose own ramp has begun."""
    circuit = Circuit("payments") if state is State.CLOSED else opened()
    if state is State.HALF_OPEN:
        calls(circuit, "S", FIRST_WAIT)
    assert circuit.state is state
    circuit.guide(ramp(2), FIRST_WAIT)
    held = [acquire(circuit, FIRST_WAIT), acquire(circuit, FIRST_WAIT)]
    assert is_refused(circuit, FIRST_WAIT)
    assert (circuit.state, circuit.limit, len(held)) == (State.HALF_OPEN, 2, 2)


def test_without_a_share_nothing_goes() -> None:
    """Limit 0, and no deadline of its own."""
    circuit = guided(ramp(0), opened(), 1.0)
    assert is_refused(circuit, LONG_AFTER)
    assert not circuit.may_acquire(LONG_AFTER)
    assert (circuit.limit, circuit.free_slots, circuit.next_deadline()) == (0, 0, None)


def test_no_stage_is_judged_here() -> None:
    """However many good calls there are: the limit is the fleet's."""
    circuit = guided(ramp(2), opened(), 1.0)
    calls(circuit, "S" * 50, 2.0)
    circuit.advance(LONG_AFTER)
    assert (circuit.state, circuit.limit) == (State.HALF_OPEN, 2)


def test_results_count_for_the_stage_in_which_their_calls_began() -> None:
    """A call of the last stage says how it was under less load."""
    circuit = guided(ramp(4), opened(), 1.0)
    late = acquire(circuit, 1.0)
    calls(circuit, "SSF", 1.0)
    facts = circuit.own_facts(1.0)
    assert (facts.stage, facts.stage_good, facts.stage_bad, facts.in_a_row, facts.in_flight) == (1, 2, 1, 1, 1)
    circuit.guide(ramp(8, stage=2), 2.0)
    circuit.record(late, FAILURE, 2.0)
    calls(circuit, "S", 2.0)
    facts = circuit.own_facts(2.0)
    assert (facts.stage, facts.stage_good, facts.stage_bad) == (2, 1, 0)


def test_another_share_of_the_same_stage_keeps_its_results() -> None:
    """And the limit is announced."""
    circuit = guided(ramp(4), opened(), 1.0)
    calls(circuit, "S", 1.0)
    circuit.guide(ramp(2), 2.0)
    assert kinds(circuit.take_events()) == ["LimitChanged"]
    assert circuit.own_facts(2.0).stage_good == 1
    circuit.guide(ramp(2, epoch=2), 3.0)
    assert circuit.own_facts(3.0).stage_good == 0


def test_its_own_calls_open_it_in_a_ramp_of_the_fleet() -> None:
    """Three in a row, whatever the others see; its share waits until its own wait is over, and what it saw is told."""
    circuit = guided(ramp(8), opened(), 1.0)
    calls(circuit, "FFF", 2.0)
    facts = circuit.own_facts(2.0)
    assert (facts.state, facts.opened_by, facts.stage_bad) == (State.OPEN, Reason.CONSECUTIVE_FAILURES, 3)
    circuit.guide(ramp(16, stage=2), 3.0)
    assert circuit.state is State.OPEN
    assert circuit.next_deadline() == 2.0 + FIRST_WAIT
    circuit.advance(2.0 + FIRST_WAIT)
    assert (circuit.state, circuit.limit) == (State.HALF_OPEN, 16)


def test_a_lease_that_ends_in_a_small_share_opens() -> None:
    """A call that never ends is a failure here, too."""
    circuit = guided(ramp(1), opened(), 1.0)
    acquire(circuit, 1.0)
    deadline = circuit.next_deadline()
    assert deadline == 1.0 + circuit.settings.permit_lease
    circuit.advance(deadline)
    assert circuit.own_facts(deadline).opened_by is Reason.PERMIT_LEASE


def test_a_server_that_asks_for_a_wait_in_a_share_gets_it() -> None:
    """Retry-After opens, and the wait is not the fleet's to end."""
    circuit = guided(ramp(4), opened(), 1.0)
    circuit.record(acquire(circuit, 1.0), FAILURE, 1.0, retry_after=60.0)
    circuit.guide(ramp(8, stage=2), 2.0)
    assert (circuit.state, circuit.next_deadline()) == (State.OPEN, 61.0)


def test_a_change_of_the_full_rate_leaves_the_share() -> None:
    """So do other settings. The end of a ramp of its own is noted for later."""
    circuit = guided(ramp(8), opened(), 1.0)
    circuit.set_full(4, 2.0)
    circuit.reconfigure(CircuitSettings(open_duration=1.0), 3.0)
    snapshot = circuit.snapshot(3.0)
    assert (snapshot.limit, snapshot.full, snapshot.guidance, circuit.full) == (8, 4, ramp(8), 4)


# -- UP -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [WAIT, ramp(0), ramp(4)])
def test_when_the_fleet_has_recovered_what_it_led_closes(before: Guidance) -> None:
    """One announcement, as after a ramp of its own."""
    circuit = guided(before, opened(), 1.0)
    circuit.guide(UP, 2.0)
    assert kinds(circuit.take_events()) == ["CircuitClosed"]
    assert (circuit.state, circuit.snapshot(2.0).guidance, circuit.own_facts(2.0).opened_by) == (State.CLOSED, None, None)


def test_nothing_closes_that_its_own_calls_keep_open() -> None:
    """It opened in the fleet's ramp, and no call of its own was good since."""
    circuit = guided(ramp(8), opened(), 1.0)
    calls(circuit, "FFF", 2.0)
    circuit.guide(UP, 3.0)
    assert (circuit.state, circuit.next_deadline()) == (State.OPEN, 2.0 + FIRST_WAIT)


def test_one_that_took_up_its_share_again_and_saw_nothing_good_goes_on_with_a_probe() -> None:
    """By its own rules from there: a probe, and a ramp."""
    circuit = guided(ramp(8), opened(), 1.0)
    calls(circuit, "FFF", 2.0)
    circuit.advance(2.0 + FIRST_WAIT)
    circuit.guide(UP, 6.0)
    assert (circuit.state, circuit.is_probing, circuit.limit) == (State.HALF_OPEN, True, 1)
    calls(circuit, "S" * 100, 6.0)
    assert circuit.state is State.CLOSED


def test_one_that_took_up_its_share_again_and_saw_good_calls_closes() -> None:
    """What its own calls kept open they have opened the way for."""
    circuit = guided(ramp(8), opened(), 1.0)
    calls(circuit, "FFF", 2.0)
    circuit.advance(2.0 + FIRST_WAIT)
    calls(circuit, "S", 6.0)
    circuit.guide(UP, 6.0)
    assert circuit.state is State.CLOSED


def test_one_that_was_never_led_keeps_its_own_opening() -> None:
    """The fleet is well, and this worker alone is not."""
    circuit = guided(UP, opened(), 1.0)
    assert (circuit.state, circuit.next_deadline()) == (State.OPEN, FIRST_WAIT)
    circuit = guided(UP)
    calls(circuit, "FFFFF", 1.0)
    assert circuit.own_facts(1.0).opened_by is Reason.CONSECUTIVE_FAILURES


# -- an operator, here ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [WAIT, PROBE, ramp(2)])
def test_an_override_rests_the_guidance(guidance: Guidance) -> None:
    """An operator decides alone; when that ends, what the fleet wants by then counts."""
    circuit = guided(guidance, opened())
    circuit.force_open(1.0)
    circuit.guide(replace(guidance, until=LONG_AFTER), 2.0)
    assert circuit.snapshot(2.0).guidance is None
    assert circuit.next_deadline() is None
    circuit.clear_override(3.0)
    assert circuit.snapshot(3.0).guidance == replace(guidance, until=LONG_AFTER)
    assert circuit.state is (State.OPEN if guidance is WAIT else State.HALF_OPEN)


def test_a_wait_below_an_override_goes_on_by_its_own_time() -> None:
    """As it does without a fleet."""
    circuit = guided(WAIT, opened())
    circuit.disable(1.0)
    circuit.advance(FIRST_WAIT)
    assert circuit.snapshot(FIRST_WAIT).state is State.HALF_OPEN
    circuit.clear_override(FIRST_WAIT)
    assert circuit.snapshot(FIRST_WAIT).state is State.OPEN


def test_a_forced_opening_never_ends_at_the_full_rate() -> None:
    """Though the fleet has recovered meanwhile."""
    circuit = guided(WAIT, opened())
    circuit.force_open(1.0)
    circuit.guide(UP, 2.0)
    circuit.clear_override(3.0)
    assert (circuit.state, circuit.limit) == (State.HALF_OPEN, 1)


def test_a_reset_counts_until_the_fleet_goes_on() -> None:
    """The operator of this worker wants it closed, and the next phase of the fleet is another matter."""
    circuit = guided(WAIT, opened())
    circuit.reset(1.0)
    circuit.guide(replace(WAIT, until=LONG_AFTER), 2.0)
    assert circuit.snapshot(2.0).state is State.CLOSED
    circuit.guide(replace(WAIT, epoch=2), 3.0)
    assert circuit.snapshot(3.0).state is State.OPEN


def test_a_reset_without_a_guidance_is_what_it_was() -> None:
    """There is nothing to leave, and what comes later is followed."""
    circuit = opened()
    circuit.reset(1.0)
    circuit.guide(WAIT, 2.0)
    assert circuit.state is State.OPEN


def test_a_probe_that_an_operator_wants_is_made_in_a_wait_of_the_fleet() -> None:
    """Its failure leads back to the fleet's wait."""
    circuit = guided(WAIT, opened())
    assert circuit.end_wait(1.0)
    circuit.guide(replace(WAIT, until=LONG_AFTER), 1.0)
    calls(circuit, "F", 2.0)
    assert (circuit.state, circuit.snapshot(2.0).guidance is not None) == (State.OPEN, True)
    assert is_refused(circuit, 100.0)


def test_a_program_that_asks_for_a_wait_puts_off_the_probe_for_all() -> None:
    """`open_for` in OPEN, as without a fleet."""
    circuit = guided(PROBE, opened())
    circuit.open_for(100.0, 1.0)
    assert circuit.next_deadline() == 101.0


# -- the end of a guidance ------------------------------------------------------------------------------------------------------------


def test_a_wait_lapses_by_time_and_the_next_try_is_somewhere_within_the_next_wait() -> None:
    """All whose log fell silent in the same moment would else probe in the same moment."""
    circuit = Circuit("payments", draw=lambda: 0.25)
    calls(circuit, "FFFFF", 0.0)
    circuit.guide(replace(WAIT, until=100.0), 1.0)
    assert circuit.next_deadline() == 100.0
    circuit.advance(100.0)
    wait = 10.0 * (1 - 0.1 + 0.2 * 0.25)  # a tenth of the outage's age, with jitter
    assert circuit.next_deadline() == pytest.approx(100.0 + 0.25 * wait)
    assert circuit.snapshot(100.0).guidance is None


def test_a_call_alone_notices_that_a_wait_has_lapsed() -> None:
    """No turn may have come since."""
    circuit = guided(replace(WAIT, until=3.0), opened(), 1.0)
    assert circuit.try_acquire(2.0) == Rejected(3.0, State.OPEN)
    assert is_refused(circuit, 3.0)
    acquire(circuit, FIRST_WAIT)


def test_a_wait_that_is_not_over_goes_on_as_it_was() -> None:
    """The circuit's own trace, as if there had been no fleet."""
    circuit = guided(WAIT, opened(), 1.0)
    circuit.guide(None, 2.0)
    assert circuit.next_deadline() == FIRST_WAIT


@pytest.mark.parametrize(("share", "outcomes", "limit"), [(4, "S", 4), (4, "", 1), (1, "S", 1), (64, "S", 16)])
def test_a_share_that_lapses_goes_on_by_stages_of_its_own(share: int, outcomes: str, limit: int) -> None:
    """From what it has proved, and otherwise from a probe."""
    circuit = guided(ramp(share, until=9.0), opened(), 1.0)
    calls(circuit, outcomes, 2.0)
    assert circuit.next_deadline() == 9.0
    circuit.advance(9.0)
    assert (circuit.limit, circuit.is_probing) == (limit, outcomes == "")
    calls(circuit, "S" * 100, 9.0)
    assert circuit.state is State.CLOSED


def test_a_share_of_nothing_that_lapses_begins_with_a_probe() -> None:
    """What is in flight from an earlier stage counts against its limit."""
    circuit = guided(ramp(1), opened(), 1.0)
    calls(circuit, "S", 1.0)
    held = acquire(circuit, 1.0)
    circuit.guide(ramp(0, stage=2, until=9.0), 2.0)
    circuit.advance(9.0)
    assert (circuit.limit, circuit.is_probing, is_refused(circuit, 9.0)) == (1, True, True)
    circuit.record(held, SUCCESS, 9.0)
    assert not circuit.is_probing


@pytest.mark.parametrize("guidance", [LOCAL, replace(WAIT, until=5.0), None])
def test_a_guidance_that_says_nothing_is_none(guidance: Guidance | None) -> None:
    """LOCAL, one that is over already, and None are the same."""
    circuit = Circuit("payments")
    circuit.guide(guidance, 5.0)
    assert (circuit.state, circuit.generation, circuit.snapshot(5.0).guidance) == (State.CLOSED, 0, None)


def test_a_newer_guidance_keeps_it_from_lapsing() -> None:
    """Though the older one was over a moment ago."""
    circuit = guided(replace(WAIT, until=3.0), opened(), 1.0)
    circuit.guide(replace(WAIT, until=9.0), 3.5)
    assert (circuit.state, circuit.next_deadline()) == (State.OPEN, 9.0)


# -- facts ----------------------------------------------------------------------------------------------------------------------------


def test_facts_of_good_calls_cost_nothing_when_they_end() -> None:
    """They are counted by what the window counts anyway; when the last good one was is known to the next look."""
    circuit = Circuit("payments")
    assert circuit.own_facts(0.0).last_good is None
    calls(circuit, "SSS", 1.0)
    calls(circuit, "F", 2.0)
    facts = circuit.own_facts(2.5)
    assert (facts.succeeded, facts.failed, facts.in_a_row, facts.last_good) == (3, 1, 1, 2.5)
    assert circuit.own_facts(9.0).last_good == 2.5


def test_facts_of_an_outage_with_a_good_stage_before_it() -> None:
    """The fleet opens a half-open whose last call was good: nothing has failed here since."""
    circuit = opened()
    calls(circuit, "S", FIRST_WAIT)
    circuit.guide(WAIT, FIRST_WAIT)
    assert circuit.own_facts(FIRST_WAIT).in_a_row == 0


def test_facts_say_how_long_good_calls_took() -> None:
    """Of the fleet's stage the good ones together, and on average all good ones since construction."""
    circuit = Circuit("payments")
    assert circuit.own_facts(0.0).usual is None
    for began, took in ((0.0, 0.001), (0.1, 0.003), (0.2, 0.5)):
        circuit.record(acquire(circuit, began), SUCCESS, began + took)
    assert circuit.own_facts(1.0).usual == pytest.approx(0.504 / 3)
    circuit.guide(ramp(4), 1.0)
    permits = [acquire(circuit, 1.0) for _ in range(3)]
    circuit.record(permits[0], SUCCESS, 1.25)
    circuit.record(permits[1], FAILURE, 2.0)
    circuit.record(permits[2], SUCCESS, 2.0)
    assert circuit.own_facts(2.0).stage_seconds == pytest.approx(1.25)
    circuit.guide(ramp(4, stage=2), 2.0)
    assert circuit.own_facts(2.0).stage_seconds == 0.0


def test_facts_say_until_when_a_server_wants_to_be_left_alone() -> None:
    """While the circuit waits for that; a wait of its own, or one that the program asked for, is none of a server's."""
    circuit = opened()
    assert circuit.own_facts(0.0).told_until is None
    told = Circuit("payments")
    told.record(acquire(told, 0.0), FAILURE, 1.0, retry_after=60.0)
    assert told.own_facts(1.0).told_until == 61.0
    told.advance(61.0)
    assert told.own_facts(61.0).told_until is None
    asked = Circuit("payments")
    asked.open_for(60.0, 0.0)
    assert asked.own_facts(0.0).told_until is None


def test_facts_after_a_forced_opening() -> None:
    """What opened it before counts no more."""
    circuit = opened()
    circuit.force_open(1.0)
    circuit.clear_override(2.0)
    facts = circuit.own_facts(2.0)
    assert (facts.state, facts.override, facts.opened_by) == (State.HALF_OPEN, None, None)


def test_facts_say_what_an_operator_has_laid_over_it() -> None:
    """A worker that is forced open asks nobody."""
    circuit = Circuit("payments")
    circuit.force_open(0.0)
    assert circuit.own_facts(0.0).override is Override.FORCED_OPEN


# -- without a fleet ------------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(SETTINGS, SEQUENCES, st.lists(st.sampled_from([LOCAL, None, replace(WAIT, until=-inf)]), min_size=1))
def test_a_circuit_that_is_told_to_go_by_itself_is_one_without_a_fleet(
    given_settings: CircuitSettings, steps: list[tuple[Any, ...]], guidances: list[Guidance | None]
) -> None:
    """After every step: the naive circuit, which knows no fleet, shows the same and told the same."""
    pair = Pair(given_settings)
    for number, step in enumerate(steps):
        if pair.now >= pair.real.latest:  # to be told anything shows it the time
            pair.real.guide(guidances[number % len(guidances)], pair.now)
            pair.real.own_facts(pair.now)
            pair.naive.see(pair.now)  # the next step may set the clock back
        pair.play(step)
        pair.compare()


GUIDANCES = st.one_of(
    st.just(None),
    st.builds(
        Guidance, st.sampled_from(Phase), limit=st.integers(0, 8), stage=st.integers(0, 3), epoch=st.integers(0, 2), until=st.just(inf)
    ),
)


class Guided:
    """A circuit and its calls, a second for each step."""

    def __init__(self) -> None:
        self.circuit = Circuit("payments")
        self.now = 0.0
        self.begun: list[Permit] = []

    def play(self, step: Guidance | str | None) -> None:
        """One step."""
        self.now += 1.0
        if isinstance(step, str):
            getattr(self, f"do_{step}")()
        else:
            self.circuit.guide(step, self.now)

    def do_call(self) -> None:
        """No call begins past the limit of its moment."""
        before = self.circuit.snapshot(self.now).in_flight
        permit = self.circuit.try_acquire(self.now)
        if isinstance(permit, Permit):
            self.begun.append(permit)
            assert self.circuit.limit is None or before < self.circuit.limit

    def do_good(self) -> None:
        self._end(SUCCESS)

    def do_bad(self) -> None:
        self._end(FAILURE)

    def _end(self, outcome: Outcome) -> None:
        self.do_call()
        if self.begun:
            self.circuit.record(self.begun.pop(), outcome, self.now)

    def do_advance(self) -> None:
        self.circuit.advance(self.now)

    def do_reset(self) -> None:
        self.circuit.reset(self.now)

    def do_force(self) -> None:
        self.circuit.force_open(self.now)

    def do_clear(self) -> None:
        self.circuit.clear_override(self.now)

    def do_try(self) -> None:
        self.circuit.end_wait(self.now)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(GUIDANCES, st.sampled_from(["good", "bad", "call", "advance", "reset", "force", "clear", "try"])), max_size=60))
def test_whatever_a_fleet_says_no_limit_is_passed_and_its_silence_has_a_way_out(steps: list[Guidance | str | None]) -> None:
    """Neither a share nor the change of one lets more calls begin, and every state leads to CLOSED by good calls of its own."""
    guided_circuit = Guided()
    for step in steps:
        guided_circuit.play(step)
    guided_circuit.play("clear")
    guided_circuit.play(None)
    for _ in range(60):
        guided_circuit.now += 1000.0
        guided_circuit.play("good")
    assert guided_circuit.circuit.state is State.CLOSED
