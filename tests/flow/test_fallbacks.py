"""Fallback: something else is done with a message while what it needs is down."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import ORDERS, QUICK, Stage, dependency_failed, gate, partitions, place_of, refused, returned, run_of

from holdgate.core import Circuit, State
from holdgate.flow.engine import Engine
from holdgate.flow.events import SourceFallingBack, SourceHeld, SourceReleased
from holdgate.flow.fallbacks import Fallbacks
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.plan import SourcePlan
from holdgate.flow.policy import FallbackSettings, Needs, Verdict
from holdgate.flow.state import Run
from holdgate.flow.waiting import WaitingList

FREE = SourcePlan(fetch=True, reasons=())
OPEN = ("circuit:payments",)


class FallingStage(Stage):
    """A stage whose run has a fallback; its circuits open for ten seconds at first."""

    def __init__(self, *needs: str, after: float = 0.0, concurrency: int | None = None, lanes: int = 4, order: Any = "none") -> None:
        self.now = 0.0
        self.engine = Engine(draw=lambda: 0.5)
        self.gates = [self.engine.add_gate(Circuit(name, QUICK)) for name in needs]
        settings = FallbackSettings(after, concurrency)
        self.run = Run(Needs(needs), order=order, concurrency=lanes, inbox=500, fallback=settings)
        self.engine.add_run(self.run)
        self.engine.assigned(self.run, [ORDERS], self.now)
        self.turn()

    def fallbacks(self) -> list[Delivery[Any]]:
        """What lanes start as fallbacks now; nothing starts a handler."""
        started = self.start_all()
        self.turn()
        started += self.start_all()
        assert all(delivery.history.falling_back and delivery.permits == () for delivery in started)
        return started


def down(count: int = 3, **settings: Any) -> FallingStage:
    """Messages in front of an open circuit."""
    stage = FallingStage("payments", **settings)
    stage.trip()
    stage.receive(count)
    return stage


def test_messages_fall_back_in_front_of_an_open_circuit() -> None:
    """The source is not held, the broker may deliver more, and each is started with no permit."""
    stage = down()
    assert [delivery.position for delivery in stage.fallbacks()] == [0, 1, 2]

    seen = stage.engine.snapshot(stage.now)
    assert (stage.run.plan.of(ORDERS), seen.sources[ORDERS].falling_back, seen.dependencies["payments"].in_flight) == (FREE, True, 0)


def test_falling_back_is_announced_once() -> None:
    """With what is down; nothing is said of a hold."""
    stage = down()
    stage.turn()

    assert [event for event in stage.events() if isinstance(event, SourceFallingBack | SourceHeld)] == [
        SourceFallingBack(0.0, ORDERS, ("payments",))
    ]


def test_a_fallback_that_succeeded_settles_the_message() -> None:
    """It is counted apart, and the circuit hears nothing of it."""
    stage = down(2, order="source", lanes=1)
    (first,) = stage.fallbacks()
    before = stage.gates[0].circuit.snapshot(stage.now)
    assert stage.engine.fell_back(first, stage.now) is Verdict.DONE
    (second,) = stage.fallbacks()

    assert second.position == 1
    after = stage.gates[0].circuit.snapshot(stage.now)
    assert (after.calls, after.failures, after.in_flight) == (before.calls, before.failures, 0)
    assert (stage.engine.snapshot(stage.now).sources[ORDERS].fallbacks, stage.gates[0].successes) == (1, 0)


def test_a_fallback_that_failed_holds_the_message() -> None:
    """It is not tried in a loop: again only when the circuit has been tried and opened once more."""
    stage = down(1)
    (delivery,) = stage.fallbacks()
    assert stage.engine.fallback_failed(delivery, stage.now) is Verdict.AGAIN
    assert stage.fallbacks() == []
    stage.turn(later=10.0)
    (probe,) = stage.start_all()
    assert (probe, len(probe.permits), probe.history.falling_back) == (delivery, 1, False)
    stage.end(probe, dependency_failed())

    assert stage.fallbacks() == [delivery]


def test_in_half_open_nothing_falls_back() -> None:
    """One message is the probe, and the others wait."""
    stage = down(3)
    for delivery in stage.fallbacks():
        stage.engine.fell_back(delivery, stage.now)
    stage.turn(later=10.0)
    stage.receive(3, first=3)

    assert [len(delivery.permits) for delivery in stage.start_all()] == [1]
    assert stage.engine.snapshot(stage.now).sources[ORDERS].falling_back is False


@pytest.mark.parametrize("step", ["hold", "force_open", "drain", "closing"])
def test_an_operator_and_a_drain_let_nothing_fall_back(step: str) -> None:
    """They are to be waited for."""
    stage = FallingStage("payments")
    stage.trip()
    if step == "hold":
        stage.engine.hold(ORDERS)
    elif step == "force_open":
        stage.gates[0].circuit.force_open(stage.now)
    elif step == "drain":
        stage.engine.drain(stage.run, stage.now)
    else:
        stage.engine.closing(stage.run, [ORDERS], stage.now)
    stage.turn()
    stage.receive(2)

    assert stage.fallbacks() == []
    assert stage.engine.snapshot(stage.now).sources[ORDERS].held


def test_every_unavailable_need_must_be_open() -> None:
    """One that is half-open is being tried: the message waits for both."""
    stage = FallingStage("mail", "payments")
    stage.trip("mail")
    stage.turn(later=10.0)
    assert stage.gates[0].circuit.state is State.HALF_OPEN
    stage.trip("payments")
    stage.receive(1)
    assert stage.fallbacks() == []
    stage.trip("mail")

    assert len(stage.fallbacks()) == 1


def test_a_need_that_is_well_does_not_matter() -> None:
    """One is down, and that is enough."""
    stage = FallingStage("mail", "payments")
    stage.trip("payments")
    stage.receive(1)

    assert len(stage.fallbacks()) == 1


def test_a_short_blip_is_waited_out() -> None:
    """Held until the circuit has been away from closed for so long, re-openings included; then it falls back by time alone."""
    stage = down(1, after=15.0)
    assert (stage.fallbacks(), stage.run.plan.of(ORDERS).reasons) == ([], OPEN)
    stage.turn(later=10.0)
    (probe,) = stage.start_all()
    stage.end(probe, dependency_failed())
    assert (stage.fallbacks(), stage.engine.next_deadline()) == ([], 15.0)
    stage.turn(later=4.9)
    assert stage.fallbacks() == []
    stage.events()
    stage.turn(later=0.1)

    assert stage.fallbacks() == [probe]
    assert [type(event) for event in stage.events()] == [SourceReleased]
    assert stage.engine._fallbacks.next_deadline() is None


@pytest.mark.parametrize(("concurrency", "lanes", "started"), [(2, 4, 2), (None, 4, 4), (9, 4, 4)])
def test_fallbacks_are_bounded(concurrency: int | None, lanes: int, started: int) -> None:
    """By their own limit and by lanes; the next starts when one has ended."""
    stage = down(9, concurrency=concurrency, lanes=lanes)
    running = stage.fallbacks()
    assert len(running) == started
    stage.engine.fell_back(running[0], stage.now)
    assert len(stage.fallbacks()) == 1
    stage.engine.fallback_failed(running[1], stage.now)
    assert len(stage.fallbacks()) == 1

    assert stage.run.falling == started


def test_an_interrupted_fallback_waits_for_its_turn() -> None:
    """It says nothing of the fallback: it is started again."""
    stage = down(1)
    (delivery,) = stage.fallbacks()
    assert stage.engine.interrupted(delivery, stage.now) is Verdict.AGAIN
    assert (stage.run.falling, stage.run.running) == (0, 0)

    assert stage.fallbacks() == [delivery]


@pytest.mark.parametrize("step", ["fell_back", "fallback_failed"])
def test_a_fallback_whose_source_is_gone_is_stale(step: str) -> None:
    """Nothing is settled, and no lane is counted for it."""
    stage = down(1)
    (delivery,) = stage.fallbacks()
    stage.engine.forget(stage.run, [ORDERS], stage.now)

    assert getattr(stage.engine, step)(delivery, stage.now) is Verdict.STALE
    assert (stage.run.falling, stage.run.running) == (0, 0)


def test_a_fallback_that_fails_while_its_source_goes_keeps_nothing() -> None:
    """The message comes again to whoever has the source next."""
    stage = down(1)
    (delivery,) = stage.fallbacks()
    stage.engine.closing(stage.run, [ORDERS], stage.now)

    assert stage.engine.fallback_failed(delivery, stage.now) is Verdict.AGAIN
    stage.turn()
    assert len(stage.engine._waiting) == 0


def test_a_fallback_in_a_lanes_hand_goes_with_its_source() -> None:
    """Granted and not started: no lane and no fallback is counted any more."""
    stage = down(1)
    stage.engine.next(stage.run, stage.now)
    stage.turn()
    assert stage.run.granted
    stage.engine.closing(stage.run, [ORDERS], stage.now)

    assert (stage.run.falling, stage.run.running, list(stage.run.granted)) == (0, 0, [])


def test_a_need_that_only_the_message_has_counts() -> None:
    """A dependency that refused one of its calls is half-open now: the message waits for that, though its source falls back."""
    stage = FallingStage("payments")
    search = stage.engine.add_gate(Circuit("search", QUICK))
    stage.receive(2)
    first, second = stage.start_all()
    search.circuit.force_open(stage.now)
    stage.end(first, refused("search"))
    stage.end(second, dependency_failed())
    search.circuit.clear_override(stage.now)
    stage.trip()

    assert (search.circuit.state, stage.fallbacks()) == (State.HALF_OPEN, [second])


def test_without_a_fallback_the_source_is_held() -> None:
    """As ever."""
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=2), sources=partitions(1))
    stage.trip()
    stage.receive(1)

    assert (stage.start_all(), stage.run.plan.of(ORDERS).reasons) == ([], OPEN)


def test_when_the_dependency_is_back_nothing_falls_back() -> None:
    """Closed: handlers, with permits."""
    stage = down(0)
    stage.turn(later=10.0)
    stage.gates[0].circuit.reset(stage.now)
    stage.receive(1)
    (delivery,) = stage.start_all()

    assert len(delivery.permits) == 1
    assert stage.end(delivery, returned()) is Verdict.DONE


def test_the_time_of_a_source_that_is_stopped_is_due_for_nobody() -> None:
    """An operator holds it: a timer for a moment that is past would be due for ever. It falls back when the hold ends."""
    stage = down(1, after=0.5)
    stage.engine.hold(ORDERS)
    stage.turn(later=1.0)
    deadline = stage.engine.next_deadline()
    assert deadline is None or deadline > stage.now

    stage.engine.unhold(ORDERS)
    stage.turn()
    assert len(stage.fallbacks()) == 1


def test_a_fallback_begins_immediately_and_takes_every_lane() -> None:
    """Unless it is set to wait, or to keep to a few."""
    settings = FallbackSettings()
    assert settings.after == 0.0
    assert settings.concurrency is None


def falling(*needs: str) -> Run:
    return Run(Needs(needs), order="none", concurrency=4, inbox=10, fallback=FallbackSettings(5.0, None))


def test_a_run_without_a_fallback_hides_no_other_from_the_clock() -> None:
    """The one behind it begins to fall back when its time has come."""
    stage = Stage("payments")
    run = falling("payments")
    stage.engine.add_run(run)
    stage.engine.assigned(run, [ORDERS], 0.0)
    stage.trip()
    assert stage.engine.next_deadline() == 5.0


def test_what_an_undeclared_need_refuses_does_not_fall_back() -> None:
    """Its source does not: it is held by nothing that was declared."""
    stage = Stage("payments", "mail", run=falling("payments"))
    stage.receive(1)
    delivery = stage.start()
    stage.trip("mail")
    stage.end(delivery, refused("mail"))
    stage.turn(later=6.0)
    assert (list(stage.run.granted), stage.run.falling) == ([], 0)


def due_in(after: float, source: Partition = ORDERS, run: Run | None = None) -> Run:
    """A run whose source waits for an open circuit, and falls back after so many seconds of that."""
    run = run or Run(Needs(["payments"]), order="none", concurrency=4, inbox=10, fallback=FallbackSettings(after, None))
    payments = gate()
    payments.circuit.open_for(100.0, 0.0)
    place_of(payments, run=run, source=source)
    return run


def test_a_fallback_that_begins_immediately_needs_no_clock() -> None:
    """Its run has no deadline, and hides none of the run behind it."""
    fallbacks = Fallbacks(WaitingList())
    fallbacks.take_up(due_in(0.0))
    assert fallbacks.next_deadline() is None
    fallbacks.take_up(due_in(5.0))
    assert fallbacks.next_deadline() == 5.0


def test_a_source_that_falls_back_hides_no_other_of_its_run_from_the_clock() -> None:
    """The second one begins to fall back when its time has come."""
    fallbacks = Fallbacks(WaitingList())
    run = due_in(5.0, partitions(2)[1], due_in(5.0))
    fallbacks.take_up(run)
    run.assignments[ORDERS].falling_back = True
    assert fallbacks.next_deadline() == 5.0


def test_a_run_that_has_ended_is_not_waited_for() -> None:
    """Nothing of it begins to fall back any more."""
    fallbacks = Fallbacks(WaitingList())
    run = due_in(5.0)
    fallbacks.take_up(run)
    fallbacks.forget(run)
    assert (fallbacks.next_deadline(), list(fallbacks.pending)) == (None, [])
