"""What an outage would cost a consumer group of Kafka as it is, without a guard: `holdgate doctor kafka --outage 3600`.

The broker shows how much comes, how much waits, how long records are kept and how many members there are. It does not show what a member
does with a record whose handler fails. A sentence for each thing that it can do has the sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from holdgate.brokers.costs import counted, lasting, plain

# max.poll.interval.ms where nobody sets it: that of Java's client, of librdkafka and of aiokafka (seconds).
_MAX_POLL_INTERVAL = 300.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What goes on in one topic.

    - `came`: how many records came in as much time as the outage lasts. None means that this is unknown.
    - `waiting`: how many records the group has not processed.
    - `oldest_age`: the age of the first of these in seconds. None means that there is none, or that it is unknown.
    - `retention`: for how many seconds records are kept, infinite without a limit.
    """

    name: str
    came: int | None
    waiting: int
    oldest_age: float | None
    retention: float


@dataclass(frozen=True, slots=True)
class Membership:
    """A group as its coordinator describes it. `members` None means that it may not be described, or not by this protocol."""

    state: str
    members: int | None


def of_topic(traffic: Traffic, outage: float) -> list[str]:
    """Return what an outage of so many seconds would cost in one topic."""
    return [_arrivals(traffic.came, outage), _kept(traffic, outage)]


def _arrivals(records: int | None, outage: float) -> str:
    if records is None:
        return "how many records come is not known: the broker answers no question about times"
    if records == 0:
        return f"no record came in the last {lasting(outage)}: an outage costs as much as comes in it"
    came = counted(records, "record")
    return (
        f"{came} came in the last {lasting(outage)}, so about as many come in an outage of that time. A consumer that gives a record up "
        f"when its attempts are over, by skipping it or by a dead letter, gives up all: {came} are lost, or must be brought back by hand"
    )


def _kept(traffic: Traffic, outage: float) -> str:
    behind = traffic.waiting + (traffic.came or 0)
    oldest = (traffic.oldest_age or 0.0) + outage
    waiting = (
        f"a consumer that waits has {counted(traffic.waiting)} + {counted(traffic.came or 0)} = {counted(behind, 'record')} before it "
        f"afterwards, the oldest {lasting(traffic.oldest_age or 0.0)} + {lasting(outage)} = {lasting(oldest)} old"
    )
    if traffic.retention == math.inf:
        return f"{waiting}. Records are kept without a limit of time, so none is deleted meanwhile"
    if oldest <= traffic.retention:
        return f"{waiting}. Records are kept for {lasting(traffic.retention)}, so none is deleted meanwhile"
    deleted = f"those of the first {lasting(oldest - traffic.retention)} are deleted before anybody has processed them"
    return f"{waiting}. Records are kept for {lasting(traffic.retention)}: {deleted}. Raise retention.ms"


def of_group(membership: Membership, outage: float, *, interval: float | None = None) -> list[str]:
    """Return what an outage of so many seconds would cost the group as a whole.

    `interval` is the members' max.poll.interval.ms in seconds. None means that it is not known, and that of every client is taken.
    """
    if membership.members is None:
        return ["its members cannot be seen: this user may not describe the group, or it has a protocol of its own, as share groups do"]
    if membership.members == 0:
        yet = f"it has no member now (state {membership.state}), so nobody reads"
        return [f"{yet}: that is an outage already, and it lasts until a consumer starts"]
    lasts = _MAX_POLL_INTERVAL if interval is None else interval
    times = math.floor(outage / lasts)
    each = f"{plain(outage)} s / {plain(lasts)} s = {counted(times, 'time')} for each of {counted(membership.members, 'member')}"
    unless = " unless it sets another" if interval is None else ""
    evicted = (
        "a consumer that tries a record again without polling is put out of the group after max.poll.interval.ms, "
        f"{lasting(lasts)}{unless}: {each}, {counted(times * membership.members, 'rebalance')}"
    )
    committed = (
        "a consumer that commits by itself (enable.auto.commit) commits what it has fetched, processed or not: a restart in the outage "
        "loses what was in hand"
    )
    return [evicted, committed]
