"""Delivery: what an intake gives, and what it must fill in."""

from __future__ import annotations

import pytest
from tests.flow.stage import ORDERS, Message

from holdgate.flow.delivery import Delivery


def test_a_fresh_delivery_has_not_started() -> None:
    """No attempt, no permit, no place, no failure known, and its broker may not say whether it was handed out before."""
    delivery = Delivery(ORDERS, "message")

    assert (delivery.source, delivery.message, delivery.redelivered) == (ORDERS, "message", None)
    assert (delivery.attempt, delivery.permits, delivery.place, delivery.trial, delivery.order_key) == (0, None, None, None, None)


@pytest.mark.parametrize("name", ["position", "body", "key", "headers", "timestamp"])
def test_what_only_a_broker_knows_is_not_guessed(name: str) -> None:
    """A made-up None would be taken for a tombstone or a missing key."""
    with pytest.raises(NotImplementedError):
        getattr(Delivery(ORDERS, "message"), name)


def test_its_repr_names_its_place_and_no_payload() -> None:
    """A repr ends up in logs."""
    delivery = Message(ORDERS, 42)
    delivery.attempt = 2

    assert repr(delivery) == "<Message orders[0]@42 attempt=2>"
