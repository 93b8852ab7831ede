"""How calls with a key of their own reach a guard's circuit: those outside of handlers, and those of dependencies that nobody has declared.

A message that declares the dependency in its needs has taken its key with its permit, before its handler (flow/keyed.py). Such a call here
takes both for itself, and settles both. A call without a key is one of the whole alone: its failures count there each time.

A key that has no room refuses; nothing waits here. The message of such a handler comes again after a backoff. One that declares its needs
waits before its handler, for exactly as long as it takes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdgate.core import Outcome, Permit, Rejected
from holdgate.errors import SettingsError
from holdgate.flow.keyed import KeyOfMessage
from holdgate.runtime.access import GuardCircuit
from holdgate.runtime.keys import check_key, circuit_of, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from holdgate.core import Told
    from holdgate.core.keys import Keys
    from holdgate.flow.message import Delivery
    from holdgate.ports import Clock
    from holdgate.runtime.access import Access
    from holdgate.runtime.keys import HasKey, Keyable


class KeyedGuardCircuit(GuardCircuit):
    """A guard's circuit for a dependency with keys, usable from any thread."""

    __slots__ = ("_by_permit", "_keys")

    def __init__(self, keys: Keys, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self._keys = keys
        self._by_permit: dict[Permit, KeyOfMessage] = {}

    def acquire_by_key(self, key: Hashable) -> Permit | Rejected:
        """Return a permit for one call with this key, or the refusal. As `acquire`."""
        return self.take(lambda now: self._acquire(key, now))

    def _acquire(self, key: Hashable, now: float) -> Permit | Rejected:
        keys = self._keys
        known = keys.record_of(key)
        if known is not None and keys.free_of(known, now) == 0:
            self.circuit.rejected += 1
            return Rejected(known.next_at(now), known.state)
        permit = self.circuit.try_acquire(now)
        if isinstance(permit, Permit):
            one = self._by_permit[permit] = KeyOfMessage(keys, key)
            one.slot = keys.start(key, now)
        return permit

    def _record(  # noqa: PLR0917 - as in GuardCircuit
        self, permit: Permit, outcome: Outcome, now: float, retry_after: float | None, duration: float | None, told: Told | None
    ) -> None:
        one = self._by_permit.pop(permit, None)
        if one is not None:
            took = now - permit.acquired_at if duration is None else duration
            outcome = self._keys.end(one.key, one.slot, outcome, now, took=took, retry_after=retry_after, told=told)
            retry_after = None  # it was the key's
            told = told if outcome is Outcome.THROTTLED else None
        super()._record(permit, outcome, now, retry_after, duration, told)
        if self._keys.freed:
            self._settled()

    def _release(self, permit: Permit) -> None:
        one = self._by_permit.pop(permit, None)
        if one is not None:
            self._keys.give_back(one.slot)
        super()._release(permit)
        if self._keys.freed:
            self._settled()


def access_to(
    dependency: Keyable, guard: object, clock: Clock, settled: Callable[[], object], **more: Any
) -> tuple[GuardCircuit, Keys | None]:
    """Return how calls reach a guard's new circuit for a dependency, on the loop that runs here, and what keeps its keys. `more` as for
    `GuardCircuit`."""
    circuit, keys = circuit_of(dependency, clock.now(), clock.draw)
    loop = asyncio.get_running_loop()
    if keys is None:
        return GuardCircuit(guard, circuit, clock, settled, loop, **more), None
    return KeyedGuardCircuit(keys, guard, circuit, clock, settled, loop, **more), keys


def key_in_handler(dependency: HasKey, delivery: Delivery[Any], given: Hashable, *, is_declared: bool) -> Hashable:
    """Return the key of a call in a handler: the one that it was given, or that of its message. None means that it has none.

    Raises SettingsError for a call of a declared need that was given another key than that of its message, which holds it already, and
    NeedsError if the message's cannot be found out.
    """
    if given is None:
        return None if is_declared else key_of(dependency, delivery)
    if is_declared and given != key_of(dependency, delivery):
        raise SettingsError(
            f"key= of a call of {dependency!r} is not that of the message, which needs it: leave key= out, or the dependency out of needs"
        )
    return given


def acquire_by_key(dependency: HasKey, access: Access, key: Hashable) -> Permit | Rejected:
    """Return a permit for a call with this key.

    Outside of any guard a dependency is one plain breaker, and keeps no keys. Raises SettingsError for a key that cannot be one.
    """
    if dependency.key is None:
        raise SettingsError(f"key= was given for a call of {dependency!r}, which has none: write Dependency({dependency.name!r}, key=...)")
    check_key(key)
    if isinstance(access, KeyedGuardCircuit):
        return access.acquire_by_key(key)
    return access.acquire()
