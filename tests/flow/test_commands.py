"""The record of what operators have said."""

from __future__ import annotations

from typing import Any

from tests.flow.stage import ORDERS, Stage, gate, partitions, place_of

from holdgate.flow.commands import KEPT, Commands, Holds
from holdgate.flow.events import Command, CommandEnded, CommandGiven
from holdgate.flow.waiting import WaitingList


def given(command: Command, target: Any = "payments", at: float = 1.0, until: float | None = None) -> CommandGiven:
    return CommandGiven(at, command, target, "alice", "a test", until)


class Desk:
    """Two circuits, holds of one source, and the record."""

    def __init__(self) -> None:
        self.payments, self.mail = gate("payments"), gate("mail")
        self.holds = Holds([place_of().run], WaitingList())
        self.commands = Commands({"payments": self.payments, "mail": self.mail}, self.holds)


def test_nothing_was_said() -> None:
    """Nothing is in force, and nothing ends."""
    commands = Desk().commands

    assert (commands.in_force, commands.last, commands.ended(9.0)) == ((), (), [])


def test_what_lasts_is_in_force_in_the_order_in_which_it_was_said() -> None:
    """Overrides and holds; saying it once more puts it last, and replaces what was said."""
    desk = Desk()
    desk.payments.circuit.disable(1.0)
    desk.holds.hold(ORDERS, None)
    first, second, third = given("disable"), given("hold", ORDERS), given("force_open", at=2.0)
    for each in (first, second):
        desk.commands.note(each)
    assert desk.commands.in_force == (first, second)
    desk.payments.circuit.force_open(2.0)
    desk.commands.note(third)

    assert desk.commands.in_force == (second, third)
    assert desk.commands.last == (first, second, third)
    assert desk.commands.ended(2.0) == []


def test_what_is_done_at_once_is_never_in_force() -> None:
    """It is in the audit log alone."""
    desk = Desk()
    said = [given("reset"), given("probe"), given("retry", ORDERS), given("skip", ORDERS)]
    for each in said:
        desk.commands.note(each)

    assert (desk.commands.in_force, desk.commands.last) == ((), tuple(said))


def test_an_end_that_an_operator_brought_about_is_not_told_twice() -> None:
    """The command that ended it is there."""
    desk = Desk()
    desk.holds.hold(ORDERS, None)
    desk.commands.note(given("hold", ORDERS))
    desk.holds.end(ORDERS)
    desk.commands.note(given("unhold", ORDERS))

    assert desk.commands.in_force == ()
    assert desk.commands.ended(2.0) == []


def test_an_end_by_itself_is_told_once() -> None:
    """With what had been said, to those who listen and in the log."""
    desk = Desk()
    desk.holds.hold(ORDERS, 5.0)
    desk.mail.circuit.observe(1.0, until=6.0)
    hold, observe = given("hold", ORDERS, until=5.0), given("observe", "mail", until=6.0)
    desk.commands.note(hold)
    desk.commands.note(observe)
    desk.holds.expire(5.0)

    assert desk.commands.ended(5.0) == [CommandEnded(5.0, hold)]
    assert desk.commands.in_force == (observe,)
    assert desk.commands.ended(5.5) == []
    desk.mail.circuit.advance(6.0)
    assert desk.commands.in_force == ()
    assert desk.commands.ended(6.0) == [CommandEnded(6.0, observe)]
    assert desk.commands.last == (hold, observe, CommandEnded(5.0, hold), CommandEnded(6.0, observe))


def test_an_override_that_the_program_has_replaced_is_over() -> None:
    """Somebody called the circuit itself: what the operator had said is not what lies over it."""
    desk = Desk()
    desk.payments.circuit.disable(1.0)
    said = given("disable")
    desk.commands.note(said)
    desk.payments.circuit.observe(2.0)

    assert desk.commands.in_force == ()
    assert desk.commands.ended(2.0) == [CommandEnded(2.0, said)]


def test_a_topic_and_a_dependency_may_have_one_name() -> None:
    """Neither command replaces the other."""
    desk = Desk()
    desk.holds.hold("payments", None)
    desk.payments.circuit.disable(1.0)
    said = given("hold"), given("disable")
    for each in said:
        desk.commands.note(each)

    assert desk.commands.in_force == said


def test_the_record_is_bounded() -> None:
    """The oldest entries go."""
    desk = Desk()
    for number in range(KEPT + 5):
        desk.commands.note(given("reset", at=float(number)))

    assert len(desk.commands.last) == KEPT
    assert desk.commands.last[0].at == 5.0


def test_a_command_that_is_given_again_is_the_last() -> None:
    """In the order in which they were given, each once."""
    first, second = partitions(2)
    stage = Stage("payments", sources=[first, second])
    given = [CommandGiven(0.0, "hold", source, "ann", why) for source, why in ((first, "a"), (second, "b"), (first, "c"))]
    for command in given:
        stage.engine.hold(command.target)
        stage.engine.note(command)
    assert stage.engine.snapshot(0.0).commands == (given[1], given[2])
