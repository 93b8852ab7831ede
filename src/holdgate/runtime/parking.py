"""Parking: while a dependency is down its messages go somewhere else, and the order of each key is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, cast

from holdgate.errors import SettingsError
from holdgate.flow.delivery import Delivery
from holdgate.flow.tally import Tally
from holdgate.runtime.attempt import current_attempt, running_delivery
from holdgate.runtime.calling import is_async

AnyDelivery = Delivery[Any]


class Parking:
    """A fallback that puts messages into another topic or queue, and a fence that keeps their keys there.

    `publish(delivery)` stores one message and returns when that is confirmed; async. Give the object itself as `fallback=`, and
    `fence(handler)` as the handler: while a key has parked messages, later ones of it are parked too, also when the dependency is back,
    so that none overtakes another. `release(key)` lets a key through again, when what was parked of it has been worked on. `key(delivery)`
    says what is kept in order; left out, the record's key, and messages without one have no order to keep. The keys are kept in this
    process alone: after a restart or a rebalance, a fence knows nothing of what was parked before.
    """

    def __init__(
        self, publish: Callable[[AnyDelivery], Awaitable[object]], *, key: Callable[[AnyDelivery], Hashable | None] | None = None
    ) -> None:
        if not is_async(publish):
            raise SettingsError(f"publish={publish!r} must be async, and return when the message is stored: a message is settled by it")
        self._publish = publish
        self._key = key or _key_of
        self._parked: dict[Hashable, int] = {}

    @property
    def parked(self) -> dict[Hashable, int]:
        """How many messages were parked of each key that is not released; a copy."""
        return dict(self._parked)

    async def __call__(self, delivery: AnyDelivery) -> None:
        """Park one message."""
        await self._publish(delivery)
        key = self._key(delivery)
        if key is not None:
            self._parked[key] = self._parked.get(key, 0) + 1

    def fence(self, handler: Callable[[AnyDelivery], Awaitable[object]]) -> Callable[[AnyDelivery], Awaitable[None]]:
        """`handler`, except for messages whose key has parked ones: those are parked too, which is no verdict on any dependency."""
        if not is_async(handler):
            raise SettingsError(f"handler={cast('object', handler)!r} must be async to be fenced")

        async def fenced(delivery: AnyDelivery) -> None:
            if self._key(delivery) in self._parked:
                await self._park_behind(delivery)
            else:
                await handler(delivery)

        return fenced

    async def _park_behind(self, delivery: AnyDelivery) -> None:
        """Park one in the handler's stead. Nothing was called, so that its return is no word for what the source needs, or a circuit would
        be closed by messages that never met it; and a store that fails is not the message's fault."""
        attempt = current_attempt.get()
        tally: Tally | None = None
        if attempt is not None and running_delivery(attempt) is not None:
            # An attempt that has a tally is judged by the calls in it alone.
            tally = attempt.tally = attempt.tally or Tally()
        try:
            await self(delivery)
        except Exception as error:
            if tally is not None:
                tally.excused.append(error)
            raise

    def release(self, key: Hashable) -> None:
        """What was parked of this key has been worked on: its messages go to the handler again."""
        self._parked.pop(key, None)


def _key_of(delivery: AnyDelivery) -> Hashable | None:
    return delivery.key
