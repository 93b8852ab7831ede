"""A world as frozen data: what limits, for how long, how many workers, what is the best that anybody could do, and what is promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from holdgate_lab.worlds.answers import FarEnd

# When callers give up: what a user of an API waits for, and far above every answer of a service that is well.
CALL_TIMEOUT = 5.0
# How many handlers a worker may have at work: above every limit here, so that it is never the worker's own ceiling that helps.
CEILING = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What holdgate must reach in a world, with every seed. None means that nothing is promised.

    - `goodput`: at least so much of the best possible.
    - `waste`: at most this share of calls in vain.
    - `in_flight`: at most so many calls of a worker in flight, in 99 of 100 samples.
    - `fairness`: at least this, of Jain's index over the workers: 1.0 is equal shares, and one of n that gets all is 1/n.
    - `calls_a_minute`: at most so many while the trouble lasts.
    - `back_after`: at most so many seconds from the end of the trouble to 90 % of what is possible.
    """

    goodput: float
    waste: float
    in_flight: int | None = None
    fairness: float | None = None
    calls_a_minute: float | None = None
    back_after: float | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """From when until when less than usual gets through, or nothing, and how much a second is possible after it."""

    start: float
    end: float
    possible: float


@dataclass(frozen=True, slots=True)
class Bursts:
    """`count` messages come together, every `every` seconds, the first at the start."""

    count: int
    every: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedWorld:
    """One service, workers in front of it, and a backlog that never ends.

    - `name`, `letter`: what it is called, and its letter in the table of measurements; "" for those without one.
    - `teaches`: what it shows, in a sentence.
    - `seconds`: how long it lasts.
    - `make`: makes the far end, with a source of chance.
    - `best`: how many messages the best of all consumers could process until a second.
    - `workers`: how many that do not know of each other.
    - `trouble`: what happens on the way. None means nothing.
    - `bursts`: how messages come. None means that there are always more.
    - `in_order`: the messages are one partition, and each waits for the one before it. False means a queue without an order.
    """

    name: str
    letter: str = ""
    teaches: str
    seconds: float
    make: Callable[[Random], FarEnd]
    best: Callable[[float], float]
    promise: Promise
    workers: int = 1
    trouble: Trouble | None = None
    bursts: Bursts | None = None
    in_order: bool = False
