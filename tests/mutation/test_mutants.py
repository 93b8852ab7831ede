from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mutmut", reason="make setup brings it")

from tests.mutation.mutants import mutants_of


def names(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "example.py"
    path.write_text(text)
    return [mutant.name for mutant in mutants_of(path, "core/example.py")]


def test_a_comparison_is_moved_by_one(tmp_path: Path) -> None:
    """A boundary is changed, and told with its function and both lines."""
    assert "Gate.shut: `return a < b` → `return a <= b`" in names(
        tmp_path, "class Gate:\n    def shut(self, a, b):\n        return a < b\n"
    )


def test_a_property_is_changed_too(tmp_path: Path) -> None:
    """What mutmut leaves out because it is decorated."""
    text = "class Gate:\n    @property\n    def shut(self):\n        return not self.open\n"
    assert names(tmp_path, text) == ["Gate.shut: `return not self.open` → `return self.open`"]


def test_a_default_is_changed(tmp_path: Path) -> None:
    """A field of a dataclass has a value that somebody must have looked at."""
    assert "Settings: `calls: int = 10` → `calls: int = 11`" in names(tmp_path, "class Settings:\n    calls: int = 10\n")


def test_what_only_type_checkers_read_stays(tmp_path: Path) -> None:
    """Slots, casts and what is imported for annotations mean nothing at run time, and members of an enum cannot be exchanged."""
    text = 'class State(Enum):\n    OPEN = 1\n\nclass Gate:\n    __slots__ = ("a",)\n\nif TYPE_CHECKING:\n    b = 1\nM = TypeVar("M")\n'
    assert names(tmp_path, text) == []


def test_no_mutant_comes_twice(tmp_path: Path) -> None:
    """Two operators that come to the same text are one mutant."""
    found = names(tmp_path, "def f(a):\n    return g(a, None)\n")
    assert len(found) == len(set(found))


def test_a_mutant_is_one_statement(tmp_path: Path) -> None:
    """Compiled on its own, with its decorators, so that the rest of the module is not run again."""
    path = tmp_path / "example.py"
    path.write_text("first = 1\n\n@marked\nclass Second:\n    value = 2\n")
    mutant = next(it for it in mutants_of(path, "core/example.py") if it.after == "value = 3")
    space: dict[str, object] = {"marked": lambda made: made.value}
    exec(mutant.code(), space)  # noqa: S102
    assert space["Second"] == 3
    assert "first" not in space
