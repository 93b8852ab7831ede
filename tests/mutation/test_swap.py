from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("mutmut", reason="make setup brings it")

from tests.mutation.mutants import mutants_of
from tests.mutation.swap import put_in_place

TEXT = """
LIMIT = 3

def asked(times=1):
    return times

class Gate:
    many: int = 5

    @property
    def shut(self):
        return LIMIT < self.many

    @classmethod
    def of(cls):
        return 7
"""


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Any]:
    """A module with one of everything."""
    module = ModuleType("holdgate.example")
    exec(TEXT, vars(module))  # noqa: S102
    sys.modules["holdgate.example"] = module
    (tmp_path / "example.py").write_text(TEXT)
    module.path = tmp_path / "example.py"  # type: ignore[attr-defined]
    yield module
    del sys.modules["holdgate.example"]


def put(example: Any, after: str) -> bool:
    (mutant,) = [it for it in mutants_of(example.path, "core/example.py") if it.after == after]
    return put_in_place(mutant, example)


def test_who_holds_the_function_has_the_mutant(example: Any) -> None:
    """Others have imported it by name: they see the change, too."""
    of = example.Gate.of
    assert put(example, "return 8")
    assert of() == 8


def test_an_object_of_before_has_the_mutant(example: Any) -> None:
    """Its class stays the same, with a property that answers in another way."""
    gate = example.Gate()
    assert put(example, "return LIMIT <= self.many")
    example.LIMIT = gate.many
    assert gate.shut is True


def test_a_default_is_exchanged(example: Any) -> None:
    """Whoever holds the function calls it with the mutant's."""
    asked = example.asked
    assert put(example, "def asked(times=2):")
    assert asked() == 2


def test_a_value_of_a_class_is_exchanged(example: Any) -> None:
    """As a dataclass has for a field."""
    assert put(example, "many: int = 6")
    assert example.Gate.many == 6


def test_a_constant_is_exchanged_where_it_was_imported(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that has it under its own name sees the change."""
    importer: Any = ModuleType("holdgate.importer")
    importer.LIMIT = example.LIMIT
    monkeypatch.setitem(sys.modules, "holdgate.importer", importer)
    assert put(example, "LIMIT = 4")
    assert (example.LIMIT, importer.LIMIT) == (4, 4)
