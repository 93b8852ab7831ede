"""What an outage would cost the consumers of a queue as they are, without a guard: `holdgate doctor rabbitmq --outage 3600`.

The broker shows the queue, its limits and its timeouts; with the management API also how much comes, and how many consume. It does not show
what a consumer does with a message whose handler fails. A sentence for each thing that it can do has the sum.
"""

from __future__ import annotations

import math

from holdgate.brokers.costs import TURN, counted, given_up, gone_after, hot_loop, lasting, plain
from holdgate.brokers.rabbitmq.queue_facts import QueueFacts, Traffic
from holdgate.brokers.rabbitmq.terms import QueueTerms


def of_queue(facts: QueueFacts, terms: QueueTerms, traffic: Traffic, prefetch: int, outage: float) -> list[str]:
    """Return what an outage of so many seconds would cost. `prefetch` is that of the consumers."""
    return [
        *_arrivals(traffic, outage),
        f"a consumer that rejects a message that failed, or lets an exception do so, gives up all that come: they {facts.way_of_rejected}",
        _returned(facts, terms, outage),
        _kept(terms, prefetch, outage),
        *_expiring(facts, outage),
        *_overflowing(facts, traffic, outage),
    ]


def _arrivals(traffic: Traffic, outage: float) -> list[str]:
    if traffic.consumers == 0:
        yet = "it has no consumer now: that is an outage already, and it lasts until one starts"
        return [yet, *_arrivals(Traffic(traffic.waiting, traffic.rate), outage)]
    if traffic.rate is None:
        return ["how many messages come is not known without the management API (--management)"]
    come = traffic.rate * outage
    waiting = traffic.waiting or 0
    rate = f"{traffic.rate:g} messages a second come now, in {plain(outage)} s {counted(come, 'message')}"
    return [f"{rate}, on top of {counted(waiting)} that wait: {counted(waiting + come, 'message')} after an outage"]


def _returned(facts: QueueFacts, terms: QueueTerms, outage: float) -> str:
    turn = TURN if terms.delay is None else terms.delay.seconds
    again = "immediately" if terms.delay is None else f"after {plain(turn)} s or more (x-delayed-retry-min)"
    who = f"a consumer that returns a message that failed (requeue) gets it again {again}"
    if terms.limit is None or terms.counts == "nothing":
        return f"{who}, and this queue never gives one up: {hot_loop(outage, turn)}"
    attempts = terms.limit + 1
    gone = f"{gone_after(attempts, outage, turn)}. Such messages {facts.way_of_rejected}"
    ends = f"more than {terms.limit} returns are too many for this queue: {gone}"
    if terms.counts == "returns":
        return f"{who}, and {ends}"
    return f"{who}. By basic.nack that is not counted: {hot_loop(outage, turn)}. By basic.reject it is, and {ends}"


def _kept(terms: QueueTerms, prefetch: int, outage: float) -> str:
    who = f"a consumer that waits with its messages unacked has {prefetch} of them in hand (its prefetch)"
    if terms.timeout is None:
        return f"{who}, and the broker lets it: nothing is lost"
    times = math.floor(outage / terms.timeout)
    if times == 0:
        return f"{who}. The broker takes them back after {lasting(terms.timeout)}, which is longer than the outage: nothing is lost"
    after = (
        f"{who}. The broker takes them back after {lasting(terms.timeout)} and closes the channel: "
        f"{plain(outage)} s / {plain(terms.timeout)} s = {counted(times, 'time')}"
    )
    if terms.limit is None or terms.counts != "returns":
        return f"{after}, which is not counted"
    return f"{after}, each counted, of {terms.limit} that the queue allows: {'too often' if times > terms.limit else 'not too often'}"


def _expiring(facts: QueueFacts, outage: float) -> list[str]:
    ttl = facts.number("x-message-ttl", "message-ttl")
    if ttl is None:
        return []
    return [f"messages expire after {lasting(ttl / 1000)} in the queue (message-ttl), held or not: {given_up(ttl / 1000, outage)}"]


def _overflowing(facts: QueueFacts, traffic: Traffic, outage: float) -> list[str]:
    room = facts.number("x-max-length", "max-length")
    if room is None:
        return []
    text = f"it has room for {counted(room, 'message')} (max-length), and what comes then pushes out the oldest, or is refused"
    if traffic.rate is None:
        return [text]
    over = (traffic.waiting or 0) + traffic.rate * outage - room
    return [f"{text}: {counted(over, 'message')} of an outage find none" if over > 0 else f"{text}: the messages of an outage find room"]
