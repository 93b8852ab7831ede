"""Fate: the verdict by cause, and how the end of an attempt is recorded in the circuits and against the message."""

from __future__ import annotations

import pytest
from tests.flow.stage import Message, dependency_failed, gate, own_failure, place_of, placed, returned

from holdgate.core import CircuitSettings, Outcome, Permit
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.blame import FailureHistory, history_of
from holdgate.flow.fate import decide, give_back, record, record_successes
from holdgate.flow.gate import Gate, gates_of
from holdgate.flow.policy import RetryPolicy, Verdict

POLICY = RetryPolicy(attempts=3, initial_backoff=1.0, multiplier=2.0, max_backoff=6.0, jitter=0.0)


def charged(attempts: int) -> FailureHistory:
    history = FailureHistory()
    history.charged = attempts
    return history


@pytest.mark.parametrize(
    ("cause", "verdict"),
    [
        (Cause.RETURNED, Verdict.DONE),
        (Cause.DEPENDENCY, Verdict.AGAIN),
        (Cause.MESSAGE, Verdict.AGAIN),
        (Cause.REFUSED, Verdict.AGAIN),
        (Cause.REJECTED, Verdict.REJECT),
    ],
)
def test_every_cause_has_its_verdict(cause: Cause, verdict: Verdict) -> None:
    """The table of fates, for a message that has attempts left."""
    assert decide(cause, charged(2), POLICY) is verdict


def test_its_own_failures_are_counted_against_attempts() -> None:
    """The third of three is the last."""
    assert decide(Cause.MESSAGE, charged(3), POLICY) is Verdict.REJECT


@pytest.mark.parametrize("cause", [Cause.DEPENDENCY, Cause.REFUSED])
def test_an_outage_is_free(cause: Cause) -> None:
    """However often a message was charged before, a dependency's failure never rejects it."""
    assert decide(cause, charged(1000), POLICY) is Verdict.AGAIN


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
    history_of(delivery).extra = (search,)

    assert gates_of(delivery) == (mail, search)


def test_a_history_begins_once() -> None:
    """What is known of its failures is kept."""
    delivery = running()

    assert history_of(delivery) is history_of(delivery) is delivery.history


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


def test_the_one_step_is_what_a_settled_success_is() -> None:
    """`record_successes` shortens `record`: the circuits look the same, and the gates have counted the same."""
    seen = []
    for is_short in (True, False):
        gates = mail, search = gate("mail"), gate("search")
        search.circuit.record(permits(search)[0], Outcome.FAILURE, 0.5)
        for now in (1.0, 2.0):
            delivery = running(mail, search)
            if is_short:
                record_successes(gates, delivery.permits, now)
            else:
                record(delivery, returned(2), now)
        seen.append([(each.successes, each.failures, each.recoveries, each.circuit.snapshot(3.0)) for each in gates])

    assert seen[0] == seen[1]


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
    mail.lines[run] = {}

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

    assert history_of(delivery).charged == charged


def test_a_failure_of_its_own_moves_no_window() -> None:
    """Recorded as ignored: the slot is free again, nobody's success and nobody's failure."""
    mail = gate("mail")
    record(running(mail), own_failure(), 1.0)

    seen = mail.circuit.snapshot(1.0)
    assert (seen.in_flight, seen.calls, mail.successes) == (0, 0, 0)


def test_a_success_at_the_first_attempt_leaves_no_history() -> None:
    """A call form ran, so it was settled the slow way; it never failed, and there is nothing to remember."""
    mail = gate("mail")
    delivery = running(mail)
    record(delivery, returned(), 1.0)

    assert (delivery.history, mail.successes, mail.circuit.snapshot(1.0).calls) == (None, 1, 1)


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


SLOW = CircuitSettings(slow_call_duration=1.0, minimum_calls=10)


def permit_of(each: Gate, now: float = 0.0) -> Permit:
    permit = each.circuit.try_acquire(now)
    assert isinstance(permit, Permit)
    return permit


def holding(*gates: Gate, permits: int = 1) -> Message:
    """A delivery that needs these gates, with so many permits of each."""
    delivery = placed(place_of(*gates))
    delivery.permits = tuple(permit_of(each) for each in gates for _ in range(permits))
    return delivery


def test_a_permit_too_many_is_no_permit_to_forget() -> None:
    """It would be in flight for ever: permits and needs are told apart by their order, and must be as many."""
    payments = gate()
    with pytest.raises(ValueError, match="longer"):
        give_back(holding(payments, permits=2), 0.0)
    with pytest.raises(ValueError, match="longer"):
        record(holding(payments, permits=2), returned(), 0.0)
    with pytest.raises(ValueError, match="longer"):
        record_successes((payments,), [permit_of(payments), permit_of(payments)], 0.0)


def test_every_success_is_counted() -> None:
    """By the short way and by the long one."""
    payments = gate()
    for _ in range(2):
        record_successes((payments,), [permit_of(payments)], 0.0)
    record(holding(payments), returned(), 0.0)

    assert payments.successes == 3


def test_every_failure_of_its_own_is_charged() -> None:
    """One attempt each."""
    payments = gate()
    delivery = holding(payments)
    record(delivery, own_failure(), 0.0)
    delivery.permits = (permit_of(payments),)
    record(delivery, own_failure(), 0.0)

    assert delivery.history.charged == 2


def healthy() -> Gate:
    """A dependency that others have succeeded on."""
    payments = gate(settings=CircuitSettings())
    for _ in range(9):
        record_successes((payments,), [permit_of(payments)], 0.0)
    return payments


def test_a_failure_among_others_that_went_well_speaks_against_the_message() -> None:
    """When it is known to be of this dependency."""
    payments = healthy()
    delivery = holding(payments)
    record(delivery, dependency_failed(), 0.0)

    assert delivery.history.blames[payments].attempts == 1


def test_a_failure_that_may_be_another_dependency_s_speaks_against_nobody() -> None:
    """Doubt is never charged."""
    payments = healthy()
    delivery = holding(payments)
    record(delivery, dependency_failed(shared=True), 0.0)

    assert delivery.history.blames[payments].attempts == 0


def test_a_failing_call_in_a_handler_that_returned_speaks_against_nobody() -> None:
    """It is a vote, and the message is done."""
    payments = healthy()
    delivery = holding(payments)
    record(delivery, Attribution((NeedVerdict(Outcome.FAILURE),), Cause.RETURNED), 0.0)

    assert (delivery.history.blames[payments].attempts, payments.failures) == (0, 1)


def test_the_circuit_is_told_how_long_its_calls_took() -> None:
    """Not how long the handler did."""
    payments = gate(settings=SLOW)
    quick, slow = holding(payments), holding(payments)
    record(quick, Attribution((NeedVerdict(Outcome.SUCCESS, 0.5),), Cause.RETURNED), 5.0)
    record(slow, Attribution((NeedVerdict(Outcome.SUCCESS, 2.0),), Cause.RETURNED), 5.0)

    assert payments.circuit.snapshot(5.0).slow_calls == 1


def test_a_late_failure_is_a_late_result() -> None:
    """The circuit counts it as such, and nothing speaks against the message."""
    payments = gate()
    delivery = holding(payments)
    payments.circuit.reset(1.0)
    record(delivery, dependency_failed(), 1.0)

    assert payments.circuit.snapshot(1.0).late_results == 1
    assert (payments.failures, delivery.history) == (0, None)
