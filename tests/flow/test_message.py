"""Delivery: what an intake gives, and what it must fill in."""

from __future__ import annotations

import copy
import math
import re
from datetime import timedelta
from typing import Any

import pytest
from tests.flow.stage import ORDERS, Message

from holdgate.errors import SettingsError, UnknownAttribute
from holdgate.flow.message import Backlog, Delivery, HandlerRequest, Partition, Queue, unknown_attribute


def test_a_fresh_delivery_has_not_started() -> None:
    """No attempt, no permit, no place, no failure known, and its broker may not say whether it was handed out before."""
    delivery = Delivery(ORDERS, "message")

    assert (delivery.source, delivery.message, delivery.redelivered) == (ORDERS, "message", None)
    assert (delivery.attempt, delivery.permits, delivery.assignment, delivery.history, delivery.order_key) == (0, None, None, None, None)


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


class Record:
    """A client's own message."""

    value: bytes
    topic = "orders"

    def checksum(self) -> int:
        raise AssertionError("only its type is looked at")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("value", "`delivery.body` is the payload, in bytes; `delivery.message.value` is the client's own"),
        ("payload", "`delivery.body` is the payload, in bytes"),
        ("record", "`delivery.message` is the client's own object"),
        ("topic", "`delivery.source.name` its name; `delivery.message.topic` is the client's own"),
        ("offset", "`delivery.position` is Kafka's offset, or RabbitMQ's delivery tag"),
        ("commit", "the guard tells the broker"),
    ],
)
def test_what_a_delivery_does_not_have_names_what_is_meant(name: str, text: str) -> None:
    """Who knows the client looks for its names; the error is still the one that `getattr` and `hasattr` expect."""
    delivery = Message(ORDERS, 0)
    delivery.message = Record()
    with pytest.raises(UnknownAttribute) as caught:
        getattr(delivery, name)
    assert text in str(caught.value)
    assert isinstance(caught.value, AttributeError)
    assert not hasattr(delivery, name)
    assert getattr(delivery, name, None) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("checksum", "^Message has no attribute 'checksum': `delivery.message.checksum` is the client's own$"),
        ("_value", "it has source, message, body, key, headers, timestamp, position, attempt, redelivered"),
        ("colour", "it has source, message, body, key, headers, timestamp, position, attempt, redelivered"),
        ("body", "^Message.body cannot be read: its message, of type Record, lacks what it is read from$"),
    ],
)
def test_the_log_knows_a_remedy_for_any_name(name: str, text: str) -> None:
    """Where the client's own message has it; else what there is."""
    delivery = Message(ORDERS, 0)
    assert re.search(text, str(unknown_attribute(delivery, name, Record())))


def test_a_name_that_nobody_foresaw_is_an_error_as_of_any_object() -> None:
    """And the class has none of the names that people look for, which only a delivery can answer."""
    with pytest.raises(AttributeError, match="colour"):
        _ = Message(ORDERS, 0).colour  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="Message has no attribute 'value'"):
        getattr(Message, "value")  # noqa: B009 - a type checker would refuse it


def test_reading_a_delivery_takes_the_short_way() -> None:
    """A `__getattr__` in its class would make each read of an attribute a long one: a fifth of what the engine costs per message."""
    assert not hasattr(Delivery, "__getattr__")


def test_a_delivery_can_be_copied() -> None:
    """It is as it was."""
    assert copy.copy(Message(ORDERS, 3)).source == ORDERS


def test_the_last_word_of_a_handler_counts() -> None:
    """It may change its mind while it runs."""
    delivery = Message(ORDERS, 0)
    delivery.reject("no such customer")
    assert delivery.request == HandlerRequest(reason="no such customer")
    delivery.retry(after=2.5)
    assert delivery.request == HandlerRequest(after=2.5)
    delivery.retry()
    assert delivery.request == HandlerRequest()


@pytest.mark.parametrize("after", [0.0, -1.0, math.nan, math.inf, "5s", True, timedelta(0), 10**400])
def test_another_time_is_a_number_of_seconds(after: Any) -> None:
    """Above 0, and not for ever."""
    with pytest.raises(SettingsError, match=r"retry\(after="):
        Message(ORDERS, 0).retry(after=after)


def test_a_delivery_keeps_whether_it_was_handed_out_before() -> None:
    """As its broker says; its number comes from its inbox."""
    delivery = Delivery(ORDERS, "message", redelivered=True)
    assert (delivery.redelivered, delivery.serial) == (True, 0)


def test_a_rejection_without_a_reason_says_who() -> None:
    """It stands in the dead letter."""
    delivery = Message(ORDERS, 0)
    delivery.reject()
    assert delivery.request == HandlerRequest(reason="rejected by the handler")


def test_a_message_may_be_wanted_again_in_half_a_second() -> None:
    """Any time above 0."""
    delivery = Message(ORDERS, 0)
    delivery.retry(after=0.5)
    assert delivery.request == HandlerRequest(after=0.5)


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


def test_what_there_is_stands_word_for_word_where_nothing_else_is_known() -> None:
    """The client's message has no such name either; it may have names of its own, by its type, or none that are declared."""
    has = "it has source, message, body, key, headers, timestamp, position, attempt, redelivered, reject() and retry()"
    assert str(unknown_attribute(Message(ORDERS, 0), "colour", Record())) == f"Message has no attribute 'colour': {has}"
    assert str(unknown_attribute(Message(ORDERS, 0), "colour", 7)) == f"Message has no attribute 'colour': {has}"


def test_a_name_of_the_client_that_is_its_own_affair_is_no_remedy() -> None:
    """Its type has the name, and nobody outside should use what begins with an underscore."""

    class Guarded:
        _offset = 3

    assert "client's own" not in str(unknown_attribute(Message(ORDERS, 0), "_offset", Guarded()))


def test_the_error_names_the_class_that_was_asked() -> None:
    """That of the delivery, as its broker's intake has it."""
    with pytest.raises(UnknownAttribute, match=r"^Message has no attribute 'payload': `delivery\.body` is the payload, in bytes$"):
        getattr(Message(ORDERS, 0), "payload")  # noqa: B009 - a type checker would refuse it


def test_a_time_that_is_refused_is_quoted() -> None:
    """With what would be right; the error that was found within is not shown."""
    with pytest.raises(SettingsError) as caught:
        Message(ORDERS, 0).retry(after=-1.0)
    assert str(caught.value) == "retry(after=-1.0) must be a number of seconds above 0, or a timedelta"
    assert caught.value.__suppress_context__
