"""The bed: what a broker's tests provide so that the cases can run on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from holdgate.flow.sources import Source
from holdgate.ports import Intake

# members: another consumer can join and leave, and the sources are dealt anew (`join`, `leave`).
# loss: an open intake can be cut off so that it loses its sources and comes back (`cut`).
# watermark: settled is what lies before the oldest unsettled message; without it, each message is settled for itself.
# prefetch: the broker itself stops at `inbox` unsettled messages per source.
# reject: the broker can refuse a message for good (Settlement.REJECT).
# peek: `left` may be asked while an intake is open.
# batches: the intake makes batches itself (holdgate.ports.Batching).
Capability = Literal["members", "loss", "watermark", "prefetch", "reject", "peek", "batches"]


class IntakeBed(Protocol):
    """One case's own little world: fresh topics or queues that nobody else uses, and a way to disturb them.

    Methods of a capability that the bed does not have are never called.
    """

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this broker can do; decides which cases apply."""
        ...

    @property
    def sources(self) -> Sequence[Source]:
        """Two sources, empty at first: two partitions of one topic, or two queues. Every intake of the bed reads both."""
        ...

    @property
    def patience(self) -> float:
        """Seconds within which what must happen does happen; only a failing case waits that long."""
        ...

    @property
    def quiet(self) -> float:
        """Seconds without a delivery that prove that none will come: several round trips and polls."""
        ...

    def intake(self, *, inbox: int = 50) -> Intake[Any]:
        """A new intake, not opened; each time in the same consumer group. `inbox` is its inbox or prefetch, per source."""
        ...

    def stranger(self) -> Intake[Any]:
        """A new intake, not opened, of a topic or queue that does not exist."""
        ...

    async def produce(self, source: Source, bodies: Sequence[bytes]) -> None:
        """Store messages in this order; returns when the broker has them."""
        ...

    async def left(self, source: Source) -> Sequence[bytes]:
        """The bodies that a new consumer of the group would get, oldest first, without taking them."""
        ...

    async def join(self) -> None:
        """Let another consumer join the group; it takes its share of the sources. May return before the group has settled."""
        ...

    async def leave(self) -> None:
        """Let that consumer leave again."""
        ...

    async def cut(self) -> None:
        """Cut off the open intake, so that it loses its sources, and let it come back."""
        ...
