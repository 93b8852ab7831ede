"""The JSON schema of a settings file, made of the tables, for editors that complete and check TOML by one.

It knows types, names and fixed choices. What two settings must be to each other only `holdgate config check` knows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from holdgate.config import units
from holdgate.config.fields import NONE, alternatives, required, says_none, settings_of
from holdgate.config.fleet_table import FleetTable
from holdgate.config.intakes import ConfluentTable, ShareTable
from holdgate.config.sections import SIMULATED
from holdgate.config.tables import ControlTable, DependencyTable, GuardTable, RunTable
from holdgate.core import CircuitSettings
from holdgate.flow.policy import RetryPolicy

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_TEXTS: dict[units.Unit, str] = {
    "duration": r"^\s*([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+\s*$",
    "ratio": r"^\s*[0-9]+(\.[0-9]+)? ?%\s*$",
    "size": r"^\s*[0-9]+ ?([kKMGT]i?)?B\s*$",
}
_TYPES = {float: "number", int: "integer", str: "string", bool: "boolean"}

Schema = dict[str, Any]


def schema() -> Schema:
    """Return the schema of a whole file, as JSON has it."""
    circuit = _table(CircuitSettings)
    section = _table(DependencyTable)
    # A circuit's settings stand in the section or in its own table; what is a simulation's is let through.
    section["properties"] |= {**circuit["properties"], "base": {"type": "string"}, **{key: {} for key in sorted(SIMULATED)}}
    run = _table(RunTable)
    return {
        "$schema": DRAFT,
        "title": "Settings of holdgate",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "circuit": circuit,
            "bases": {"type": "object", "additionalProperties": section},
            "dependencies": {"type": "object", "additionalProperties": section},
            "retry": _table(RetryPolicy),
            "guard": _table(GuardTable),
            "control": _table(ControlTable),
            "fleet": _table(FleetTable),
            "run": run,
            "runs": {"type": "object", "additionalProperties": run},
            "intakes": {"type": "object", "additionalProperties": {"anyOf": [_of_kind(ConfluentTable), _of_kind(ShareTable)]}},
        },
    }


def _table(cls: type[Any]) -> Schema:
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    properties = {name: _with_default(_setting(hint, name), defaults[name]) for name, hint in settings_of(cls).items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _of_kind(cls: type[Any]) -> Schema:
    """A table of which there are several kinds: its first setting says which one it is."""
    return {**_table(cls), "required": [name for name in required(cls) if name != "name"]}


def _with_default(made: Schema, default: object) -> Schema:
    is_plain = isinstance(default, str | bool | int) or (isinstance(default, float) and math.isfinite(default))
    return {**made, "default": float(default) if isinstance(default, float) else default} if is_plain else made


def _setting(hint: Any, name: str) -> Schema:
    allowed = [_one(each, units.unit_of(name)) for each in alternatives(hint) if each is not type(None) or not says_none(hint)]
    flat = [choice for each in allowed for choice in each.get("anyOf", [each])]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def _one(hint: Any, unit: units.Unit | None) -> Schema:
    if dataclasses.is_dataclass(hint):
        made = _table(hint)  # type: ignore[arg-type]
        first = dataclasses.fields(hint)[0]
        # Of a window the first setting says which kind it is.
        return {**made, "required": [first.name]} if first.default is dataclasses.MISSING else made
    if hint is type(None):
        return {"const": NONE}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) is Mapping:
        # Names with dots are tables within tables, unless they stand in quotes.
        values = [_one(each, None) for each in alternatives(get_args(hint)[1])]
        return {"type": "object", "additionalProperties": {"anyOf": [*values, {"type": "object"}]}}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _one(get_args(hint)[0], None)}
    plain: Schema = {"type": _TYPES[hint]}
    return {"anyOf": [plain, {"type": "string", "pattern": _TEXTS[unit]}]} if unit is not None else plain
