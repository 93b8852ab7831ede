"""The keys of messages: `Dependency(key=...)` is asked once for each message, when it has come in and before anything is started.

As with `needs=` (needs.py), the function makes no call and waits for nothing, and what it raises or answers wrongly ends that one message,
with a NeedsError. What it answers stays in this process: no key is logged, announced or exported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from uuid import UUID

from holdgate.core import Circuit
from holdgate.core.keys import Keys
from holdgate.errors import NeedsError, SettingsError
from holdgate.flow.keyed import KeyedNeeds, KeyOfMessage
from holdgate.flow.message import AnyDelivery, Delivery
from holdgate.runtime.wording import whereabouts

if TYPE_CHECKING:
    from holdgate.core import CircuitSettings, Limits
    from holdgate.flow.gate import Gate
    from holdgate.flow.unclaimed import RunResults

KeyOf: TypeAlias = Callable[[Delivery[Any]], Hashable]

# Longer than any name, token or URL by which tenants are told apart, and short enough for a hundred thousand of them.
LONGEST = 200

# A number of so many bits is as long as a text of so many characters.
_BITS = 8 * LONGEST


class HasKey(Protocol):
    """A dependency that may have keys."""

    key: KeyOf | None

    @property
    def name(self) -> str: ...


class Keyable(HasKey, Protocol):
    """A dependency, with what all of its keys share."""

    limits: Limits | None
    max_keys: int
    settings: CircuitSettings


def circuit_of(dependency: Keyable, now: float, draw: Callable[[], float]) -> tuple[Circuit, Keys | None]:
    """Return a new circuit for a dependency, and what keeps its keys. None means that it has none.

    The limits of a dependency with keys are those of each key, so the circuit of the whole has none of its own.
    """
    limits = dependency.limits if dependency.key is None else None
    circuit = Circuit(dependency.name, dependency.settings, now=now, draw=draw, limits=limits)
    return circuit, None if dependency.key is None else Keys(circuit, dependency.limits, draw, dependency.max_keys)


def with_keys(delivery: AnyDelivery, gates: tuple[Gate, ...], results: RunResults, dependencies: Mapping[str, Keyable]) -> KeyedNeeds:
    """Return what a delivery needs that has keys. Raises NeedsError, which is the message's own."""
    return KeyedNeeds(gates, tuple(_key_at(delivery, gate, dependencies[gate.name]) for gate in gates), results)


def _key_at(delivery: AnyDelivery, gate: Gate, dependency: Keyable) -> KeyOfMessage | None:
    if gate.keys is None or dependency.key is None:
        return None
    key = key_of(dependency, delivery)
    return None if key is None else KeyOfMessage(gate.keys, key)


def key_of(dependency: HasKey, delivery: AnyDelivery) -> Hashable:
    """Return the key of a delivery at a dependency that has keys. None means that it has none. Raises NeedsError."""
    function = dependency.key
    if function is None:
        return None
    try:
        key = function(delivery)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the user's code: whatever it raises is this message's
        # Not its text, which may quote the message.
        text = f"key= of dependency {dependency.name!r} raised {type(error).__name__} at {whereabouts(error)}: {_ANSWERS}"
        raise NeedsError(text) from None
    wrong = _wrong(key)
    if wrong:
        raise NeedsError(f"key= of dependency {dependency.name!r} answered {wrong}: {_ANSWERS}")
    return key


_ANSWERS = f"it must give a str or bytes of up to {LONGEST}, an int or a UUID for every message, or None for one that has no key"


def _wrong(key: object) -> str:
    """Return what is wrong with a key; empty if nothing is. The key itself is not quoted: it comes from the message."""
    if key is None or isinstance(key, UUID):
        return ""
    if isinstance(key, str | bytes):
        return "" if len(key) <= LONGEST else f"a {type(key).__name__} of {len(key)}"
    if isinstance(key, int):
        return "" if key.bit_length() <= _BITS else f"an int of {key.bit_length()} bits"
    return f"an object of type {type(key).__name__}"


def check_key(key: Hashable) -> None:
    """Raise SettingsError for what cannot be a key of a call."""
    wrong = _wrong(key)
    if wrong:
        raise SettingsError(f"key= of a call must be a str or bytes of up to {LONGEST}, an int or a UUID, got {wrong}")


def check_keyed(dependencies: Sequence[Keyable], batch: int | None) -> bool:
    """Return whether messages that need these have keys. Raises SettingsError for what does not go with keys."""
    keyed = next((dependency for dependency in dependencies if dependency.key is not None), None)
    if keyed is None:
        return False
    if batch is not None:
        raise SettingsError(
            f"batch={batch} and key= of {keyed!r}: a batch has one verdict, and its messages may have different keys; leave one of them out"
        )
    return True
