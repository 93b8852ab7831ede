"""What the engine announces besides the circuits' own events: past tense, frozen, and never a payload, key or header in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdgate.core.events import Event
from holdgate.fleet.events import FleetEvent
from holdgate.flow.message import Source


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """The root of the engine's events. `at` is the engine's monotonic second."""

    at: float


@dataclass(frozen=True, slots=True)
class SourceEvent(FlowEvent):
    """Something about one partition or queue."""

    source: Source


@dataclass(frozen=True, slots=True)
class SourceHeld(SourceEvent):
    """From now on no handler starts for this source, or the reasons for that have changed.

    `because` says, where each message has its own needs, why the others do not pass those that wait for a circuit: "order" (it is that of
    the source), "held_span" (so many may pass), "memory" (what waits fills it). Empty otherwise.
    """

    reasons: tuple[str, ...]
    because: str = ""


@dataclass(frozen=True, slots=True)
class MessagesHeld(SourceEvent):
    """From now on the messages of this source that need `dependencies` wait, and the others go on; once in each outage.

    Only where each message has its own needs. The source is not held.
    """

    dependencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceFallingBack(SourceEvent):
    """From now on the messages of this source go to the fallback, because `dependencies` are down; it is not held meanwhile."""

    dependencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceReleased(SourceEvent):
    """The source is no longer held; it was for `held_for` seconds."""

    held_for: float


@dataclass(frozen=True, slots=True)
class HoldContinued(SourceEvent):
    """The source is still held after another `hold_warn_after`.

    `since` is when the hold began, `next_try` when a circuit will admit a probe, or a limit the message that asks; None means that an
    operator has to act first, or that a message has to be dealt with.
    """

    reasons: tuple[str, ...]
    since: float
    next_try: float | None


@dataclass(frozen=True, slots=True)
class SourceBlocked(SourceEvent):
    """A message cannot be processed and has nowhere to go, so its source waits behind it; repeated once a minute.

    `position` is where it stands in the source, `attempts` how often it was charged, `error` the type of its last exception (not its text).
    `suspect`: it is tried again whenever the dependency may have come back. Nothing shows whether it or the dependency is at fault, because
    no other message was tried since it began to fail; `attempts` are then its failures. `throttled`: a dependency has said "not so fast"
    each time; `attempts` are then how often in a row, and none of them was one.
    """

    position: int
    attempts: int
    error: str
    suspect: bool = False
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class OutageSuspected(FlowEvent):
    """Most messages of these sources fail with an error that no need claims, and did not before.

    The sources are held until one message succeeds, and no message is charged. Repeated once a minute while it lasts, and never more often.
    Where each message has its own needs, nothing is held: these are the messages with `needs`, and the others go on.

    `error` is the exception type, with its module: add it to the `failures` of what is down. Of the last `of` messages `failed` did.
    `since` is when the hold began, `began` when the first of these messages failed. `status` is that of the HTTP answer in the exception;
    None means that there is none. `is_bug`: it is an error of the program, such as KeyError, and more likely a bug or a change of the
    messages' format than an outage. `needs` are what the failing messages need, where each has its own; None means that the sources are
    held.
    """

    sources: tuple[Source, ...]
    error: str
    failed: int
    of: int
    since: float
    status: int | None = None
    is_bug: bool = False
    began: float = 0.0
    needs: tuple[str, ...] | None = None

    @property
    def what(self) -> str:
        """Return the exception type, with the status if it has one."""
        return self.error if self.status is None else f"{self.error} {self.status}"


@dataclass(frozen=True, slots=True)
class OutageOver(FlowEvent):
    """A message has succeeded after an `OutageSuspected`, which held these sources for `held_for` seconds, or those of its messages that
    had the same needs: they go on."""

    sources: tuple[Source, ...]
    error: str
    held_for: float


@dataclass(frozen=True, slots=True)
class LimitBegan(FlowEvent):
    """A limit of a dependency was found, and from now on so many of its calls are let through.

    `pace` is calls a second, and `width` calls in flight; None means that no such limit was found. `why` is what holds calls back now, as
    in `LimiterSnapshot`. `observed`: an operator only observes the dependency, and nothing is held back. With a width of 0 it has refused
    all calls so far, and one message asks at `until`; otherwise that is None. Where `why` is "rate", `pace` is the rate that somebody has
    set, because it lets less through than what was found.
    """

    dependency: str
    pace: float | None
    width: int | None
    why: str
    observed: bool = False
    until: float | None = None


@dataclass(frozen=True, slots=True)
class LimitMoved(FlowEvent):
    """The limit that was found is another one by much: half as much again, or a third less. At most once a minute for each dependency.

    A `previous_width` of 0 means that nothing was let through before.
    """

    dependency: str
    pace: float | None
    width: int | None
    why: str
    previous_pace: float | None
    previous_width: int | None


@dataclass(frozen=True, slots=True)
class LimitEnded(FlowEvent):
    """Nothing limits the calls of a dependency any longer, but what somebody has set. It lasted for `lasted` seconds."""

    dependency: str
    lasted: float


@dataclass(frozen=True, slots=True)
class KeysHeld(FlowEvent):
    """Some keys of a dependency are held, each by its own circuit or limit, while its other keys go on; or there are twice as many.

    `held` of the `known` keys are, and `waiting` messages in this process wait for them. A key is known once it has failed or was
    throttled, or with its first call where each key has numbers of its own. No event names them. `holds` sources are held, because as many
    of their messages wait for keys as may.
    """

    dependency: str
    held: int
    known: int
    waiting: int
    holds: int = 0


@dataclass(frozen=True, slots=True)
class KeysReleased(FlowEvent):
    """No key of a dependency is held any longer; some were, for `lasted` seconds."""

    dependency: str
    lasted: float


@dataclass(frozen=True, slots=True)
class HandlerStuck(SourceEvent):
    """A handler has run for `seconds` on the message at `position`: `hold_warn_after` or longer, and again after each such time."""

    position: int
    seconds: float


@dataclass(frozen=True, slots=True)
class MessageSkipped(SourceEvent):
    """A message was settled without having been processed or kept: by `RetryPolicy(on_exhausted="skip")`, or by an operator.

    `position` is where it stood in the source. `reason` is that of its rejection, the type of its last exception, or the operator's reason.
    """

    position: int
    reason: str
    by_operator: bool


@dataclass(frozen=True, slots=True)
class SourceRetried(SourceEvent):
    """An operator let `messages` that were rejected go on: their handlers start anew, or they are sent to the dead letters again."""

    messages: int
    reason: str


@dataclass(frozen=True, slots=True)
class DependencyMet(SourceEvent):
    """A handler called a dependency that neither `needs` nor the guard was given: from now on the guard has a circuit for it."""

    dependency: str


@dataclass(frozen=True, slots=True)
class UndeclaredNeed(SourceEvent):
    """A handler called a dependency that `needs` does not name, and was refused; once per source.

    Declare it: then the source is held in time instead of failing first.
    """

    dependency: str


@dataclass(frozen=True, slots=True)
class AttributionShared(SourceEvent):
    """One exception counted against several needs, because no call form shows whose it was; once per source. Use `dependency.call`."""

    dependencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LocalCauseSuspected(FlowEvent):
    """Every dependency tripped within a short time: the cause is probably here (network, DNS, clock), not in all of them."""

    dependencies: tuple[str, ...]


# The guard's methods of these names.
Command = Literal["hold", "unhold", "force_open", "disable", "observe", "clear_override", "reset", "probe", "retry", "skip"]


# The methods of `Guard.fleet`, for all of its workers.
FleetCommand = Literal["fleet_hold", "fleet_release", "fleet_force_open", "fleet_reset"]


@dataclass(frozen=True, slots=True)
class CommandGiven(FlowEvent):
    """An operator gave `command` to `target`, a dependency's name, a source, or the name of a topic or queue.

    `actor` is who, `reason` why, both in the operator's own words. `until` is when it ends by itself, in monotonic seconds; None means that
    it does not, or that it was over immediately. `position` is that of the message that was skipped. `reload` is no command of an
    operator's: a settings file that was read again has changed what the guard goes by. Its target is the file, its actor what has made the
    worker read it, and its reason the settings that differ, with their values before and after. `fleet_hold` and so on are the methods of
    `Guard.fleet`: the other workers of the fleet carry them out, too.
    """

    command: Command | FleetCommand | Literal["reload"]
    target: Source | str
    actor: str
    reason: str
    until: float | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class CommandEnded(FlowEvent):
    """A command that an operator had `given` is over without another command: its time has come, or the program itself has ended it."""

    given: CommandGiven


AnyEvent = Event | FlowEvent | FleetEvent

# The fields of all events that are moments of the monotonic clock beside `at`, and not durations: those ahead of the event, and those
# behind it. A writer of events for a reader with another clock has to turn these.
AHEAD = ("until", "next_try")
BEHIND = ("since", "began", "outage_since", "acquired_at", "asked")
