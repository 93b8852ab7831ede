"""A batch: deliveries of one source that go to the handler together, and through the engine as one.

To the engine a batch is one delivery, which asks for permits of its weight: it waits as one, is one result in the window, gets one verdict
and has one vote. When only a part of it is admitted, in a ramp, it is cut, and the rest goes back to where it came from. Its messages stay
as the client gave them until the handler looks: a `Delivery` for each of 500 records costs as much as reading them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, overload

from holdgate.errors import UnknownAttribute
from holdgate.flow.message import AnyDelivery, Delivery, HandlerRequest, Source

M = TypeVar("M")

_source_of = attrgetter("source")


class Origin(Protocol):
    """Where the messages of a batch came in. It makes a delivery of each when the handler looks at one."""

    def deliveries(self, messages: list[Any]) -> Sequence[AnyDelivery]:
        """Return a delivery for each, in their order, of which nothing is known yet."""
        ...


class AsTheyAre:
    """The origin of messages that are deliveries already."""

    def deliveries(self, messages: list[AnyDelivery]) -> Sequence[AnyDelivery]:
        for delivery in messages:
            delivery.history = delivery.request = None  # a request is forgotten with the attempt that made it
        return messages


AS_THEY_ARE = AsTheyAre()


class BatchItems(Sequence[Delivery[M]], Generic[M]):
    """What a batch handler gets: the deliveries of one source, in its order, at least one. A sequence; read-only."""

    __slots__ = ("_attempt", "_made", "_messages", "_origin")

    def __init__(self, messages: list[Any], origin: Origin, attempt: int) -> None:
        self._messages = messages
        self._origin = origin
        self._attempt = attempt
        self._made: Sequence[Delivery[M]] | None = None

    @classmethod
    def of(cls, delivery: AnyDelivery) -> BatchItems[Any]:
        """Return the items of a single delivery."""
        alone: BatchItems[Any] = cls([delivery], AS_THEY_ARE, delivery.attempt)
        alone._made = [delivery]
        return alone

    @property
    def made(self) -> Sequence[Delivery[M]]:
        """Return the deliveries, if the handler has looked at one; else none."""
        return self._made or ()

    if not TYPE_CHECKING:  # pragma: no branch - a type checker refuses the attribute by itself

        def __getattr__(self, name: str) -> NoReturn:
            raise UnknownAttribute(f"a batch has no attribute {name!r}: it is a sequence, so loop over it: `for delivery in deliveries:`")

    def requests(self) -> dict[int, HandlerRequest]:
        """Return what the handler has asked for some of them, by index."""
        return {index: one.request for index, one in enumerate(self.made) if one.request is not None}

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> Delivery[M]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Delivery[M]]: ...

    def __getitem__(self, index: int | slice) -> Delivery[M] | Sequence[Delivery[M]]:
        # All of them with the first: a handler that looks at one looks at all, and each must be the same object every time.
        if self._made is None:
            self._made = self._origin.deliveries(self._messages)
            for delivery in self._made:
                delivery.attempt = self._attempt
        return self._made[index]

    def __repr__(self) -> str:
        return f"<{len(self)} deliveries, attempt={self._attempt}>"


class Batch(Delivery[Any]):
    """Messages of one source, as one delivery of the engine. `message` is the list of them, never empty; `attempt` is that of each.

    `numbers` are theirs within the assignment, in the order of arrival.
    """

    __slots__ = ("numbers", "origin")

    message: list[Any]

    def __init__(self, source: Source, messages: list[Any], origin: Origin) -> None:
        super().__init__(source, messages)
        self.origin = origin
        self.numbers: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.message)

    def __bool__(self) -> bool:
        return True

    @property
    def position(self) -> int:
        """Return where its first message stands."""
        return self.origin.deliveries(self.message[:1])[0].position

    def items(self) -> BatchItems[Any]:
        """Return what the handler gets, made anew for every attempt."""
        return BatchItems(self.message, self.origin, self.attempt)

    def cut(self, most: int) -> Batch:
        """Keep the first `most` messages, fewer than it has; returns the rest, with the same past."""
        rest = self.piece(range(most, len(self.message)))
        self.message = self.message[:most]
        self.numbers = self.numbers[:most]
        return rest

    def piece(self, which: Sequence[int]) -> Batch:
        """Return a batch of some of its messages, by index, in their order.

        It has the same vote. It starts without charge or blame, because nothing shows which of the messages was at fault.
        """
        piece = Batch(self.source, [self.message[index] for index in which], self.origin)
        piece.assignment = self.assignment
        piece.attempt = self.attempt
        piece.numbers = [self.numbers[index] for index in which]
        piece.history = None if self.history is None else self.history.of_a_piece()
        return piece

    def single(self) -> AnyDelivery:
        """Return the message of a batch of one, in the batch's stead: a message can be rejected, a batch cannot."""
        (delivery,) = self.origin.deliveries(self.message)
        delivery.assignment = self.assignment
        delivery.attempt = self.attempt
        delivery.serial = self.numbers[0]
        delivery.permits, self.permits = self.permits, None
        delivery.history = self.history
        return delivery


def batches_of(deliveries: Sequence[AnyDelivery]) -> Sequence[AnyDelivery]:
    """Return deliveries as batches: neighbours of one source together. What is a batch already stays as it is."""
    if deliveries and isinstance(deliveries[0], Batch):
        return deliveries
    return [Batch(source, list(group), AS_THEY_ARE) for source, group in groupby(deliveries, _source_of)]


def messages_in(delivery: AnyDelivery) -> int:
    """Return how many messages it stands for."""
    return len(delivery) if isinstance(delivery, Batch) else 1
