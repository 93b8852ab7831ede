"""What an ended attempt means for the circuits."""

from __future__ import annotations

import pytest
from tests.flow.stage import Message, dependency_failed, gate, own_failure, place_of, placed, returned

from holdgate.core import CircuitSettings, Outcome, Permit
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.blame import trial_of
from holdgate.flow.fate import give_back, record, record_successes
from holdgate.flow.gate import Gate, gates_of


def running(*gates: Gate) -> Message:
    """A delivery whose handler runs, its permits taken at second 0."""
    delivery = placed(place_of(*gates))
    delivery.permits = permits(*gates)
    return delivery


def permits(*gates: Gate) -> tuple[Permit, ...]:
    taken = tuple(gate.circuit.try_acquire(0.0) for gate in gates)
    assert all(isinstance(permit, Permit) for permit in taken)
    return taken  # type: ignore[return-value]


def test_a_delivery_needs_what_its_source_needs() -> None:
    """Before it has failed there is nothing else."""
    mail = gate("mail")

    assert gates_of(running(mail)) == (mail,)


def test_a_refusing_dependency_is_a_need_too() -> None:
    """It stands behind those of the source, as its permit does."""
    mail, search = gate("mail"), gate("search")
    delivery = running(mail)
    trial_of(delivery).extra = (search,)

    assert gates_of(delivery) == (mail, search)


def test_a_trial_begins_once() -> None:
    """What is known of its failures is kept."""
    delivery = running()

    assert trial_of(delivery) is trial_of(delivery) is delivery.trial


def test_permits_are_given_back_without_a_verdict() -> None:
    """Nothing is in flight, and nothing was counted."""
    mail = gate("mail")
    delivery = running(mail)
    give_back(delivery, 1.0)

    seen = mail.circuit.snapshot(1.0)
    assert (delivery.permits, seen.in_flight, seen.calls) == (None, 0, 0)


def test_giving_back_nothing_is_fine() -> None:
    """A delivery without permits, or that needs none."""
    delivery = running()
    give_back(delivery, 1.0)
    give_back(delivery, 1.0)

    assert delivery.permits is None


def test_a_success_of_all_needs_is_recorded_in_one_step() -> None:
    """One result in each window, one success more for each gate; nothing else to look at."""
    mail, search = gate("mail"), gate("search")

    assert record_successes((mail, search), permits(mail, search), 1.0) is False
    assert [(each.successes, each.circuit.snapshot(1.0).calls) for each in (mail, search)] == [(1, 1), (1, 1)]


def test_a_success_that_moves_a_circuit_must_be_looked_at() -> None:
    """A good stage of a half-open raises its limit, and waiting heads may start by that."""
    mail, search = gate("mail"), gate("search")
    mail.circuit.open_for(1.0, 0.0)
    mail.circuit.advance(1.0)
    mail.circuit.take_events()
    probe = mail.circuit.try_acquire(1.0)
    mail.circuit.set_full(8, 1.0)
    assert isinstance(probe, Permit)

    assert not mail.circuit.events_pending
    assert record_successes((mail, search), (probe, *permits(search)), 2.0) is False  # the first stage has the probe's limit
    second = mail.circuit.try_acquire(3.0)
    assert isinstance(second, Permit)
    assert record_successes((mail, search), (second, *permits(search)), 3.0) is True
    assert mail.circuit.events_pending


def test_a_success_that_frees_a_slot_for_others_must_be_looked_at() -> None:
    """A head waits for a gate with a limit."""
    mail = gate("mail")
    mail.circuit.open_for(1.0, 0.0)
    mail.circuit.advance(1.0)
    mail.circuit.take_events()
    probe = mail.circuit.try_acquire(1.0)
    run = place_of(mail).run
    mail.heads[run] = {}

    assert isinstance(probe, Permit)
    assert record_successes((mail,), (probe,), 2.0) is True


def test_each_need_gets_its_own_finding() -> None:
    """One failed, one succeeded, one has no verdict."""
    gates = gate("mail"), gate("payments"), gate("search")
    delivery = running(*gates)
    findings = (NeedVerdict(Outcome.FAILURE), NeedVerdict(Outcome.SUCCESS), NeedVerdict(None))
    record(delivery, Attribution(findings, Cause.DEPENDENCY), 1.0)

    seen = [each.circuit.snapshot(1.0) for each in gates]
    assert [(one.calls, one.failures, one.in_flight) for one in seen] == [(1, 1, 0), (1, 0, 0), (0, 0, 0)]
    assert [each.successes for each in gates] == [0, 1, 0]
    assert delivery.permits is None


def test_the_duration_and_the_wait_of_a_call_reach_the_circuit() -> None:
    """A server that says when to come back opens the circuit until then."""
    mail = gate("mail")
    delivery = running(mail)
    record(delivery, Attribution((NeedVerdict(Outcome.FAILURE, 0.5, 30.0),), Cause.DEPENDENCY), 1.0)

    assert mail.circuit.snapshot(1.0).open_until == 31.0


def test_a_second_failure_after_others_succeeded_is_no_vote() -> None:
    """It is recorded as ignored: the slot comes back, and the window stays as it is."""
    mail = gate("mail")
    delivery = running(mail)
    record(delivery, dependency_failed(), 1.0)
    mail.successes += 1
    delivery.permits = permits(mail)
    record(delivery, dependency_failed(), 2.0)

    seen = mail.circuit.snapshot(2.0)
    assert (seen.failures, seen.calls, seen.in_flight) == (1, 1, 0)


def test_its_own_success_elsewhere_keeps_its_vote() -> None:
    """A message that succeeds and then fails again, alone, votes again: nobody else has shown anything."""
    mail = gate("mail")
    delivery = running(mail)
    record(delivery, dependency_failed(), 1.0)
    delivery.permits = permits(mail)
    record(delivery, returned(), 2.0)
    delivery.permits = permits(mail)
    record(delivery, dependency_failed(), 3.0)

    assert mail.circuit.snapshot(3.0).failures == 2


def test_a_late_failure_uses_up_no_vote() -> None:
    """Its permit is of an older generation, so the circuit counts it as late; the first failure in the new generation still votes."""
    mail = gate("mail")
    delivery = running(mail)
    mail.circuit.reset(1.0)
    record(delivery, dependency_failed(), 2.0)
    mail.successes += 1
    delivery.permits = permits(mail)
    record(delivery, dependency_failed(), 3.0)

    seen = mail.circuit.snapshot(3.0)
    assert (seen.late_results, seen.failures) == (1, 1)


@pytest.mark.parametrize(("attribution", "charged"), [(own_failure(0), 1), (dependency_failed(0), 0)])
def test_only_its_own_failure_is_charged(attribution: Attribution, charged: int) -> None:
    """An outage is free."""
    delivery = running()
    record(delivery, attribution, 1.0)

    assert trial_of(delivery).charged == charged


def test_a_failure_of_its_own_moves_no_window() -> None:
    """Recorded as ignored: the slot is free again, nobody's success and nobody's failure."""
    mail = gate("mail")
    record(running(mail), own_failure(), 1.0)

    seen = mail.circuit.snapshot(1.0)
    assert (seen.in_flight, seen.calls, mail.successes) == (0, 0, 0)


def test_a_success_at_the_first_attempt_leaves_no_trial() -> None:
    """A call form ran, so it was settled the slow way; it never failed, and there is nothing to remember."""
    mail = gate("mail")
    delivery = running(mail)
    record(delivery, returned(), 1.0)

    assert (delivery.trial, mail.successes, mail.circuit.snapshot(1.0).calls) == (None, 1, 1)


def test_a_message_is_one_result_to_others() -> None:
    """By its first: failing again beside a success is no failure more, and succeeding after that is no first success."""
    mail = gate("mail", CircuitSettings(consecutive_failures=None, minimum_calls=20))
    suspect, other = running(mail), running(mail)
    record(suspect, dependency_failed(), 1.0)
    record(other, returned(), 1.0)
    suspect.permits = permits(mail)
    record(suspect, dependency_failed(), 2.0)
    assert (mail.failures, mail.first_successes) == (1, 1)
    suspect.permits = permits(mail)
    record(suspect, returned(), 3.0)

    assert (mail.failures, mail.first_successes, mail.successes) == (1, 1, 2)
