"""The plan: per source, may the broker deliver more, and why may no handler start. Desired state, never a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from holdgate.flow.message import Source


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What is wanted of one source.

    `fetch`: may the broker deliver more (not held, and room in the inbox; held by unclaimed failures alone, when nothing is left to try).
    `reasons`: why no handler may start, sorted; the source is
    *held* while there is one. A full inbox clears `fetch` alone: it is back-pressure, never a reason.
    """

    fetch: bool = True
    reasons: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether no handler may start for this source."""
        return bool(self.reasons)


# A source the plan does not know is not ours to read from: an intake pauses it until the engine has spoken.
UNKNOWN = SourcePlan(fetch=False, reasons=("unknown",))

_NOTHING: Mapping[Source, SourcePlan] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one intake: every assigned source, and the version that tells two plans apart.

    An intake makes the broker match it again and again (level-triggered), so that a rebalance, a reconnect or a lost call cannot undo
    a hold.
    """

    sources: Mapping[Source, SourcePlan] = field(default_factory=lambda: _NOTHING)
    version: int = 0

    def of(self, source: Source) -> SourcePlan:
        """What is wanted of `source`; `UNKNOWN` (held, no fetch) for one that the plan does not list."""
        return self.sources.get(source, UNKNOWN)
