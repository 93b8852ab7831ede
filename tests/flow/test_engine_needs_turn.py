"""Whatever changes what may run asks for a turn: the runtime takes none by itself."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable

import pytest
from tests.flow.stage import ORDERS, QUICK, Stage, dependency_failed, messages, partitions, run_of

from holdgate.core import Circuit
from holdgate.flow.engine import Engine
from holdgate.flow.events import CommandGiven, HoldContinued, LocalCauseSuspected
from holdgate.flow.policy import Needs
from holdgate.flow.snapshot import Snapshot
from holdgate.flow.state import Run

OTHER = partitions(2)[1]

CALLS: dict[str, Callable[[Stage], object]] = {
    "assigned": lambda stage: stage.engine.assigned(stage.run, [OTHER], stage.now),
    "closing": lambda stage: stage.engine.closing(stage.run, [ORDERS], stage.now),
    "forget": lambda stage: stage.engine.forget(stage.run, [ORDERS], stage.now),
    "drain": lambda stage: stage.engine.drain(stage.run, stage.now),
    "received": lambda stage: stage.engine.received(stage.run, messages(ORDERS, 1)),
    "hold": lambda stage: stage.engine.hold(ORDERS),
    "unhold": lambda stage: stage.engine.unhold(ORDERS),
    "note": lambda stage: stage.engine.note(CommandGiven(stage.now, "hold", ORDERS, "ann", "a test")),
    "retry": lambda stage: stage.engine.retry(ORDERS, "mended", stage.now),
}


# Those that only read, those that come before there is anything to do, those that ask for a turn if they left it work, and the turn itself.
WITHOUT = {
    *("take_probes", "take_events", "next_deadline", "snapshot", "listed", "totals", "is_held", "audit"),
    *("add_gate", "add_run"),
    *("met", "received_quietly", "bring", "next", "follow", "succeeded", "pass_on", "skip"),
    "turn",
}
# What the first statement of the others may be: to ask, or to call what asks.
ASKING = ("self.needs_turn = True", "if not self._leave(delivery, now):", "self.forget(")


def first_statement(method: ast.FunctionDef) -> str:
    """The one after the docstring."""
    return ast.unparse(method.body[1])


def test_every_public_method_but_a_few_begins_by_asking_for_a_turn() -> None:
    """The rule at the head of engine.py; the few are named there."""
    (engine,) = ast.parse(inspect.getsource(Engine)).body
    assert isinstance(engine, ast.ClassDef)
    methods = [each for each in engine.body if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")]
    without = {method.name for method in methods if not first_statement(method).startswith(ASKING)}
    assert without == WITHOUT


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_what_changes_who_may_run_asks_for_a_turn(call: Callable[[Stage], object]) -> None:
    """Nobody else would bring the plan up to date."""
    stage = Stage("payments")
    assert stage.engine.needs_turn is False
    call(stage)
    assert stage.engine.needs_turn is True


def test_a_probe_that_has_ended_asks_for_a_turn() -> None:
    """Whether it was good or not, its slot is free."""
    stage = Stage("payments")
    gate = stage.engine.add_gate(Circuit("mail", QUICK), probed=True)
    gate.circuit.open_for(10.0, stage.now)
    stage.turn(later=10.0)
    assert stage.engine.take_probes() == [gate]
    assert stage.engine.needs_turn is False
    stage.engine.probe_ended(gate, None, stage.now)
    assert stage.engine.needs_turn is True


@pytest.mark.parametrize("end", ["settle", "rejected", "reject_failed", "fell_back", "fallback_failed", "interrupted"])
def test_an_end_that_is_not_plain_success_asks_for_a_turn(end: str) -> None:
    """What it leaves behind (a vote, a wait, a free lane) is looked at then."""
    stage = Stage("payments")
    stage.receive(1)
    delivery = stage.start()
    assert stage.engine.needs_turn is False
    if end == "settle":
        stage.engine.settle(delivery, dependency_failed(), "OSError", stage.now)
    else:
        getattr(stage.engine, end)(delivery, stage.now)
    assert stage.engine.needs_turn is True


def test_a_lane_that_has_to_stop_for_others_asks_for_a_turn() -> None:
    """Somebody waits for this lane: the turn gives it to them."""
    stage = Stage("payments")
    stage.receive(2)
    stage.start()
    stage.run.lane_wanted = True
    assert stage.engine.follow(stage.assignment(), stage.now) is None
    assert stage.engine.needs_turn is True


def test_room_in_a_full_inbox_asks_for_a_turn() -> None:
    """By `follow` as by `pass_on`: fetching goes on when it is half empty."""
    stage = Stage("payments", run=run_of(["payments"], inbox=2))
    stage.receive(2)
    assert stage.assignment().full
    stage.start()
    assert stage.engine.needs_turn is True


def test_who_is_not_admitted_asks_for_a_turn() -> None:
    """It waits as a head now, and the source may have to be held."""
    stage = Stage("payments")
    stage.receive(1)
    stage.gates[0].circuit.open_for(10.0, stage.now)
    assert stage.engine.next(stage.run, stage.now) is None
    assert stage.engine.needs_turn is True


def test_a_delivery_that_was_held_between_grant_and_start_has_not_started() -> None:
    """Its first start is its first attempt."""
    stage = Stage("payments")
    stage.trip()
    stage.receive(1)
    stage.turn(later=10.0)
    assert len(stage.run.granted) == 1
    stage.engine.hold(ORDERS)
    assert stage.engine.next(stage.run, stage.now) is None
    stage.engine.unhold(ORDERS)
    stage.turn()
    assert stage.start().attempt == 1


@pytest.mark.parametrize("close", ["closing", "forget", "drain"])
def test_a_grant_that_nobody_has_taken_up_gives_its_permits_back_when_its_source_goes(close: str) -> None:
    """The slot of a half-open circuit is free again."""
    stage = Stage("payments")
    stage.trip()
    stage.receive(1)
    stage.turn(later=10.0)
    assert stage.gates[0].circuit.snapshot(stage.now).in_flight == 1
    if close == "drain":
        stage.engine.drain(stage.run, stage.now)
    else:
        getattr(stage.engine, close)(stage.run, [ORDERS], stage.now)
    assert stage.gates[0].circuit.snapshot(stage.now).in_flight == 0
    assert not stage.run.granted


def test_a_common_cause_is_told_when_sources_are_assigned() -> None:
    """With the time, as in a turn."""
    stage = Stage("mail", "payments")
    for gate in stage.gates:
        gate.circuit.open_for(10.0, 3.0)
    stage.engine.assigned(stage.run, [OTHER], 4.0)
    assert LocalCauseSuspected(4.0, ("mail", "payments")) in stage.events()


def test_a_hold_is_told_again_after_ten_minutes() -> None:
    """The default, for whoever has given no `hold_warn_after`."""
    engine = Engine(draw=lambda: 0.5)
    gate = engine.add_gate(Circuit("payments"))
    run = Run(Needs(["payments"]), order="source", concurrency=None, inbox=10)
    engine.add_run(run)
    engine.assigned(run, [ORDERS], 0.0)
    gate.circuit.open_for(3600.0, 0.0)
    engine.turn(0.0)
    engine.turn(599.0)
    assert not [event for event in engine.take_events() if isinstance(event, HoldContinued)]
    engine.turn(600.0)
    assert [event.at for event in engine.take_events() if isinstance(event, HoldContinued)] == [600.0]


def test_a_command_over_a_circuit_is_in_force_until_it_is_over() -> None:
    """The snapshot tells it as long as the circuit is forced open."""
    stage = Stage("payments")
    stage.gates[0].circuit.force_open(stage.now)
    given = CommandGiven(stage.now, "force_open", "payments", "ann", "a test")
    stage.engine.note(given)

    def commands() -> tuple[CommandGiven, ...]:
        snapshot: Snapshot = stage.engine.snapshot(stage.now)
        return snapshot.commands

    assert commands() == (given,)
    stage.gates[0].circuit.clear_override(stage.now)
    assert commands() == ()


def test_a_run_that_was_never_added_may_be_removed() -> None:
    """Whoever tidies up need not know how far a start had come."""
    stage = Stage("payments")
    stage.engine.remove_run(run_of(["payments"]), stage.now)
    assert list(stage.engine.runs) == [stage.run]
