"""What the failures of clients are taken for: the tables that the last run of `make test-clients` left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.generate.tables import table

RESULTS = Path(__file__).parents[2] / "tests/clients/results.json"
OUTAGE = Path(__file__).parents[2] / "tests/clients/outage.json"


def verdicts(family: str, file: Path = RESULTS) -> str:
    """A family's table of clients and situations; the longer side goes down."""
    clients: Mapping[str, Any] = json.loads(file.read_text())[family]
    situations = list(dict.fromkeys(situation for client in clients.values() for situation in client["cells"]))
    rows = [[_mark(client, situation) for situation in situations] for client in clients.values()]
    names = list(clients)
    if len(situations) > len(names):
        return _named("situation", names, situations, [list(column) for column in zip(*rows, strict=True)])
    return _named("client", situations, names, rows)


def raised(family: str, file: Path = RESULTS) -> str:
    """What each client of a family raised, and in which situations."""
    rows: list[Sequence[str]] = []
    for name, client in json.loads(file.read_text())[family].items():
        of_class: dict[str, list[str]] = {}
        for situation, cell in client["cells"].items():
            of_class.setdefault(cell["raised"], []).append(situation)
        told = "; ".join(f"`{cls}`: {', '.join(situations)}" for cls, situations in of_class.items())
        rows.append((name, client["version"] or "Python's", told))
    return table(("client", "version", "raises"), rows)


def outage(file: Path = OUTAGE) -> str:
    """What the last outage of the whole table came to, by environment and broker."""
    rows: list[Sequence[str]] = []
    for environment, run in json.loads(file.read_text()).items():
        for broker, seen in run["brokers"].items():
            dead = f"{seen['buried'] - seen['poison']} of {seen['good']:,}"
            numbers = (f"{seen[key]:,}" for key in ("handlers", "failures", "openings", "processed"))
            rows.append((f"{broker} (`.venv-{environment}`)", f"{run['seconds']:.0f} s", *numbers, dead, f"{seen['poison']:,}"))
    heads = (
        "broker",
        "outage",
        "handlers",
        "failures met",
        "openings",
        "good messages processed",
        "good ones buried",
        "poison buried",
    )
    return table(heads, rows)


def _named(corner: str, heads: Sequence[str], firsts: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table((corner, *heads), [(first, *row) for first, row in zip(firsts, rows, strict=True)])


def _mark(client: Mapping[str, Any], situation: str) -> str:
    cell = client["cells"].get(situation)
    return "-" if cell is None else str(cell["verdict"])
