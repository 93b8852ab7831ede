"""What a run is set up with for failing messages: retries, the fallback, its needs, and the verdicts that these lead to.

`RetryPolicy` and `FallbackSettings` are settings of a run. `Needs` says which dependencies a source needs: one list for all, or a mapping
from topic or queue name to a list. `ByMessage` stands for such a list where each message of the source needs something else. `Verdict` is
what becomes of a delivery whose handler has ended.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, cast

from holdgate.core import validation
from holdgate.core.validation import Usual
from holdgate.errors import CallNotPermitted, SettingsError
from holdgate.flow.message import Source

if TYPE_CHECKING:
    from datetime import timedelta


# Why a message was given up: its handler rejected it, its own failures were too many, or other messages show that its failures are its own.
GivenUp = Literal["rejected", "attempts", "blame"]


class Verdict(Enum):
    """What the runtime does with a delivery whose handler has ended.

    DONE: settle it, it was processed. AGAIN: leave it unsettled, the engine starts it again. REJECT: send it where rejected messages go.
    STALE: it belongs to an assignment that is gone; settle nothing.
    """

    DONE = "done"
    AGAIN = "again"
    REJECT = "reject"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and after which waits a failing message is tried again.

    The wait after the n-th failure is `initial_backoff * multiplier ** (n - 1)`, spread by `jitter`, and at most `max_backoff`. If only one
    of the two backoffs is given, the default of the other gives way to it.

    - `attempts`: how often the message may fail by its own fault before it is rejected, from 1. Failures of a dependency do not count. The
      default lies in the range that users of SQS, Sidekiq and Spring Kafka know (3 to 10).
    - `initial_backoff`: seconds before the first retry, above 0, or a timedelta. The default outlasts the blip of a failover.
    - `multiplier`: the factor from one wait to the next, from 1.
    - `max_backoff`: the longest wait in seconds, or a timedelta, from `initial_backoff`.
    - `jitter`: the ratio by which a wait may be longer or shorter, in [0, 1).
    - `not_retryable`: an exception type or a tuple of them that reject the message at the first failure, whatever `failures` says of them.
    - `doubt`: how improbable it must be that a message is innocent before it is rejected for failures that look like its dependency's, in
      (0, 1). Failures that no need claims become an outage by the same chance: so many, so close together, would be as improbable if they
      were the messages' own.
    - `reject_after_probes`: after how many failures, each right after a good health probe of the dependency, a message is rejected that has
      no other to be compared with, from 1. None means that it is never rejected for that, but held and announced.
    - `on_exhausted`: "reject" sends a rejected message to the dead letters, or blocks its source if there are none. "skip" settles it as
      if it were done, with an event and nothing else: the message is lost.

    Raises SettingsError, naming the values that clash.
    """

    attempts: int = 5  # what SQS, Sidekiq and Spring Kafka users are used to (3 to 10)
    initial_backoff: float = Usual(0.5)  # long enough for a failover's blip, short enough not to stall a partition
    multiplier: float = 2.0  # five attempts wait 0.5, 1, 2 and 4 s in between: past a blip, and no partition stood still for long
    max_backoff: float = Usual(30.0)  # half a minute: the slowest retry that still feels alive to a person who watches
    jitter: float = 0.2  # the same share as the circuit's open wait: spreads a fleet without blurring the schedule

    not_retryable: type[Exception] | tuple[type[Exception], ...] = ()  # only the user knows which errors never heal
    doubt: float = 1e-6  # an innocent message in a million: rarer than what a broker itself loses in a bad year
    reject_after_probes: int | None = None  # a probe is seldom the same as the call itself: trust in it must be declared
    on_exhausted: Literal["reject", "skip"] = "reject"  # skipping is loss: it must be asked for

    if TYPE_CHECKING:

        def __init__(  # noqa: PLR0917 - it is the dataclass's own
            self,
            attempts: int = ...,
            initial_backoff: float | timedelta = ...,
            multiplier: float = ...,
            max_backoff: float | timedelta = ...,
            jitter: float = ...,
            not_retryable: type[Exception] | tuple[type[Exception], ...] = ...,
            doubt: float = ...,
            reject_after_probes: int | None = ...,
            on_exhausted: Literal["reject", "skip"] = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        validation.count("attempts", self.attempts)
        for name in ("initial_backoff", "max_backoff"):
            object.__setattr__(self, name, validation.seconds(name, getattr(self, name)))
        first, longest = validation.make_room(self.initial_backoff, self.max_backoff)
        object.__setattr__(self, "initial_backoff", first)
        object.__setattr__(self, "max_backoff", longest)
        for name in ("multiplier", "jitter", "doubt"):
            object.__setattr__(self, name, validation.number(name, getattr(self, name)))
        if self.max_backoff < self.initial_backoff:
            raise SettingsError(
                f"max_backoff={self.max_backoff!r} is shorter than initial_backoff={self.initial_backoff!r}:"
                " raise the first or lower the second"
            )
        if self.multiplier < 1:
            raise SettingsError(f"multiplier={self.multiplier!r} must be at least 1: waits never shrink")
        if not 0 <= self.jitter < 1:
            raise SettingsError(f"jitter={self.jitter!r} must be in [0, 1), a ratio and not percent")
        object.__setattr__(self, "not_retryable", _types(self.not_retryable))
        if self.reject_after_probes is not None:
            validation.count("reject_after_probes", self.reject_after_probes)
        if not 0 < self.doubt < 1:
            raise SettingsError(f"doubt={self.doubt!r} must be in (0, 1): the chance that a rejected message was innocent")
        if self.on_exhausted not in ("reject", "skip"):
            raise SettingsError(f'on_exhausted must be "reject" or "skip", got {self.on_exhausted!r}')

    @property
    def conviction(self) -> float:
        """Return the blame at which a message is rejected: ln(1/doubt)."""
        return -math.log(self.doubt)

    def wait(self, failures: int, draw: float) -> float:
        """Return the seconds before the next try after `failures` failures in a row (from 1), with `draw` in [0, 1)."""
        # The exponent is bounded so that a week of failures cannot overflow; 64 doublings are past every cap.
        plain = self.initial_backoff * self.multiplier ** min(failures - 1, 64)
        return min(self.max_backoff, plain * (1 - self.jitter + 2 * self.jitter * draw))


def _types(given: object) -> tuple[type[Exception], ...]:
    types: tuple[object, ...] = cast("tuple[object, ...]", given) if isinstance(given, tuple) else (given,)
    for each in types:
        if not isinstance(each, type) or not issubclass(each, Exception):
            raise SettingsError(f"not_retryable must hold exception types, got {each!r}: give subclasses of Exception")
        if issubclass(CallNotPermitted, each):
            raise SettingsError(
                f"not_retryable must not hold {each.__name__}: a refused call raises it, and an outage would reject every message"
            )
    return cast("tuple[type[Exception], ...]", types)


@dataclass(frozen=True, slots=True)
class FallbackSettings:
    """When messages fall back, and how many.

    `after`: seconds that a need must be down before anything falls back. `concurrency`: how many fallbacks may run in parallel; None means
    as many as there are lanes.
    """

    after: float = 0.0
    concurrency: int | None = None


class ByMessage(tuple[str, ...]):
    """The dependencies of a source whose messages need different things: each message some of these, or none."""

    __slots__ = ()


class Needs:
    """The needs of one run, by name of the dependency.

    Built from a sequence (every source needs them all) or a mapping of topic or queue name to a sequence. An empty sequence is fine: such
    a source is read, and never held by a circuit. With a `ByMessage` for a sequence, each message says what it needs. Raises SettingsError
    for one name twice.
    """

    __slots__ = ("_by_name", "_for_all")

    def __init__(self, needs: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
        self._for_all: tuple[str, ...] | None = None
        self._by_name: dict[str, tuple[str, ...]] = {}
        if isinstance(needs, Mapping):
            self._by_name = {name: _once(names, f"needs[{name!r}]") for name, names in needs.items()}
        else:
            self._for_all = _once(needs, "needs")

    def of(self, source: Source) -> tuple[str, ...] | None:
        """Return the dependencies of `source`; None means that they are unknown, so that it must be held.

        A `ByMessage` has those that a message of it may need.
        """
        return self._for_all if self._for_all is not None else self._by_name.get(source.name)

    def of_name(self, name: str) -> tuple[str, ...]:
        """Return the dependencies of a topic or queue; empty if it has none, or they are unknown."""
        return self._by_name.get(name, ()) if self._for_all is None else self._for_all

    def names(self) -> tuple[str, ...]:
        """Return every dependency that some source needs, or a message of it, in the order given, each once."""
        every = self._for_all or tuple(name for names in self._by_name.values() for name in names)
        return tuple(dict.fromkeys(every))

    def check(self, names: Collection[str]) -> None:
        """Raise SettingsError unless a mapping and the topics or queues of the intake name the same things."""
        if self._for_all is not None:
            return
        missing = sorted(set(names) - set(self._by_name))
        if missing:
            raise SettingsError(f"needs has no entry for {missing}, only for {sorted(self._by_name)}: add one, [] if it needs nothing")
        unknown = sorted(set(self._by_name) - set(names))
        if unknown:
            raise SettingsError(f"needs has entries for {unknown}, which the intake does not deliver (it delivers {sorted(names)})")


def _once(names: Iterable[str], where: str) -> tuple[str, ...]:
    names = names if isinstance(names, ByMessage) else tuple(names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"{where} names {twice} twice")
    return names
