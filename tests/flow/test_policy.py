"""Needs: one list for all sources, or one per topic or queue."""

from __future__ import annotations

import pytest

from holdgate.errors import SettingsError
from holdgate.flow.message import Partition, Queue
from holdgate.flow.policy import FallbackSettings, Needs

BY_NAME = {"orders": ["payments", "mail"], "audit": []}


def test_a_list_is_for_every_source() -> None:
    """Any topic, any partition, any queue."""
    needs = Needs(["payments"])

    assert needs.of(Partition("orders", 3)) == ("payments",)
    assert needs.of(Queue("mails")) == ("payments",)


def test_a_mapping_goes_by_name() -> None:
    """A topic's partitions share its entry, and an empty entry needs nothing."""
    needs = Needs(BY_NAME)

    assert needs.of(Partition("orders", 1)) == ("payments", "mail")
    assert needs.of(Partition("audit", 0)) == ()


def test_a_source_without_an_entry_is_unknown() -> None:
    """None is not the same as needing nothing: nobody has said, so it must wait."""
    assert Needs(BY_NAME).of(Partition("later", 0)) is None


def test_names_come_once_each_in_the_order_given() -> None:
    """Two topics that need the same dependency name it once."""
    assert Needs({"a": ["mail", "payments"], "b": ["payments", "search"]}).names() == ("mail", "payments", "search")
    assert Needs(["search", "mail"]).names() == ("search", "mail")


def test_no_needs_have_no_names() -> None:
    """A run that only reads is fine."""
    assert Needs([]).names() == ()


@pytest.mark.parametrize(
    ("needs", "where"), [(["mail", "mail"], "needs names"), ({"orders": ["mail", "mail"]}, r"needs\['orders'\] names")]
)
def test_a_dependency_named_twice_is_refused(needs: list[str] | dict[str, list[str]], where: str) -> None:
    """Its permit would be taken twice; the error says where."""
    with pytest.raises(SettingsError, match=where + r" \['mail'\] twice"):
        Needs(needs)


def test_a_list_fits_every_intake() -> None:
    """There is nothing to compare with what the intake delivers."""
    Needs(["payments"]).check(["orders"])


def test_a_mapping_with_the_same_names_fits() -> None:
    """One entry for each topic."""
    Needs(BY_NAME).check(["audit", "orders"])


def test_a_topic_without_entry_is_refused() -> None:
    """It would be held for ever; the error says what to write."""
    with pytest.raises(SettingsError, match=r"no entry for \['bills'\].*\['audit', 'orders'\].*\[\] if it needs nothing"):
        Needs(BY_NAME).check(["audit", "bills", "orders"])


def test_an_entry_without_topic_is_refused() -> None:
    """Most likely a slip of the pen, and the real topic is unguarded."""
    with pytest.raises(SettingsError, match=r"entries for \['orders'\].*delivers \['audit'\]"):
        Needs(BY_NAME).check(["audit"])


def test_the_needs_of_a_name_are_empty_if_there_are_none() -> None:
    """For the line at start, which says so of a topic or queue."""
    assert Needs(["payments"]).of_name("orders") == ("payments",)
    assert [Needs(BY_NAME).of_name(name) for name in ("orders", "audit", "later")] == [("payments", "mail"), (), ()]


def test_a_fallback_begins_immediately_unless_it_is_to_wait() -> None:
    """A circuit that is open has shown enough."""
    assert FallbackSettings().after == 0.0
