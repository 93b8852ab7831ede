from __future__ import annotations

from typing import Any

import pytest

from holdgate.config import units
from holdgate.config.fields import alternatives, hints_of
from holdgate.config.fleet_table import FleetTable
from holdgate.config.intakes import ConfluentTable, ShareTable
from holdgate.config.tables import ControlTable, DependencyTable, GuardTable, LogTable, RunTable
from holdgate.core import CircuitSettings, RampSettings, TimeWindow
from holdgate.flow.policy import RetryPolicy

# Numbers that have no unit: a factor, and a chance that nobody writes in percent.
PLAIN = {"growth", "open_multiplier", "multiplier", "doubt"}


@pytest.mark.parametrize(
    ("unit", "text", "number"),
    [
        ("duration", "30s", 30.0),
        ("duration", "5m", 300.0),
        ("duration", "1h30m", 5400.0),
        ("duration", "200ms", 0.2),
        ("duration", " 1.5d ", 129600.0),
        ("ratio", "50%", 0.5),
        ("ratio", "2.5 %", 0.025),
        ("size", "64MiB", 64 * 1024 * 1024),
        ("size", "64 MB", 64_000_000),
        ("size", "10kB", 10_000),
        ("size", "7B", 7),
    ],
)
def test_what_people_write_is_read(unit: units.Unit, text: str, number: float) -> None:
    """Seconds, ratios and bytes."""
    assert units.read(unit, text) == pytest.approx(number)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("duration", "30"),
        ("duration", "5 minutes"),
        ("duration", "-3s"),
        ("duration", ""),
        ("ratio", "half"),
        ("size", "64"),
        ("size", "x"),
    ],
)
def test_everything_else_means_nothing(unit: units.Unit, text: str) -> None:
    """A text without a unit is a slip as well."""
    assert units.read(unit, text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("5 minutes", '; write "5m"'), ("2 Hours", '; write "2h"'), ("1,5 sec", '; write "1.5s"'), ("3 fortnights", ""), ("soon", "")],
)
def test_a_spoken_duration_is_answered_with_what_is_right(text: str, words: str) -> None:
    """Where it can be guessed."""
    assert units.suggestion("duration", text) == words


def test_only_durations_are_guessed() -> None:
    """Five minutes are no ratio."""
    assert units.suggestion("ratio", "5 minutes") == ""


@pytest.mark.parametrize(
    "table",
    [
        CircuitSettings, RampSettings, TimeWindow, RetryPolicy, DependencyTable, GuardTable, LogTable, RunTable, ControlTable, FleetTable,
        ConfluentTable, ShareTable,
    ],
)  # fmt: skip
def test_every_number_with_a_fraction_has_a_unit(table: type[Any]) -> None:
    """So that a new setting is not forgotten in the lists."""
    floats = {name for name, hint in hints_of(table).items() if float in alternatives(hint)}
    assert {name for name in floats if units.unit_of(name) is None} <= PLAIN
