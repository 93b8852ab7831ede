"""What an operator may do to a guard: hold and release sources, lay a word over a circuit, and let a message that is in the way go.

Every command says who and why, and those that last end by themselves: a hold that was forgotten is an outage of its own. Each one that was
carried out is announced, shown in the snapshot while it is in force, and kept in the audit log. They are called on the guard's event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from holdgate.core import Circuit
from holdgate.core.validation import seconds
from holdgate.errors import SettingsError
from holdgate.flow.commands import AuditEntry
from holdgate.flow.events import Command, CommandGiven
from holdgate.flow.message import Partition, Queue, Source

if TYPE_CHECKING:
    from holdgate.flow.engine import Engine
    from holdgate.runtime.dependency import Dependency
    from holdgate.runtime.worker import Worker

# Half an hour: longer than a deployment or a restart that is waited for, shorter than what goes unnoticed until the next morning.
LASTS = 1800.0

# What somebody says who calls this from a program and gives no name.
_PROGRAM = "the program"

# A line in a log, and room for a ticket and a sentence.
_WORDS_AT_MOST = 500


class OperatorCommands:
    """The operator's half of a guard.

    `reason` and `actor` are in the operator's own words, one line of at most 500 characters each; they go to the log, the events and the
    audit log. `for_`: seconds after which a command ends by itself; None: not before another command. A later command on the same target
    replaces the earlier one.
    All raise SettingsError for a target that is not here, naming those that are, and for words or times that make no sense.
    """

    engine: Engine
    now: Callable[[], float]
    dependencies: dict[str, Dependency]

    @property
    def workers(self) -> Iterable[Worker]:
        """The runs that go on."""
        raise NotImplementedError

    def wake(self) -> None:
        """Take a turn at the loop's next step; for callers in the middle of something."""
        raise NotImplementedError

    # -- sources ----------------------------------------------------------------------------------------------------------------------

    def hold(self, target: Source | str, *, reason: str, actor: str = _PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Start no handler for a source, or for all of a topic or queue by its name, until `unhold` or for `for_` seconds.

        What runs may finish. The hold outlives rebalances and reconnects, not this process.
        """
        given = self._given("hold", target, reason, actor, for_=for_)
        if isinstance(target, str) and target not in self._names():
            raise SettingsError(f"no topic or queue named {target!r} is read here; these are: {_listed(self._names())}")
        if not self.engine.hold(target, given.until):
            raise self._not_here(target)
        self._done(given)

    def unhold(self, target: Source | str, *, reason: str, actor: str = _PROGRAM) -> None:
        """End an operator's hold; that of a name with those of its sources. What a circuit holds stays held.

        Raises SettingsError too for a source that is held by its name.
        """
        given = self._given("unhold", target, reason, actor)
        if isinstance(target, Partition | Queue) and self.engine.is_held(target.name):
            raise SettingsError(f"{target} is held with all of {target.name!r}: end that hold, unhold({target.name!r}, ...)")
        if not self.engine.unhold(target) and target not in self._names():
            raise self._not_here(target)
        self._done(given)

    def retry(self, source: Source, *, reason: str, actor: str = _PROGRAM) -> int:
        """Let the rejected messages of a source that is blocked go on, and return how many they are: they start afresh, or go to the dead
        letters now."""
        given = self._given("retry", source, reason, actor)
        self._must_be_ours(source)
        count = self.engine.retry(source, reason, self.now())
        self._done(given)
        return count

    def skip(self, source: Source, position: int, *, reason: str, actor: str = _PROGRAM) -> None:
        """Give up one message that keeps its source from going on: it is settled as if it were done, and lost.

        `position` is Kafka's offset or RabbitMQ's delivery tag, as `SourceBlocked` names it. Raises SettingsError where no message that was
        rejected, or failed and waits, stands there.
        """
        given = self._given("skip", source, reason, actor, position=position)
        self._must_be_ours(source)
        for worker in self.workers:
            if worker.skip(source, position, reason):
                self._done(given)
                return
        raise SettingsError(
            f"no message at {source}@{position} was rejected, or has failed and waits; while its handler runs, it cannot be skipped"
        )

    # -- dependencies -----------------------------------------------------------------------------------------------------------------

    def force_open(self, dependency: str, *, reason: str, actor: str = _PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Let nothing through to a dependency; its end is a half-open circuit, never the full rate at once."""
        given = self._given("force_open", dependency, reason, actor, for_=for_)
        self.circuit(dependency).force_open(given.at, until=given.until)
        self._done(given)

    def disable(self, dependency: str, *, reason: str, actor: str = _PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Let everything through to a dependency, and record nothing."""
        given = self._given("disable", dependency, reason, actor, for_=for_)
        self.circuit(dependency).disable(given.at, until=given.until)
        self._done(given)

    def observe(self, dependency: str, *, reason: str, actor: str = _PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Let everything through to a dependency, and tell when its circuit would have opened."""
        given = self._given("observe", dependency, reason, actor, for_=for_)
        self.circuit(dependency).observe(given.at, until=given.until)
        self._done(given)

    def clear_override(self, dependency: str, *, reason: str, actor: str = _PROGRAM) -> None:
        """End `force_open`, `disable` or `observe` now; the circuit goes on from the state below."""
        given = self._given("clear_override", dependency, reason, actor)
        self.circuit(dependency).clear_override(given.at)
        self._done(given)

    def reset(self, dependency: str, *, reason: str, actor: str = _PROGRAM) -> None:
        """Close a circuit and forget what it has seen: the full rate at once. It ends no override."""
        given = self._given("reset", dependency, reason, actor)
        self.circuit(dependency).reset(given.at)
        self._done(given)

    def probe(self, dependency: str, *, reason: str, actor: str = _PROGRAM) -> bool:
        """Try an open dependency now instead of at the end of its wait: by its health probe if it has one, else by a message.

        False where there is nothing to try, because its circuit is closed or half-open, and then nothing is noted. Raises SettingsError
        under an override, which decides alone.
        """
        given = self._given("probe", dependency, reason, actor)
        circuit = self.circuit(dependency)
        if circuit.override is not None:
            raise SettingsError(
                f"{dependency} is {circuit.override.name}, and no probe changes that: clear_override({dependency!r}, ...) first"
            )
        if not circuit.end_wait(given.at):
            return False
        self._done(given)
        return True

    def circuit(self, dependency: str) -> Circuit:
        """The circuit of a dependency, for a program's own use: what is done to it is in no audit log. Call `wake` after a change."""
        if dependency not in self.dependencies:
            raise SettingsError(f"no dependency is named {dependency!r}; there are {sorted(self.dependencies)}")
        return self.engine.gates[dependency].circuit

    # -- what was done ----------------------------------------------------------------------------------------------------------------

    def audit(self) -> tuple[AuditEntry, ...]:
        """The last thousand commands, and the ends of those that ended by themselves, oldest first; `at` is in the seconds of `now`.

        What is in force is in `snapshot().commands`. Kept in memory: an observer is the way to keep it for longer.
        """
        return self.engine.audit()

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _given(
        self,
        command: Command,
        target: Source | str,
        reason: str,
        actor: str,
        *,
        for_: float | timedelta | None = None,
        position: int | None = None,
    ) -> CommandGiven:
        _check_words("reason", reason)
        _check_words("actor", actor)
        now = self.now()
        return CommandGiven(now, command, target, actor, reason, None if for_ is None else now + seconds("for_", for_), position)

    def _done(self, given: CommandGiven) -> None:
        self.engine.note(given)
        self.wake()

    def _must_be_ours(self, source: Source) -> None:
        if not any(source in run.assignments for run in self.engine.runs):
            raise self._not_here(source)

    def _not_here(self, target: object) -> SettingsError:
        here = _listed(str(source) for run in self.engine.runs for source in run.assignments)
        if isinstance(target, Partition | Queue):
            return SettingsError(f"{target} is not assigned here; these are: {here}")
        return SettingsError(f"{target!r} is nothing that is read here; sources: {here}; topics and queues: {_listed(self._names())}")

    def _names(self) -> set[str]:
        """Topics and queues that the runs read, or may read under a pattern as far as they have come."""
        asked = {name for worker in self.workers for name in worker.intake.names or ()}
        return asked | {source.name for run in self.engine.runs for source in run.assignments}


def _check_words(name: str, words: object) -> None:
    # It ends up in log lines: what is not printable could forge one.
    if not isinstance(words, str) or not words.strip() or not words.isprintable() or len(words) > _WORDS_AT_MOST:
        raise SettingsError(
            f"{name}={words!r} must be one line of 1 to {_WORDS_AT_MOST} characters: others will read who did this, and why"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
