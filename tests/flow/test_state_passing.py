"""Places whose messages pass one another: what stands, what is counted, and what falls back."""

from __future__ import annotations

import pytest
from tests.flow.mixed import Mixed
from tests.flow.stage import ORDERS, Sized, Stage, gate, messages, place_of, placed, run_of

from holdgate.flow.events import MessagesHeld
from holdgate.flow.inbox import Order, weigh
from holdgate.flow.passing import PassingFreeInbox, PassingKeyInbox
from holdgate.flow.policy import FallbackSettings, Needs
from holdgate.flow.state import Assignment, Run, Unbounded


class Tight(Unbounded):
    """A bound on memory that is reached."""

    tight = True


def passing() -> Assignment:
    """A place whose messages need payments or mail."""
    return Mixed().assignment()


# -- what stands ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "kind"), [("none", PassingFreeInbox), ("key", PassingKeyInbox)])
def test_where_each_message_has_its_own_needs_they_pass_one_another(order: Order, kind: type) -> None:
    """The inbox is one in which they may."""
    assignment = Mixed(order).assignment()

    assert isinstance(assignment.inbox, kind)
    assert assignment.passing is assignment.inbox


@pytest.mark.parametrize(
    ("full", "waiting", "tight", "because"),
    [
        (True, 0, True, "memory"),
        (False, 0, True, ""),  # it is read, so that another message may come and pass
        (True, 1, True, ""),  # there is one that passes
        (True, 1, False, ""),
        (True, 0, False, ""),
        (False, 0, False, ""),
    ],
)
def test_memory_is_why_nothing_passes_only_where_nothing_is_left_and_nothing_is_read(
    full: bool, waiting: int, tight: bool, because: str
) -> None:
    """Everything else lets another message pass those that wait."""
    assignment = passing()
    assignment.inbox.put(messages(ORDERS, waiting))
    assignment.full = full
    assignment.run.memory = Tight() if tight else Unbounded()

    assert assignment.stands_because == because


def standing(assignment: Assignment) -> None:
    """Let nothing pass what waits for payments: everything that may be in hand waits for that."""
    assignment.full = True
    assignment.run.memory = Tight()


def test_a_place_where_nothing_passes_any_more_is_planned_anew() -> None:
    """What waits holds all of it from now on."""
    assignment = passing()
    standing(assignment)
    assignment.count_undeclared([gate()], 1)
    assignment.run.dirty.clear()

    assert (assignment.look_around(), list(assignment.run.dirty)) == (True, [assignment])


@pytest.mark.parametrize(("held", "waits", "stands"), [(True, True, True), (False, False, True), (False, True, False)])
def test_a_place_is_planned_anew_only_where_that_may_change_something(held: bool, waits: bool, stands: bool) -> None:
    """Not where it is held already, where nothing waits for a gate of its own, or where others still pass."""
    assignment = passing()
    if waits:
        assignment.count_undeclared([gate()], 1)
    if stands:
        standing(assignment)
    assignment.held = held
    assignment.run.dirty.clear()

    assert (assignment.look_around(), list(assignment.run.dirty)) == (False, [])


def test_failures_are_compared_with_those_of_messages_that_need_the_same() -> None:
    """Where all need the same, with those of the source."""
    stage = Mixed()
    (message,) = stage.receive(1)
    listed = place_of(gate())

    assert stage.assignment().results_of(message) is stage.needing("payments").results
    assert listed.results_of(placed(listed)) is listed.results


# -- what is counted ------------------------------------------------------------------------------------------------------------------


def test_what_has_ended_out_of_turn_has_ended() -> None:
    """The first of three is still in work."""
    assignment = place_of(run=run_of(order="none", concurrency=3))
    came = messages(ORDERS, 3)
    assignment.run.enqueue(came)
    for _ in came:
        assignment.inbox.take()
    for each in came[1:]:
        assignment.inbox.done(each)

    assert assignment.finished == 2


def let_pass(assignment: Assignment, count: int) -> None:
    """Take in so many messages, and let others pass all of them."""
    came = messages(ORDERS, count)
    for message in came:
        message.needs = assignment.run.kinds.needing((), ORDERS)
    assignment.run.enqueue(came)
    for _ in came:
        taken = assignment.inbox.take()
        assert taken is not None
        assignment.let_pass(taken)
    assignment.replan(1.0)


@pytest.mark.parametrize(("inbox", "count", "passed"), [(4, 5, 4), (10, 4, 0), (10, 7, 5), (2, 3, 3), (3, 1, 1), (1, 2, 2)])
def test_the_plan_counts_what_is_passed_in_steps_of_half_an_inbox(inbox: int, count: int, passed: int) -> None:
    """Rounded down, so that a window does not change with each message; one by one where half an inbox is no more than that."""
    assignment = Mixed(inbox=inbox).assignment()
    let_pass(assignment, count)

    assert assignment.plan.passed == passed


def test_where_nothing_passes_the_plan_counts_nothing_as_passed() -> None:
    """Even where each single one would count."""
    assignment = place_of(gate(), run=run_of(inbox=2))
    assignment.replan(1.0)

    assert assignment.plan.passed == 0


def test_what_stands_behind_a_passed_key_is_weighed_when_it_comes() -> None:
    """It never waits in the inbox, and is in memory all the same."""
    stage = Mixed("key", weigh=weigh)
    assignment = stage.assignment()

    def come(first: int, count: int, size: int) -> list[Sized]:
        came = [Sized(ORDERS, position, size) for position in range(first, first + count)]
        for message in came:
            message.order_key, message.needs = "one", stage.needing("payments")
        stage.run.enqueue(came)
        return came

    come(0, 3, 100)
    head = assignment.inbox.take()
    assert head is not None
    assignment.let_pass(head)
    first = assignment.weigh()
    come(3, 2, 1000)

    assert (assignment.passing is not None and assignment.passing.passed, assignment.inbox.waiting) == (5, 0)
    assert assignment.weigh() == first + weigh([Sized(ORDERS, 3, 1000), Sized(ORDERS, 4, 1000)])


def test_what_stood_behind_a_passed_key_weighs_nothing_when_it_has_ended() -> None:
    """As many are counted as came: one more would stay in memory for ever."""
    stage = Mixed("key", weigh=weigh)
    assignment = stage.assignment()
    for first, count in ((0, 3), (3, 2)):
        came = [Sized(ORDERS, position, 1_000_000) for position in range(first, first + count)]
        for message in came:
            message.order_key, message.needs = "one", stage.needing("payments")
        stage.run.enqueue(came)
        if not first:
            head = assignment.inbox.take()
            assert head is not None
            assignment.let_pass(head)
    for _ in range(5):
        assignment.inbox.done(head)
        following = assignment.inbox.take()
        head = following or head

    assert (assignment.finished, assignment.weigh()) == (5, 0)


@pytest.mark.parametrize(("held", "announced"), [(False, True), (True, False)])
def test_nothing_is_said_of_messages_that_wait_while_nothing_goes_on(held: bool, announced: bool) -> None:
    """An operator holds the source: the others do not pass, so that there is no news of that."""
    stage = Mixed()
    stage.trip("payments")
    assignment = stage.assignment()
    assignment.count_undeclared([stage.engine.gates["payments"]], 1)
    assignment.set_operator_hold(held=held)

    assert any(isinstance(event, MessagesHeld) for event in stage.run.replan(stage.now)) is announced


# -- lanes ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "yields", "ring", "free"),
    [(3, True, True, False), (2, True, True, True), (3, True, False, True), (3, False, True, True), (4, False, False, False)],
)
def test_the_last_lane_is_for_an_inbox_when_the_one_before_was_not(running: int, yields: bool, ring: bool, free: bool) -> None:
    """Of four lanes; where no inbox has work, what waits may have it."""
    run = run_of(order="none", concurrency=4)
    assignment = place_of(run=run)
    run.running, run.yields = running, yields
    if ring:
        run.mark_ready(assignment)

    assert run.has_lane_for_waiting is free


def test_each_turn_asks_anew_who_wants_a_lane() -> None:
    """Who wanted one has got it, or is asked again."""
    run = run_of()
    run.want_lane()
    assert run.lane_wanted is True
    run.begin_turn()
    assert run.lane_wanted is False


def test_work_may_run_a_hundred_spans_ahead_of_what_is_passed() -> None:
    """Unless a number is given."""
    assert run_of(span=7).held_span == 700
    assert Run(Needs([]), order="none", concurrency=1, inbox=9, span=7, held_span=8).held_span == 8


# -- what falls back ------------------------------------------------------------------------------------------------------------------


def test_a_message_falls_back_if_what_it_needs_is_down() -> None:
    """What another one needs is no matter, though some of the source falls back."""
    stage = Mixed(fallback=FallbackSettings())
    stage.trip("payments")
    payments, mail = stage.receive(2)
    assignment = stage.assignment()
    assert assignment.falling_back

    assert assignment.falls_back(payments, stage.now)
    assert not assignment.falls_back(mail, stage.now)


def test_all_that_a_source_needs_is_down_together_or_nothing_of_it_falls_back() -> None:
    """Where each message has its own needs, one that is down is enough."""
    one, other = gate("payments"), gate("mail")
    run = Run(Needs(["payments", "mail"]), order="source", concurrency=None, inbox=10)
    stage = Mixed()

    assert list(place_of(one, other, run=run).falls_for) == [(one, other)]
    assert list(stage.assignment().falls_for) == [(each,) for each in stage.gates]


def test_a_source_that_does_not_fall_back_lets_no_message_of_it_do_so() -> None:
    """The flag of the source counts where all its messages need the same."""
    stage = Stage("payments", run=Run(Needs(["payments"]), order="source", concurrency=None, inbox=10, fallback=FallbackSettings()))
    (message,) = stage.receive(1)
    assert not stage.assignment().falls_back(message, stage.now)
    stage.trip()
    assert stage.assignment().falls_back(message, stage.now)
