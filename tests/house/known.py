"""What is known to break a rule: for good (allowed.toml), or until it is mended (not_yet.toml).

An entry that breaks nothing any more is a failure, so the lists only become shorter. `python -m tests.house --shrink` drops those entries.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.house.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = ROOT / "tests" / "house"
ALLOWED, NOT_YET = FOLDER / "allowed.toml", FOLDER / "not_yet.toml"

# For each rule, what breaks it (a path, a class name) and why that is so.
Known = dict[str, dict[str, str]]


def load(path: Path) -> Known:
    """Read one of the lists. Raises ValueError if its count is not the number of its entries."""
    known = {}
    for rule, section in tomllib.loads(path.read_text()).items():
        known[rule] = section["known"]
        if section["count"] != len(known[rule]):
            raise ValueError(f"{path.name}: [{rule}] must say count = {len(known[rule])}, got {section['count']}")
    return known


def complaints(found: Mapping[str, str], allowed: Mapping[str, str], not_yet: Mapping[str, str]) -> list[str]:
    """List what breaks the rule and is not known, and what is known and does not break it."""
    new = [f"{key}: {what}" for key, what in found.items() if key not in allowed and key not in not_yet]
    listed = [(ALLOWED.name, key) for key in allowed] + [(NOT_YET.name, key) for key in not_yet]
    fine = [f"{key} no longer breaks the rule: drop it from {name}" for name, key in listed if key not in found]
    twice = [f"{key} stands in both lists" for key in sorted(allowed.keys() & not_yet.keys())]
    return [*new, *sorted(fine), *twice]


def shrunk(known: Known, found: Mapping[str, Mapping[str, str]]) -> Known:
    """Return the list without the entries that no longer break their rule."""
    return {rule: {key: why for key, why in entries.items() if key in found[rule]} for rule, entries in known.items()}


def save(path: Path, known: Known) -> None:
    """Write a list. The comment above its first section stays."""
    head = path.read_text().partition("\n[")[0] if path.exists() else ""
    sections = [_section(rule, entries) for rule, entries in known.items() if entries]
    path.write_text("\n\n".join([head.rstrip("\n"), *sections]) + "\n")


def _section(rule: str, entries: Mapping[str, str]) -> str:
    lines = [f"{json.dumps(key)} = {json.dumps(why, ensure_ascii=False)}" for key, why in sorted(entries.items())]
    return "\n".join([f"[{rule}]", f"count = {len(entries)}", f"[{rule}.known]", *lines])
