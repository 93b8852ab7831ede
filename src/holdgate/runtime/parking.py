"""Parking: while a dependency is down its messages go somewhere else, and the order of each key is kept."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import cast

from holdgate.errors import SettingsError
from holdgate.flow.attribution import AttemptCalls
from holdgate.flow.message import AnyDelivery
from holdgate.runtime.calling import current_attempt, running_delivery
from holdgate.runtime.functions import is_async

log = logging.getLogger("holdgate")


class Parking:
    """A fallback that puts messages into another topic or queue, and a fence that keeps their keys there.

    Give the object itself as `fallback=`, and `fence(handler)` as the handler. While a key has parked messages, later messages of that key
    are parked too, even when the dependency is back, so that none overtakes another.

    - `publish`: an async function that stores one delivery and returns when that is confirmed.
    - `key`: gives what is kept in order, or None for a delivery that has no order. None means the record's key.
    - `is_parked`: async or plain, gets a key and returns whether anything of that key is parked. It alone decides then, in every process
      and after every restart, so it must know what `publish` has stored as soon as `publish` returns. None means that this process keeps
      the keys.

    Without `is_parked`, call `release(key)` when the parked messages of a key have been worked on. After a restart or a rebalance the fence
    does not know what was parked before, and a later message of a parked key overtakes it. That is logged once.

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
        self._forgets = False  # a fence is in use that a restart would open, and the warning about it has not been logged yet

    @property
    def parked(self) -> dict[Hashable, int]:
        """How many messages this process has parked of each key that was not released; a copy. Empty with `is_parked`."""
        return dict(self._parked)

    async def __call__(self, delivery: AnyDelivery) -> None:
        """Park one message."""
        await self._publish(delivery)
        key = self._key(delivery)
        if key is None or self._is_parked is not None:  # the store knows the keys; a second list here would grow for ever
            return
        self._parked[key] = self._parked.get(key, 0) + 1
        if self._forgets:
            self._forgets = False
            log.warning(
                "parking keeps its keys in this process alone: after a restart or a rebalance a later message of a parked key goes to the"
                " handler before the parked one; Parking(is_parked=...) asks the store"
            )

    def fence(self, handler: Callable[[AnyDelivery], Awaitable[object]]) -> Callable[[AnyDelivery], Awaitable[None]]:
        """Wrap `handler`: messages whose key has parked ones are parked too, which is no verdict on any dependency."""
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
        """Park one message instead of calling the handler.

        Nothing was called, so the return says nothing of what the source needs: otherwise messages that never met a dependency would close
        its circuit. A store that fails is not the message's fault.
        """
        calls = _calls()
        try:
            await self(delivery)
        except Exception as error:
            if calls is not None:
                calls.excused.append(error)
            raise

    async def _ask(self, is_parked: Callable[[Hashable], bool | Awaitable[bool]], key: Hashable) -> bool:
        """Ask the store about a key. A store that fails is not the message's fault: the message keeps its place and is tried again."""
        try:
            answer = is_parked(key)
            return bool(await answer if inspect.isawaitable(answer) else answer)
        except Exception as error:
            calls = _calls()
            if calls is not None:
                calls.excused.append(error)
            raise

    def release(self, key: Hashable) -> None:
        """Send the messages of a key to the handler again: the parked ones have been worked on. With `is_parked` it does nothing."""
        self._parked.pop(key, None)


def _calls() -> AttemptCalls | None:
    """Return the calls of the attempt that runs here, by which alone the attempt is then judged. None means outside of handlers."""
    attempt = current_attempt.get()
    if attempt is None or running_delivery(attempt) is None:
        return None
    attempt.calls = attempt.calls or AttemptCalls()
    return attempt.calls


def _key_of(delivery: AnyDelivery) -> Hashable | None:
    return delivery.key
