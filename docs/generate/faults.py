"""The table of faults and states, from the results that the last run of the whole table left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.generate.tables import table

RESULTS = Path(__file__).parents[2] / "tests/faults/results.json"

_STATES = ("Closed", "Tripping", "Open", "Half-open", "Ramping", "Shutting down")
_MARKS = {"held": "held", "violated": "**violated**", "failed": "**failed**", "skipped": "not run", "missed": "**missed**"}


def summary(file: Path = RESULTS) -> str:
    """How many cells were run, on what, when, and what came of them."""
    results = json.loads(file.read_text())
    counts = Counter(cell["result"] for cell in results["cells"].values())
    reasons = sum(1 for row in results["rows"] for place in _places(row).values() if place not in results["cells"])
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"Run on {results['date']} in {results['seconds'] / 60:.0f} minutes on {results['cores']} cores with {versions}.",
        "",
        f"**{len(results['cells'])} cells were run: in {counts['held']} every invariant held**"
        + "".join(f", {count} {result}" for result, count in sorted(counts.items()) if result != "held")
        + f". {reasons} places of the table do not apply, each with its reason below.",
    ]
    return "\n".join(lines)


def matrix(broker: str, file: Path = RESULTS) -> str:
    """One broker's table: a row for each fault, a column for each state."""
    results = json.loads(file.read_text())
    return table(["fault", *_STATES], [[_named(row), *_marks(row, broker, results["cells"])] for row in results["rows"]])


def sentences(file: Path = RESULTS) -> str:
    """What each fault is."""
    rows = json.loads(file.read_text())["rows"]
    return table(["fault", "what is done"], [[_named(row), row["sentence"]] for row in rows])


def reasons(file: Path = RESULTS) -> str:
    """Why some places are empty, and where what is in no row is shown."""
    results = json.loads(file.read_text())
    found: dict[tuple[str, str], list[str]] = {}
    for row in results["rows"]:
        for (broker, state), place in _places(row).items():
            if place not in results["cells"]:
                found.setdefault((row["name"], place), []).append(f"{broker} {state}")
    lines = [f"- {name}, {_where(places)}: {reason.removeprefix('does not apply: ')}" for (name, reason), places in found.items()]
    lines += [f"- {what}, in no row of its own: {where}" for what, where in results["elsewhere"].items()]
    return "\n".join(lines)


def failures(file: Path = RESULTS) -> str:
    """What did not hold, in the checker's words."""
    cells = json.loads(file.read_text())["cells"]
    wrong = [f"- {name}: {cell['result']}: {_last_line(cell)}" for name, cell in cells.items() if cell["result"] != "held"]
    return "\n".join(wrong) or "Nothing."


def _last_line(cell: Mapping[str, Any]) -> str:
    return str(cell.get("text", "")).strip().rpartition("\n")[2]


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['group']}: {row['name']}"


def _marks(row: Mapping[str, Any], broker: str, cells: Mapping[str, Any]) -> list[str]:
    places = row["places"][broker]
    return [_MARKS[cells[places[state]]["result"]] if places[state] in cells else "-" for state in _STATES]


def _places(row: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    return {(broker, state): place for broker, states in row["places"].items() for state, place in states.items()}


def _where(places: list[str]) -> str:
    """Name a whole broker in one word."""
    brokers = {place.split(" ")[0] for place in places}
    whole = [broker for broker in sorted(brokers) if sum(place.startswith(broker) for place in places) == len(_STATES)]
    rest = [place for place in places if place.split(" ")[0] not in whole]
    return ", ".join([*(f"on {broker}" for broker in whole), *rest])
