"""The page of the architecture: its map is complete, and its stories pass the files that run."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from benchmarks.trace_files import GOOD, OUTAGE, RETRIED, Trace, on_memory
from docs.generate import file_map
from docs.generate.pages import ROOT

PACKAGE = ROOT / "src" / "holdgate"
TEXT = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
# From a heading to the next one, whatever their levels.
SECTIONS: dict[str, str] = dict(re.findall(r"^#+ (.+?)\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL))
STORIES = {
    GOOD: ["A turn", "A good message"],
    RETRIED: ["A turn", "A good message", "A message that fails once and is retried"],
    OUTAGE: ["A turn", "A good message", "A message that fails once and is retried", "An outage"],
}


def named(text: str) -> set[str]:
    """Every file that stands in code, with its folder."""
    return set(re.findall(r"`((?:[\w.]+/)*\w+\.(?:py|md|toml))`", text))


@pytest.fixture(scope="module")
def traces() -> dict[str, Trace]:
    return on_memory()


def test_every_file_is_on_the_map_once() -> None:
    """A file that is new, moved or renamed is put where a reader looks for it."""
    mapped = Counter(path for line in re.findall(r"^<!-- generate: files (.+) -->$", TEXT, re.MULTILINE) for path in line.split())
    there = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}

    assert not {path for path, times in mapped.items() if times > 1}
    assert set(mapped) == there


def test_every_folder_of_the_laboratory_is_on_the_map() -> None:
    """It is a package of its own, and shown by its folders."""
    there = {path.parent.name for path in (ROOT / "src" / "holdgate_lab").glob("*/__init__.py")}

    assert there == set(re.findall(r"\(\.\./\.\./src/holdgate_lab/(\w+)\)", TEXT))


def test_every_file_that_is_named_exists() -> None:
    """In the package, or from the root of the repository."""
    paths = named(TEXT)

    assert len(paths) > 50
    assert not [path for path in paths if not (PACKAGE / path).is_file() and not (ROOT / path).is_file()]


@pytest.mark.parametrize("story", STORIES)
def test_a_story_names_every_file_that_runs_in_it(traces: dict[str, Trace], story: str) -> None:
    """As `make trace ARGS=--files` counts them on the broker in memory: a later story goes on where an earlier one ends."""
    paths = {path for head in STORIES[story] for path in named(SECTIONS[head])}

    assert not [path for path in traces[story].functions if path not in paths]


def test_no_file_is_named_in_these_stories_that_does_not_run(traces: dict[str, Trace]) -> None:
    """The files of a broker apart: what runs there is not counted on the broker in memory."""
    paths = {path for head in STORIES[OUTAGE] for path in named(SECTIONS[head]) if not path.startswith("brokers/")}

    assert not [path for path in paths if path not in traces[OUTAGE].functions]


def test_every_class_and_method_that_is_named_exists() -> None:
    """`RetryPolicy.wait` beside a file is a name of that file."""
    pairs = re.findall(r"`([\w/]+\.py)` \(`([\w.]+)`\)", TEXT)

    assert len(pairs) > 2
    for path, name in pairs:
        text = (PACKAGE / path).read_text()
        assert all(re.search(rf"^\s*(?:class|def|async def) {part}\b", text, re.MULTILINE) for part in name.split(".")), (path, name)


def test_a_file_without_a_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without a docstring, and one that is gone: the error says what to mend."""
    (tmp_path / "bare.py").write_text("X = 1\n")
    monkeypatch.setattr(file_map, "_PACKAGE", tmp_path)

    with pytest.raises(ValueError, match=r"bare\.py has no docstring"):
        file_map.files("bare.py")
    with pytest.raises(ValueError, match=r"gone\.py, which does not exist"):
        file_map.files("gone.py")
