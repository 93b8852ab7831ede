"""Whatever tells a reader to install an extra names one that exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])

# holdgate[kafka,cli], and '.[kafka]' in a clone.
_EXTRA = re.compile(r"(?:holdgate|['\"]\.)\[([a-z, ]+)\]")
_PLACES = ("README.md", "docs/**/*.md", "src/**/*.py", "examples/*.py", "findings/*.sh", ".ci/*")


def named() -> list[tuple[str, str]]:
    """Return each file that names extras, with these, as `kafka,cli`."""
    return [
        (str(path.relative_to(ROOT)), extras)
        for place in _PLACES
        for path in sorted(ROOT.glob(place))
        if path.is_file()
        for extras in dict.fromkeys(_EXTRA.findall(path.read_text()))
    ]


def test_there_is_something_to_test() -> None:
    """The pattern finds what the code says when a client is missing."""
    assert {("src/holdgate/brokers/kafka/__init__.py", "kafka"), ("src/holdgate/cli/replay/rabbitmq.py", "rabbitmq,cli")} <= set(named())


@pytest.mark.parametrize(("file", "extras"), named())
def test_each_extra_exists(file: str, extras: str) -> None:
    """In pyproject.toml."""
    missing = {name.strip() for name in extras.split(",")} - EXTRAS
    assert not missing, f"{file} names {sorted(missing)}"


def test_each_command_comes_with_an_extra() -> None:
    """A text that says what something comes with, or what is not installed, says how to install it."""
    texts = [
        (path.relative_to(ROOT), line.strip())
        for path in sorted((ROOT / "src").rglob("*.py"))
        for line in path.read_text().splitlines()
        if "MissingExtra(" in line and "class " not in line
    ]
    assert texts
    assert [found for found in texts if not _EXTRA.search(found[1])] == []
