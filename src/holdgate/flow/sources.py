"""Where messages come from: a partition of a Kafka topic, or a RabbitMQ queue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of a Kafka topic.

    `topic` is the topic's name, `number` the partition's number from 0.
    """

    topic: str
    number: int

    @property
    def name(self) -> str:
        """The topic: what `needs` and a handler mapping are keyed by."""
        return self.topic

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


@dataclass(frozen=True, slots=True, order=True)
class Queue:
    """One RabbitMQ queue, by its name."""

    name: str

    def __str__(self) -> str:
        return self.name


Source = Partition | Queue


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits in one source, as the broker tells it.

    `messages` counts what is not settled yet, those in hand included; None when the broker cannot say.
    `oldest_age` is the age of the oldest of them in seconds; None when unknown or when nothing waits.
    """

    messages: int | None
    oldest_age: float | None = None
