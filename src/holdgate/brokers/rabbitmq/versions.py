"""What differs between RabbitMQ's versions and queue types, as one table. Nothing else in this package asks for a version.

Measured on 3.10.8, 4.0.5 and 4.3.6 (docs/reference/rabbitmq-versions.md is made of this table, docs/explanation/prefetch-and-requeue.md
has what a consumer sees of it); 4.1 and 4.2 are taken for 4.0. The tests with the marker `versions` show each line.

`counts`: which returns to the queue are counted (`x-delivery-count`). "nothing": a classic queue counts none. "returns": each one.
"failures": each but those by `basic.nack(requeue=True)` and by the consumer timeout; what died in such a queue takes its count along into
the next one.
`nacks_back`: whether nacks in delivery order put messages back at the front, in order and uncounted. Where they do not, on a quorum queue
without a limit, they put them at the back; closing the channel keeps the order on every queue, and counts wherever anything does.
`times_out`: whether the broker takes back what is unacked for longer than `consumer_timeout`. `checked_every`: how many seconds later it
may notice. `own_timeouts`: whether a consumer may have one of its own, by its argument `x-consumer-timeout`. `delivery_limit`: after how
many returns a message is dead when nobody has set a limit; None: never. `unlimited`: whether a limit of -1 means none; else it means 0.
`delays`: whether `x-delayed-retry-type` makes what comes back wait (delays.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["classic", "quorum"]
Counts = Literal["nothing", "returns", "failures"]

# What the broker waits for an ack, unless its configuration, a policy or the queue says otherwise: since 3.8.17.
DEFAULT_CONSUMER_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one queue type in one version; see the head of this file."""

    counts: Counts
    nacks_back: bool
    times_out: bool
    checked_every: float
    own_timeouts: bool
    delivery_limit: int | None
    unlimited: bool
    delays: bool

    def margin(self, timeout: float) -> float:
        """How many seconds before `timeout` is over messages go back: what running handlers get to end, and the broker's own clock."""
        return min(10.0 if self.checked_every == 0 else 120.0, timeout / 4)


_CLASSIC = Rules(
    "nothing", nacks_back=False, times_out=True, checked_every=60, own_timeouts=False, delivery_limit=None, unlimited=True, delays=False
)
_QUORUM = Rules(
    "returns", nacks_back=False, times_out=True, checked_every=60, own_timeouts=False, delivery_limit=None, unlimited=False, delays=False
)
_QUORUM_40 = replace(_QUORUM, delivery_limit=20, unlimited=True)
_QUORUM_43 = replace(_QUORUM_40, counts="failures", nacks_back=True, checked_every=0, own_timeouts=True, delays=True)

# Newest first: the first line whose version is not above the broker's, and whose kind matches, is the one.
_TABLE: tuple[tuple[tuple[int, int], Kind, Rules], ...] = (
    ((4, 3), "quorum", _QUORUM_43),
    ((4, 3), "classic", replace(_CLASSIC, times_out=False, checked_every=0)),
    ((4, 0), "quorum", _QUORUM_40),
    ((0, 0), "quorum", _QUORUM),
    ((0, 0), "classic", _CLASSIC),
)


def rules_for(version: tuple[int, int], kind: Kind | None) -> Rules:
    """The rules for a queue of `kind` (None: unknown) on a broker of `version`."""
    if kind is None:
        # What is right, or harmless, for both: a message that is near its limit by a header of somebody's own is only kept for longer.
        return replace(_CLASSIC, counts=rules_for(version, "quorum").counts)
    return next(rules for since, of, rules in _TABLE if version >= since and of == kind)


def parse_version(text: object) -> tuple[int, int]:
    """Major and minor of "3.10.8"; (0, 0), with the oldest rules, for what is no version."""
    parts = str(text).split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return 0, 0
