"""What `import holdgate` loads, and when."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import holdgate


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after `code`, beside those of asyncio and anyio."""
    start = "import asyncio, anyio, anyio._backends._asyncio, sys; before = set(sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", f"{start}\n{code}\nprint(*sorted(set(sys.modules) - before), sep='\\n')"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(run.stdout.split())


def test_every_public_name_is_there() -> None:
    """Each of `__all__` can be had, is listed by `dir`, and stays the same object."""
    for name in holdgate.__all__:
        assert getattr(holdgate, name) is getattr(holdgate, name)
    assert set(holdgate.__all__) <= set(dir(holdgate))
    assert sorted(holdgate._HOME_OF) == sorted(holdgate.__all__)


def test_type_checkers_are_told_the_same() -> None:
    """The imports that only they read, and the table that the interpreter reads."""
    blocks = [node for node in ast.parse(Path(holdgate.__file__).read_text()).body if isinstance(node, ast.If)]
    (guarded,) = [node for node in blocks if isinstance(node.test, ast.Name)]

    told = [(node.module, tuple(alias.name for alias in node.names)) for node in guarded.body if isinstance(node, ast.ImportFrom)]

    assert [name for module, names in told if module == "holdgate" for name in names] == list(holdgate._MODULES)
    assert {module: names for module, names in told if module != "holdgate"} == holdgate._HOMES


@pytest.mark.parametrize("module", ["core", "errors", "events", "ports"])
def test_public_modules_need_no_import_of_their_own(module: str) -> None:
    """`holdgate.errors.SettingsError` after a plain `import holdgate`."""
    assert f"holdgate.{module}" in loaded_by(f"import holdgate; holdgate.{module}")


def test_an_unknown_name_is_an_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="module 'holdgate' has no attribute 'Gaurd'"):
        holdgate.Gaurd  # noqa: B018 - the look-up is the test


def test_import_loads_what_is_used() -> None:
    """Nothing beside the package itself, and for a dependency alone no engine."""
    assert {name for name in loaded_by("import holdgate") if name.startswith("holdgate")} == {"holdgate"}
    assert "holdgate.flow.engine" not in loaded_by("from holdgate import Dependency")
    assert "holdgate.flow.engine" in loaded_by("from holdgate import Guard")


def test_a_guard_loads_nothing_heavy_of_the_standard_library() -> None:
    """What only some programs need is imported where they need it."""
    heavy = {"pathlib", "urllib.parse", "sysconfig", "random", "datetime", "traceback"}

    assert loaded_by("from holdgate import Guard, Parking") & heavy == set()
