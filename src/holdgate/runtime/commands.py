"""What an operator may do to a guard: hold and release sources, override a circuit, and let go a message that is in the way.

The guard's methods of the same names say what each command does. Here each is checked and carried out.

Every command says who gives it and why, and a command that lasts ends by itself: a hold that was forgotten is an outage of its own. What
was carried out is announced, kept in the audit log, and shown in the snapshot while it is in force. Nothing is noted of a command that was
refused. Commands are given on the guard's event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from holdgate.core import Circuit
from holdgate.core.validation import seconds
from holdgate.errors import CommandError, SettingsError
from holdgate.flow.events import Command, CommandGiven, FleetCommand
from holdgate.flow.message import Partition, Queue, Source

if TYPE_CHECKING:
    from datetime import timedelta

    from holdgate.core import CircuitSettings, Limits
    from holdgate.flow.engine import Engine
    from holdgate.ports import Intake
    from holdgate.runtime.dependency import Dependency

# Half an hour: longer than a deployment or a restart that is waited for, shorter than what goes unnoticed until the next morning.
LASTS = 1800.0

# Who gives a command that a program gives without a name.
PROGRAM = "the program"

# A line in a log, and room for a ticket and a sentence.
_WORDS_AT_MOST = 500


class CommandedRun(Protocol):
    """What commands ask of a run."""

    intake: Intake[Any]

    def skip(self, source: Source, position: int, reason: str) -> bool:
        """Settle a message that an operator gives up; False means that there is none such here."""
        ...


class CommandedGuard(Protocol):
    """What commands ask of their guard."""

    engine: Engine
    now: Callable[[], float]
    dependencies: dict[str, Dependency]

    @property
    def workers(self) -> Iterable[CommandedRun]:
        """The runs that go on."""
        ...

    def wake(self) -> None:
        """Take a turn at the loop's next step."""
        ...


class Operator:
    """Carries out commands on one guard. Each method raises CommandError where a command cannot be carried out."""

    def __init__(self, guard: CommandedGuard) -> None:
        self._guard = guard
        self._engine = guard.engine

    def given(
        self,
        command: Command | FleetCommand,
        target: Source | str,
        reason: str,
        actor: str,
        *,
        for_: float | timedelta | None = None,
        position: int | None = None,
    ) -> CommandGiven:
        """Return the command as it will be noted, once its words and times are checked."""
        _check_words("reason", reason)
        _check_words("actor", actor)
        now = self._guard.now()
        return CommandGiven(now, command, target, actor, reason, None if for_ is None else now + _seconds(for_), position)

    # -- sources ----------------------------------------------------------------------------------------------------------------------

    def hold(self, given: CommandGiven) -> None:
        """Hold a source, or all of a topic or queue."""
        target = given.target
        if isinstance(target, str) and target not in self._names():
            raise CommandError(f"no topic or queue named {target!r} is read here; these are: {_listed(self._names())}")
        if not self._engine.hold(target, given.until):
            raise self._not_here(target)
        self._done(given)

    def unhold(self, given: CommandGiven) -> None:
        """End a hold."""
        target = given.target
        if isinstance(target, Partition | Queue) and self._engine.is_held(target.name):
            raise CommandError(f"{target} is held with all of {target.name!r}: end that hold, unhold({target.name!r}, ...)")
        if not self._engine.unhold(target) and target not in self._names():
            raise self._not_here(target)
        self._done(given)

    def retry(self, source: Source, given: CommandGiven) -> int:
        """Let the rejected messages of a blocked source go on, and return how many they are."""
        self._must_be_ours(source)
        count = self._engine.retry(source, given.reason, given.at)
        self._done(given)
        return count

    def skip(self, source: Source, position: int, given: CommandGiven) -> None:
        """Settle one message that is in the way, as if it were done."""
        self._must_be_ours(source)
        if not any(worker.skip(source, position, given.reason) for worker in self._guard.workers):
            raise CommandError(
                f"no message at {source}@{position} was rejected, or has failed and waits; while its handler runs, it cannot be skipped"
            )
        self._done(given)

    # -- dependencies -----------------------------------------------------------------------------------------------------------------

    def override(self, act: Callable[[Circuit], object], dependency: str, given: CommandGiven) -> None:
        """Do something to the circuit of a dependency that changes what it lets through."""
        act(self.circuit(dependency))
        keys = self._engine.gates[dependency].keys
        if given.command == "reset" and keys is not None:
            keys.begin_anew(given.at)
        self._done(given)

    def probe(self, dependency: str, given: CommandGiven) -> bool:
        """End the wait of an open circuit; False means that it was not open."""
        circuit = self.circuit(dependency)
        if circuit.override is not None:
            raise CommandError(
                f"{dependency} is {circuit.override.name}, and no probe changes that: clear_override({dependency!r}, ...) first"
            )
        if not circuit.end_wait(given.at):
            return False
        self._done(given)
        return True

    def circuit(self, dependency: str) -> Circuit:
        """Return the circuit of a dependency."""
        if dependency not in self._guard.dependencies:
            raise CommandError(f"no dependency is named {dependency!r}; there are {', '.join(sorted(self._guard.dependencies)) or 'none'}")
        return self._engine.gates[dependency].circuit

    def reconfigure(self, dependency: str, settings: CircuitSettings) -> None:
        """Have the circuit of a dependency, and of each of its keys, go on by other settings."""
        self.circuit(dependency).reconfigure(settings, self._guard.now())
        keys = self._engine.gates[dependency].keys
        if keys is not None:
            keys.begin_anew(self._guard.now())

    def set_limits(self, dependency: str, limits: Limits | None) -> None:
        """Have a dependency, or each of its keys, go on by other limits."""
        circuit = self.circuit(dependency)
        keys = self._engine.gates[dependency].keys
        if keys is None:
            circuit.set_limits(limits, self._guard.now())
        else:
            keys.set_limits(limits, self._guard.now())

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _done(self, given: CommandGiven) -> None:
        self._engine.note(given)
        self._guard.wake()

    def _must_be_ours(self, source: Source) -> None:
        if not any(source in run.assignments for run in self._engine.runs):
            raise self._not_here(source)

    def _not_here(self, target: object) -> CommandError:
        here = _listed(str(source) for run in self._engine.runs for source in run.assignments)
        if isinstance(target, Partition | Queue):
            return CommandError(f"{target} is not assigned here; these are: {here}")
        return CommandError(
            f"no source, topic or queue {target!r} is read here; sources: {here}; topics and queues: {_listed(self._names())}"
        )

    def _names(self) -> set[str]:
        """Return the topics and queues that the runs read. Under a pattern only those are known of which a source was assigned."""
        asked = {name for worker in self._guard.workers for name in worker.intake.names or ()}
        return asked | {source.name for run in self._engine.runs for source in run.assignments}


def _seconds(for_: object) -> float:
    try:
        return seconds("for_", for_)
    except SettingsError as error:
        raise CommandError(str(error)) from None


def _check_words(name: str, words: object) -> None:
    # It ends up in log lines: what is not printable could forge one.
    if not isinstance(words, str) or not words.strip() or not words.isprintable() or len(words) > _WORDS_AT_MOST:
        raise CommandError(f"{name}={words!r} must be one line of 1 to {_WORDS_AT_MOST} characters: others will read who did this, and why")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
