"""What an outage costs a consumer group of Kafka without a guard, by the facts."""

from __future__ import annotations

import math
from dataclasses import replace

from holdgate.brokers.group_costs import Membership, Traffic, of_group, of_topic

HOUR = 3600.0
TRAFFIC = Traffic("orders", came=3600, waiting=100, oldest_age=600.0, retention=math.inf)


def test_what_came_in_an_hour_comes_in_an_outage_of_an_hour() -> None:
    """It is lost by whoever gives up, and waits for whoever waits."""
    arrivals, kept = of_topic(TRAFFIC, HOUR)
    assert arrivals.startswith("3,600 records came in the last 1 hour")
    assert "gives up all: 3,600 records are lost" in arrivals
    assert kept == (
        "a consumer that waits has 100 + 3,600 = 3,700 records before it afterwards, the oldest 10 minutes + 1 hour = 70 minutes old. "
        "Records are kept without a limit of time, so none is deleted meanwhile"
    )


def test_retention_is_compared_with_the_oldest_record_after_the_outage() -> None:
    """Long enough, or how much is deleted."""
    assert of_topic(replace(TRAFFIC, retention=86400.0), HOUR)[1].endswith("kept for 1 day, so none is deleted meanwhile")
    assert of_topic(replace(TRAFFIC, retention=1800.0), HOUR)[1].endswith(
        "kept for 30 minutes: those of the first 40 minutes are deleted before anybody has processed them. Raise retention.ms"
    )


def test_a_quiet_topic_and_an_old_broker_are_said_as_such() -> None:
    """No number is made up."""
    assert of_topic(replace(TRAFFIC, came=0), HOUR)[0] == "no record came in the last 1 hour: an outage costs as much as comes in it"
    assert of_topic(replace(TRAFFIC, came=None), HOUR)[0].startswith("how many records come is not known")


def test_members_are_evicted_and_a_group_without_any_reads_nothing() -> None:
    """Each member after max.poll.interval; a group that may not be described says so."""
    evicted, committed = of_group(Membership("Stable", 3), HOUR)
    assert "3600 s / 300 s = 12 times for each of 3 members, 36 rebalances" in evicted
    assert "enable.auto.commit" in committed
    (nobody,) = of_group(Membership("Empty", 0), HOUR)
    assert nobody.startswith("it has no member now (state Empty), so nobody reads")
    (unknown,) = of_group(Membership("unknown", None), HOUR)
    assert unknown.startswith("its members cannot be seen")


def test_the_members_own_interval_is_reckoned_with_where_it_is_known() -> None:
    """And then no other one is spoken of."""
    assert of_group(Membership("Stable", 2), HOUR, interval=60.0)[0].endswith(
        "after max.poll.interval.ms, 1 minute: 3600 s / 60 s = 60 times for each of 2 members, 120 rebalances"
    )
