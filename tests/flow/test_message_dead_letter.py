from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import Message

from holdgate import http
from holdgate.errors import SettingsError
from holdgate.flow.message import PREFIX, DeadLetter, Partition, Queue, own_headers, replays_of, type_name

FIRST = 1_700_000_000.25
LAST = 1_700_000_009.5


def letter(**more: Any) -> DeadLetter:
    facts = {"attempts": 5, "first_failure": FIRST, "last_failure": LAST, "exception": "KeyError", "text": "'card 4711'", "reason": None}
    return DeadLetter(**{"delivery": Message(Partition("orders", 3), 17), **facts, "worker": "host:1", **more})  # type: ignore[arg-type]


def test_a_letter_tells_where_its_message_came_from_and_what_happened_to_it() -> None:
    """Source, partition, offset, both times, attempts, type and worker; times as ISO 8601 in UTC. The exception's text only when asked."""
    assert letter().facts() == {
        "holdgate-source": "orders",
        "holdgate-partition": "3",
        "holdgate-offset": "17",
        "holdgate-first-failure": "2023-11-14T22:13:20.250+00:00",
        "holdgate-last-failure": "2023-11-14T22:13:29.500+00:00",
        "holdgate-attempts": "5",
        "holdgate-exception": "KeyError",
        "holdgate-worker": "host:1",
    }


def test_a_queue_has_a_delivery_tag_instead_of_partition_and_offset() -> None:
    """What a broker does not have is not made up."""
    facts = letter(delivery=Message(Queue("orders"), 9)).facts()  # type: ignore[arg-type]

    assert facts["holdgate-source"] == "orders"
    assert facts["holdgate-delivery-tag"] == "9"
    assert not {"holdgate-partition", "holdgate-offset"} & set(facts)


def test_the_exceptions_text_is_told_when_asked_for() -> None:
    """It may quote the message."""
    assert letter().facts(text=True)["holdgate-exception-text"] == "'card 4711'"


def test_an_exception_that_says_nothing_has_no_text() -> None:
    """An empty header would be one more thing to read."""
    assert "holdgate-exception-text" not in letter(text="").facts(text=True)


def test_a_message_rejected_with_a_reason_carries_it() -> None:
    """The handler's own word; and without an exception there is none to name."""
    facts = letter(exception=None, reason="no such customer").facts()

    assert facts["holdgate-reason"] == "no such customer"
    assert "holdgate-exception" not in facts


def test_every_added_header_has_the_prefix() -> None:
    """So that they can be told from the message's own, and taken off again."""
    assert all(name.startswith(PREFIX) for name in letter(reason="r").facts(text=True))


def test_source_body_and_key_are_the_deliverys() -> None:
    """Nothing is copied or changed."""

    class Full(Message):
        __slots__ = ()
        body = b"\x00body"  # type: ignore[assignment]
        key = b"k"  # type: ignore[assignment]

    found = letter(delivery=Full(Partition("orders", 3), 17))  # type: ignore[arg-type]
    assert (found.source, found.body, found.key) == (Partition("orders", 3), b"\x00body", b"k")


@pytest.mark.parametrize(
    ("kind", "name"),
    [(KeyError, "KeyError"), (SettingsError, "holdgate.errors.SettingsError"), (type(http), "module")],
    ids=["builtin", "in a module", "builtin whose name differs"],
)
def test_a_type_is_named_with_its_module_unless_it_is_builtin(kind: type, name: str) -> None:
    """`TimeoutError` of several clients would otherwise be one."""
    assert type_name(kind) == name


def test_a_messages_own_headers_stay_in_their_order_and_as_often_as_they_were() -> None:
    """Kafka allows a name twice; what an earlier death added is taken off, and the number of replays kept."""
    headers = [("trace", b"1"), ("holdgate-source", b"old"), ("trace", b"2"), ("holdgate-replays", b"1"), ("holdgate-attempts", b"5")]

    assert own_headers(headers) == [("trace", b"1"), ("trace", b"2"), ("holdgate-replays", b"1")]


@pytest.mark.parametrize(
    ("headers", "count"),
    [([], 0), ([("holdgate-replays", b"2")], 2), ([("holdgate-replays", "3")], 3), ([("holdgate-replays", b"often")], 0)],
    ids=["none", "bytes", "text", "no number"],
)
def test_replays_are_counted_from_their_header(headers: list[tuple[str, Any]], count: int) -> None:
    """As the broker gives it, and 0 for what nobody of ours has written."""
    assert replays_of(headers) == count


def test_the_last_number_of_replays_counts() -> None:
    """As for every header whose name comes twice."""
    assert replays_of([("holdgate-replays", b"1"), ("holdgate-replays", b"4")]) == 4
