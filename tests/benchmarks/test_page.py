"""The page of figures: what is put into it, and what the plots read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as everything
from benchmarks import page

FOLDER = Path(page.__file__).parent

TEXT = """# Figures

<!-- figures: first -->

| loop | µs | ratio |
|---|---:|---|
| bare | 1,234.5 (1,200 to 1,300) | 1.00 |
| guarded | 4 | 2.50 |

1 May 2026.
<!-- end -->

words

<!-- figures: second -->
<!-- end -->
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "benchmarks.md"
    path.write_text(TEXT)
    monkeypatch.setattr(page, "PAGE", path)
    return path


def test_rows_have_their_columns_titles(written: Path) -> None:
    """Each row of a block is read by the titles of its table, without the line under them."""
    assert page.rows("first") == [
        {"loop": "bare", "µs": "1,234.5 (1,200 to 1,300)", "ratio": "1.00"},
        {"loop": "guarded", "µs": "4", "ratio": "2.50"},
    ]


def test_only_its_own_block_is_replaced(written: Path) -> None:
    """New figures take the place of the old ones, with their date; the rest of the page stays."""
    page.put("second", "| a |\n|---|\n| 1 |\n", "2 May 2026")
    assert page.rows("second") == [{"a": "1"}]
    assert len(page.rows("first")) == 2
    page.put("second", "| a |\n|---|\n| 2 |\n", "3 May 2026")
    text = written.read_text()
    assert page.rows("second") == [{"a": "2"}]
    assert "3 May 2026." in text
    assert "2 May 2026" not in text
    assert "words" in text


def test_a_benchmark_without_a_block_is_an_error(written: Path) -> None:
    """Its figures would be lost in silence."""
    with pytest.raises(LookupError, match="figures: third"):
        page.put("third", "", "today")


@pytest.mark.parametrize(("cell", "value"), [("1,234.5 (1,200 to 1,300)", 1234.5), ("4", 4.0), ("0.52 (0.5 to 0.6)", 0.52)])
def test_the_first_number_of_a_cell(cell: str, value: float) -> None:
    """A median stands before its quartiles."""
    assert page.number(cell) == value


def test_every_benchmark_is_run_and_has_its_block() -> None:
    """What can be run alone is among those that `make bench` runs, and the page has a block for each.

    But for the soak, `make trace`, what compares two builds, and the flame graphs.
    """
    scripts = {path.stem for path in FOLDER.glob("*.py") if "def main(" in path.read_text()}
    assert scripts - {"__main__", "soak", "trace_files", "builds", "message_builds", "flames"} == set(everything.NAMES)
    text = page.PAGE.read_text()
    assert [name for name in everything.NAMES if f"<!-- figures: {name} -->" not in text] == []
