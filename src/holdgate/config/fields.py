"""From what TOML knows (tables, lists, texts, numbers) to frozen dataclasses, with everything that does not fit named."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from holdgate.config import units
from holdgate.config.toml_file import Place, Problems
from holdgate.errors import SettingsError

T = TypeVar("T")

# TOML has no null; where None means something (never, no limit) this says it.
NONE = "none"

# Of Python alone.
_NOT_IN_TOML = {"not_retryable": "names exception types, which are Python's: give them in the program"}


# What must not be in an error, a log or on a screen. A URL may have a password in it.
SECRETS = frozenset({"token", "read_token", "url", "sasl_plain_password"})
MASKED = "********"
# What no error quotes: an address that is wrong may be so for the password in it.
_UNQUOTED = SECRETS | {"peers"}
# So are librdkafka's secrets called. Some keys and certificates are no secrets; nobody misses them.
_SECRET_PARTS = ("password", "secret", "passphrase", "token", "credential", ".pem", "oauthbearer.config")


def is_secret(place: Place) -> bool:
    """Return whether the value at this place must be masked."""
    last = str(place[-1]) if place else ""
    return last in SECRETS or ("." in last and any(part in last for part in _SECRET_PARTS))


class Said(str):
    """A text from the environment, where everything is text: it may stand for whatever the setting is."""

    __slots__ = ()


class Misfit(Exception):
    """A value that is none of those that are allowed."""


def build(cls: type[T], table: object, place: Place, problems: Problems, given: Mapping[str, object] | None = None) -> T | None:
    """An instance of this dataclass, of `given` and the keys of the table; None when something is wrong, which `problems` then has."""
    if not isinstance(table, dict):
        problems.add(place, f"{shown(table)} is no table of settings")
        return None
    entries = cast("dict[str, object]", table)
    before = len(problems)
    hints = hints_of(cls)
    values, known = dict(given or {}), [name for name in hints if name not in (given or {})]
    for key, value in entries.items():
        if key not in known:
            problems.add((*place, key), unknown(key, known))
            continue
        values[key] = _convert(value, hints[key], (*place, key), problems)
    for name in required(cls):
        if name not in values:
            problems.add(place, f"{name} is missing: give {described(hints[name])}")
    return None if len(problems) > before else _made(cls, values, place, problems)


def _made(cls: type[T], values: Mapping[str, Any], place: Place, problems: Problems) -> T | None:
    try:
        return cls(**values)
    except SettingsError as error:
        named = [(*place, *steps) for steps in _named(str(error), values)]
        # Of two that clash one may be a default, or stand in another file.
        problems.add(next((each for each in named if problems.knows(each)), named[0] if named else place), str(error))
        return None


def _named(words: str, values: Mapping[str, object]) -> Iterator[Place]:
    """The settings of this table that the text names, as `name=value` or `name must be`."""
    for name in re.findall(r"([\w.]+)(?:=| must be )", words):
        steps = name.split(".")
        if steps[0] in values:
            yield tuple(steps)
        elif steps[-1] in values:
            yield (steps[-1],)


def hints_of(cls: type[Any]) -> dict[str, Any]:
    """The keys that such a table may have, and the type of each."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.name not in _NOT_IN_TOML}


def settings_of(cls: type[Any]) -> dict[str, Any]:
    """The settings that stand in such a table, and the type of each: its keys, without the name that the table itself has."""
    needed = required(cls)
    return {name: hint for name, hint in hints_of(cls).items() if name != "name" or name not in needed}


def required(cls: type[Any]) -> list[str]:
    """The keys that it must have."""
    missing = dataclasses.MISSING
    return [field.name for field in dataclasses.fields(cls) if field.default is missing and field.default_factory is missing]


def _convert(value: object, hint: Any, place: Place, problems: Problems) -> object:
    classes = [each for each in alternatives(hint) if isinstance(each, type) and dataclasses.is_dataclass(each)]
    if classes and value == NONE and type(None) in alternatives(hint):
        return None
    if classes:
        return build(_chosen(classes, value), value, place, problems)
    kinds = _kinds(hint)
    if kinds:
        return _several(kinds, value, place, problems)
    if get_origin(hint) is Mapping:
        return _mapping(get_args(hint)[1], value, place, problems)
    unit = units.unit_of(place[-1]) if place else None
    try:
        return _plain(_number_of(value, unit), hint)
    except Misfit:
        seen = MASKED if is_secret(place) or (place and place[-1] in _UNQUOTED) else shown(value)
        words = f"{seen} is not {described(hint, unit)}" + (units.suggestion(unit, value) if unit and isinstance(value, str) else "")
        choices = [str(choice) for each in alternatives(hint) if get_origin(each) is Literal for choice in get_args(each)]
        problems.add(place, words + _suggestion(value, choices))
        return None


def _number_of(value: object, unit: units.Unit | None) -> object:
    """Return what a text with a unit means; everything else as it is."""
    number = units.read(unit, value) if unit is not None and isinstance(value, str) else None
    return value if number is None else number


def _chosen(classes: list[type[Any]], value: object) -> type[Any]:
    """Of several kinds of table the one whose first key is there: a window of `calls`, or one of `seconds`."""
    keys = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return next((cls for cls in classes if dataclasses.fields(cls)[0].name in keys), classes[0])


def _kinds(hint: Any) -> list[type[Any]]:
    """Return the kinds of table of which a setting has several; empty if it is none of that."""
    items = alternatives(get_args(hint)[0]) if get_origin(hint) is tuple else ()
    return [each for each in items if isinstance(each, type) and dataclasses.is_dataclass(each)]


def _several(kinds: list[type[Any]], value: object, place: Place, problems: Problems) -> tuple[object, ...]:
    """What has a name is a table of tables, `[topics.orders]`; what has none is a list of tables, `[[faults]]`."""
    named = "name" in hints_of(kinds[0])
    if named and isinstance(value, dict):
        tables = cast("dict[str, object]", value)
        chosen = {name: _kind_of(kinds, table, (*place, name), problems) for name, table in tables.items()}
        return tuple(build(cls, tables[name], (*place, name), problems, {"name": name}) for name, cls in chosen.items() if cls is not None)
    if not named and isinstance(value, list):
        return tuple(build(kinds[0], table, (*place, number), problems) for number, table in enumerate(cast("list[object]", value)))
    key = place[-1]
    wanted = f"tables: write [{key}.NAME] above the settings of each" if named else f"a list of tables: write [[{key}]] above each"
    problems.add(place, f"{shown(value)} is not {wanted}")
    return ()


def _kind_of(kinds: list[type[Any]], table: object, place: Place, problems: Problems) -> type[Any] | None:
    """Of several kinds of table the one that its first setting names. None means that it names none, which `problems` then has."""
    if len(kinds) == 1 or not isinstance(table, dict):
        return kinds[0]
    key = dataclasses.fields(kinds[0])[0].name
    by_choice = {str(choice): cls for cls in kinds for choice in get_args(hints_of(cls)[key])}
    said = cast("dict[str, object]", table).get(key)
    if isinstance(said, str) and said in by_choice:
        return by_choice[said]
    allowed = "one of " + ", ".join(f'"{choice}"' for choice in by_choice)
    if key in table:
        problems.add((*place, key), f"{shown(said)} is not {allowed}{_suggestion(said, by_choice)}")
    else:
        problems.add(place, f"{key} is missing: give {allowed}")
    return None


def _mapping(hint: Any, value: object, place: Place, problems: Problems) -> Mapping[str, object]:
    """A table whose keys are somebody else's."""
    if not isinstance(value, dict):
        problems.add(place, f"{shown(value)} is no table of settings")
        return {}
    return {key: _convert(each, hint, (*place, key), problems) for key, each in cast("dict[str, object]", value).items()}


def _plain(value: object, hint: Any) -> object:
    for each in alternatives(hint):
        try:
            return _one(value, each)
        except Misfit:
            continue
    raise Misfit


def _one(value: object, hint: Any) -> object:
    if hint is type(None) and value == NONE:
        return None
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_plain(item, get_args(hint)[0]) for item in cast("list[object]", value))
    if hint is float and type(value) in {int, float} and _is_finite(cast("float", value)):
        return float(cast("float", value))
    if hint in {int, str, bool} and type(value) is hint:
        return value
    if isinstance(value, Said):
        return _one(_meant(value, hint), hint)
    raise Misfit


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _meant(said: Said, hint: Any) -> object:
    """Return what a variable of the environment says, where a text is not what is wanted: the TOML of its value."""
    if hint is str:
        return str(said)
    try:
        found = tomllib.loads(f"value = {said}")
    except tomllib.TOMLDecodeError:
        raise Misfit from None
    if found.keys() != {"value"} or isinstance(found["value"], str):
        raise Misfit
    return cast("object", found["value"])


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types that a setting may have."""
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def described(hint: Any, unit: units.Unit | None = None) -> str:
    """What is allowed, for a person; of a number with a unit, that it may have one."""
    kinds = [each for each in alternatives(hint) if each is not type(None) or not says_none(hint)]
    return " or ".join(units.EXAMPLES[unit] if unit is not None and each in {float, int} else _described(each) for each in kinds)


def says_none(hint: Any) -> bool:
    """Whether "none" is one of its own words, and so cannot mean None, as an order. Left out it is None."""
    return any(get_origin(each) is Literal and NONE in get_args(each) for each in alternatives(hint))


_WORDS: dict[Any, str] = {float: "a number", int: "a whole number", str: "a text in quotes", bool: "true or false", type(None): f'"{NONE}"'}
_PLURALS: dict[Any, str] = {str: "texts", int: "whole numbers"}


def _described(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return "a table"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(hint))
    if get_origin(hint) is Mapping:
        return "a table"
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return f"a list of {_PLURALS[item]}" if item in _PLURALS else "tables" if "name" in hints_of(item) else "a list of tables"
    return _WORDS[hint]


def shown(value: object) -> str:
    """A value as TOML writes it, as far as a line allows."""
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, ensure_ascii=False, default=str)  # with control characters escaped
    most = 60
    return text if len(text) <= most else text[: most - 3] + "..."


def unknown(key: str, known: Iterable[str]) -> str:
    """What to say of a key that is none: the nearest one that is, or all of them."""
    if key in _NOT_IN_TOML:
        return _NOT_IN_TOML[key]
    names = sorted(known)
    return "is none of those that are known here" + (_suggestion(key, names) or "; these are: " + ", ".join(names))


def _suggestion(value: object, choices: Iterable[str]) -> str:
    near = difflib.get_close_matches(value, list(choices), n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]}?" if near else ""
