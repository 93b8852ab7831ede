"""How the generated parts are made."""

from __future__ import annotations

import pytest
from docs.generate.pages import render
from docs.generate.settings import Setting, settings_of
from docs.generate.snippets import diff, region, snippet
from docs.generate.states import diagram
from docs.generate.tables import table

FILE = """
# region one
first
# endregion

def f():
    # region two
    if second:
        pass
    # endregion
"""


def test_a_region_comes_without_its_indentation() -> None:
    """As it would stand by itself."""
    assert region(FILE, "one") == "first\n"
    assert region(FILE, "two") == "if second:\n    pass\n"


@pytest.mark.parametrize(("text", "count"), [(FILE, 0), (FILE.replace("one", "three") * 2, 2)])
def test_a_region_must_be_there_once(text: str, count: int) -> None:
    """A name that is not there, or twice, is an error and no empty snippet."""
    with pytest.raises(ValueError, match=f"there are {count} regions named 'three'"):
        region(text, "three")


def test_a_whole_file_comes_without_its_marks() -> None:
    """Without a region the reader sees what runs, and no comments of ours."""
    text = snippet("examples/kafka_loop.py")

    assert "async with delivery:" in text
    assert "region" not in text


def test_a_diff_shows_what_changes_and_what_stays() -> None:
    """In the usual signs, without file names or positions; dots stand for what stays."""
    lines = diff("examples/kafka_loop_before.py", "examples/kafka_loop.py", "loop").splitlines()

    assert lines[0] == "```diff"
    assert "-            await consumer.commit()" in lines
    assert "     try:" in lines
    assert "..." in lines
    assert "+                    await charge(delivery.body)" in lines
    assert not [line for line in lines if line.startswith(("---", "+++", "@@"))]


def test_a_pages_own_words_stay() -> None:
    """Only what is between the marks is replaced."""
    page = "before\n<!-- generate: transitions -->\nold\n<!-- end -->\nafter\n"

    made = render(page)

    assert made.startswith("before\n<!-- generate: transitions -->\n| from |")
    assert made.endswith(" |\n<!-- end -->\nafter\n")
    assert "old" not in made


def test_a_block_without_an_end_is_an_error() -> None:
    """It would swallow the page up to the next one."""
    with pytest.raises(ValueError, match="no `<!-- end -->`"):
        render("<!-- generate: transitions -->\n")


def test_a_block_that_nobody_makes_is_an_error() -> None:
    """A misspelt name is not left as it stands."""
    with pytest.raises(KeyError, match="transition"):
        render("<!-- generate: transition -->\n<!-- end -->\n")


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("Guard", Setting("drain_timeout", "25.0", "Kubernetes kills at 30: five are left for the last commit and for leaving the group")),
        ("CircuitSettings", Setting("window", "CountWindow(20)", "Judges within twenty calls, at any traffic")),
        ("CountWindow", Setting("calls", None, "")),
        ("Guard", Setting("*dependencies", None, "")),
        ("rehearse", Setting("**settings", None, "")),
        ("Outage", Setting("fault", "Refused()", "what a crash and a deployment look like to callers")),
    ],
    ids=["a parameter", "a field with a linter's note", "no default", "any number", "everything else", "a factory"],
)
def test_a_setting_is_read_from_the_code(owner: str, expected: Setting) -> None:
    """Its default as it is written, and the comment on its line, without the linter's part."""
    assert expected in settings_of(owner)


def test_the_readmes_diagram_leaves_out_the_operator() -> None:
    """Four arrows and the beginning; the whole table has more."""
    assert diagram("circuit").count("-->") == 1 + 4
    assert "an operator reset it" in diagram()
    assert "an operator reset it" not in diagram("circuit")


def test_a_pipe_in_a_cell_does_not_end_it() -> None:
    """Types are written with pipes."""
    assert table(("a",), [("x | y",)]).splitlines()[-1] == "| x \\| y |"
