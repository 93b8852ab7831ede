"""What is announced once of one source."""

from __future__ import annotations

import pytest
from tests.flow.stage import ORDERS, dependency_failed, gate

from holdgate.core import Outcome
from holdgate.flow.announced import Announced
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.events import AttributionShared, MessagesHeld


def test_a_shared_exception_is_announced_once_with_those_it_counted_against() -> None:
    """Two of three needs were blamed."""
    gates = gate("mail"), gate("payments"), gate("search")
    findings = NeedVerdict(Outcome.FAILURE), NeedVerdict(Outcome.IGNORED), NeedVerdict(Outcome.FAILURE)
    attribution = Attribution(findings, Cause.DEPENDENCY, shared=True)
    announced = Announced(ORDERS)

    assert list(announced.shared(1.0, gates, attribution)) == [AttributionShared(1.0, ORDERS, ("mail", "search"))]
    assert list(announced.shared(2.0, gates, attribution)) == []


def test_findings_that_are_not_one_per_need_are_a_mistake() -> None:
    """None is dropped in silence."""
    with pytest.raises(ValueError, match="shorter"):
        list(Announced(ORDERS).shared(0.0, (gate(), gate("mail")), dependency_failed(needs=1, shared=True)))


def test_an_undeclared_dependency_is_new_once() -> None:
    """Each name for itself."""
    announced = Announced(ORDERS)

    assert [announced.is_new_undeclared(name) for name in ("mail", "mail", "search", "mail")] == [True, False, True, False]


def test_names_that_a_handler_makes_as_it_goes_are_no_news_without_end() -> None:
    """The thirty-third and all after it are passed over in silence."""
    announced = Announced(ORDERS)

    assert [announced.is_new_undeclared(f"tenant-{number}") for number in range(34)] == [True] * 32 + [False] * 2


def test_what_messages_wait_for_is_announced_once_in_an_outage() -> None:
    """Again when it was back in between; and never for a circuit that is closed, or one that was told already."""
    mail, search = gate("mail"), gate("search")
    mail.circuit.open_for(10.0, 0.0)
    announced = Announced(ORDERS)

    assert list(announced.waiting(1.0, (mail, search), passed=True)) == [MessagesHeld(1.0, ORDERS, ("mail",))]
    assert list(announced.waiting(2.0, (mail, search), passed=True)) == []
    search.circuit.open_for(10.0, 3.0)
    assert list(announced.waiting(3.0, (mail, search), passed=True)) == [MessagesHeld(3.0, ORDERS, ("search",))]
    mail.circuit.reset(4.0)
    assert list(announced.waiting(4.0, (mail, search), passed=True)) == []
    mail.circuit.open_for(10.0, 5.0)
    assert list(announced.waiting(5.0, (mail, search), passed=True)) == [MessagesHeld(5.0, ORDERS, ("mail",))]


def test_what_nothing_passes_is_told_when_something_does() -> None:
    """Until then the hold of the source says it."""
    mail = gate("mail")
    mail.circuit.open_for(10.0, 0.0)
    announced = Announced(ORDERS)

    assert list(announced.waiting(1.0, (mail,), passed=False)) == []
    assert list(announced.waiting(2.0, (mail,), passed=True)) == [MessagesHeld(2.0, ORDERS, ("mail",))]


def test_what_was_announced_first_is_not_announced_again_after_the_second() -> None:
    """Both are down all the time."""
    mail, search = gate("mail"), gate("search")
    announced = Announced(ORDERS)
    for down in (mail, search):
        down.circuit.open_for(100.0, 1.0)
        assert list(announced.waiting(1.0, (mail, search), passed=True)) == [MessagesHeld(1.0, ORDERS, (down.name,))]
    assert list(announced.waiting(2.0, (mail, search), passed=True)) == []
