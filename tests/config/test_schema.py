from __future__ import annotations

import dataclasses
import re
import tomllib
from textwrap import dedent
from typing import Any

import pytest
from tests.config.test_intakes import FILE as INTAKES
from tests.config.test_settings import FILE

from holdgate.config.fields import hints_of
from holdgate.config.schema import schema
from holdgate.config.sections import SIMULATED
from holdgate.config.tables import ControlTable, FileTables
from holdgate.core import CircuitSettings, Limits


def fits(value: Any, allowed: dict[str, Any]) -> bool:
    """Whether a value is allowed, by the words of JSON schema that the schema has."""
    if "anyOf" in allowed:
        return any(fits(value, each) for each in allowed["anyOf"])
    if "const" in allowed or "enum" in allowed:
        return value in allowed.get("enum", [allowed.get("const")])
    kind = allowed.get("type")
    if kind == "object":
        known = allowed.get("properties", {})
        rest = allowed.get("additionalProperties", {})
        return (
            isinstance(value, dict)
            and all(key in value for key in allowed.get("required", []))
            and all(fits(each, known[key]) if key in known else rest is not False and fits(each, rest) for key, each in value.items())
        )
    if kind == "array":
        return isinstance(value, list) and all(fits(each, allowed["items"]) for each in value)
    types = {"number": (int, float), "integer": int, "string": str, "boolean": bool}
    if kind is not None and (not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return False
    return "pattern" not in allowed or re.search(allowed["pattern"], value) is not None


def test_a_right_file_fits() -> None:
    """All that a file may have, units and bases too."""
    assert fits(tomllib.loads(dedent(FILE)), schema())


@pytest.mark.parametrize(
    "text",
    [
        "[dependencies.p]\nopen_duration = '5 minutes'",
        "[dependencies.p]\nopen_duraton = 5",
        "[dependencies.p]\nwindow = {buckets = 3}",
        "[dependencies.p]\nfailures = 'os.system'",
        "[retry]\nattempts = 1.5",
        "[retry]\non_exhausted = 'drop'",
        "[guard]\nmemory = '64'",
        "[run]\nneeds = [3]",
        "[gaurd]",
        "[dependencies.p.limits]\nrate = 'many'",
        "[dependencies.p.limits]\nper = '5 minutes'",
        "[dependencies.p.limits]\nconcurrency = 1.5",
        "[control]\npeers = 'http://worker-2'",
        "[fleet]\nquorum = 'two'",
        "[fleet.kafka]\ntopic = 'fleet'",
        "[fleet.kafka]\nbootstrap_servers = 'kafka:9092'\nsecurity_protocol = 'TLS'",
        "[fleet.redis]\nurl = 'redis://localhost/0'\nstream = 'fleet'",
        "[intakes.orders]\nclient = 'confluent'",
        "[intakes.orders]\nclient = 'kafka'\nsettings = {}",
        "[intakes.orders]\nclient = 'confluent'\nin_hand = 3\nsettings = {}",
        "[intakes.orders]\nclient = 'share'\nsettings = {}",
        "[intakes.orders]\nclient = 'confluent'\nsettings.debug = ['all']",
    ],
)
def test_what_the_schema_can_know_does_not_fit(text: str) -> None:
    """An editor underlines it."""
    assert not fits(tomllib.loads(text), schema())


@pytest.mark.parametrize(
    "text", ["dependencies.p.open_duration = '1m30s'", "dependencies.p.open_share = '20%'", "dependencies.p.slow_call_duration = 'none'"]
)
def test_units_and_none_fit(text: str) -> None:
    """As people write them."""
    assert fits(tomllib.loads(text), schema())


def test_both_kinds_of_intakes_fit() -> None:
    """With names in quotes and without."""
    assert fits(tomllib.loads(dedent(INTAKES)), schema())


def test_it_has_every_table_and_every_setting() -> None:
    """A new one is in it without anybody's thinking of it."""
    made = schema()["properties"]
    assert set(made) == {field.name for field in dataclasses.fields(FileTables)} | {"circuit", "bases", "retry"}
    section = made["dependencies"]["additionalProperties"]["properties"]
    assert set(hints_of(CircuitSettings)) | SIMULATED | {"base", "circuit", "failures", "limits", "probe_timeout"} == set(section)
    assert section["open_share"]["default"] == 0.1
    limits = section["limits"]["anyOf"][0]["properties"]
    assert set(limits) == {field.name for field in dataclasses.fields(Limits)}
    assert set(made["control"]["properties"]) == {field.name for field in dataclasses.fields(ControlTable)}
