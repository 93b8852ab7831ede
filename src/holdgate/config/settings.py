"""`holdgate.load`: what a program gets from a settings file, and what a file that is read again changes in running guards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdgate.config.changes import Changes, changes, in_one_line, known_after
from holdgate.config.fields import shown, unknown
from holdgate.config.intakes import new_intake
from holdgate.config.named_failures import named_failures
from holdgate.config.reading import SettingsReading, new_control, read_tables
from holdgate.config.tables import DependencyTable, RunTable
from holdgate.config.toml_file import read_toml
from holdgate.config.watching import SettingsWatch, mark_of
from holdgate.errors import SettingsError
from holdgate.flow.events import CommandGiven
from holdgate.runtime.commands import PROGRAM
from holdgate.runtime.dependency import Dependency

if TYPE_CHECKING:
    from datetime import timedelta

    from holdgate.config.reading import Effective
    from holdgate.fleet.settings import FleetSettings
    from holdgate.flow.policy import RetryPolicy
    from holdgate.ports import Intake
    from holdgate.runtime.fleet import Fleet
    from holdgate.runtime.guard import Guard

# What a Dependency takes from the file alone, because a file that is read again decides it.
_OF_THE_FILE = "settings"


def load(
    path: str | os.PathLike[str], *, environment: Mapping[str, str] | None = None, in_code: Mapping[str, Any] | None = None
) -> Settings:
    """Read a settings file. What is said later wins: defaults, the file, the environment, the program.

    - `path`: the TOML file.
    - `environment`: variables, of which those that begin with `HOLDGATE__` count. None means those of the process.
    - `in_code`: tables as in the file, which win over everything. None means none.

    Raises SettingsError with everything that is wrong, each with its file and line, or MissingExtra for a `[control]` without the extra
    `web`, or a `[fleet]` without that of its log.
    """
    return Settings(Path(path), environment, {} if in_code is None else in_code)


class Settings:
    """What a settings file says, ready to be used. Made by `load`.

    `path` is the file. A Dependency is made once, so that everybody who asks gets the same one.
    """

    def __init__(self, path: Path, environment: Mapping[str, str] | None, in_code: Mapping[str, Any]) -> None:
        self.path = path
        self._environment = environment
        self._in_code = in_code
        self._seen = mark_of(path)
        self._reading = self.read_again()
        self._started = self._known = self._reading.values()
        self._made: dict[str, Dependency] = {}
        self._given: dict[str, frozenset[str]] = {}  # by dependency: what the program has given beside the file
        self._retries: dict[str | None, RetryPolicy] = {}
        self._fleets: list[Fleet] = []  # those that guards were given

    # -- what a program takes from it -------------------------------------------------------------------------------------------------

    @property
    def dependencies(self) -> Mapping[str, Dependency]:
        """Every dependency of the file, ready, by name."""
        return {table.name: self.dependency(table.name) for table in self._reading.tables.dependencies}

    def dependency(self, name: str, **in_code: Any) -> Dependency:
        """Return one dependency.

        `in_code`: what a file cannot say, as for Dependency: `failures`, `probe` and the like. It wins over the file, and can only be given
        when the dependency is asked for the first time. Raises SettingsError.
        """
        if name in self._made and not in_code:
            return self._made[name]
        if name in self._made:
            raise SettingsError(f"dependency {name!r} is made already: give {', '.join(in_code)} where it is asked for first")
        table = self._table(name)
        if _OF_THE_FILE in in_code:
            raise SettingsError(f"settings= of dependency {name!r} come from {self.path}: give load(..., in_code=...) to say others")
        made = Dependency(name, **{**_arguments(table), **in_code})
        self._made[name] = made
        self._given[name] = frozenset(in_code)
        return made

    def guard_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of a Guard that somebody gives, with a new Control and a new Fleet where they have tables."""
        tables = self._reading.tables
        arguments = {name: getattr(tables.guard, name) for name in self._reading.given("guard")}
        if "log" in arguments:
            arguments["log"] = tables.guard.log.made()
        if tables.control is not None:
            arguments["control"] = new_control({name: getattr(tables.control, name) for name in self._reading.given("control")})
        if tables.fleet is not None:
            arguments["fleet"] = fleet = tables.fleet.made()
            self._fleets.append(fleet)
        return arguments

    def run_arguments(self, name: str | None = None) -> dict[str, Any]:
        """Return the keyword arguments of `guard.run` that somebody gives, and `retry`.

        `name`: that of `[runs.NAME]`. None means `[run]`. Raises SettingsError for a name that is not there.
        """
        table = self._run(name)
        given = self._reading.given("run") if name is None else self._reading.given("runs", name)
        arguments = {key: getattr(table, key) for key in given}
        if "needs" in arguments:
            arguments["needs"] = [self.dependency(each) for each in table.needs]
        return {**arguments, "retry": self._retry(name)}

    def intake(self, name: str, **in_code: Any) -> Intake[Any]:
        """Return a new intake: the ConfluentIntake or ShareIntake of `[intakes.NAME]`. Each call makes another one.

        `in_code`: what a file cannot say, as for the intake: `listener`, `on_records_lost`, `overflow` and the like; it wins over the file.
        `settings` are laid over those of the file, setting by setting. Raises SettingsError.
        """
        tables = {table.name: table for table in self._reading.tables.intakes}
        if name not in tables:
            raise SettingsError(f"{self.path}: intake {shown(name)} {unknown(name, tables)}")
        made: Intake[Any] = new_intake(tables[name], self._reading.given("intakes", name), in_code)
        return made

    def effective(self) -> tuple[Effective, ...]:
        """Return every setting as it was read last, with its value and where that comes from. Secrets are masked."""
        return self._reading.effective()

    def _table(self, name: str) -> DependencyTable:
        tables = {table.name: table for table in self._reading.tables.dependencies}
        if name not in tables:
            raise SettingsError(f"{self.path}: dependency {shown(name)} {unknown(name, tables)}")
        return tables[name]

    def _run(self, name: str | None) -> RunTable:
        if name is None:
            return self._reading.tables.run
        tables = {table.name: table for table in self._reading.tables.runs}
        if name not in tables:
            raise SettingsError(f"{self.path}: run {shown(name)} {unknown(name, tables)}")
        return tables[name]

    def _retry(self, name: str | None) -> RetryPolicy:
        # A copy for each name: by it a run is found whose policy changes, whatever other policies are equal to it.
        return self._retries.setdefault(name, replace(self._run(name).retry))

    # -- reading it again -------------------------------------------------------------------------------------------------------------

    def watch(self, *guards: Guard, every: float | timedelta = 2.0, signals: bool | None = None) -> SettingsWatch:
        """Return what reads the file again while it is entered, with `async with`, and brings changes to running guards.

        - `guards`: those whose circuits and runs go on by what has changed. They keep windows, states and what is in hand.
        - `every`: seconds above 0, or a timedelta, between two looks at the file.
        - `signals`: None means that SIGHUP reads it again immediately, in the main thread, where nobody else handles the signal. False
          means that it is never taken. True means that it is an error if it cannot be taken.

        A file that is not valid changes nothing, and the log says why. Raises SettingsError.
        """
        return SettingsWatch(self, guards, every, signals=signals, seen=self._seen)

    def reload(self, *guards: Guard, actor: str = PROGRAM) -> Changes:
        """Read the file again now, and bring what has changed to these guards. Must be called on their event loop.

        `actor`: who wants that, for the audit logs of the guards. Raises SettingsError for a file that is not valid. Then nothing has
        changed.
        """
        return self.take_up(self.read_again(), guards, actor)

    def read_again(self) -> SettingsReading:
        """Return what the file says now, and change nothing. Safe in any thread. Raises SettingsError."""
        return read_tables(read_toml(self.path), os.environ if self._environment is None else self._environment, self._in_code)

    def take_up(self, reading: SettingsReading, guards: tuple[Guard, ...], actor: str) -> Changes:
        """Go on by a reading, and return what it changes. Only what `Changes.applied` names has changed; each audit log has it."""
        values = reading.values()
        found = changes(self._started, self._known, values)
        self._reading, self._known = reading, known_after(self._known, values)
        changed = {each.place[1] for each in found.applied if each.place[0] == "dependencies"}
        for table in reading.tables.dependencies:
            if table.name in changed:
                self._take_up_dependency(table, guards)
        runs: dict[str | None, RunTable] = {None: reading.tables.run}
        runs.update((run.name, run) for run in reading.tables.runs)
        for name, old in tuple(self._retries.items()):
            if name in runs:
                self._retries[name] = new = replace(runs[name].retry, on_exhausted=old.on_exhausted)
                for guard in guards:
                    guard.replace_retry(old, new)
        if reading.tables.fleet is not None and any(each.place[0] == "fleet" for each in found.applied):
            self._take_up_fleet(reading.tables.fleet.settings(), guards)
        if found.applied:
            for guard in guards:
                guard.engine.note(CommandGiven(guard.now(), "reload", str(self.path), actor, in_one_line(found.applied)))
                guard.wake()
        return found

    def _take_up_dependency(self, table: DependencyTable, guards: tuple[Guard, ...]) -> None:
        made = self._made.get(table.name)
        if made is None:
            return
        made.settings = table.circuit  # outside of these guards: of the next circuit
        if "probe_timeout" not in self._given[table.name]:
            made.probe_timeout = table.probe_timeout
        # What was found out of a limit is forgotten with it, so nobody is told that nothing has changed.
        limits_change = "limits" not in self._given[table.name] and made.limits != table.limits
        if limits_change:
            made.limits = table.limits
        for guard in guards:
            if guard.dependencies.get(table.name) is made:
                guard.reconfigure(table.name, table.circuit)
                if limits_change:
                    guard.set_limits(table.name, table.limits)

    def _take_up_fleet(self, settings: FleetSettings, guards: tuple[Guard, ...]) -> None:
        for guard in guards:
            for fleet in self._fleets:
                guard.fleet.reconfigure(fleet, settings)


def _arguments(table: DependencyTable) -> dict[str, Any]:
    arguments: dict[str, Any] = {"settings": table.circuit, "probe_timeout": table.probe_timeout, "limits": table.limits}
    if table.failures is not None:
        named = named_failures(table.failures)
        arguments |= {"failures": named.failures, "retry_after": named.retry_after}
    return arguments
