"""Parking: while a dependency is down its messages go somewhere else, and the order of each key is kept."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, cast

from holdgate.errors import SettingsError
from holdgate.flow.attribution import AttemptCalls
from holdgate.flow.message import Delivery
from holdgate.runtime.calling import current_attempt, is_async, running_delivery

log = logging.getLogger("holdgate")

AnyDelivery = Delivery[Any]


class Parking:
    """A fallback that puts messages into another topic or queue, and a fence that keeps their keys there.

    `publish(delivery)` stores one message and returns when that is confirmed; async. Give the object itself as `fallback=`, and
    `fence(handler)` as the handler: while a key has parked messages, later ones of it are parked too, also when the dependency is back,
    so that none overtakes another. `key(delivery)` says what is kept in order; left out, the record's key, and messages without one have
    no order to keep.

    `is_parked(key)`, async or plain, says whether anything of a key is parked, for each message with a key: what `publish` has stored must
    show in it when that returns. It alone decides then, in every process and after every restart. Left out, the keys are kept in this
    process: `release(key)` lets one through again when what was parked of it has been worked on, and after a restart or a rebalance a fence
    knows nothing of what was parked before, so that a later message of a parked key overtakes it. That is logged once.
    Raises SettingsError for a `publish` that is not async, and for an `is_parked` that cannot be called.
    """

    def __init__(
        self,
        publish: Callable[[AnyDelivery], Awaitable[object]],
        *,
        key: Callable[[AnyDelivery], Hashable | None] | None = None,
        is_parked: Callable[[Hashable], bool | Awaitable[bool]] | None = None,
    ) -> None:
        if not is_async(publish):
            raise SettingsError(f"publish={publish!r} must be async, and return when the message is stored: a message is settled by it")
        if is_parked is not None and not callable(cast("object", is_parked)):
            raise SettingsError(f"is_parked={is_parked!r} cannot be called: give a function that takes a key")
        self._publish = publish
        self._key = key or _key_of
        self._is_parked = is_parked
        self._parked: dict[Hashable, int] = {}
        self._forgets = False  # a fence stands, and a restart would open it; said once

    @property
    def parked(self) -> dict[Hashable, int]:
        """How many messages this process has parked of each key that it has not released; a copy. Empty with `is_parked`."""
        return dict(self._parked)

    async def __call__(self, delivery: AnyDelivery) -> None:
        """Park one message."""
        await self._publish(delivery)
        key = self._key(delivery)
        if key is None or self._is_parked is not None:  # the store knows: kept here as well, keys would add up for ever
            return
        self._parked[key] = self._parked.get(key, 0) + 1
        if self._forgets:
            self._forgets = False
            log.warning(
                "parking keeps its keys in this process alone: after a restart or a rebalance a later message of a parked key goes to the"
                " handler before the parked one; Parking(is_parked=...) asks the store"
            )

    def fence(self, handler: Callable[[AnyDelivery], Awaitable[object]]) -> Callable[[AnyDelivery], Awaitable[None]]:
        """`handler`, except for messages whose key has parked ones: those are parked too, which is no verdict on any dependency."""
        if not is_async(handler):
            raise SettingsError(f"handler={cast('object', handler)!r} must be async to be fenced")

        self._forgets = self._is_parked is None

        async def fenced(delivery: AnyDelivery) -> None:
            key = self._key(delivery)
            if key is not None and (key in self._parked if self._is_parked is None else await self._ask(self._is_parked, key)):
                await self._park_behind(delivery)
            else:
                await handler(delivery)

        return fenced

    async def _park_behind(self, delivery: AnyDelivery) -> None:
        """Park one in the handler's stead. Nothing was called, so that its return is no word for what the source needs, or a circuit would
        be closed by messages that never met it; and a store that fails is not the message's fault."""
        tally = _tally()
        try:
            await self(delivery)
        except Exception as error:
            if tally is not None:
                tally.excused.append(error)
            raise

    async def _ask(self, is_parked: Callable[[Hashable], bool | Awaitable[bool]], key: Hashable) -> bool:
        """What the store says of a key. A store that does not answer is not the message's fault: it keeps its place and comes again."""
        try:
            answer = is_parked(key)
            return bool(await answer if inspect.isawaitable(answer) else answer)
        except Exception as error:
            tally = _tally()
            if tally is not None:
                tally.excused.append(error)
            raise

    def release(self, key: Hashable) -> None:
        """What was parked of this key has been worked on: its messages go to the handler again. With `is_parked` it has nothing to do."""
        self._parked.pop(key, None)


def _tally() -> AttemptCalls | None:
    """That of the attempt that runs here: with one, it is judged by the calls in it alone. None outside of handlers."""
    attempt = current_attempt.get()
    if attempt is None or running_delivery(attempt) is None:
        return None
    attempt.tally = attempt.tally or AttemptCalls()
    return attempt.tally


def _key_of(delivery: AnyDelivery) -> Hashable | None:
    return delivery.key
