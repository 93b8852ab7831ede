"""Gate: when it is shut or limited; Trial: which failures are votes."""

from __future__ import annotations

import pytest
from tests.flow.stage import gate

from holdgate.core import Circuit, Limits, State
from holdgate.core.guidance import Guidance, Phase
from holdgate.flow.blame import FailureHistory
from holdgate.flow.gate import Gate


def test_a_closed_circuit_is_neither_shut_nor_limited() -> None:
    """As much as comes."""
    payments = gate()

    assert (payments.shut, payments.limited) == (False, False)


def test_an_open_circuit_shuts_its_gate() -> None:
    """Sources that need it are held."""
    payments = gate()
    payments.circuit.open_for(10.0, 0.0)

    assert (payments.shut, payments.limited) == (True, True)


def test_half_open_is_limited_but_not_shut() -> None:
    """A source in half-open is not held: its probes come through."""
    payments = gate()
    payments.circuit.open_for(10.0, 0.0)
    payments.circuit.advance(10.0)

    assert payments.circuit.state is State.HALF_OPEN
    assert (payments.shut, payments.limited) == (False, True)


def test_half_open_without_a_share_of_the_fleet_is_shut() -> None:
    """Nothing at all is admitted, so its sources are held; a fallback may run instead, as while it is open."""
    payments = gate()
    payments.circuit.guide(Guidance(Phase.RAMP, limit=0), 0.0)
    assert payments.circuit.state is State.HALF_OPEN
    assert (payments.shut, payments.limited, payments.is_open) == (True, True, True)

    payments.circuit.guide(Guidance(Phase.RAMP, limit=2), 0.0)
    assert (payments.shut, payments.limited, payments.is_open) == (False, True, False)


def test_a_forced_opening_shuts_a_closed_circuit() -> None:
    """The operator's word counts, whatever the state below."""
    payments = gate()
    payments.circuit.force_open(0.0)

    assert (payments.shut, payments.limited) == (True, True)


@pytest.mark.parametrize("override", ["disable", "observe"])
def test_an_override_that_admits_opens_the_gate_of_an_open_circuit(override: str) -> None:
    """DISABLED and METRICS_ONLY admit everything, also over OPEN."""
    payments = gate()
    payments.circuit.open_for(10.0, 0.0)
    getattr(payments.circuit, override)(0.0)

    assert (payments.shut, payments.limited) == (False, False)


def test_the_first_failure_is_a_vote() -> None:
    """One message, one vote, whatever others came to before."""
    payments = gate()
    payments.successes = 7

    assert FailureHistory().votes_again(payments)


def test_a_lone_message_before_a_dead_dependency_votes_each_time() -> None:
    """Nobody else shows the dependency healthy, so its failures in a row open the circuit."""
    payments, history = gate(), FailureHistory()

    assert [history.votes_again(payments) for _ in range(3)] == [True, True, True]


def test_a_poison_message_among_healthy_neighbours_votes_once() -> None:
    """After somebody else's success its failures say nothing about the dependency any more."""
    payments, history = gate(), FailureHistory()
    history.votes_again(payments)
    payments.successes += 1

    assert [history.votes_again(payments) for _ in range(3)] == [False, False, False]


def test_a_new_generation_is_a_new_vote() -> None:
    """What others came to before the circuit opened says nothing about now."""
    payments, history = gate(), FailureHistory()
    history.votes_again(payments)
    payments.successes += 1
    payments.circuit.reset(1.0)

    assert history.votes_again(payments)


def test_its_own_success_is_no_evidence_of_others() -> None:
    """A message that fails on one need and succeeds on another keeps its vote on both."""
    payments, history = gate(), FailureHistory()
    history.votes_again(payments)
    payments.successes += 1
    history.succeeded(payments)

    assert history.votes_again(payments)


def test_a_success_before_any_failure_is_not_noted() -> None:
    """There is no vote that it could belong to."""
    payments, history = gate(), FailureHistory()
    history.succeeded(payments)

    assert history.votes == {}


def test_a_fresh_gate_knows_nothing() -> None:
    """No probe, no success, no failure; no probe is due before there was an outage."""
    payments = gate()

    assert (payments.probed, payments.probe_due, payments.good_probes, payments.down_since) == (False, False, 0, 0.0)
    assert (payments.successes, payments.recoveries, payments.failures) == (0, 0, 0)


def test_a_new_history_knows_nothing() -> None:
    """It is made when a message first needs one, which need not be a failure: a request, or a rejection."""
    history = FailureHistory()

    assert (history.failures, history.first_failed_at, history.last_failed_at, history.error) == (0, 0.0, 0.0, "")
    assert (history.falling_back, history.fallback_failed, history.reason) == (False, None, None)


def test_several_successes_of_its_own_are_no_evidence_of_others() -> None:
    """As with one: only what others came to is."""
    payments, history = gate(), FailureHistory()
    history.votes_again(payments)
    for _ in range(3):
        payments.successes += 1
        history.succeeded(payments)

    assert history.votes_again(payments)


def test_messages_that_recover_are_told_from_first_successes() -> None:
    """Each is counted, and the fast path need not know."""
    payments = gate()
    for _ in range(2):
        history = FailureHistory()
        history.blame_of(payments)
        payments.successes += 1
        history.succeeded(payments)
    payments.successes += 1

    assert (payments.recoveries, payments.first_successes) == (2, 1)


def test_what_is_held_against_it_is_its_own_failures_and_those_among_others_that_went_well() -> None:
    """Of several dependencies the one with most of them."""
    payments, mail, history = gate(), gate("mail"), FailureHistory()
    history.charged = 2
    history.blame_of(payments).attempts = 1
    history.blame_of(mail).attempts = 3

    assert history.counted == 5


def test_good_probes_are_counted_each() -> None:
    """Two are two."""
    gate = Gate(Circuit("payments"))
    for _ in range(2):
        gate.probe_was_good()
    assert gate.good_probes == 2


def test_a_gate_learns_where_its_limiter_has_heard_a_refusal_or_its_circuit_limits() -> None:
    """Numbers that were set alone are all that limits."""
    assert not Gate(Circuit("payments")).learns
    assert Gate(Circuit("payments", limits=Limits())).learns
    assert not Gate(Circuit("payments", limits=Limits(concurrency=2, adaptive=False))).learns
    down = Gate(Circuit("payments"))
    down.circuit.open_for(10.0, 0.0)
    assert down.learns


def test_a_new_dependency_holds_nothing() -> None:
    """Neither by its circuit nor by its limit, and no probe is due."""
    new = gate()
    assert (new.shut, new.held_by_limit, new.probed, new.probe_due) == (False, False, False, False)
