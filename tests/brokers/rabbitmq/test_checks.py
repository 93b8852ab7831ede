from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.kafka.drive import drive

from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.brokers.rabbitmq.checks import (
    check_kind,
    check_own_timeout,
    check_timeout,
    derive_terms,
    describe_risks,
    describe_slow_handlers,
)
from holdgate.brokers.rabbitmq.queue_facts import QueueFacts
from holdgate.errors import IntakeError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate.brokers.rabbitmq.terms import QueueTerms

OLD, MIDDLE, NEW = (3, 10), (4, 0), (4, 3)
UNSAID: dict[str, Any] = {"single_active": None, "delivery_limit": None, "consumer_timeout": None}


def terms(facts: QueueFacts, version: tuple[int, int] = OLD, **options: Any) -> QueueTerms:
    return derive_terms(facts, version, **{**UNSAID, **options})


def quorum(policy: dict[str, Any] | None = None, **arguments: Any) -> QueueFacts:
    return QueueFacts("q", "quorum", {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}, policy=policy)


CLASSIC = QueueFacts("q", "classic")


def test_the_brokers_default_is_half_an_hour() -> None:
    """With nothing said and nothing found, messages go back after twenty-eight minutes."""
    found = terms(CLASSIC)
    assert (found.timeout, found.margin) == (1800, 120)


def test_what_was_found_wins_over_the_default_and_what_was_said_over_both() -> None:
    """The queue's or a policy's timeout is in milliseconds; the setting is in seconds."""
    assert terms(quorum(consumer_timeout=60_000)).timeout == 60
    assert terms(quorum(policy={"consumer-timeout": 40_000}, consumer_timeout=60_000)).timeout == 40
    assert terms(quorum(consumer_timeout=60_000), consumer_timeout=30.0).timeout == 30


def test_nothing_goes_back_where_the_broker_takes_nothing() -> None:
    """A classic queue from 4.3 on, and a broker without a timeout, if that was said."""
    assert terms(CLASSIC, NEW).timeout is None
    assert terms(CLASSIC, OLD, consumer_timeout=math.inf).timeout is None
    assert terms(quorum(), NEW).timeout == 1800


def test_a_limit_is_said_found_or_the_versions() -> None:
    """In this order; a classic queue has none, whatever a policy says."""
    assert terms(quorum(), OLD).limit is None
    assert terms(quorum(), MIDDLE).limit == 20
    assert terms(quorum(delivery_limit=5), MIDDLE).limit == 5
    assert terms(quorum(delivery_limit=5), MIDDLE, delivery_limit=9).limit == 9
    assert terms(QueueFacts("q", "classic", policy={"delivery-limit": 5}), MIDDLE).limit is None


def test_no_limit_is_said_by_minus_one_and_none_at_all_by_nought() -> None:
    """-1 means none since 4.0; before, it drops at the first return, as 0 does everywhere."""
    assert terms(quorum(delivery_limit=-1), MIDDLE).limit is None
    assert terms(quorum(delivery_limit=-1), OLD).limit == 0
    assert terms(quorum(delivery_limit=0), MIDDLE).limit == 0
    assert describe_risks(quorum(delivery_limit=-1), terms(quorum(delivery_limit=-1), MIDDLE)) == []


def test_a_consumer_may_ask_for_a_shorter_timeout() -> None:
    """From 4.3 on, on a quorum queue; the shortest of all that were said holds, and a longer one changes nothing."""
    assert terms(quorum(), NEW, own_timeout=60.0).timeout == 60
    assert terms(quorum(), NEW, own_timeout=60.0, consumer_timeout=30.0).timeout == 30
    assert terms(quorum(), NEW, own_timeout=7200.0).timeout == 1800
    assert terms(quorum(), MIDDLE, own_timeout=60.0).timeout == 1800
    assert terms(CLASSIC, NEW, own_timeout=60.0).timeout is None


def test_a_consumers_own_timeout_is_read_from_its_arguments() -> None:
    """In the broker's milliseconds; what is no whole number is refused, as the broker would."""
    assert check_own_timeout({"x-priority": 1}) == math.inf
    assert check_own_timeout({"x-consumer-timeout": 6000}) == 6
    with pytest.raises(SettingsError, match="x-consumer-timeout must be a whole number, got '6 s'"):
        check_own_timeout({"x-consumer-timeout": "6 s"})


def test_nacks_only_where_they_are_uncounted_and_nobody_waits_in_line() -> None:
    """From 4.3 on, on a quorum queue without a single active consumer, found or said."""
    assert terms(quorum(), NEW).nacks
    assert not terms(quorum(), MIDDLE).nacks
    assert not terms(quorum(single_active_consumer=True), NEW).nacks
    assert not terms(quorum(), NEW, single_active=True).nacks


def test_single_active_is_found_or_said() -> None:
    """Said to be one, a queue is treated as one; said not to matter, it still is one."""
    assert terms(quorum(single_active_consumer=True), single_active=False).single_active
    assert terms(quorum(), single_active=True).single_active
    assert not terms(quorum()).single_active


@pytest.mark.parametrize("type_", ["classic", "quorum", None])
def test_classic_quorum_and_unknown_pass(type_: str | None) -> None:
    """Where the type could not be found out, it is not refused for that."""
    check_kind(QueueFacts("q", type_), None)


def test_a_type_that_nobody_knows_is_refused() -> None:
    """As a stream is."""
    with pytest.raises(IntakeError, match="must be a classic or quorum queue, got a jms"):
        check_kind(QueueFacts("q", "jms"), None)


def test_a_limit_that_a_long_hold_reaches_is_told_with_the_hours() -> None:
    """Twenty give-backs of twenty-eight minutes are nine hours; with dead letters, or uncounted, there is nothing to tell."""
    (found,) = describe_risks(quorum(), terms(quorum(), MIDDLE))
    assert "an outage of 9.3 hours loses its first message" in found
    assert "policies were not checked" in found
    (found,) = describe_risks(quorum(policy={}), terms(quorum(), MIDDLE))
    assert "policies were not checked" not in found
    for quiet, version in ((quorum(dead_letter_exchange="dlx"), MIDDLE), (quorum(), NEW), (quorum(), OLD), (CLASSIC, MIDDLE)):
        assert describe_risks(quiet, terms(quiet, version)) == []


def test_an_expiring_queue_is_told() -> None:
    """With its seconds."""
    facts = QueueFacts("q", "classic", {"x-expires": 90_000})
    (found,) = describe_risks(facts, terms(facts))
    assert "it expires after 90 s without a consumer" in found


def test_a_limit_with_an_overflow_needs_no_warning() -> None:
    """Messages near their limit have another queue to go to."""
    assert describe_risks(quorum(), terms(quorum(), MIDDLE, has_overflow=True)) == []


@pytest.mark.parametrize(
    ("longest", "prefetch", "text"),
    [
        (None, 100, None),
        (16.0, 100, None),
        (17.0, 100, "one handler that takes 17 s for each of 100 messages in hand needs more than the 1680 s .* lower prefetch to 98"),
        (1679.0, 1, None),
        (1680.0, 1, "a handler may take 1680 s, but after 1680 s its message goes back and the handler is interrupted"),
    ],
)
def test_handlers_that_outlast_the_timeout_are_told(longest: float | None, prefetch: int, text: str | None) -> None:
    """One alone, or a window of them one after the other; half an hour less two minutes is the time that there is."""
    told = describe_slow_handlers(terms(CLASSIC), prefetch, longest)
    assert (told is None) if text is None else re.search(text, told or "")
    assert describe_slow_handlers(terms(CLASSIC, NEW), prefetch, longest) is None


def test_an_unknown_type_is_told() -> None:
    """And why."""
    (found,) = describe_risks(QueueFacts("q", None), terms(QueueFacts("q", None)))
    assert "no permission to configure" in found


async def test_risks_are_in_the_log(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], caplog) -> None:
    """At start, with the queue's name."""
    name = await queue({"x-expires": 90_000})
    async with drive(intake(name)):
        assert f"{name}: it expires after 90 s" in caplog.text


def test_a_timeout_is_seconds_a_timedelta_or_infinity() -> None:
    """None is left to be found out."""
    assert check_timeout(None) is None
    assert check_timeout(timedelta(minutes=5)) == 300
    assert check_timeout(math.inf) == math.inf


def test_an_intake_tells_what_it_is_before_it_opens() -> None:
    """Names, window and order are known to the guard's checks; handlers get half of a quarter of the timeout to end."""
    made = RabbitMQIntake("amqp://guest@localhost/", "a", "b", prefetch=7, consumer_timeout=80)
    assert (made.names, made.inbox, made.order, made.rebalance_timeout) == (("a", "b"), 7, "none", 20)
    assert RabbitMQIntake("amqp://guest@localhost/", "a", single_active=True).order == "source"
