"""Failed attempts, in the log and counted: whose failure it was, what failed, where, on which message, and in which attempt.

    payments: HTTPStatusError 503 at worker.py:22, orders[0]@712, attempt 1 of 5

The subject is the dependency whose failure it was, or the topic or queue if it was the message's own. Failures of one kind share a line
(folding.py), and those of a dependency that is known to be down have none: the lines of the outage say what the next try failed with, and
at the end how many calls it has cost (outages.py).

A call that was throttled is no failure, and has a line of its own kind, at INFO:

    payments: throttled (HTTPStatusError 429) at worker.py:22, orders[0]@712, it waits

What the calls of each dependency failed with lately is counted too (`FailureKinds`), for somebody who asks the status why it is down. A
type is its name with the status or the error number behind it, and never the text of an exception, which may quote a message. What is kept
is bounded twice. Of each dependency the last five types are kept, because clients raise a handful of types in an outage, and because a
client that makes types as it goes must not fill the memory. And a type that has not come for an hour is forgotten: its count belongs to a
time of which nobody asks any more. An outage of several hours is tried more often than that, so its types stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard

from holdgate.core import Outcome
from holdgate.core.causes import chain_of
from holdgate.core.outcomes import NEVER_OUTCOMES
from holdgate.errors import CommandError, HoldgateError, NeedsError, SettingsError
from holdgate.flow.attribution import Cause
from holdgate.flow.message import Delivery, unknown_attribute
from holdgate.flow.snapshot import FailureKind
from holdgate.runtime.folding import FAILURE, THROTTLED
from holdgate.runtime.wording import kind_of, many, place_of, steps, text_of, whereabouts

if TYPE_CHECKING:
    from holdgate.flow.attribution import Attribution
    from holdgate.flow.message import AnyDelivery
    from holdgate.runtime.folding import Folding, LogSettings
    from holdgate.runtime.outages import Outages

log = logging.getLogger("holdgate")

# Rejected messages that have a line each, before those of their kind share one: so many a person looks into one by one.
_NAMED = 5

# As many types as a person takes in at a glance. Further ones replace the one that has not come for the longest time.
_KINDS = 5
# Longer than the wait before any try of an open circuit, and short enough that a count is one outage's (seconds).
_FORGOTTEN_AFTER = 3600.0
# A qualified name of a type is a few dozen characters long. One that was generated may have any length.
_NAME_AT_MOST = 120


# A handler that ended so was not at fault, and neither was anything that it called: it was not its turn, or it asked for another time.
_NO_FAILURE = (Cause.REFUSED, Cause.POSTPONED)


class FailureLog:
    """Writes what handlers, fallbacks and probes raised. One for each guard.

    `kinds` are the failures of each dependency, counted; `now` returns monotonic seconds.
    """

    def __init__(self, settings: LogSettings, folding: Folding, outages: Outages, now: Callable[[], float]) -> None:
        self.kinds = FailureKinds()
        self._settings = settings
        self._folding = folding
        self._outages = outages
        self._now = now

    def count(self, dependency: str, kind: str) -> None:
        """Count one failed call of a dependency. `kind` is the type that it failed with, as of `kind_of`."""
        self.kinds.note(dependency, kind, self._now())

    def ended(self, delivery: AnyDelivery, error: BaseException, attribution: Attribution, needs: Iterable[str], how: str) -> bool:
        """Write what an attempt ended with, or what its handler caught. Returns whether that is a failure, of the message or of anything
        that it needs.

        `needs` are those that the findings are about. `how` is as for `attempt`.
        """
        blamed = attribution.named(needs, Outcome.FAILURE)
        throttled = attribution.named(needs, Outcome.THROTTLED)
        if throttled and not blamed and attribution.cause in {Cause.THROTTLED, Cause.RETURNED}:
            self.throttled(delivery, error, throttled, how or "it waits")
        elif attribution.cause in _NO_FAILURE:
            self.not_its_turn(delivery, error)
        else:
            self.attempt(delivery, error, blamed, how)
            return True
        return False

    def attempt(self, delivery: AnyDelivery, error: BaseException, blamed: Iterable[str], how: str = "") -> None:
        """Write what an attempt raised. `blamed` are the dependencies whose failure it was; empty means that it was the message's own.

        `how` is what became of the attempt. Empty means that the message comes again or is rejected, by its number of attempts.
        """
        blamed = tuple(blamed)
        kind = kind_of(error)
        known = [self._failed(name, kind) for name in blamed]
        owner = ", ".join(blamed) or delivery.source.name
        line = f"{kind} at {whereabouts(error)}, {place_of(delivery)}, {how or attempts_of(delivery)}{self._text(error)}"
        if known and all(known):
            log.debug("%s: %s", owner, line)
        else:
            self._write(owner, kind, line)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s was raised here:\n%s", kind, steps(error))

    def throttled(self, delivery: AnyDelivery, error: BaseException, names: Iterable[str], how: str) -> None:
        """Write that these dependencies have too many calls for now, and what becomes of the message. That is no failure of anybody."""
        kind, owner = kind_of(error), ", ".join(names) or delivery.source.name
        for name in names:
            self.count(name, kind)
            self._outages.throttled(name, kind)
        line = f"throttled ({kind}) at {whereabouts(error)}, {place_of(delivery)}, {how}{self._text(error)}"

        def summary(count: int, within: str) -> str:
            return f"{owner}: throttled {many(count, 'more time')} in {within}, the last {line}"

        self._folding.write((THROTTLED, owner, kind), f"{owner}: {line}", summary, level=logging.INFO)

    def not_its_turn(self, delivery: AnyDelivery, error: BaseException) -> None:
        """Write, at DEBUG alone, what ended an attempt that does not count."""
        log.debug("%s: %s, so it was not its turn and comes again", place_of(delivery), kind_of(error))

    def probe(self, dependency: str, error: BaseException) -> None:
        """Write what a health probe raised."""
        kind = kind_of(error)
        if not self._failed(dependency, kind):
            self._write(dependency, kind, f"its health probe failed with {kind} at {whereabouts(error)}{self._text(error)}")

    def slip(self, delivery: AnyDelivery, error: BaseException) -> HoldgateError | None:
        """Write what to change if an error of holdgate's own is in what was raised, and return that error if it ends the run."""
        own = (link for link in chain_of(error).explicit if isinstance(link, HoldgateError) and not isinstance(link, NEVER_OUTCOMES))
        found = next(own, None) or _unknown_attribute(error)
        if found is None:
            return None
        # The handler's code makes this mistake for every message. The text is ours: it quotes no payload and names the remedy.
        name, text = delivery.source.name, str(found)
        line = f"{delivery.source}: {'' if isinstance(found, NeedsError) else 'the handler must be fixed: '}{text}"
        self._folding.write(
            ("slip", name, text), line, lambda count, _: f"{name}: {many(count, 'more message')} met this: {text}", level=logging.ERROR
        )
        return found if isinstance(found, SettingsError | CommandError) else None

    def dead(self, delivery: AnyDelivery, where: str, level: int) -> None:
        """Write that a rejected message `where`, such as "is in the dead letters"."""
        name, error = delivery.source.name, delivery.history.error
        self._folding.covered((FAILURE, name, error), delivery.attempt)
        line = f"{place_of(delivery)} {where}: {error}, {attempts_of(delivery)}"
        self._folding.write(
            ("dead", name, error),
            line,
            lambda count, within: f"{name}: {many(count, 'more message')} rejected in {within}, the last: {line}",
            level=level,
            singly=_NAMED,
        )

    def _failed(self, dependency: str, kind: str) -> bool:
        self.count(dependency, kind)
        return self._outages.failed(dependency, kind)

    def _write(self, owner: str, kind: str, line: str) -> None:
        def summary(count: int, within: str) -> str:
            return f"{owner}: {many(count, 'more failure')} in {within}, the last {line}"

        self._folding.write((FAILURE, owner, kind), f"{owner}: {line}", summary)

    def flush(self) -> None:
        """Write what was counted and not written yet."""
        self._folding.flush()

    def _text(self, error: BaseException) -> str:
        return f" ({text_of(error)})" if self._settings.exception_text else ""


def _unknown_attribute(error: BaseException) -> HoldgateError | None:
    """Return what to say of an attribute that the handler wanted of its delivery, which does not have it; None if it was nothing such."""
    for link in chain_of(error).explicit:
        if isinstance(link, AttributeError) and link.name is not None:
            wanted_of: object = link.obj
            if _is_delivery(wanted_of):
                return unknown_attribute(wanted_of, link.name, wanted_of.message)
    return None


def _is_delivery(what: object) -> TypeGuard[AnyDelivery]:
    return isinstance(what, Delivery)


def attempts_of(delivery: AnyDelivery) -> str:
    """Return which attempt it was, of how many: `attempt 1 of 5`. An outage costs none, so both numbers stand there if they differ."""
    history: Any = delivery.history
    most = delivery.assignment.run.retry.attempts
    charged = 0 if history is None else history.charged
    if delivery.attempt in {1, charged}:
        return f"attempt {delivery.attempt} of {most}"
    return f"attempt {delivery.attempt}, {charged or 'none'} of {most} charged"


# -- counted --------------------------------------------------------------------------------------------------------------------------


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
