"""What became of every message on one side: processed, dead-lettered, still waiting, or lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# How far back "recently" reaches: what a person at a terminal calls now.
RECENT = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a produced message stands: topic, partition number and offset."""

    topic: str
    partition: int
    offset: int


class Production:
    """Every message that was sent, by its number; both sides read the same ones."""

    def __init__(self) -> None:
        self.places: dict[int, Place] = {}
        self._sent: dict[int, float] = {}

    def send(self, number: int, now: float) -> None:
        """Message `number` leaves the producer at `now`."""
        self._sent[number] = now

    def store(self, number: int, place: Place) -> None:
        """The broker has message `number`, at `place`."""
        self.places[number] = place

    def sent_at(self, number: int) -> float:
        """When message `number` left the producer."""
        return self._sent[number]


class Ledger:
    """What one side did with the messages; a number counts once, however often it comes."""

    def __init__(self, production: Production) -> None:
        self.production = production
        self.processed: set[int] = set()
        self.dead: set[int] = set()
        self.duplicates = 0  # successes beyond a message's first
        self.slowest: dict[str, float] = {}  # kind of work -> longest time from sent to processed
        self._settled: set[int] = set()
        self._last: dict[str, tuple[float, float]] = {}  # kind of work -> when the last one was processed, and how long it took

    def process(self, kind: str, number: int, now: float) -> None:
        """Message `number` was processed at `now`."""
        self.duplicates += number in self.processed
        self.processed.add(number)
        self._settled.add(number)
        took = now - self.production.sent_at(number)
        self.slowest[kind] = max(took, self.slowest.get(kind, 0.0))
        self._last[kind] = (now, took)

    def bury(self, number: int) -> None:
        """Message `number` was written to a dead letter topic."""
        self.dead.add(number)
        self._settled.add(number)

    def waiting(self) -> int:
        """How many produced messages are neither processed nor dead-lettered."""
        return len(self.production.places.keys() - self._settled)

    def recent(self, kind: str, now: float) -> float | None:
        """How long the last message of a kind took, in seconds; None when none was processed within `RECENT`."""
        at, took = self._last.get(kind, (-RECENT, 0.0))
        return took if now - at < RECENT else None

    def lost(self, committed: Mapping[tuple[str, int], int]) -> int:
        """How many messages nobody will ever process: neither processed nor dead-lettered, and the group's offset is past them.

        `committed` is the next offset per topic and partition, as the broker has it; a partition without one has lost nothing.
        """
        places = (self.production.places[number] for number in self.production.places.keys() - self._settled)
        return sum(place.offset < committed.get((place.topic, place.partition), 0) for place in places)
