"""One class for its reader: how it is imported, what its docstring says, and its fields or properties, each with its type."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from docs.generate.public_api import value_text
from docs.generate.tables import sentence, table

from holdgate import events
from holdgate.flow import message


def described(module: str, name: str) -> str:
    """Make the description of one public class, without a heading."""
    return _described(module, getattr(importlib.import_module(module), name))


def event_sections() -> str:
    """Make a section for each event, in the order of `holdgate.events`; what all of a kind carry is said once, with their root."""
    classes = [each for name in events.__all__ if inspect.isclass(each := getattr(events, name)) and dataclasses.is_dataclass(each)]
    return "\n\n".join(f"### {each.__name__}\n\n{_described(events.__name__, each)}" for each in classes)


def instead_table() -> str:
    """Make a table of what people look for in a delivery, and what its error says to them."""
    by_remedy: dict[str, list[str]] = {}
    for name, remedy in message._INSTEAD.items():  # noqa: SLF001 - the page shows what the code answers
        by_remedy.setdefault(remedy, []).append(f"`.{name}`")
    return table(("you look for", "the error says"), [(", ".join(names), remedy) for remedy, names in by_remedy.items()])


def _described(module: str, each: type) -> str:
    parts = [f"`from {module} import {each.__name__}`", *_paragraphs(each), _fields(each), _properties(each)]
    return "\n\n".join(part for part in parts if part)


def _paragraphs(each: type) -> Iterator[str]:
    """Yield the docstring's paragraphs. A list stays one, each of its points in a line."""
    for paragraph in (inspect.getdoc(each) or "").split("\n\n"):
        if paragraph.startswith("- "):
            yield "\n".join(f"- {sentence(point)}" for point in f"\n{paragraph}".split("\n- ")[1:])
        else:
            yield sentence(paragraph)


def _fields(each: type) -> str:
    if not dataclasses.is_dataclass(each):
        typed = {name: kind for base in reversed(each.__mro__) for name, kind in inspect.get_annotations(base).items() if name[0] != "_"}
        return table(("attribute", "type"), [(f"`{name}`", f"`{kind}`") for name, kind in typed.items()]) if typed else ""
    rows = [(f"`{field.name}`", f"`{field.type}`", _default(field)) for field in dataclasses.fields(each)]
    return table(("field", "type", "default"), rows)


def _default(field: dataclasses.Field[Any]) -> str:
    return "" if field.default is dataclasses.MISSING else f"`{value_text(field.default)}`"


def _properties(each: type) -> str:
    """Return what else can be read and called, in the order of the alphabet. What an observer needs not know, begins with a `_`."""
    rows: list[tuple[str, str]] = []
    for name, value in sorted(vars(each).items()):
        if name.startswith("_"):
            continue
        if isinstance(value, property | cached_property):
            rows.append((f"`{name}`", sentence(inspect.getdoc(value))))
        elif inspect.isfunction(value):
            rows.append((f"`{name}{_arguments(value)}`", sentence(inspect.getdoc(value))))
    return table(("to read or call", "what it is"), rows) if rows else ""


def _arguments(function: Any) -> str:
    signature = inspect.signature(function)
    kept = [each.replace(annotation=each.empty) for each in signature.parameters.values() if each.name != "self"]
    return str(signature.replace(parameters=kept, return_annotation=signature.empty))
