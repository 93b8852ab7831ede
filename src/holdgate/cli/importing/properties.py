"""The properties of a Spring Boot application, from YAML or `.properties`, each with its line.

YAML is only composed into nodes and never constructed: no tag of a file makes an object, and every value stays the text that stands there,
with its line. Spring's own reading decides what a text means (`spring_values.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdgate.errors import MissingExtra, SettingsError

# A file that a person wrote has a few hundred; one with aliases of aliases has as many as it likes.
MOST_PROPERTIES = 20_000
MOST_BYTES = 4 * 1024 * 1024
# Tables, lists and values, each as often as it is reached: ten tables for each property is far more than anybody nests.
MOST_NODES = 10 * MOST_PROPERTIES
# Steps of a path. Spring Boot's own deepest have ten.
MOST_STEPS = 100

_STEP = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_CONTROL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
# The key ends at the first of these that is not escaped.
_PROPERTY = re.compile(r"\s*((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", re.DOTALL)
_MERGE = "tag:yaml.org,2002:merge"
# Under these a document says for which profiles it is; the second is that of older versions.
_PROFILES = (("spring", "config", "activate", "onprofile"), ("spring", "profiles"))


@dataclass(frozen=True, slots=True)
class Property:
    """One property: its path as it is written, its text, and the line of it."""

    path: tuple[str, ...]
    text: str
    line: int

    @property
    def name(self) -> str:
        """The path as `.properties` has it."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class SpringDocument:
    """One document of a file, which holds for the profiles that it names; () means always."""

    line: int
    said: tuple[Property, ...]
    profiles: tuple[str, ...] = ()


@dataclass
class _Flat:
    """Collects what one document of YAML says, and bounds what its aliases may make of a small file."""

    file: str
    said: list[Property] = field(default_factory=list[Property])
    nodes: int = 0
    joined: int = 0

    def reach(self, path: tuple[str, ...], line: int) -> None:
        """Count a node: one without a value in it adds no property, and may be reached without end."""
        self.nodes += 1
        if len(path) > MOST_STEPS:
            raise SettingsError(f"{self.file}: is nested too deeply")
        if self.nodes > MOST_NODES:
            raise SettingsError(f"{self.file}:{line}: more than {MOST_NODES} tables and values: aliases may repeat without end")

    def join(self, items: list[str], line: int) -> str:
        """Join the items of a list. Those of one list are no longer than the file; those of a list that is repeated may be."""
        self.joined += len(items) + sum(map(len, items))
        if self.joined > MOST_BYTES:
            raise SettingsError(f"{self.file}:{line}: lists of more than {MOST_BYTES} letters: aliases may repeat without end")
        return ",".join(items)

    def add(self, path: tuple[str, ...], text: str, line: int) -> None:
        if len(self.said) >= MOST_PROPERTIES:
            raise SettingsError(f"{self.file}:{line}: more than {MOST_PROPERTIES} properties: aliases may repeat without end")
        self.said.append(Property(path, text, line))


def read_documents(file: Path) -> tuple[SpringDocument, ...]:
    """Return the documents of a file. Raises SettingsError with its path, and the line, if it cannot be read, and MissingExtra without the
    extra."""
    if file.suffix not in {".yml", ".yaml", ".properties"}:
        raise SettingsError(f"{file}: must be Spring Boot's YAML or .properties, got a name that ends in {file.suffix!r}")
    try:
        if file.stat().st_size > MOST_BYTES:
            raise SettingsError(f"{file}: is larger than {MOST_BYTES // 1024**2} MiB, which no settings file is")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: is no UTF-8 at byte {error.start}") from error
    return tuple(_of_properties(text) if file.suffix == ".properties" else _of_yaml(str(file), text))


def steps(key: str) -> tuple[str, ...]:
    """Return the steps of a key: at dots, and what is between brackets as it is. `a.b[c.d]` has three."""
    return tuple(bracket or plain for bracket, plain in _STEP.findall(key))


def spelled(step: str) -> str:
    """Return a step without what Spring's relaxed binding does not look at: capitals, dashes and underscores."""
    return step.replace("-", "").replace("_", "").lower()


# -- YAML -----------------------------------------------------------------------------------------------------------------------------


def _of_yaml(file: str, text: str) -> Iterator[SpringDocument]:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("PyYAML is not installed: pip install 'holdgate[import]'") from error
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            flat = _Flat(file)
            _flatten(node, (), flat)
            yield _document(node.start_mark.line + 1, flat.said)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f"{mark.line + 1}: "
        raise SettingsError(f"{file}:{line or ' '}is no YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{file}: is no YAML: {error}") from error
    except RecursionError:
        raise SettingsError(f"{file}: is nested too deeply") from None


def _flatten(node: Any, path: tuple[str, ...], flat: _Flat) -> None:
    """Add every scalar under a node. A list counts as its items, joined as Spring joins them."""
    line = node.start_mark.line + 1
    flat.reach(path, line)
    if node.id == "scalar":
        flat.add(path, node.value, line)
    elif node.id == "sequence":
        if all(item.id == "scalar" for item in node.value):
            flat.add(path, flat.join([item.value for item in node.value], line), line)
        else:
            for number, item in enumerate(node.value):
                _flatten(item, (*path, str(number)), flat)
    else:
        _flatten_mapping(node, path, flat)


def _flatten_mapping(node: Any, path: tuple[str, ...], flat: _Flat) -> None:
    seen: dict[str, int] = {}
    # What is merged in comes first: the last one wins, and that is what stands here itself.
    for key, value in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):
        line = key.start_mark.line + 1
        if key.id != "scalar":
            raise SettingsError(f"{flat.file}:{line}: a key must be a text, got a {key.id}")
        if key.tag == _MERGE:
            for merged in reversed(value.value) if value.id == "sequence" else [value]:
                _flatten(merged, path, flat)
            continue
        if key.value in seen:
            raise SettingsError(f"{flat.file}:{line}: {key.value!r} stands here twice, first in line {seen[key.value]}")
        seen[key.value] = line
        before = len(flat.said)
        _flatten(value, (*path, *steps(key.value)), flat)
        # A value may begin on a later line than its key; a reader looks for the key.
        if value.id != "mapping" and len(flat.said) == before + 1:
            flat.said[-1] = Property(flat.said[-1].path, flat.said[-1].text, line)


# -- .properties ----------------------------------------------------------------------------------------------------------------------


def _of_properties(text: str) -> Iterator[SpringDocument]:
    first, said = 1, list[Property]()
    for number, line in _logical_lines(text):
        if line.strip() in {"#---", "!---"}:
            yield _document(first, said)
            first, said = number + 1, []
        elif line.strip() and line.lstrip()[0] not in "#!":
            found = _PROPERTY.fullmatch(line)
            key, value = ("", "") if found is None else found.groups()
            said.append(Property(steps(_unescaped(key)), _unescaped(value).rstrip(), number))
    yield _document(first, said)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Return lines with their numbers, joined where one ends in a single backslash. A comment never goes on."""
    begun, joined = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        part = line.lstrip() if joined else line
        begun = begun if joined else number
        is_comment = not joined and line.lstrip()[:1] in {"#", "!"}
        if not is_comment and (len(part) - len(part.rstrip("\\"))) % 2:
            joined += part[:-1]
            continue
        yield begun, joined + part
        joined = ""
    if joined:
        yield begun, joined


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1][1:], 16)) if len(found[1]) > 1 else _CONTROL.get(found[1], found[1]), text)


def _document(line: int, said: list[Property]) -> SpringDocument:
    profiles = [each.text for each in said if tuple(map(spelled, each.path)) in _PROFILES]
    return SpringDocument(line, tuple(said), tuple(name.strip() for text in profiles for name in text.split(",")))
