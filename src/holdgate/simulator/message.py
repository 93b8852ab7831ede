"""What a model broker stores: one message, at one place, for ever the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_NO_HEADERS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Message:
    """One stored message.

    `position` is its offset in a log, or its number in a queue, from 0 and never used twice. `timestamp` is the second it was produced,
    by the clock of whoever drives the model. `body` None is a tombstone.
    """

    position: int
    body: bytes | None
    key: bytes | None = None
    headers: Mapping[str, Any] = field(default_factory=lambda: _NO_HEADERS)
    timestamp: float = 0.0
