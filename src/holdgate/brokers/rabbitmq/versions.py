"""What differs between RabbitMQ's versions and queue types, as one table. Nothing else in this package asks for a version.

Measured on 3.10.8, 4.0.5 and 4.3.6 (docs/explanation/prefetch-and-requeue.md has the whole table, and the tests that show each line);
4.1 and 4.2 are taken for 4.0.

`nacks_back`: whether `basic.nack(requeue=True)`, in delivery order, puts messages back at the front, in order and uncounted. Where it does
not, it counts, and on a quorum queue without a limit it puts them at the back; closing the channel always keeps the order, and counts.
`times_out`: whether the broker takes back what is unacked for longer than `consumer_timeout`. `checked_every`: how many seconds later it
may notice. `delivery_limit`: after how many returns a message is dead when nobody has set a limit; None: never.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["classic", "quorum"]

# What the broker waits for an ack, unless its configuration, a policy or the queue says otherwise: since 3.8.17.
DEFAULT_CONSUMER_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one queue type in one version; see the head of this file."""

    nacks_back: bool
    times_out: bool
    checked_every: float
    delivery_limit: int | None

    def margin(self, timeout: float) -> float:
        """How many seconds before `timeout` is over messages go back: what running handlers get to end, and the broker's own clock."""
        return min(10.0 if self.checked_every == 0 else 120.0, timeout / 4)


# Newest first: the first line whose version is not above the broker's, and whose kind matches, is the one.
_TABLE: tuple[tuple[tuple[int, int], Kind, Rules], ...] = (
    ((4, 3), "quorum", Rules(nacks_back=True, times_out=True, checked_every=0, delivery_limit=20)),
    ((4, 3), "classic", Rules(nacks_back=False, times_out=False, checked_every=0, delivery_limit=None)),
    ((4, 0), "quorum", Rules(nacks_back=False, times_out=True, checked_every=60, delivery_limit=20)),
    ((4, 0), "classic", Rules(nacks_back=False, times_out=True, checked_every=60, delivery_limit=None)),
    ((0, 0), "quorum", Rules(nacks_back=False, times_out=True, checked_every=60, delivery_limit=None)),
    ((0, 0), "classic", Rules(nacks_back=False, times_out=True, checked_every=60, delivery_limit=None)),
)

# Where the kind could not be found out: what is right, or harmless, for both.
_EITHER = Rules(nacks_back=False, times_out=True, checked_every=60, delivery_limit=None)


def rules_for(version: tuple[int, int], kind: Kind | None) -> Rules:
    """The rules for a queue of `kind` (None: unknown) on a broker of `version`."""
    return next((rules for since, of, rules in _TABLE if version >= since and of == kind), _EITHER)


def parse_version(text: object) -> tuple[int, int]:
    """Major and minor of "3.10.8"; (0, 0), with the oldest rules, for what is no version."""
    parts = str(text).split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return 0, 0
