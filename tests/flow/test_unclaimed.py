"""Failures that no need claims: is it a bad message, or an outage that nobody described?"""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.stage import unclaimed
from tests.flow.throng import Throng

from holdgate.flow.attribution import Attribution
from holdgate.flow.blame import FailureHistory
from holdgate.flow.events import OutageSuspected
from holdgate.flow.policy import RetryPolicy
from holdgate.flow.unclaimed import RunResults, UnclaimedType

ENOUGH = RetryPolicy().conviction
FAILURE = unclaimed()
ERROR = FAILURE.unclaimed


def until_it_is_an_outage(results: RunResults, failure: Attribution = FAILURE) -> int:
    """How many different messages must fail in a row."""
    for number in range(1, 1000):
        if results.failed(FailureHistory(), failure, ENOUGH) is not None:
            return number
    raise AssertionError("never")


def with_past(successes: int, failures: int = 0) -> RunResults:
    """A handler whose failures were spread evenly among its successes; no evidence is left of them."""
    results = RunResults()
    for number in range(failures):
        results.successes = successes * number // failures
        assert results.failed(FailureHistory(), FAILURE, ENOUGH) is None
    results.successes = successes + (20 if failures else 0)
    return results


@pytest.mark.parametrize(
    ("successes", "failures", "needed"), [(1, 0, 4), (10, 0, 3), (100, 0, 3), (1000, 0, 2), (990, 10, 4), (900, 100, 7), (700, 300, 15)]
)
def test_how_many_failures_in_a_row_depends_on_how_usual_they_were(successes: int, failures: int, needed: int) -> None:
    """The table at the head of the rule."""
    assert until_it_is_an_outage(with_past(successes, failures)) == needed


def test_before_the_first_success_three_messages_are_enough() -> None:
    """A worker that is restarted in an outage, or deployed with a bug, has no past; redelivered messages are all that it sees then."""
    assert until_it_is_an_outage(RunResults()) == 3
    results = RunResults()
    assert [results.failed(FailureHistory(), FAILURE, ENOUGH, redelivered=True) is None for _ in range(4)] == [True, True, False, False]


def test_before_the_first_success_one_message_alone_is_none_either() -> None:
    """However often it fails, and however little it takes to convict it."""
    results, alone = RunResults(), FailureHistory()
    assert [results.failed(alone, FAILURE, math.log(2)) for _ in range(100)] == [None] * 100
    assert results.failed(FailureHistory(), FAILURE, math.log(2)) is not None


def test_after_the_first_success_the_usual_evidence_is_needed() -> None:
    """What has begun at the start goes on until ten have succeeded, and is announced by the next failures."""
    results = RunResults()
    assert results.enough(ENOUGH) == pytest.approx(ENOUGH - math.log(100))
    assert results.enough(2.0) == 1.0
    results.successes = 1
    assert results.enough(ENOUGH) == ENOUGH


def test_each_status_stands_for_itself() -> None:
    """Messages that a server calls invalid all day long do not hide that its token has expired."""
    invalid, expired = (unclaimed(error="httpx.HTTPStatusError")._replace(status=status) for status in (422, 401))
    results = with_past(1000)
    for _ in range(300):
        results.failed(FailureHistory(), invalid, ENOUGH)
        results.successes += 3
    assert results.failed(FailureHistory(), invalid, ENOUGH) is None
    results.failed(FailureHistory(), expired, ENOUGH)
    kind = results.failed(FailureHistory(), expired, ENOUGH)
    assert kind is not None
    assert (kind.error, kind.status, kind.is_bug) == ("httpx.HTTPStatusError", 401, False)


def test_it_is_known_since_when_they_fail() -> None:
    """Since the first failure of this spell, which may be long before there is enough evidence."""
    results = with_past(100)
    for at in (10.0, 70.0):
        assert results.failed(FailureHistory(), FAILURE, ENOUGH, at) is None
    kind = results.failed(FailureHistory(), FAILURE, ENOUGH, 130.0)
    assert kind is not None
    assert kind.began == 10.0
    results.successes += 20
    results.failed(FailureHistory(), FAILURE, ENOUGH, 200.0)
    assert kind.began == 200.0


def test_one_message_alone_is_none() -> None:
    """However often it fails, and however well everything went before."""
    results = with_past(100_000)
    alone = FailureHistory()
    assert [results.failed(alone, FAILURE, ENOUGH) for _ in range(100)] == [None] * 100


def test_what_was_redelivered_may_be_what_failed_before_and_says_nothing() -> None:
    """A killed worker leaves all of its bad messages to the next one, and the rest of its queue is good."""
    results = with_past(1000)
    assert [results.failed(FailureHistory(), FAILURE, ENOUGH, redelivered=True) for _ in range(20)] == [None] * 20
    assert until_it_is_an_outage(results) == 2


def test_a_bad_message_that_fails_again_says_nothing() -> None:
    """A second one beside it brings the evidence of two, and no more with each of their attempts."""
    results = with_past(100)
    two = [FailureHistory(), FailureHistory()]
    assert [results.failed(each, FAILURE, ENOUGH) for _ in range(5) for each in two] == [None] * 10


def test_where_messages_come_back_from_it_another_failure_says_something() -> None:
    """Two that fail again and again, though with this error all others have succeeded at their second attempt."""
    results = with_past(100)
    for _ in range(30):
        unlucky = FailureHistory()
        results.failed(unlucky, FAILURE, ENOUGH)
        results.successes += 20
        results.succeeded(unlucky)
    two = [FailureHistory(), FailureHistory()]
    stands = [results.failed(each, FAILURE, ENOUGH) is not None for _ in range(5) for each in two]
    assert stands[:2] == [False, False]
    assert stands[-1]


def test_success_takes_evidence_away() -> None:
    """Of anybody, and as much as ln 4 for each."""
    kind = UnclaimedType(ERROR)
    kind.look(100)
    kind.failed(again=False, new=True, enough=ENOUGH)
    before = kind.evidence
    kind.look(102)
    assert kind.evidence == pytest.approx(before - 2 * math.log(4))


def test_what_a_need_claims_speaks_against_it_too() -> None:
    """In the outage of a declared dependency bad messages come by as probes, and nothing succeeds between them."""
    results = with_past(1000)
    for _ in range(20):
        assert results.failed(FailureHistory(), FAILURE, ENOUGH) is None
        results.claimed += 6


def test_each_type_stands_for_itself() -> None:
    """Three bad messages of three kinds are no outage."""
    results = with_past(1000)
    assert [results.failed(FailureHistory(), unclaimed(error=error), ENOUGH) for error in ("KeyError", "ValueError", "TypeError")] == [
        None
    ] * 3


def test_it_ends_with_a_handful_of_successes() -> None:
    """However long it was: then a message that fails is charged again."""
    results = with_past(1000)
    for _ in range(500):
        results.failed(FailureHistory(), FAILURE, ENOUGH)
    results.successes += 10
    assert results.failed(FailureHistory(), FAILURE, ENOUGH) is None


def test_just_after_it_a_failure_still_belongs_to_it() -> None:
    """An outage that takes some calls and not all charges none of them."""
    results = with_past(1000)
    until_it_is_an_outage(results)
    results.successes += 2
    assert results.failed(FailureHistory(), FAILURE, ENOUGH) is not None


def test_an_outage_does_not_make_the_next_one_look_usual() -> None:
    """Of a thousand failures in it one is remembered."""
    results = with_past(1000)
    for _ in range(1000):
        results.failed(FailureHistory(), FAILURE, ENOUGH)
    results.successes += 100
    assert until_it_is_an_outage(results) == 3


def test_what_was_bad_a_long_time_ago_is_forgotten() -> None:
    """A thousand results are remembered: after ten million good ones the type is as good as new."""
    results = with_past(900, 100)
    results.successes += 10_000_000
    assert until_it_is_an_outage(results) == 2


def test_the_memory_of_recoveries_is_as_long() -> None:
    """Bad messages that never come back outweigh those that once did."""
    results = with_past(10)
    for recovers in [True] * 2000 + [False] * 2000:
        history = FailureHistory()
        results.failed(history, FAILURE, ENOUGH)
        results.successes += 20
        if recovers:
            results.succeeded(history)
        else:
            results.failed(history, FAILURE, ENOUGH)
            results.successes += 20
    two = [FailureHistory(), FailureHistory()]
    assert [results.failed(each, FAILURE, ENOUGH) for _ in range(5) for each in two] == [None] * 10


def test_types_without_end_are_forgotten() -> None:
    """Thirty-two are known, those that came last; what is forgotten begins anew."""
    results = with_past(1000)
    first = FailureHistory()
    assert results.failed(first, FAILURE, ENOUGH) is None
    for number in range(31):
        results.failed(FailureHistory(), unclaimed(error=f"Error{number}"), ENOUGH)
    assert results.failed(FailureHistory(), FAILURE, ENOUGH) is not None  # it was there still, and is the youngest now
    for number in range(32, 64):
        results.failed(FailureHistory(), unclaimed(error=f"Error{number}"), ENOUGH)
    assert results.failed(FailureHistory(), FAILURE, ENOUGH) is None


@given(st.lists(st.sampled_from(["good", "first", "again", "claimed"]), max_size=200))
def test_evidence_never_leaves_its_bounds(ends: list[Literal["good", "first", "again", "claimed"]]) -> None:
    """Between nothing and enough, whatever comes; it is an outage only by several messages, and never by one."""
    results, failed = RunResults(), [FailureHistory()]
    for end in ends:
        results.successes += end == "good"
        results.claimed += end == "claimed"
        if end in ("first", "again"):
            failed += [FailureHistory()] if end == "first" else []
            kind = results.failed(failed[-1], FAILURE, ENOUGH)
            assert kind is None or (0 < kind.evidence <= ENOUGH and kind.messages >= 2)


# -- by chance ------------------------------------------------------------------------------------------------------------------------

CROWDS: list[tuple[int, Literal["source", "none"]]] = [(8, "source"), (16, "none")]
OUTAGE = (5.0, 125.0)


@pytest.mark.parametrize(("lanes", "order"), CROWDS)
@pytest.mark.parametrize("bad", [0.01, 0.1])
def test_bad_messages_among_healthy_neighbours_go_after_exactly_their_attempts(
    lanes: int, order: Literal["source", "none"], bad: float
) -> None:
    """One in a hundred, and one in ten: as quickly as if nobody had asked for outages."""
    throng = Throng(lanes=lanes, order=order, seed=7, bad=bad).go(3000)

    assert Counter(throng.attempts) == {5: len(throng.attempts)}
    assert len(throng.attempts) > 1000 * bad
    assert (throng.innocents, throng.events) == ([], [])


@pytest.mark.parametrize(
    ("lanes", "order", "unlucky"),
    [(*crowd, unlucky) for crowd in CROWDS for unlucky in (0.0, 0.01, 0.1)] + [(3, "source", 0.0), (2, "source", 0.0)],
)
def test_an_outage_that_nobody_described_rejects_nothing(lanes: int, order: Literal["source", "none"], unlucky: float) -> None:
    """Two minutes, after some seconds in which none, one in a hundred or one in ten attempts failed with the same error. With one in ten
    some have failed four times before it begins: they are as good as rejected then."""
    throng = Throng(lanes=lanes, order=order, seed=8, unlucky=unlucky, outage=OUTAGE).go(10**9, 130.0)

    assert len([at for at in throng.innocents if at >= OUTAGE[0]]) <= (1 if unlucky > 0.01 else 0)
    assert throng.calls_in_outage < 500
    assert [type(event) for event in throng.events][:2] == [OutageSuspected] * 2
    assert len(throng.events) <= 4  # once a minute, and its end


def test_with_one_message_in_view_at_a_time_it_ends_with_the_first_ones() -> None:
    """One partition in strict order: the first is rejected, for one alone says nothing; the second one is held."""
    throng = Throng(lanes=1, order="source", seed=7, outage=OUTAGE).go(10**9, 140.0)

    assert len(throng.innocents) == 1


def test_seven_calls_in_ten_that_fail_are_an_outage_too() -> None:
    """Success and hold take turns, and nobody is rejected who would have been processed."""
    throng = Throng(lanes=8, order="source", seed=7, outage=(5.0, 65.0), share=0.7).go(10**9, 70.0)

    assert throng.innocents == []
    assert len(throng.events) <= 6


@pytest.mark.slow
@pytest.mark.parametrize(("lanes", "order"), CROWDS)
@pytest.mark.parametrize("bad", [0.001, 0.01, 0.1])
def test_twenty_thousand_messages_are_never_taken_for_an_outage(lanes: int, order: Literal["source", "none"], bad: float) -> None:
    """Bad ones go after their attempts, all but those that chance has put side by side, and nothing waits for ever."""
    throng = Throng(lanes=lanes, order=order, seed=11, bad=bad).go(20_000)

    assert Counter(throng.attempts)[5] >= 0.999 * len(throng.attempts)
    assert throng.innocents == []


@pytest.mark.slow
@pytest.mark.parametrize(("unlucky", "most"), [(0.0, 0), (0.01, 0), (0.1, 1), (0.3, 24)])
def test_eight_outages_reject_hardly_anybody_who_is_innocent(unlucky: float, most: int) -> None:
    """Eight strict lanes. Those few have failed three or four times among healthy neighbours before: where three attempts in ten fail
    anyway, one message in four hundred is rejected without any outage, too."""
    rejected = [
        at
        for seed in range(8)
        for at in Throng(lanes=8, order="source", seed=seed, unlucky=unlucky, outage=OUTAGE).go(10**9, 130.0).innocents
    ]

    assert len([at for at in rejected if at >= OUTAGE[0]]) <= most


# -- the arithmetic of one type ----------------------------------------------------------------------------------------------------------


def test_nothing_is_known_of_a_new_type() -> None:
    """Nor of a handler without results."""
    kind, results = UnclaimedType(ERROR), RunResults()
    assert (kind.evidence, kind.spell, kind.messages, kind.others, kind.is_outage) == (0.0, 0, 0, 0, False)
    assert (kind.error, kind.status, kind.is_bug, kind.began) == (ERROR, None, False, 0.0)
    assert (kind._seen, kind._failures, kind._results, kind._retried, kind._repeated, kind._pending) == (0, 0.0, 0.0, 0.0, 0.0, [0, 0])
    assert (results.successes, results.claimed, results.suspected, results.next_try) == (0, 0, False, 0.0)


def test_other_results_count_while_evidence_is_left() -> None:
    """Each takes ln 4 away; where nothing is left, the spell is over and counting begins anew."""
    kind = UnclaimedType(ERROR)
    kind.evidence = 10.0
    kind.messages = 3
    kind.look(2)
    kind.look(5)
    assert (kind.evidence, kind.others, kind.messages, kind.spell) == (pytest.approx(10.0 - 5 * math.log(4)), 5, 3, 0)
    kind.look(7)
    assert (kind.evidence, kind.others, kind.messages, kind.spell) == (pytest.approx(10.0 - 7 * math.log(4)), 7, 3, 0)
    kind.is_outage = True
    kind.look(8)
    assert (kind.evidence, kind.others, kind.messages, kind.is_outage, kind.spell) == (0.0, 0, 0, False, 1)
    kind.look(8)
    assert kind.spell == 1  # nothing has happened since
    kind.look(9)
    assert kind.spell == 2


def test_evidence_that_is_used_up_exactly_ends_the_spell() -> None:
    """And a little that is left does not."""
    kind = UnclaimedType(ERROR)
    kind.evidence = math.log(4)
    kind.look(1)
    assert kind.spell == 1
    kind.evidence = math.log(4) + 0.5
    kind.look(2)
    assert (kind.evidence, kind.spell) == (pytest.approx(0.5), 1)


def test_failures_are_remembered_when_something_else_happens() -> None:
    """First and repeated ones apart; in an outage one of them counts, and no repeated one."""
    kind = UnclaimedType(ERROR)
    for again in (False, False, True, True, True):
        kind.failed(again=again, new=not again, enough=100.0)
    assert (kind._pending, kind.messages) == ([2, 3], 2)
    kind.look(4)
    assert (kind._failures, kind._results, kind._retried, kind._repeated, kind._pending) == (2.0, 6.0, 3.0, 3.0, [0, 0])
    kind.recovered()
    assert kind._retried == 4.0
    for _ in range(3):
        kind.failed(again=False, new=True, enough=100.0)
    kind.is_outage = True
    kind.look(5)
    assert (kind._failures, kind._results, kind._retried, kind._repeated) == (3.0, 8.0, 4.0, 3.0)


def test_the_past_is_a_thousand_results() -> None:
    """Older ones fade, of first and of repeated failures alike."""
    kind = UnclaimedType(ERROR)
    kind._failures, kind._results, kind._retried, kind._repeated = 500.0, 1000.0, 2000.0, 1000.0
    kind.look(1000)
    assert (kind._failures, kind._results, kind._retried, kind._repeated) == (250.0, 1000.0, 1000.0, 500.0)


def test_the_rates_of_a_new_type_are_what_is_expected() -> None:
    """One in a hundred at first, with the weight of ten results; again for sure, with that of two; and never more than three in ten."""
    kind = UnclaimedType(ERROR)
    assert (kind._rate, kind._rate_again) == (pytest.approx(0.01), 1.0)
    kind._failures, kind._results = 1.0, 10.0
    assert kind._rate == pytest.approx(1.1 / 20)
    kind._failures, kind._results = 900.0, 1000.0
    assert kind._rate == 0.3
    kind._retried, kind._repeated = 6.0, 1.0
    assert kind._rate_again == pytest.approx(3 / 8)


def test_a_spell_begins_at_the_time_of_its_first_failure() -> None:
    """At 0 where nobody gives a time."""
    kind, results = UnclaimedType(ERROR), RunResults()
    kind.failed(again=False, new=True, enough=ENOUGH)
    results.failed(FailureHistory(), FAILURE, ENOUGH)
    assert [each.began for each in (kind, *results._kinds.values())] == [0.0, 0.0]

    later, results = UnclaimedType(ERROR), RunResults()
    later.failed(again=False, new=True, enough=ENOUGH, now=7.0)
    results.failed(FailureHistory(), FAILURE, ENOUGH, 7.0)
    assert [each.began for each in (later, *results._kinds.values())] == [7.0, 7.0]


def test_from_the_first_success_on_a_message_that_comes_again_may_have_failed_before() -> None:
    """One is enough to know that this is no worker that was restarted in an outage."""
    for successes, outage in ((0, True), (1, False)):
        results = RunResults()
        results.successes = successes
        found = [results.failed(FailureHistory(), FAILURE, ENOUGH, redelivered=True) for _ in range(6)]
        assert any(found) is outage
