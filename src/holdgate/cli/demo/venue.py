"""What the demo needs of a broker, whichever it is: produce, a bare client for the one side, an intake for the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from holdgate.cli.demo.ledger import Place
from holdgate.ports import Intake

GUARDED = "guarded"  # the consumer group of the side with holdgate
NAIVE = "naive"  # the consumer group of the side without


@dataclass(frozen=True, slots=True)
class Record:
    """One message as the side without the guard sees it: its kind of work, its number, and the client's own object."""

    kind: str
    number: int
    raw: Any


class Feed(Protocol):
    """A bare client: what people write a loop around."""

    @property
    def rebalances(self) -> int:
        """How often the partitions were handed out again after the first time."""
        ...

    async def open(self) -> None:
        """Join the group; returns when messages can be taken."""
        ...

    async def take(self, most: int) -> Sequence[Record]:
        """The next messages, at most `most`; waits a moment and may be empty."""
        ...

    async def commit(self) -> None:
        """Everything that was taken counts as processed."""
        ...

    async def bury(self, record: Record) -> None:
        """Write the record to the dead letter topic; returns when the broker has it."""
        ...

    async def close(self) -> None:
        """Leave the group. Idempotent."""
        ...


class Venue(Protocol):
    """One broker with the demo's topics on it."""

    async def open(self) -> None:
        """Reach the broker and make the topics. Raises `IntakeError` when it is not there, `MissingExtra` without its client."""
        ...

    def topic(self, kind: str) -> str:
        """The name that the topic for this kind of work has on this broker."""
        ...

    async def produce(self, kind: str, number: int) -> Place:
        """Produce message `number`; returns where it stands once the broker has it."""
        ...

    def feed(self) -> Feed:
        """A bare client in the group `NAIVE`."""
        ...

    def intake(self, on_rebalance: Callable[[], None]) -> Intake[Any]:
        """An intake in the group `GUARDED`; `on_rebalance` is called after each assignment but the first."""
        ...

    async def committed(self, group: str) -> Mapping[tuple[str, int], int]:
        """The next offset of a group per topic name and partition, as the broker has it. The group's members have left."""
        ...

    async def close(self) -> None:
        """Remove the topics where they are the demo's own, and end what was started. Idempotent."""
        ...
