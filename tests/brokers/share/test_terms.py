"""The terms of a share group, by what the broker says and what was set, and the settings that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from holdgate.brokers.share import ShareIntake
from holdgate.brokers.share.terms import ShareTerms, derive_terms
from holdgate.errors import SettingsError

FOUND = {"share.record.lock.duration.ms": "15000", "share.delivery.count.limit": "3", "share.auto.offset.reset": "earliest"}
WHERE = {"bootstrap.servers": "localhost:9092", "group.id": "queue"}


def derive(found: dict[str, str], **more: Any) -> ShareTerms:
    return derive_terms("queue", found, **{"record_lock": None, "delivery_limit": None, "has_overflow": False, **more})


def test_the_broker_names_them() -> None:
    """A quarter of the lock is left for giving back."""
    terms = derive(FOUND)

    assert (terms.lock, terms.limit, terms.known, terms.patience) == (15.0, 3, True, 11.25)


def test_a_setting_wins() -> None:
    """For a user who may not ask, and for one who knows better."""
    terms = derive({}, record_lock=60.0, delivery_limit=10)

    assert (terms.lock, terms.limit, terms.known, terms.margin) == (60.0, 10, True, 10.0)


def test_what_is_not_known_is_said() -> None:
    """The usual terms are assumed, and how to know better is the remedy."""
    terms = derive({})

    assert (terms.lock, terms.limit) == (30.0, 5)
    assert any("DESCRIBE_CONFIGS" in text for text in terms.risks())


def test_risks_are_named_with_their_remedy() -> None:
    """A group that skips what waits, and one whose archived records nobody sees."""
    texts = " ".join(derive({**FOUND, "share.auto.offset.reset": "latest"}).risks())

    assert "earliest" in texts
    assert "overflow=" in texts
    assert derive({**FOUND, "errors.deadletterqueue.topic.name": "orders.dlq"}).risks() == []


def test_a_slow_handler_is_named() -> None:
    """One that would be interrupted before it ends; a quick one, and one of unknown length, are not."""
    terms = derive(FOUND)

    assert "shorter timeout=" in (terms.slow_handlers(12.0) or "")
    assert terms.slow_handlers(11.0) is None
    assert terms.slow_handlers(None) is None


def test_the_limit_is_near_one_delivery_earlier_with_an_overflow() -> None:
    """Before the last delivery a record can go there; without one only the last delivery itself is a reason to keep a copy."""
    assert not derive(FOUND).is_near_limit(2)
    assert derive(FOUND).is_near_limit(3)
    assert derive(FOUND, has_overflow=True).is_near_limit(2)


@pytest.mark.parametrize(
    ("settings", "topics", "more", "text"),
    [
        ({"group.id": "queue"}, ("orders",), {}, "bootstrap.servers"),
        ({"bootstrap.servers": "localhost:9092"}, ("orders",), {}, "group.id"),
        ({**WHERE, "share.acknowledgement.mode": "implicit"}, ("orders",), {}, "must be \"explicit\", got 'implicit'"),
        ({**WHERE, "max.poll.records": 10}, ("orders",), {}, "in_hand="),
        (WHERE, (), {}, "at least one"),
        (WHERE, ("orders", ""), {}, "must be names"),
        (WHERE, ("orders", "orders"), {}, "got twice: 'orders'"),
        (WHERE, ("orders",), {"in_hand": 0}, "in_hand"),
        (WHERE, ("orders",), {"record_lock": -1}, "record_lock"),
        (WHERE, ("orders",), {"delivery_limit": 0}, "delivery_limit"),
        (WHERE, ("orders",), {"overflow": "orders.overflow"}, "must be dead letters, got str"),
    ],
)
def test_settings_that_would_lose_records_are_refused(
    settings: dict[str, Any], topics: tuple[str, ...], more: dict[str, Any], text: str
) -> None:
    """With the value that was given, and what to write instead."""
    with pytest.raises(SettingsError, match=text):
        ShareIntake(settings, *topics, **more)
