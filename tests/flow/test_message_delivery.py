"""Delivery: what an intake gives, and what it must fill in."""

from __future__ import annotations

import math

import pytest
from tests.flow.stage import ORDERS, Message

from holdgate.errors import SettingsError
from holdgate.flow.message import Delivery, HandlerRequest


def test_a_fresh_delivery_has_not_started() -> None:
    """No attempt, no permit, no place, no failure known, and its broker may not say whether it was handed out before."""
    delivery = Delivery(ORDERS, "message")

    assert (delivery.source, delivery.message, delivery.redelivered) == (ORDERS, "message", None)
    assert (delivery.attempt, delivery.permits, delivery.assignment, delivery.trial, delivery.order_key) == (0, None, None, None, None)


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


def test_the_last_word_of_a_handler_counts() -> None:
    """It may change its mind while it runs."""
    delivery = Message(ORDERS, 0)
    delivery.reject("no such customer")
    assert delivery.request == HandlerRequest(reason="no such customer")
    delivery.retry(after=2.5)
    assert delivery.request == HandlerRequest(after=2.5)
    delivery.retry()
    assert delivery.request == HandlerRequest()


@pytest.mark.parametrize("after", [0.0, -1.0, math.nan, math.inf])
def test_another_time_is_a_number_of_seconds(after: float) -> None:
    """Above 0, and not for ever."""
    with pytest.raises(SettingsError, match=r"retry\(after="):
        Message(ORDERS, 0).retry(after=after)
