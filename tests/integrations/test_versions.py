"""Which versions of a framework an integration accepts: those of its extra, and no others."""

from __future__ import annotations

import runpy
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import holdgate.integrations
from holdgate.errors import MissingExtra
from holdgate.slips import other_version

FOLDER = Path(holdgate.integrations.__file__).parent
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
FILES = {"faststream": FOLDER / "faststream" / "__init__.py", "celery": FOLDER / "celery" / "__init__.py", "taskiq": FOLDER / "taskiq.py"}
EXTRAS = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("faststream", "0.6.0"),
        ("faststream", "0.7.7"),
        ("faststream", "0.8.0rc1"),
        ("celery", "5.5.3"),
        ("celery", "5.8.0"),
        ("taskiq", "0.11.18"),
    ],
)
def test_another_version_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch, package: str, version: str) -> None:
    """Its inside may differ, and a guard that does not hold would not show it: the error names both versions, and the command."""
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'holdgate[{package}]'")
    monkeypatch.setattr(metadata, "version", lambda _: version)

    with pytest.raises(MissingExtra, match=rf"needs {package} .* got {version}: pip install 'holdgate\[{package}\]'"):
        runpy.run_path(str(FILES[package]))


@pytest.mark.parametrize("extra", FILES)
def test_the_versions_are_those_of_the_extra(extra: str) -> None:
    """A pin that is raised in pyproject.toml alone would refuse what the extra installs."""
    for requirement in EXTRAS[extra]:
        package, _, versions = requirement.partition(">=")
        lowest, _, below = versions.partition(",<")
        as_code = "(" + ", ".join(lowest.split(".")) + "), (" + ", ".join(below.split(".")) + ")"
        assert f'"{package}", {as_code}' in FILES[extra].read_text()


@pytest.mark.parametrize(
    ("version", "is_right"), [("0.7.8", True), ("0.7.12", True), ("0.7.8.post1", True), ("0.7.7", False), ("0.8.0", False)]
)
def test_versions_are_compared_by_number(monkeypatch: pytest.MonkeyPatch, version: str, *, is_right: bool) -> None:
    """Later patches mend what was run."""
    monkeypatch.setattr(metadata, "version", lambda _: version)

    assert (other_version("faststream", (0, 7, 8), (0, 8)) is None) is is_right


def test_a_package_of_which_nobody_knows_the_version_is_accepted() -> None:
    """It was put there by hand."""
    assert other_version("no-such-package-here", (1,), (2,)) is None
