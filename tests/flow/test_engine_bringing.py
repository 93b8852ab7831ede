"""`bring` does `received_quietly` and `follow` in one step for a message that comes alone: it may differ from them in speed only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.flow.stage import BILLS, ORDERS, QUICK, Message, Stage, dependency_failed, half_open, in_flight, parallel, returned, run_of

from holdgate.core import State
from holdgate.flow.inbox import Order
from holdgate.flow.policy import Verdict


def bring(stage: Stage, position: int = 0) -> tuple[Message, bool | None]:
    """A framework brings a message."""
    delivery = Message(ORDERS, position)
    return delivery, stage.engine.bring(stage.assignment(), delivery, stage.now)


@pytest.mark.parametrize("order", ["source", "none"])
@pytest.mark.parametrize("needs", [(), ("payments",), ("payments", "mail")])
def test_a_message_that_comes_alone_starts_with_its_permits(order: Order, needs: tuple[str, ...]) -> None:
    """And its success leaves nothing behind: the next one starts in the same way, and no turn is needed."""
    stage = Stage(*needs, run=run_of(needs, order=order, concurrency=None if order == "source" else 4))
    for position in range(3):
        delivery, started = bring(stage, position)
        assert started is True
        assert (delivery.attempt, len(delivery.permits)) == (1, len(needs))
        assert (stage.run.running, stage.assignment().in_flight) == (1, 1)
        assert [in_flight(stage, name) for name in needs] == [1] * len(needs)
        assert stage.engine.succeeded(delivery, stage.now) is Verdict.DONE
    assert stage.assignment().finished == 3
    assert [gate.successes for gate in stage.gates] == [3] * len(needs)
    assert stage.run.running == 0
    assert stage.engine.needs_turn is False


def test_one_that_fails_waits_and_comes_again_as_any_other() -> None:
    """Its failures open the circuit, which holds it, and it is the probe."""
    stage = Stage("payments")
    delivery, _ = bring(stage)
    stage.end(delivery, dependency_failed())
    stage.turn(later=60.0)
    assert stage.start() is delivery
    stage.end(delivery, dependency_failed())
    assert stage.gates[0].circuit.state is State.OPEN
    assert bring(stage, 1)[1] is None
    stage.turn(later=60.0)
    assert stage.end(stage.start(), returned()) is Verdict.DONE
    assert stage.assignment().finished == 1


def test_several_run_in_parallel_up_to_the_lanes() -> None:
    """The one beyond them is not taken in here."""
    stage = parallel("payments", concurrency=2)
    first, second, third = (bring(stage, position) for position in range(3))
    assert (first[1], second[1], third[1]) == (True, True, None)
    assert stage.assignment().inbox.waiting == 0
    stage.engine.succeeded(second[0], stage.now)
    assert bring(stage, 2)[1] is True
    assert [first[0].serial, second[0].serial] == [0, 1]


def test_the_next_message_of_a_source_waits_for_the_one_in_work() -> None:
    """It goes the usual way, and keeps the order."""
    stage = Stage("payments", sources=(ORDERS, BILLS))  # a free lane would be there
    first, _ = bring(stage)
    second, started = bring(stage, 1)
    assert started is None
    assert stage.engine.received_quietly(stage.run, [second])
    assert bring(stage, 2)[1] is None
    stage.engine.succeeded(first, stage.now)
    assert stage.start() is second


def test_without_room_in_the_span_it_is_not_taken_in() -> None:
    """Nothing runs further ahead of a stuck message than the span allows."""
    stage = parallel("payments", concurrency=8, span=3)
    assert [bring(stage, position)[1] for position in range(4)] == [True, True, True, None]


def test_a_refused_one_is_on_the_waiting_list() -> None:
    """It was taken in, and starts with the ramp."""
    stage = parallel("payments", concurrency=2)
    half_open(stage)
    probe, started = bring(stage)
    assert started is True
    other, started = bring(stage, 1)
    assert started is False
    assert (other.permits, other.attempt) == (None, 0)
    assert stage.engine.needs_turn is True
    stage.end(probe, returned())
    assert stage.start() is other


def test_nobody_overtakes_those_that_wait_for_a_slot() -> None:
    """The free slot is for the oldest of them."""
    stage = parallel("payments", concurrency=4)
    half_open(stage)
    probe, _ = bring(stage)
    stage.receive(1, first=1)
    assert stage.start_all() == []  # it waits for the slot of the probe
    stage.engine.succeeded(probe, stage.now)
    stage.engine.needs_turn = False  # as if the turn were still to come
    assert bring(stage, 2)[1] is False


NOT_USUAL: dict[str, Callable[[Stage], object]] = {
    "held": lambda stage: stage.trip(),
    "a turn is due": lambda stage: setattr(stage.engine, "needs_turn", True),
    "a plan is due": lambda stage: stage.assignment().mark_dirty(),
    "a lane is wanted": lambda stage: stage.run.want_lane(),
    "full": lambda stage: setattr(stage.assignment(), "full", True),
    "suspected": lambda stage: setattr(stage.assignment().results, "suspected", ("client.ConnectError",)),
    "going away": lambda stage: stage.engine.closing(stage.run, [ORDERS], stage.now),
}


@pytest.mark.parametrize("change", NOT_USUAL.values(), ids=NOT_USUAL.keys())
def test_whatever_is_not_usual_goes_the_other_way(change: Callable[[Stage], object]) -> None:
    """Nothing has happened then: it was neither taken in nor counted."""
    stage = Stage("payments")
    change(stage)
    delivery, started = bring(stage)
    assert started is None
    assert delivery.assignment is None
    assert (stage.run.running, stage.assignment().finished) == (0, 0)
    assert stage.gates[0].circuit.snapshot(stage.now).rejected == 0


def test_messages_in_the_order_of_their_keys_go_the_other_way() -> None:
    """Which key it has, nobody has looked at."""
    stage = Stage("payments", settings=QUICK, run=run_of(("payments",), order="key", concurrency=2))
    assert bring(stage)[1] is None


def test_those_that_come_later_are_weighed_at_their_own_number() -> None:
    """One that was brought has a number, and no weight."""
    stage = Stage("payments")
    weights = stage.assignment().weights
    stage.engine.succeeded(bring(stage)[0], stage.now)
    weights.add(1, 1000)
    assert weights.settle(1, ()) == 1000
    assert weights.settle(2, ()) == 0
