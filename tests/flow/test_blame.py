"""Blame: is it this message, or the dependency?"""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.crowd import Crowd
from tests.flow.stage import ORDERS, Stage, dependency_failed, gate, own_failure, partitions, returned, run_of

from holdgate.core import CircuitSettings, CountWindow, Outcome, Permit, State, TimeWindow
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.blame import Blame, FailureHistory, counts_as_closed
from holdgate.flow.events import SourceBlocked
from holdgate.flow.gate import Gate
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.unclaimed import UnclaimedType

# Trips only when told to: these tests bring the evidence themselves.
CALM = CircuitSettings(consecutive_failures=None, minimum_calls=20, failure_rate_threshold=1.0, open_jitter=0.0)
POLICY = RetryPolicy(attempts=2, doubt=0.01)


def seen_by(gate: Gate, blame: Blame, successes: int, failures: int = 0) -> float:
    """What one more failure adds after these results of others."""
    before = blame.blame
    gate.successes += successes
    gate.failures += failures
    blame.failed(gate, 0.0, charged=True)
    blame.mark(gate)
    return blame.blame - before


def begun(gate: Gate) -> Blame:
    """Blame after a first failure in front of an empty window, which says nothing."""
    blame = Blame(gate)
    assert seen_by(gate, blame, 0) == 0.0
    return blame


def fill(gate: Gate, successes: int, failures: int) -> None:
    """Results in the circuit's window."""
    for number in range(successes + failures):
        permit = gate.circuit.try_acquire(0.0)
        assert isinstance(permit, Permit)
        gate.circuit.record(permit, Outcome.SUCCESS if number < successes else Outcome.FAILURE, 0.0)


@pytest.mark.parametrize(
    ("successes", "failures", "likely"), [(9, 0, 1 / 10), (9, 1, 2 / 11), (0, 9, 1.0), (0, 0, 1.0), (1, 0, 1 / 2), (5, 5, 6 / 11)]
)
def test_a_failure_weighs_what_others_make_it(successes: int, failures: int, likely: float) -> None:
    """-ln((f + 1) / (n + 1)), of the results since its last failure."""
    payments = gate(settings=CALM)

    assert seen_by(payments, begun(payments), successes, failures) == pytest.approx(-math.log(likely))


def test_results_count_once() -> None:
    """What came before its last failure has spoken already."""
    payments = gate(settings=CALM)
    blame = begun(payments)
    seen_by(payments, blame, 9)

    assert seen_by(payments, blame, 0) == 0.0


def test_the_first_failure_is_judged_by_the_window() -> None:
    """Eight good results and one bad one before it."""
    payments = gate(settings=CALM)
    fill(payments, 8, 1)
    blame = Blame(payments)

    assert seen_by(payments, blame, 0) == pytest.approx(-math.log(2 / 10))


def test_only_failures_among_successes_are_attempts() -> None:
    """At one in two it is, above that it is none."""
    payments = gate(settings=CALM)
    blame = begun(payments)
    seen_by(payments, blame, 1)
    assert blame.attempts == 1
    seen_by(payments, blame, 4, 5)
    assert blame.attempts == 1


def test_a_retry_that_succeeds_is_no_result_of_its_own() -> None:
    """It comes from a message that had failed, and would make the dependency look better than it is."""
    payments = gate(settings=CALM)
    blame = begun(payments)
    payments.recoveries += 9

    assert seen_by(payments, blame, 9) == 0.0


def test_doubt_is_never_charged() -> None:
    """A failure that may be another need's adds nothing, and what others came to is used up."""
    payments = gate(settings=CALM)
    blame = begun(payments)
    payments.successes += 9
    blame.failed(payments, 0.0, charged=False)
    blame.mark(payments)

    assert (blame.blame, blame.attempts, seen_by(payments, blame, 0)) == (0.0, 0, 0.0)


@pytest.mark.parametrize(("override", "counts"), [("disable", True), ("observe", True), ("force_open", False)])
def test_an_override_that_admits_everything_counts_as_closed(override: str, counts: bool) -> None:
    """Also over an open circuit."""
    payments = gate(settings=CALM)
    payments.circuit.open_for(10.0, 0.0)
    getattr(payments.circuit, override)(0.0)

    assert counts_as_closed(payments) is counts


@pytest.mark.parametrize("later", [0.0, 10.0])
def test_in_an_outage_no_failure_weighs(later: float) -> None:
    """Open or half-open, whatever others came to."""
    payments = gate(settings=CALM)
    payments.circuit.open_for(10.0, 0.0)
    payments.circuit.advance(later)
    blame = Blame(payments)

    assert counts_as_closed(payments) is False
    assert [seen_by(payments, blame, 9), seen_by(payments, blame, 9)] == [0.0, 0.0]


def test_an_opening_forgets_all_blame() -> None:
    """Closed again, it begins from nothing, with a window that is empty."""
    payments = gate(settings=CALM)
    blame = begun(payments)
    seen_by(payments, blame, 99)
    payments.circuit.open_for(10.0, 0.0)
    payments.circuit.reset(0.0)
    seen_by(payments, blame, 99)

    assert (blame.blame, blame.attempts) == (0.0, 0)


@pytest.mark.parametrize(
    ("successes", "convicted"),
    [
        ([9, 9], True),  # exactly 1/100
        ([9, 8], False),
        ([99], False),  # one attempt alone
        ([3, 3, 3], False),
        ([3, 3, 3, 3], True),
    ],
)
def test_a_message_is_convicted_by_attempts_and_blame(successes: list[int], convicted: bool) -> None:
    """Two attempts at least, and less likely for an innocent message than one in a hundred."""
    payments = gate(settings=CALM)
    blame = begun(payments)
    for number in successes:
        seen_by(payments, blame, number)

    assert blame.convicts(payments, RetryPolicy(attempts=2, doubt=0.0100001)) is convicted


def test_the_failure_that_opens_the_circuit_convicts_nobody() -> None:
    """It was the outage."""
    payments = gate(settings=CALM)
    blame = begun(payments)
    seen_by(payments, blame, 999)
    seen_by(payments, blame, 999)
    assert blame.convicts(payments, POLICY) is True
    payments.circuit.open_for(10.0, 0.0)

    assert blame.convicts(payments, POLICY) is False


def test_being_alone_is_counted_across_outages() -> None:
    """And ends with a word of somebody else, good or bad."""
    payments = gate(settings=CALM)
    blame = begun(payments)
    payments.circuit.open_for(10.0, 0.0)
    seen_by(payments, blame, 0)
    assert blame.alone == 2
    seen_by(payments, blame, 0, 1)
    assert blame.alone == 0
    seen_by(payments, blame, 0)
    seen_by(payments, blame, 1)
    assert blame.alone == 0


# -- in the engine --------------------------------------------------------------------------------------------------------------------


def beside(policy: RetryPolicy = POLICY, *needs: str) -> Stage:
    """Two partitions: the suspect's, and one of healthy neighbours."""
    needs = needs or ("payments",)
    stage = Stage(*needs, settings=CALM, run=run_of(needs, retry=policy, rejects=True), sources=partitions(2))
    stage.receive(1)
    stage.receive(900, partitions(2)[1])
    return stage


def fail_beside(stage: Stage, attribution: Attribution, rounds: int, neighbours: int = 9) -> list[Verdict]:
    """The suspect fails, and between two of its attempts so many neighbours succeed."""
    verdicts = []
    for _ in range(rounds):
        suspect, healthy = sorted(stage.start_all(), key=lambda delivery: delivery.source)
        verdicts.append(stage.end(suspect, attribution))
        if verdicts[-1] is Verdict.REJECT:
            return verdicts
        succeed(stage, healthy, neighbours)
    return verdicts


def succeed(stage: Stage, healthy: Delivery[Any], count: int) -> None:
    """So many of one source, and then all backoffs are over."""
    for _ in range(count):
        stage.engine.succeeded(healthy, stage.now)
        following = stage.engine.follow(healthy.assignment, stage.now)
        assert following is not None
        healthy = following
    stage.engine.interrupted(healthy, stage.now)
    stage.turn(later=30.0)


def test_poison_that_looks_like_the_dependency_is_rejected() -> None:
    """Its first failure meets an empty window; the next two are one in eleven each."""
    assert fail_beside(beside(), dependency_failed(), 9, neighbours=10) == [Verdict.AGAIN, Verdict.AGAIN, Verdict.REJECT]


def test_more_attempts_may_be_asked_for() -> None:
    """Though the blame was reached before."""
    verdicts = fail_beside(beside(RetryPolicy(attempts=4, doubt=0.01)), dependency_failed(), 9, neighbours=10)

    assert verdicts == [Verdict.AGAIN] * 4 + [Verdict.REJECT]


def test_less_doubt_takes_longer() -> None:
    """One in a million is a little more than six times one in eleven, and the first failure met an empty window."""
    verdicts = fail_beside(beside(RetryPolicy(attempts=2)), dependency_failed(), 9, neighbours=10)

    assert verdicts == [Verdict.AGAIN] * 6 + [Verdict.REJECT]


def test_nobody_is_convicted_alone() -> None:
    """Without neighbours every failure is as likely as can be, in front of a closed circuit and of one that opens again and again."""
    stage = Stage("payments", settings=CALM, run=run_of(["payments"], retry=POLICY, rejects=True))
    stage.receive(1)
    for _ in range(40):
        assert stage.end(stage.start(), dependency_failed()) is Verdict.AGAIN
        stage.turn(later=1000.0)


def test_one_exception_against_two_needs_convicts_nobody() -> None:
    """Each gets the vote, and no message is charged for a doubt."""
    verdicts = fail_beside(beside(POLICY, "mail", "payments"), dependency_failed(2, shared=True), 20)

    assert verdicts == [Verdict.AGAIN] * 20


def test_the_need_that_failed_is_the_one_that_convicts() -> None:
    """Its calls failed, and the other need's went well: no doubt."""
    ended = Attribution((NeedVerdict(Outcome.SUCCESS), NeedVerdict(Outcome.FAILURE)), Cause.DEPENDENCY)

    assert fail_beside(beside(POLICY, "mail", "payments"), ended, 9)[-1] is Verdict.REJECT


def test_a_failure_of_a_call_beside_one_of_its_own_is_not_charged_twice() -> None:
    """The message's own failure is counted by attempts alone."""
    ended = Attribution((NeedVerdict(Outcome.FAILURE),), Cause.MESSAGE)
    stage = beside(RetryPolicy(attempts=9, doubt=0.01))

    assert fail_beside(stage, ended, 20) == [Verdict.AGAIN] * 8 + [Verdict.REJECT]


@pytest.mark.parametrize("override", ["disable", "observe"])
def test_under_an_override_that_admits_everything_poison_is_found_too(override: str) -> None:
    """Also where the circuit below is open: it records nothing, or has no say, and the results of others are kept whatever it does."""
    stage = beside()
    stage.gates[0].circuit.open_for(1e9, stage.now)
    getattr(stage.gates[0].circuit, override)(stage.now)
    stage.turn()

    assert fail_beside(stage, dependency_failed(), 9, neighbours=10)[-1] is Verdict.REJECT


def test_its_own_failures_are_charged_in_half_open_too() -> None:
    """They are nobody's outage. Uncharged, a message like that at the head of every lane would be the only probe for ever, and decide
    nothing."""
    stage = Stage("payments", run=run_of(["payments"], retry=POLICY, rejects=True))
    stage.receive(2)
    stage.trip()
    stage.turn(later=10.0)
    assert stage.gates[0].circuit.state is State.HALF_OPEN
    verdicts = []
    for _ in range(2):
        verdicts.append(stage.end(stage.start(), own_failure()))
        stage.turn(later=30.0)

    assert verdicts == [Verdict.AGAIN, Verdict.REJECT]
    assert stage.gates[0].circuit.state is State.HALF_OPEN


def test_repeated_failures_of_one_message_do_not_excuse_another() -> None:
    """They are one vote: two poison messages are both found beside healthy ones."""
    sources = partitions(3)
    stage = Stage("payments", settings=CALM, run=run_of(["payments"], retry=POLICY, rejects=True), sources=sources)
    for source, count in zip(sources, (1, 1, 900), strict=True):
        stage.receive(count, source)
    convicted = []
    for _ in range(4):
        *suspects, healthy = sorted(stage.start_all(), key=lambda delivery: delivery.source)
        convicted += [suspect.source for suspect in suspects if stage.end(suspect, dependency_failed()) is Verdict.REJECT]
        succeed(stage, healthy, 9)

    assert sorted(convicted) == sources[:2]


def test_own_failures_ask_no_neighbours() -> None:
    """They are charged at once."""
    assert fail_beside(beside(), own_failure(), 9, neighbours=0) == [Verdict.AGAIN, Verdict.REJECT]


# -- by chance ------------------------------------------------------------------------------------------------------------------------

RATES = [0.0, 0.01, 0.1, 0.3, 0.5, 1.0]


@pytest.mark.parametrize("failing", RATES)
@pytest.mark.parametrize("watched", [False, True])
def test_the_innocent_stay(failing: float, watched: bool) -> None:
    """Of some thousands of messages none is rejected: guarded by a circuit, and with one that only watches and never drops blame."""
    crowd = Crowd(failing, 0.0, seed=5, watched=watched).go(4000, seconds=60.0 if failing == 1.0 and watched else 3000.0)

    assert crowd.innocents == 0


@pytest.mark.parametrize("failing", [0.0, 0.01, 0.1])
def test_poison_among_healthy_neighbours_is_found(failing: float) -> None:
    """Within a dozen attempts, on eight strict lanes, and the circuit stays closed."""
    crowd = Crowd(failing, 0.002, seed=3).go(6000)

    assert len(crowd.attempts) > 5
    assert max(crowd.attempts) <= 12
    assert (crowd.innocents, crowd.opened) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("failing", RATES)
@pytest.mark.parametrize("watched", [False, True])
def test_at_most_one_innocent_in_a_hundred_thousand(failing: float, watched: bool) -> None:
    """At every rate of failure."""
    # Nobody gets through when everything fails: then it is so many attempts.
    crowd = Crowd(failing, 0.0, seed=11, watched=watched).go(100_000, seconds=1000.0 if failing == 1.0 and watched else 100_000.0)

    assert crowd.innocents <= 1


@pytest.mark.parametrize("order", ["key", "none"])
def test_evidence_does_not_run_dry_in_front_of_a_full_span(order: Literal["key", "none"]) -> None:
    """Everything up to the span is finished, and the suspect is all that is left: witnesses start at each of its failures."""
    run = run_of(["payments"], order=order, concurrency=4, span=128, retry=RetryPolicy(attempts=3, doubt=1e-4), rejects=True)
    stage = Stage("payments", settings=CALM, run=run)
    (suspect, *_) = stage.receive(400)
    verdict = Verdict.AGAIN
    for _ in range(2000):
        for delivery in stage.start_all():
            verdict = stage.end(delivery, dependency_failed() if delivery is suspect else returned())
            if verdict is Verdict.REJECT:
                break
        if verdict is Verdict.REJECT:
            break
        stage.turn(later=0.01)

    assert verdict is Verdict.REJECT


def alone(failures: int = 5) -> tuple[Stage, list[object]]:
    """One partition, and a message that has failed so often in front of a circuit that opened for it; what was said last."""
    stage = Stage("payments", run=run_of(["payments"]))
    stage.receive(2)
    for _ in range(failures):
        stage.events()
        stage.end(stage.start(), dependency_failed())
        stage.turn(later=1000.0)
    return stage, [event for event in stage.events() if isinstance(event, SourceBlocked)]


def test_a_lone_suspect_is_named_and_not_dropped() -> None:
    """After as many attempts as a message has, and once a minute from then on; it keeps its place."""
    assert alone(4)[1] == []
    stage, said = alone(5)
    assert [(event.position, event.error) for event in said] == [(0, "ValueError")] * 2
    stage.turn(later=60.0)

    assert [type(event) for event in stage.events()] == [SourceBlocked]
    assert stage.start().position == 0


def test_a_suspect_that_succeeds_is_named_no_more() -> None:
    """It was an outage."""
    stage, _ = alone()
    assert stage.end(stage.start(), returned()) is Verdict.DONE
    stage.turn(later=120.0)

    assert [event for event in stage.events() if isinstance(event, SourceBlocked)] == []


def test_what_another_message_came_to_makes_it_no_lone_suspect() -> None:
    """A failure of somebody else says that it is an outage."""
    stage = Stage("payments", run=run_of(["payments"]), sources=partitions(2))
    for source in partitions(2):
        stage.receive(1, source)
    for _ in range(20):
        for delivery in stage.start_all():
            stage.end(delivery, dependency_failed())
        stage.turn(later=1000.0)

    assert [event for event in stage.events() if isinstance(event, SourceBlocked)] == []


def lonely(failures: int = 5, *, order: Order = "none") -> Stage:
    """Two sources, and one message in hand of all, which has failed so often that its circuit is open."""
    stage = Stage("payments", run=run_of(["payments"], order=order), sources=partitions(2))
    stage.receive(1)
    for _ in range(failures):
        stage.turn(later=1000.0)
        stage.end(stage.start(), dependency_failed())
    assert [stage.assignment(source).held for source in partitions(2)] == [True, True]
    return stage


def fetching(stage: Stage) -> list[bool]:
    return [stage.run.plan.of(source).fetch for source in partitions(2)]


def test_a_lone_suspect_has_others_fetched_to_ask_instead() -> None:
    """A held source fetches nothing, and so the one message in hand would be the only probe for ever: what could show that it is to blame
    would stay in the broker. From the moment it is named, each source fetches until it has one other."""
    assert fetching(lonely(4)) == [False, False]
    stage = lonely(5)
    assert fetching(stage) == [True, True]
    stage.receive(3, ORDERS, first=1)
    assert fetching(stage) == [False, True]
    assert stage.start_all() == []  # they are held all the same

    stage.turn(later=1000.0)
    asked = []
    for _ in range(2):
        (probe,) = stage.start_all()
        asked.append(probe.position)
        stage.end(probe, dependency_failed() if probe.position == 0 else returned())
        stage.turn(later=1000.0)
    assert asked == [0, 1]


def test_a_lone_suspect_in_the_order_of_its_source_has_other_sources_fetch() -> None:
    """Nothing of its own source could pass it."""
    stage = lonely(order="source")
    assert fetching(stage) == [False, True]


def test_a_lone_suspect_that_went_away_has_nothing_fetched() -> None:
    """Its source belongs to another worker now, and its message asks nobody here."""
    stage = lonely()
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    other = stage.assignment(partitions(2)[1])
    other.mark_dirty()
    stage.turn()
    assert (other.plan.fetch, other.plan.reasons) == (False, ("circuit:payments",))


@pytest.mark.parametrize("why", ["operator", "other failures", "waiting"])
def test_nothing_is_fetched_for_a_lone_suspect_that_would_not_be_asked(why: str) -> None:
    """An operator holds the source, another message has failed as well, or one that was never tried stands in line already."""
    stage = lonely()
    if why == "operator":
        stage.engine.hold(ORDERS)
        stage.turn()
    elif why == "other failures":
        stage.receive(1, partitions(2)[1])
        for _ in range(2):
            stage.turn(later=1000.0)
            stage.end(stage.start(), dependency_failed())
    else:
        stage.receive(1, ORDERS, first=1)
        stage.turn(later=1000.0)  # it stands in line now
        stage.end(stage.start(), dependency_failed())
        assert stage.assignment().inbox.waiting == 0
    assert not fetching(stage)[0]


def test_a_suspect_is_not_the_next_probe_when_others_wait() -> None:
    """The slot of a half-open goes round."""
    stage = Stage("payments", run=run_of(["payments"]), sources=partitions(2))
    for source in partitions(2):
        stage.receive(1, source)
    probes = []
    for _ in range(6):
        started = stage.start_all()
        probes += [delivery.source.number for delivery in started if isinstance(delivery.source, Partition)][:1]
        for delivery in started:
            stage.end(delivery, dependency_failed())
        stage.turn(later=1000.0)

    assert probes[1:] in ([0, 1, 0, 1, 0], [1, 0, 1, 0, 1])


@given(
    between=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40),
    attempts=st.integers(1, 6),
    doubt=st.sampled_from([0.1, 1e-3, 1e-6]),
)
def test_nobody_is_convicted_without_evidence(between: list[tuple[int, int]], attempts: int, doubt: float) -> None:
    """Whatever others came to between its failures: the verdict is that of the rule, worked out by hand."""
    payments = gate(settings=CALM)
    blame = begun(payments)
    likely = []
    for successes, failures in between:
        seen_by(payments, blame, successes, failures)
        likely.append((failures + 1) / (successes + failures + 1))
    counted = [p for p in likely if p <= 0.5]
    is_unlikely = math.prod(likely) <= doubt * (1 - 1e-9)
    near = abs(math.log(math.prod(likely)) - math.log(doubt)) < 1e-6

    assert near or blame.convicts(payments, RetryPolicy(attempts=attempts, doubt=doubt)) is (len(counted) >= attempts and is_unlikely)


def half_open() -> Gate:
    payments = gate()
    payments.circuit.open_for(1.0, 0.0)
    payments.circuit.advance(1.0)
    return payments


@pytest.mark.parametrize("resets", [0, 1, 2])
def test_the_first_failure_looks_at_the_window_whatever_the_generation(resets: int) -> None:
    """Nine others succeeded before the message was first tried."""
    payments = gate(settings=CircuitSettings())
    for _ in range(resets):
        payments.circuit.reset(0.0)
    for _ in range(9):
        permit = payments.circuit.try_acquire(0.0)
        assert isinstance(permit, Permit)
        payments.circuit.record(permit, Outcome.SUCCESS, 0.0)
    blame = Blame(payments)
    assert blame.attempts == 0
    blame.failed(payments, 0.0, charged=True)
    assert blame.attempts == 1


def test_a_pair_is_a_good_probe_and_a_charged_failure_after_it() -> None:
    """Not a failure without a probe before it, nor one that may be another dependency's; a word from others ends the row."""
    payments = half_open()
    blame = Blame(payments)
    blame.failed(payments, 1.0, charged=True)
    assert blame.pairs == 0
    payments.good_probes += 1
    blame.failed(payments, 1.0, charged=False)
    assert blame.pairs == 0
    for pairs in (1, 2):
        payments.good_probes += 1
        blame.failed(payments, 1.0, charged=True)
        assert blame.pairs == pairs
    payments.successes += 1
    blame.failed(payments, 1.0, charged=True)
    assert blame.pairs == 0


def test_a_message_is_convicted_at_the_threshold() -> None:
    """Not past it."""
    payments, policy = gate(), RetryPolicy()
    blame = Blame(payments)
    blame.failed(payments, 0.0, charged=True)
    blame.attempts, blame.blame = policy.attempts, policy.conviction
    assert blame.convicts(payments, policy)
    blame.attempts -= 1
    assert not blame.convicts(payments, policy)


@pytest.mark.parametrize(
    ("settings", "opens_after"),
    [
        (CircuitSettings(consecutive_failures=8), 8),
        (CircuitSettings(consecutive_failures=None, window=CountWindow(20), minimum_calls=10, failure_rate_threshold=0.5), 10),
        (CircuitSettings(consecutive_failures=None, window=CountWindow(20), minimum_calls=3, failure_rate_threshold=0.5), 10),
        (CircuitSettings(consecutive_failures=None, window=CountWindow(9), minimum_calls=3, failure_rate_threshold=0.5), 5),
        (CircuitSettings(consecutive_failures=None, window=CountWindow(6), minimum_calls=100, failure_rate_threshold=0.5), 6),
        (CircuitSettings(consecutive_failures=None, window=TimeWindow(60.0), minimum_calls=7), 7),
        # Hundreds of failures would take hours: the source stands, and somebody has to hear of it.
        (CircuitSettings(consecutive_failures=None, window=CountWindow(1000), minimum_calls=100), 15),
        (CircuitSettings(consecutive_failures=200), 15),
    ],
)
def test_a_lone_message_is_suspected_one_failure_after_its_circuit_could_have_opened(settings: CircuitSettings, opens_after: int) -> None:
    """Before that a plain outage looks the same. The circuit does not see these failures, so nothing else ends the wait."""
    payments = gate(settings=settings)
    history = FailureHistory()
    blame = history.blame_of(payments)
    for _ in range(opens_after):
        seen_by(payments, blame, 0)
        assert not history.is_alone(RetryPolicy(attempts=1))
    seen_by(payments, blame, 0)
    assert history.is_alone(RetryPolicy(attempts=1))
    assert not history.is_alone(RetryPolicy(attempts=opens_after + 2))


def test_a_piece_remembers_what_nobody_claimed() -> None:
    """A batch that failed by an error of no need is no new message when its pieces fail alike."""
    history = FailureHistory()
    history.unclaimed = (UnclaimedType("ValueError"), 3)
    assert history.of_a_piece().unclaimed == history.unclaimed


def test_what_speaks_against_a_message_outlives_its_delivery() -> None:
    """Its broker delivers it again: it goes on where it was, and a rejection without a letter is forgotten."""
    payments = gate(settings=CALM)
    history = FailureHistory()
    history.failed("ValueError", 3.0)
    history.charge()
    history.back_off()
    blame = history.blame_of(payments)
    seen_by(payments, blame, 9)
    seen_by(payments, blame, 9)
    history.rejected("ValueError", "attempts")
    again = history.come_again()

    assert (again.charged, again.failures, again.first_failed_at, again.counted) == (1, 1, 3.0, history.counted)
    assert again.blame_of(payments) is blame
    assert (again.reason, again.backoffs) == (None, 0)


def test_a_message_whose_history_came_with_it_is_rejected_after_the_rest_of_its_attempts() -> None:
    """Two of three failures were in an earlier delivery."""
    stage = Stage("payments", run=run_of(["payments"], rejects=True, retry=RetryPolicy(attempts=3)))
    history = FailureHistory()
    history.charge()
    history.charge()
    stage.receive(1)
    delivery = stage.start()
    delivery.history = history.come_again()
    assert stage.end(delivery, own_failure()) is Verdict.REJECT


def test_a_history_begins_with_nobody_s_rule_and_counts_each_refusal() -> None:
    """Who gives no rule has rejected it; a refused start is counted every time."""
    history = FailureHistory()
    assert (history.given_up, history.refusals) == ("rejected", 0)
    history.refused()
    history.refused()
    assert history.refusals == 2


def test_what_ended_a_start_is_what_people_read() -> None:
    """The type of the refusal, and with the next delivery what no need has claimed."""
    history = FailureHistory()
    history.throttled_again("HTTPStatusError 429")
    history.unclaimed = (UnclaimedType("KeyError"), 2)
    again = history.come_again()
    assert (history.error, again.error, again.unclaimed) == ("HTTPStatusError 429", "HTTPStatusError 429", history.unclaimed)
