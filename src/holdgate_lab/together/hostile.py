"""What a hostile or broken writer puts into a log: noise, what is too large, what looks like a record, and records of others once more."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

# Above every limit that a reader may have.
_HUGE = 100_000
_WRONG: tuple[Any, ...] = (None, True, -1, 1e308, "", [], {}, "x" * 500, 2**63, [[[[]]]])


def nonsense(chance: Random, seen: Sequence[bytes]) -> bytes:
    """Return one record. `seen` are those in the log, of which some come again: as they were, or with one thing changed."""
    return chance.choice(_KINDS)(chance, chance.choice(seen) if seen else b"")


# Each gets chance and a record that is in the log, and returns what is written.


def _noise(chance: Random, _: bytes) -> bytes:
    return chance.randbytes(chance.randrange(200))


def _huge(_: Random, one: bytes) -> bytes:
    return one + b"x" * _HUGE


def _again(_: Random, one: bytes) -> bytes:
    return one


def _flipped(chance: Random, one: bytes) -> bytes:
    if not one:
        return one
    at = chance.randrange(len(one))
    return one[:at] + bytes((one[at] ^ (1 << chance.randrange(8)),)) + one[at + 1 :]


def _cut(chance: Random, one: bytes) -> bytes:
    return one[: chance.randrange(len(one) + 1)]


def _wrong_value(chance: Random, one: bytes) -> bytes:
    """The record with one of its values of another type, if it is JSON."""
    try:
        value: dict[str, Any] | list[Any] | str | float | None = json.loads(one)
    except ValueError:
        return one
    if isinstance(value, dict) and value:
        value[chance.choice(sorted(value))] = chance.choice(_WRONG)
    elif isinstance(value, list) and value:
        value[chance.randrange(len(value))] = chance.choice(_WRONG)
    return json.dumps(value).encode()


def _unknown(chance: Random, _: bytes) -> bytes:
    return json.dumps({"v": chance.choice((0, 1, 2, 99)), "k": "future", "t": "future", "me": "0" * 12}).encode()


_KINDS: tuple[Callable[[Random, bytes], bytes], ...] = (_noise, _huge, _again, _flipped, _cut, _wrong_value, _unknown)
