from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.mutation import page, results
from tests.mutation.results import ANY_FILE, Argument, FileResult, argued, arguments, keep, load

SOURCES = Path(__file__).parents[2] / "src" / "holdgate"


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"core/a.py": FileResult("", 3, ["f: `x = 1` → `x = 2`"]), "flow/b.py": FileResult("", 1)}
    keep(found, tmp_path / "results.json")
    (tmp_path / "argued.toml").write_text("""[["core/a.py"]]\nmutant = "f: `x = 1`"\nwhy = "nobody reads it"\n""")
    monkeypatch.setattr(page, "load", lambda: load(tmp_path / "results.json"))
    monkeypatch.setattr(page, "arguments", lambda: arguments(tmp_path / "argued.toml"))


def test_the_score_is_of_each_file_and_of_all() -> None:
    """Three of four mutants were noticed."""
    lines = page.score_table().splitlines()
    assert lines[2:] == [
        "| `core/a.py` | 3 | 1 | 66.7 % |",
        "| `flow/b.py` | 1 | 0 | 100.0 % |",
        "| **core** | 3 | 1 | 66.7 % |",
        "| **flow** | 1 | 0 | 100.0 % |",
        "| **both** | 4 | 1 | 75.0 % |",
    ]


def test_a_survivor_stands_with_its_reason() -> None:
    """The argument is found by how the mutant's name begins."""
    assert page.survivors_list() == "`core/a.py`\n\n- f: `x = 1` → `x = 2`: nobody reads it"


def test_an_argument_is_for_its_file_alone() -> None:
    """The same line in another file is another question."""
    (known,) = page.arguments()
    assert argued("core/a.py", "f: `x = 1` → `x = 3`", [known]) is known
    assert argued("flow/b.py", "f: `x = 1` → `x = 3`", [known]) is None


def test_an_argument_by_kind_is_for_every_file() -> None:
    """Three points stand for any text, and the rest is as it is written."""
    known = [Argument("….__init__: `self.… = False… → `self.… = None", "as false", ANY_FILE)]
    assert argued("core/a.py", "A.__init__: `self.is_b = False` → `self.is_b = None`", known) is known[0]
    assert argued("flow/b.py", "B.__init__: `self._c = False` → `self._c = None`", known) is known[0]
    assert argued("flow/b.py", "B.__init__: `self._c = False` → `self._c = True`", known) is None
    assert argued("flow/b.py", "B.f: `self._c = False` → `self._c = None`", known) is None


def functions_of(path: Path) -> set[str]:
    """Every function, method and class of a file, by its qualified name."""
    found: set[str] = set()

    def look(node: ast.AST, inside: str) -> None:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            name = f"{inside}{child.name}" if named else ""
            found.update({name} - {""})
            look(child, f"{name}." if named else inside)

    look(ast.parse(path.read_text()), "")
    return found


def test_every_argument_is_about_a_function_that_is_there() -> None:
    """One that has moved to another file, or has another name, would argue about nothing, and leave its survivor without a reason."""
    scopes = {(it.file, it.mutant.partition(":")[0]) for it in results.arguments() if it.file != ANY_FILE}
    gone = [
        f"{file}: {scope}"
        for file, scope in sorted(scopes)
        if not (SOURCES / file).exists() or (scope != "module" and scope not in functions_of(SOURCES / file))
    ]
    assert gone == []


def test_every_survivor_that_is_kept_is_argued() -> None:
    """The page in this repository has no line that says that a test is missing."""
    known = results.arguments()
    assert [name for file, it in results.load().items() for name in it.survivors if argued(file, name, known) is None] == []
