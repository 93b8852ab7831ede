"""What the last run of the whole table came to: results.json, from which docs/reference/fault-matrix.md is made."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.cells import EVERY_STATE, FAULTS, Broker, Cell, Fault, State
from tests.faults.table import CELLS, ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = Path(__file__).with_name("results.json")
PACKAGES = ("aiokafka", "confluent-kafka", "aio-pika", "aiormq")


def write(outcomes: Mapping[str, Mapping[str, Any]], servers: Mapping[str, str], seconds: float, file: Path = FILE) -> None:
    """Write down a run of the whole table, with what it ran on."""
    versions = {"Python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}, **servers}
    run = {"date": dt.datetime.now(dt.UTC).date().isoformat(), "versions": versions, "cores": os.cpu_count(), "seconds": round(seconds)}
    _write(run, {name: _kept(outcome) for name, outcome in outcomes.items()}, file)


def merge(outcomes: Mapping[str, Mapping[str, Any]], file: Path = FILE) -> None:
    """Put cells that were run again, or are new in the table, into the results of the last whole run; cells that are gone go."""
    before = json.loads(file.read_text())
    run = {name: before[name] for name in ("date", "versions", "cores", "seconds")}
    merged = before["cells"] | {name: _kept(outcome) for name, outcome in outcomes.items()}
    _write(run, {name: cell for name, cell in merged.items() if name in CELLS}, file)


def _write(run: Mapping[str, Any], cells: Mapping[str, Any], file: Path) -> None:
    whole = {**run, "cells": dict(sorted(cells.items())), "rows": [row(each) for each in FAULTS], "elsewhere": dict(ELSEWHERE)}
    file.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def row(fault: Fault) -> dict[str, Any]:
    """Return a row as the page shows it: for each place the cell's name, or the reason why there is none."""
    return {
        "name": fault.name,
        "group": fault.group,
        "sentence": fault.sentence,
        "places": {broker.value: {state.value: _place(fault, broker, state) for state in EVERY_STATE} for broker in Broker},
    }


def _place(fault: Fault, broker: Broker, state: State) -> str:
    return fault.reason(broker, state) or Cell(fault, state, broker).id


def _kept(outcome: Mapping[str, Any]) -> dict[str, Any]:
    return {key: outcome[key] for key in ("result", "seconds", "text") if outcome.get(key)}
