"""A settings file as text: its tables in order, each value with the line that it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from holdgate.cli.importing.resilience4j import Imported, Nearness, Remark, Value
from holdgate.config.toml_file import Place

_BARE = re.compile(r"[A-Za-z0-9_-]+")
# Shared tables first, as a reader of the file expects them.
_ORDER = ("circuit", "retry", "run", "dependencies")


def written(imported: Imported, source: str) -> str:
    """Return the settings file. `source` is the name of the file that it was made of."""
    tables: dict[Place, dict[str, Value]] = {}
    for value in imported.values:
        table, key = _split(value.place)
        # The same setting of two instances of one name (a bulkhead and a pool, say): the first one stands.
        tables.setdefault(table, {}).setdefault(key, value)
    parts = [f"# Made by `holdgate import resilience4j` of {source}; the line behind each value is the line there.\n"]
    for place in sorted(tables, key=lambda place: (_ORDER.index(place[0]), place)):
        lines = [f"{_key(key)} = {value.text}  # line {value.line}" for key, value in tables[place].items()]
        parts.append("\n".join([f"[{'.'.join(map(_key, place))}]", *lines]) + "\n")
    parts += [_aside(module, name, values) for (module, name), values in imported.asides.items()]
    return "\n".join(parts)


def _aside(module: str, name: str, values: Iterable[Value]) -> str:
    """Return what belongs to a run that only the reader knows, as comments."""
    table = "[runs.NAME.retry]" if module == "retry" else "[runs.NAME]"
    lines = [f"# {_key(value.place[-1])} = {value.text}  # line {value.line}" for value in values]
    return "\n".join([f"# Which run is {_key(name)}'s?", f"# {table}", *lines]) + "\n"


def _split(place: Place) -> tuple[Place, str]:
    return place[:-1], str(place[-1])


def _key(step: object) -> str:
    text = str(step)
    return text if _BARE.fullmatch(text) else json.dumps(text)


def report(imported: Imported, source: str) -> str:
    """Return what became of every property: a section for each kind, and in it a line for each property, in the order of the file."""
    sections: list[str] = []
    for kind in Nearness:
        lines = dict.fromkeys(_line(remark, source) for remark in imported.remarks if remark.kind is kind)
        if lines:
            sections.append("\n".join([f"{kind.value.capitalize()} ({len(lines)}):", *lines]))
    return "\n\n".join([*sections, _CLOSING])


def problems(found: Iterable[tuple[int, str]], source: str) -> list[str]:
    """Return a line for each problem, with the file and the line in front."""
    return [f"{source}:{line}: {words}" for line, words in dict.fromkeys(found)]


def _line(remark: Remark, source: str) -> str:
    return f"  {source}:{remark.line}: {remark.name}: {remark.words}"


_CLOSING = """Not said in any line: a circuit here also opens after 5 failures in a row (consecutive_failures); failures= says which
exceptions count; Resilience4j's defaults are not written, holdgate's own hold. A breaker that only an annotation names has the
configuration `default` there: give its Dependency a table of its own. `holdgate simulate` shows what an outage does then."""
