"""What the calls of each dependency failed with lately: exception types with their counts, for somebody who asks why it is down.

A type is its name with the status or the error number behind it, and never the text of an exception, which may quote a message. Failures
alone are counted, one by one: a good call costs nothing here.

What is kept is bounded twice. Of each dependency the last five types are kept, because clients raise a handful of types in an outage, and
because a client that makes types as it goes must not fill the memory. And a type that has not come for an hour is forgotten: its count
belongs to a time of which nobody asks any more. An outage of several hours is tried more often than that, so its types stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# As many types as a person takes in at a glance. Further ones replace the one that has not come for the longest time.
_KINDS = 5
# Longer than the wait before any try of an open circuit, and short enough that a count is one outage's (seconds).
_FORGOTTEN_AFTER = 3600.0
# A qualified name of a type is a few dozen characters long. One that was generated may have any length.
_NAME_AT_MOST = 120


@dataclass(frozen=True, slots=True)
class FailureKind:
    """One type of exception that calls of a dependency failed with.

    `error` is the name of the type, with the status of an HTTP answer or the name of an error number behind it. It came `count` times,
    from `first` to `last` (monotonic seconds).
    """

    error: str
    count: int
    first: float
    last: float


class FailureKinds:
    """Counts what the calls of each dependency failed with."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, FailureKind]] = {}  # of each dependency by type, the one that came last at the end

    def note(self, dependency: str, error: str, now: float) -> None:
        """Count one failed call of a dependency. `error` is the type that it failed with."""
        error = error if len(error) <= _NAME_AT_MOST else error[: _NAME_AT_MOST - 3] + "..."
        kinds = self._of.setdefault(dependency, {})
        known = kinds.pop(error, None)
        if known is None or _is_over(known, now):
            known = FailureKind(error, 0, now, now)
        kinds[error] = FailureKind(error, known.count + 1, known.first, now)
        if len(kinds) > _KINDS:
            del kinds[next(iter(kinds))]

    def read(self, now: float) -> Mapping[str, tuple[FailureKind, ...]]:
        """Return the types by dependency, the one that came last first. A dependency without any is missing."""
        found: dict[str, tuple[FailureKind, ...]] = {}
        for dependency, kinds in self._of.items():
            if lately := tuple(kind for kind in reversed(kinds.values()) if not _is_over(kind, now)):
                found[dependency] = lately
        return MappingProxyType(found)


def _is_over(kind: FailureKind, now: float) -> bool:
    return now - kind.last > _FORGOTTEN_AFTER
