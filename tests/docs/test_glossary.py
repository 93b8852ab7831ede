"""The glossary: each word is one of the code, and each has one row that leads to its file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs.generate.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "glossary.md"
ROWS = re.findall(r"^\| ([a-z][a-z -]+) \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)[1:]  # the first is the table's head
WORDS = [word for word, _, _ in ROWS]


def target(where: str) -> Path:
    """The file that a row leads to."""
    (link,) = re.findall(r"\]\(([^)]+)\)", where)
    return (PAGE.parent / link).resolve()


def occurs(word: str, text: str) -> bool:
    """Whether it is there, in words or in a name: `half-open` in `HalfOpen` and `half_open`, but not `lease` in `release`."""
    gap = r"[\s_-]*"
    parts = re.split("[ -]", word)
    spellings = [gap.join(parts), gap.join(map(str.capitalize, parts)), gap.join(map(str.upper, parts))]
    return re.search(rf"(?<![a-z]){spellings[0]}|{spellings[1]}|{spellings[2]}", text) is not None


def test_each_word_has_one_row_in_order() -> None:
    """So that a reader finds a word by the alphabet."""
    assert sorted(set(WORDS)) == WORDS
    assert {"assignment", "attempt", "bisection", "blame", "circuit", "gate", "generation", "half-open", "hold"} <= set(WORDS)
    assert {"inbox", "lane", "need", "permit", "plan", "probe", "ramp", "span", "vote", "witness"} <= set(WORDS)


@pytest.mark.parametrize(("word", "where"), [(word, where) for word, _, where in ROWS])
def test_the_code_uses_the_word_where_the_glossary_says(word: str, where: str) -> None:
    """A word that the code has given up is no word of ours any more."""
    assert occurs(word, target(where).read_text()), f"{target(where).name} has no {word!r}"


@pytest.mark.parametrize(("word", "meaning"), [(word, meaning) for word, meaning, _ in ROWS])
def test_a_word_is_explained_in_one_to_three_sentences(word: str, meaning: str) -> None:
    """More is a page of its own."""
    assert re.fullmatch(r"[A-Z].+\.", meaning), word
    assert len(re.findall(r"[.?](?= [A-Z]|$)", meaning)) <= 3, word


def test_a_word_within_another_one_is_not_found() -> None:
    """The comparison can fail."""
    assert occurs("half-open", "class HalfOpen:")
    assert occurs("in flight", "IN_FLIGHT = 1")
    assert not occurs("lease", "def release(self): ...")
