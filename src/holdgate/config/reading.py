"""A settings file with all that is laid over it, read into its tables, and where each of its values comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from holdgate.config.fields import MASKED, build, hints_of, is_secret, settings_of, shown, unknown
from holdgate.config.intakes import new_intake, with_dots
from holdgate.config.layers import lay_over
from holdgate.config.sections import SIMULATED, Table, resolve
from holdgate.config.tables import FileTables, RunTable
from holdgate.config.toml_file import Place, Problems, TomlFile, Traced, dotted, holds
from holdgate.core.validation import Usual
from holdgate.errors import SettingsError

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as it holds: its place, its value, and where that comes from. A secret's value is masked."""

    place: Place
    value: object
    origin: str

    @property
    def setting(self) -> str:
        """The place as TOML writes it."""
        return dotted(self.place)

    @property
    def shown(self) -> str:
        """The value as TOML writes it; none, without quotes, where it is None."""
        return "none" if self.value is None else shown(self.value)


@dataclass(frozen=True, slots=True)
class SettingsReading:
    """A file that was read and found right."""

    file: TomlFile
    traced: Traced
    tables: FileTables

    def given(self, *place: str) -> Mapping[str, object]:
        """Return what somebody says in the table at this place; empty if there is none."""
        table: object = self.traced.data
        for step in place:
            table = cast("Table", table).get(step, {})
        return cast("Table", table)

    def effective(self) -> tuple[Effective, ...]:
        """Return every setting, in the order of the tables."""
        return tuple(Effective(place, masked(place, value), self._origin(place)) for place, value in self.values().items())

    def values(self) -> dict[Place, object]:
        """Return every setting as it is, secrets too, by its place."""
        return dict(_flat(self.tables, ()))

    def _origin(self, place: Place) -> str:
        speaker = self.traced.speaker(place)
        if speaker is not None:
            return speaker
        there = self.traced.place(place)
        if not holds(self.file.data, there):
            return DEFAULT
        section = f" [{dotted(there[:-1])}]" if there[:2] != place[:2] and there[:-1] else ""
        return f"{self.file.name}:{self.file.line(there)}{section}"


def read_tables(file: TomlFile, environment: Mapping[str, str], in_code: Mapping[str, object]) -> SettingsReading:
    """Return what a file says together with environment and program. Raises SettingsError with everything that is wrong."""
    traced = _runs_complete(with_dots(resolve(file, lay_over(file, environment, in_code))))
    problems = Problems(file, traced)
    tables = build(FileTables, _of_workers(traced.data), (), problems)
    if tables is not None:
        _check_needs(tables, problems)
        _check_control(tables, problems)
        _check_fleet(tables, problems)
        _check_intakes(tables, problems)
    problems.check()
    if tables is None:  # then there was a problem
        raise SettingsError(f"{file.name}: is no settings file")
    return SettingsReading(file, traced, tables)


def masked(place: Place, value: object) -> object:
    """Return what may be shown of the value at this place."""
    if value is None or not is_secret(place) or (place[-1] == "url" and _is_plain(str(value))):
        return value
    return MASKED


def _is_plain(url: str) -> bool:
    """Whether a URL has neither a user nor a query, in which a password may stand, too."""
    return not {"@", "?"} & set(url)


def _of_workers(data: Mapping[str, object]) -> Table:
    """Return the tables without what only a simulation looks at."""
    dependencies = data.get("dependencies", {})
    if not isinstance(dependencies, dict):
        return dict(data)
    kept = {
        name: {key: value for key, value in cast("Table", table).items() if key not in SIMULATED} if isinstance(table, dict) else table
        for name, table in cast("Table", dependencies).items()
    }
    return {**data, "dependencies": kept} if kept else {key: value for key, value in data.items() if key != "dependencies"}


def _runs_complete(traced: Traced) -> Traced:
    """`[retry]` is under `[run.retry]`, and `[run]` under every `[runs.NAME]`. What is no table stays, and is refused where it is read."""
    data, moved = dict(traced.data), dict(traced.moved)
    retry = data.pop("retry", None)
    run = data.get("run", {})
    if retry is not None and isinstance(run, dict):
        data["run"] = _under({"retry": retry}, cast("Table", run), (), ("run",), moved)
    runs, shared = data.get("runs", {}), data.get("run", {})
    if isinstance(runs, dict) and isinstance(shared, dict):
        data["runs"] = {
            name: _under(cast("Table", shared), cast("Table", own), ("run",), ("runs", name), moved) if isinstance(own, dict) else own
            for name, own in cast("Table", runs).items()
        }
        if not data["runs"]:
            del data["runs"]
    return Traced(data, moved, traced.outside)


def _under(under: Table, upper: Table, there: Place, here: Place, moved: dict[Place, Place]) -> Table:
    """Lay `upper`, which stands at `here`, over `under`, which stands at `there`, and note what came from there."""
    both = dict(upper)
    for key, value in under.items():
        own = upper.get(key)
        if isinstance(value, dict) and isinstance(own, dict):
            both[key] = _under(cast("Table", value), cast("Table", own), (*there, key), (*here, key), moved)
        elif key not in upper:
            both[key] = value
            moved.update({(*here, *place): (*there, *place) for place in _leaves({key: value})})
            for place, origin in list(moved.items()):
                if place[: len(there) + 1] == (*there, key):
                    moved[*here, *place[len(there) :]] = origin
    return both


def _leaves(table: Table) -> Iterator[Place]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from ((key, *place) for place in _leaves(cast("Table", value)))
        yield (key,)


def _check_needs(tables: FileTables, problems: Problems) -> None:
    names = [table.name for table in tables.dependencies]
    runs: list[tuple[Place, RunTable]] = [(("run",), tables.run), *((("runs", run.name), run) for run in tables.runs)]
    for place, run in runs:
        for number, name in enumerate(run.needs):
            if name not in names:
                problems.add((*place, "needs", number), f"{shown(name)} {unknown(name, names)}")


def _check_control(tables: FileTables, problems: Problems) -> None:
    if tables.control is None:
        return
    try:
        new_control({field.name: getattr(tables.control, field.name) for field in dataclasses.fields(tables.control)})
    except SettingsError as error:
        words = str(error)
        key = next((name for name in hints_of(type(tables.control)) if words.startswith((f"{name} ", f"control: {name}"))), None)
        problems.add(("control",) if key is None else ("control", key), words)


def _check_fleet(tables: FileTables, problems: Problems) -> None:
    if tables.fleet is None:
        return
    try:
        tables.fleet.made()
    except SettingsError as error:
        problems.add(("fleet", *tables.fleet.wrong_in_log(str(error))), str(error))


def _check_intakes(tables: FileTables, problems: Problems) -> None:
    """Make each once, without a broker: what would be refused when a worker starts is found by its line."""
    for table in tables.intakes:
        place: Place = ("intakes", table.name)
        arguments = {name: getattr(table, name) for name in settings_of(type(table))}
        try:
            new_intake(table, arguments, {})
        except SettingsError as error:
            words = str(error)
            places = [(*place, "settings", key) for key in table.settings if key in words]
            places += [(*place, key) for key in arguments if words.startswith((f"{key} ", f"{key}="))]
            problems.add(places[0] if places else place, words)


def new_control(given: Mapping[str, Any]) -> Any:
    """Return a Control with these arguments. Raises MissingExtra without the extra `web`."""
    from holdgate.control import Control  # noqa: PLC0415 - brings in a web server, for who asks for one

    return Control(**given)


def _flat(value: object, place: Place) -> Iterator[tuple[Place, object]]:
    """Every setting under a table of settings. What has a name stands under it."""
    if isinstance(value, tuple):
        items = tuple(cast("Iterable[Any]", value))
        if items and all(dataclasses.is_dataclass(each) for each in items):
            for each in items:
                yield from _flat(each, (*place, str(each.name)))
        elif items or (place and place[-1] in {"needs", "peers", "topics"}):
            yield place, list(items)
    elif isinstance(value, Mapping):
        yield from (((*place, key), each) for key, each in cast("Mapping[str, object]", value).items())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for name in settings_of(type(value)):
            yield from _flat(getattr(value, name), (*place, name))
    else:
        yield place, float(value) if isinstance(value, Usual) else value
