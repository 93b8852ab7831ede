"""Sources: what they are called, and how they print."""

from __future__ import annotations

from holdgate.flow.message import Backlog, Partition, Queue


def test_a_partition_is_named_by_its_topic() -> None:
    """Needs and handlers are keyed by topic, not by partition."""
    assert Partition("orders", 3).name == "orders"


def test_a_source_prints_as_people_write_it() -> None:
    """Logs and status pages show the number in brackets, and a queue by its name alone."""
    assert (str(Partition("orders", 3)), str(Queue("mails"))) == ("orders[3]", "mails")


def test_a_partition_is_its_topic_and_number() -> None:
    """Two objects of one partition are one key, and they sort by topic and then by number."""
    assert {Partition("orders", 1): "held"}[Partition("orders", 1)] == "held"
    assert sorted([Partition("b", 0), Partition("a", 10), Partition("a", 9)]) == [Partition("a", 9), Partition("a", 10), Partition("b", 0)]


def test_the_age_of_a_backlog_may_be_unknown() -> None:
    """A broker that cannot say how old its messages are says None, never 0."""
    assert Backlog(7).oldest_age is None
