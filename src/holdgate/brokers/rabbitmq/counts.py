"""How often a message came back to its queue, and when `x-delivery-count` may be believed about it.

It is an ordinary header: a publisher can bring it, and whoever puts a dead letter back with all its headers does. The broker counts from
nothing all the same, and writes its own count over the header as soon as it has one. So it is the broker's word

    nowhere on a classic queue, where nobody counts, and the header stays as it came
    not at a first delivery
    where each return is counted: at every later one
    where nacks are not (4.3): at a later one, unless it says more than `x-acquired-count`, the number of deliveries, which is always the
    broker's then: so much only a dead letter can have, which brings the count of the queue that it died in along

A dead letter that somebody has put back into the queue it died in is none any more, though it may still have the headers of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdgate.brokers.rabbitmq.versions import Counts

# What a broker writes about the life of a message in its queues; the next life begins without.
BROKERS_OWN = frozenset(
    {
        "x-delivery-count", "x-acquired-count", "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason",
        "x-last-death-exchange", "x-last-death-queue", "x-last-death-reason",
    }
)  # fmt: skip


def returns_of(headers: Mapping[str, Any], counts: Counts, *, redelivered: bool, queue: str) -> int:
    """How often the message has come back, as its `queue` counts; 0 where nobody counts, and where the header may be somebody else's."""
    if counts == "nothing" or not redelivered:
        return 0
    told = _number(headers, "x-delivery-count")
    if counts == "failures" and told > _number(headers, "x-acquired-count") and not _came_dead(headers, queue):
        return 0
    return told


def _came_dead(headers: Mapping[str, Any], queue: str) -> bool:
    """Whether it is in `queue` because it died in another one."""
    died_in: object = headers.get("x-last-death-queue")
    return died_in is not None and died_in != queue


def _number(headers: Mapping[str, Any], name: str) -> int:
    found = headers.get(name, 0)
    return found if isinstance(found, int) and found > 0 else 0
