"""Shares: how much of the fleet's limit each worker has. Everybody computes them alike, from the log alone.

A worker takes part that has messages and room for calls. Its share follows how many calls it can make: the whole part of that goes to each,
and what is left goes one by one to the first in an order. So the shares add up to the limit exactly, or to less where nobody has room.

The order is a checksum of the worker and the turn, so no worker is always the first, and nobody need write the order down. It stays while
a ramp climbs: who has begun goes on, and a larger limit adds others. If it changed with every stage, then a call that is still in flight
at one worker, and a new one at another, would be more than the limit.

Somebody who comes or goes in a ramp may still move a share from one worker to another. The one that loses it has calls in flight, so the
other one has to wait for the next verdict, which is a second later at most.

A reader that does not know all sharers would take too much: it has just come, or has missed a line. So the conductor writes a checksum of
them. After one that differs, all go on as before, since most likely somebody has just come or gone, and the next verdict follows
immediately. After a second one the reader takes nothing.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Mapping

# So many workers write what came of their calls in a stage, and each stage others. If all of twenty did, they would write more in a ramp
# than in the rest of an outage. Each of them writes of two calls at least: one bad one among twelve is no bad stage, one among six is.
REPORTERS = 6
LEAST_PART = 2

# Kept within what a record's number may be.
_BITS = 0x7FFFFFFF


def checksum(fulls: Mapping[str, int]) -> int:
    """Return one number for who takes part, and with how many calls.

    It is no proof against a forger, who may as well write a verdict.
    """
    return crc32(",".join(f"{worker}={fulls[worker]}" for worker in sorted(fulls)).encode()) & _BITS


def in_order(fulls: Mapping[str, int], turn: int) -> list[str]:
    """Return the workers in the order in which they get what is left."""
    return sorted(fulls, key=lambda worker: (crc32(f"{turn}:{worker}".encode()), worker))


def shares(limit: int, fulls: Mapping[str, int], turn: int) -> dict[str, int]:
    """Return each worker's share of `limit`.

    `fulls` are the most calls of each, from 1. The shares add up to the limit, or to all of `fulls` if that is less.
    """
    together = sum(fulls.values())
    if limit >= together:
        return dict(fulls)
    given = {worker: limit * full // together for worker, full in fulls.items()}
    left = limit - sum(given.values())
    # The limit is less than all can do, so rounding down has left room for one more at each; and less than one for each is left.
    for worker in in_order(fulls, turn)[:left]:
        given[worker] += 1
    return given


def handed_over(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return the shares that hold on the way from some to others: where anybody loses, nobody gains yet."""
    if all(after.get(worker, 0) >= share for worker, share in before.items()):
        return dict(after)
    return {worker: min(share, before.get(worker, 0)) for worker, share in after.items()}


def parts_of(need: int, shared: Mapping[str, int], limit: int, stage: int) -> dict[str, int]:
    """Return who writes what came of its calls in this stage, and of how many at least, if the stage needs `need` results.

    When a worker has so many, it says so without a wait: if all do the same, the stage is complete. Where many have a share, it is not
    everybody.
    """
    sharers = {worker: share for worker, share in shared.items() if share}
    parts = {worker: ceil(need * share / max(1, limit)) for worker, share in sharers.items()}
    if len(parts) <= REPORTERS:
        return parts
    return {worker: max(LEAST_PART, parts[worker]) for worker in in_order(sharers, stage)[:REPORTERS]}
