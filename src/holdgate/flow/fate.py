"""What becomes of a message when its handler has ended: the verdict table, and the policy of retries.

An outage is free: only a message's own failures are charged against `attempts`. A dependency's failures are waited out, unless other
messages show that they are the message's after all (blame.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, cast

from holdgate.core import validation
from holdgate.core.validation import Usual
from holdgate.errors import CallNotPermitted, SettingsError
from holdgate.flow.attribution import Cause

if TYPE_CHECKING:
    from datetime import timedelta

    from holdgate.flow.gate import Trial


class Verdict(Enum):
    """What the runtime does with a delivery whose handler has ended.

    DONE: settle it, it was processed. AGAIN: it keeps its place, the engine starts it again. REJECT: settle it as refused.
    STALE: it belongs to an assignment that is gone; settle nothing.
    """

    DONE = "done"
    AGAIN = "again"
    REJECT = "reject"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a failing message is tried again.

    `attempts`: how many times its own failure may happen before it is rejected; failures of a dependency are never counted.
    `not_retryable`: exception types that reject the message at the first failure, as `Reject` does, whatever `failures` says of them.
    `doubt`, in (0, 1): a message that fails as its dependency does is rejected too, when an innocent one would have failed so often among
    succeeding neighbours with less than this chance; and failures that no need claims are an outage, when they would come so close together
    with less than this chance, were they messages' own (unclaimed.py).
    `reject_after_probes`, from 1: a message with no other to compare is rejected after so many failures right after a good health probe
    of the dependency; None: never, it is held and announced.
    `on_exhausted`: "reject" sends a rejected message to the dead letters, or blocks its place where there are none; "skip" settles it as if
    it were done, with an event and nothing else: it is lost.
    Waits are seconds, or a timedelta: min(max_backoff, initial_backoff * multiplier^(n-1)), times 1 - jitter + 2 * jitter * draw, the cap
    last. Of the two backoffs, one that is left out gives way to the other.
    Raises SettingsError at construction, naming the values that clash.
    """

    attempts: int = 5  # what SQS, Sidekiq and Spring Kafka users are used to (3 to 10)
    initial_backoff: float = Usual(0.5)  # long enough for a failover's blip, short enough not to stall a partition
    multiplier: float = 2.0  # five attempts wait 0.5, 1, 2 and 4 s in between: past a blip, and no partition stood still for long
    max_backoff: float = Usual(30.0)  # half a minute: the slowest retry that still feels alive to whoever watches
    jitter: float = 0.2  # the same share as the circuit's open wait: spreads a fleet without blurring the schedule

    not_retryable: type[Exception] | tuple[type[Exception], ...] = ()  # nobody but the user knows which errors never heal
    doubt: float = 1e-6  # an innocent message in a million: rarer than what a broker itself loses in a bad year
    reject_after_probes: int | None = None  # a probe is seldom the same as the call itself: who trusts it says so
    on_exhausted: Literal["reject", "skip"] = "reject"  # skipping silently is loss: somebody has to ask for it

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
            raise SettingsError(f'on_exhausted={self.on_exhausted!r} is neither "reject" nor "skip"')

    @property
    def conviction(self) -> float:
        """The blame at which a message is rejected: ln(1/doubt)."""
        return -math.log(self.doubt)

    def wait(self, failures: int, draw: float) -> float:
        """Seconds before the next try after `failures` failures in a row (from 1), with `draw` in [0, 1)."""
        # The exponent is bounded so that a week of failures cannot overflow; 64 doublings are past every cap.
        plain = self.initial_backoff * self.multiplier ** min(failures - 1, 64)
        return min(self.max_backoff, plain * (1 - self.jitter + 2 * self.jitter * draw))


def _types(given: object) -> tuple[type[Exception], ...]:
    types: tuple[object, ...] = cast("tuple[object, ...]", given) if isinstance(given, tuple) else (given,)
    for each in types:
        if not isinstance(each, type) or not issubclass(each, Exception):
            raise SettingsError(f"not_retryable holds {each!r}, which is no subclass of Exception: give exception types")
        if issubclass(CallNotPermitted, each):
            raise SettingsError(f"not_retryable holds {each.__name__}, which a refused call raises: an outage would reject every message")
    return cast("tuple[type[Exception], ...]", types)


# What each cause means for the message. MESSAGE is the only one that is charged; whether too often is the one question of `decide`.
_FATE = {
    Cause.RETURNED: Verdict.DONE,
    Cause.DEPENDENCY: Verdict.AGAIN,
    Cause.MESSAGE: Verdict.AGAIN,
    Cause.REJECTED: Verdict.REJECT,
    Cause.REFUSED: Verdict.AGAIN,
    Cause.POSTPONED: Verdict.AGAIN,
}


def decide(cause: Cause, trial: Trial | None, policy: RetryPolicy) -> Verdict:
    """The fate of a message whose attempt ended by this cause; `trial` knows of it, and None means that it has never failed."""
    if trial is not None:
        if cause is Cause.MESSAGE and trial.charged >= policy.attempts:
            return Verdict.REJECT
        if cause is Cause.DEPENDENCY and trial.is_convicted(policy):
            return Verdict.REJECT
    return _FATE[cause]
