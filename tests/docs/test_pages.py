"""The pages: nothing generated is stale, no link is dead, no command is made up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from docs.generate.pages import ROOT, pages, render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = pages()
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(prose(page))}


def links(page: Path) -> Iterator[tuple[str, str, str]]:
    """Text, path and anchor of every link into this repository."""
    for text, target in LINK.findall(prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield text, path, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_generated_is_stale(page: Path) -> None:
    """Code, tables and diagrams are what the code makes of them now."""
    text = page.read_text()

    assert render(text) == text, "run `python -m docs.generate` and commit what it changes"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file or folder that exists and, where it names one, to a heading in it."""
    for _, path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} does not exist"
        assert not anchor or anchor in anchors(target), f"{path or page.name} has no heading for #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_a_page_is_a_file_that_runs(page: Path) -> None:
    """A block of Python stands between the marks of a generated block, never by itself."""
    by_hand = re.sub(r"<!-- generate: .+?<!-- end -->", "", page.read_text(), flags=re.DOTALL)

    assert "```python" not in by_hand


def test_every_page_can_be_found() -> None:
    """The index links to each page under docs, and the README to the index."""
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / path).resolve() for _, path, _ in links(index)}

    assert linked >= set(PAGES) - {index, ROOT / "README.md"}
    assert "docs/README.md" in {path for _, path, _ in links(ROOT / "README.md")}


def test_every_guarantee_names_a_test_that_exists() -> None:
    """A link whose text is the name of a test leads to the file with that test."""
    named = [(text, page.parent / path) for page in PAGES for text, path, _ in links(page) if re.fullmatch(r"test_\w+", text)]

    assert len(named) > 30
    for name, path in named:
        assert re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE), f"{path} has no {name}"


def test_every_make_target_of_the_readme_exists() -> None:
    """`make demo`, `make test` and `make check` are in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = set(re.findall(r"\bmake (\w+)`|^make (\w+)$", (ROOT / "README.md").read_text(), re.MULTILINE))
    wanted = {first or second for first, second in wanted}

    assert {"demo", "test", "check"} <= wanted <= targets


def test_the_changelog_has_one_sentence_per_line() -> None:
    """Each entry is a line of its own and ends in a full stop."""
    entries = [line for line in (ROOT / "docs" / "changelog.md").read_text().splitlines() if line and not line.startswith("#")]

    assert entries
    assert all(re.fullmatch(r"- .+[.`]\.?", entry) for entry in entries)
