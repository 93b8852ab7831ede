"""The plan: for each source, whether the broker may deliver more, and why no handler may start. Desired state, never a command.

Theory of operation. The engine decides and the intake acts, and the two meet only here. A command ("pause orders[3]") would have to arrive
exactly once: a rebalance, a reconnect or a call that got lost would undo a hold without anybody noticing. A plan may arrive any number of
times. Each turn ends with a plan of all assigned sources; its version goes up when something in it has changed, and the worker hands it to
the intake then. The intake compares its sources with the last plan that it has, again and again, and changes what differs. So a pause that
the broker forgot comes back with the next comparison.

The reasons of the engine: `circuit:NAME` (a dependency is down), `limit:NAME` (it takes no more calls for a while), `key:NAME` (one of its
keys is held, and nothing may pass the message that waits for it), `operator` (a person holds the source), `unclaimed failures` (an outage
that no need describes), `blocked` (a rejected message has nowhere to go), `dead letters` (a rejected message could not be sent), `draining`
(the run or the assignment ends), and `no needs` (the settings do not say what the source needs).

`fetch` and `reasons` are two answers and not one. A source with reasons is *held*: its messages must wait here. A source without may still
not fetch, because its inbox is full: that is back-pressure, and no reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from holdgate.flow.message import Source

# What a reason begins with that names a dependency.
CIRCUIT = "circuit:"
LIMIT = "limit:"
KEY = "key:"

# The reason of a hold for an outage that no need describes.
UNCLAIMED = "unclaimed failures"


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What is wanted of one source.

    `fetch`: the broker may deliver more. That is so while the source is not held and its inbox has room; a source that only unclaimed
    failures hold, or a circuit that one message asks again and again, fetches too, when nothing else is left to try.
    `reasons`: why no handler may start, sorted. The source is *held* while there is one.
    `passed`: about how many messages in hand others pass, because each waits for a circuit of its own (passing.py). They should take no
    room of a window; a broker without one ignores it.
    """

    fetch: bool = True
    reasons: tuple[str, ...] = ()
    passed: int = 0

    @property
    def held(self) -> bool:
        """Whether no handler may start for this source."""
        return bool(self.reasons)

    @property
    def lets_ask(self) -> bool:
        """Whether a message that was granted starts all the same: nothing but its result ends such a hold."""
        return all(reason == UNCLAIMED or reason.startswith((LIMIT, KEY)) for reason in self.reasons)


# The plan of a source that the engine has not planned yet: an intake pauses it until then, since it may not be ours to read.
UNKNOWN = SourcePlan(fetch=False, reasons=("unknown",))

_NOTHING: Mapping[Source, SourcePlan] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one intake: every assigned source, and the version that tells two plans apart.

    The version goes up with every change, so that a driver sees with one comparison whether there is anything to hand over.
    """

    sources: Mapping[Source, SourcePlan] = field(default_factory=lambda: _NOTHING)
    version: int = 0

    def of(self, source: Source) -> SourcePlan:
        """Return what is wanted of `source`; `UNKNOWN` (held, no fetch) for one that the plan does not list."""
        return self.sources.get(source, UNKNOWN)


class Plans:
    """The plans of one run, one after another. `current` is the last one that was published."""

    __slots__ = ("_alike", "_sources", "current")

    def __init__(self) -> None:
        self.current = Plan()
        self._sources: dict[Source, SourcePlan] = {}  # what stands in the plan: a copy of a proxy would hash each source anew
        self._alike: dict[tuple[bool, tuple[str, ...], int], SourcePlan] = {}  # the plans of one turn, shared by sources that are alike

    def begin(self) -> dict[Source, SourcePlan]:
        """Return a copy of what is planned, to be changed and published."""
        return self._sources.copy()

    def one(self, fetch: bool, reasons: tuple[str, ...], passed: int) -> SourcePlan:
        """Return the plan of a source, the same for all that are alike in this turn."""
        alike = fetch, reasons, passed
        return self._alike.get(alike) or self._alike.setdefault(alike, SourcePlan(*alike))

    def publish(self, sources: dict[Source, SourcePlan]) -> None:
        """Make the next plan of these, unless they are what is planned already."""
        self._alike.clear()
        if sources != self._sources:
            self._sources = sources
            self.current = Plan(MappingProxyType(sources), self.current.version + 1)
