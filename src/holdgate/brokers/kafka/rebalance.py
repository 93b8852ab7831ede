"""The rebalance listener that the intake subscribes with; a user's own is called after ours.

aiokafka can only be given a listener in `subscribe`, knows only the eager protocol (every rebalance takes everything away first), and
swallows what callbacks raise: it is caught here, kept, and raised by the next `receive`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition


class RebalanceTarget(Protocol):
    """What the intake does in the two callbacks."""

    def begin_rebalance(self) -> None:
        """First statement of the revoked callback: from here on nothing is committed by itself, and no poll is begun."""
        ...

    async def give_back(self, revoked: frozenset[TopicPartition]) -> None:
        """The partitions go away in order: end their work and commit it."""
        ...

    def take_over(self, assigned: frozenset[TopicPartition]) -> None:
        """First statement of the assigned callback: pause what must not be fetched, before any await."""
        ...


class OwnedListener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no type information
    """Reports to `target`, then to the user's own listener. `failed` gets what ours raises, since aiokafka would only log it."""

    def __init__(self, target: RebalanceTarget, chained: Any, failed: Callable[[BaseException], None]) -> None:
        self._target: RebalanceTarget | None = target
        self._chained = chained
        self._failed = failed

    def retire(self) -> None:
        """The intake has closed; a caller's consumer keeps this object subscribed, as a way to the caller's own listener."""
        self._target = None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._target is not None:
            try:
                self._target.begin_rebalance()
                await self._target.give_back(frozenset(revoked))
            except Exception as error:  # noqa: BLE001 - see the head of this file
                self._failed(error)
        await self._chain("on_partitions_revoked", revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        # No await before this: a partition that should be paused and is not leaks records from the first await on.
        if self._target is not None:
            try:
                self._target.take_over(frozenset(assigned))
            except Exception as error:  # noqa: BLE001 - see the head of this file
                self._failed(error)
        await self._chain("on_partitions_assigned", assigned)

    async def _chain(self, name: str, tps: set[TopicPartition]) -> None:
        if self._chained is not None:
            answer = getattr(self._chained, name)(tps)
            if inspect.isawaitable(answer):
                await answer
