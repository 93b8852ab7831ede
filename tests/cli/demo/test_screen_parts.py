from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType
from tests.cli.demo.examples import FAILING, FRAME, HELD

from holdgate.cli.demo.frame import Note, Status
from holdgate.cli.demo.screen_parts import ASCII_LEGEND, CELLS, LEGEND, NOTES, note_lines, row, screen, side_panel, status_text

WIDTH, HEIGHT = 80, 24


def drawn(part: RenderableType) -> list[str]:
    written = io.StringIO()
    Console(file=written, width=WIDTH, color_system=None).print(part)
    return written.getvalue().splitlines()


def test_the_screen_fits_a_terminal_of_eighty_by_twentyfour() -> None:
    """Also with more notes than it shows: a screen that scrolls cannot be redrawn in place."""
    many = tuple(Note(float(index), f"note {index}") for index in range(NOTES + 5))
    lines = drawn(screen(replace(FRAME, now=29.9, notes=many)))
    assert len(lines) < HEIGHT
    assert max(map(len, lines)) <= WIDTH
    assert max(len(LEGEND), len(ASCII_LEGEND)) <= WIDTH


def test_both_sides_stand_beside_each_other() -> None:
    """The same fact of both sides is on one line."""
    line = next(line for line in drawn(screen(FRAME)) if "wasted calls" in line)
    assert line.index("22") < line.index("321")


@pytest.mark.parametrize(
    "fact", ["■ OPEN", "calls in payments", "▲ 123", "wasted calls", "dead letters", "4 of 8 partitions", "0.2 s", "with holdgate"]
)
def test_a_side_shows_its_facts(fact: str) -> None:
    """State with a shape, in-flight, lag with its trend, wasted calls, dead letters, what is held, and how receipts fare."""
    assert any(fact in line for line in drawn(side_panel("with holdgate", HELD)))


def test_a_side_that_holds_nothing_shows_a_dash() -> None:
    """The bare consumer knows no hold, and no receipt came through lately."""
    lines = drawn(side_panel("without", FAILING))
    assert [line.split()[-2] for line in lines if "held" in line or "receipt" in line] == ["-", "-"]


def test_a_state_is_told_by_shape_and_word_without_colour() -> None:
    """Whoever sees no colour sees the same."""
    assert {status_text(Status("X", shape, mood)).plain for shape, mood in (("□", "good"), ("■", "bad"), ("◪", "partly"))} == {
        "□ X",
        "■ X",
        "◪ X",
    }


def test_a_row_never_grows_beyond_its_cells() -> None:
    """The last picture may come a moment after the end."""
    text = row("payments", FRAME.service, replace(FRAME, now=31.0)).plain
    assert len(text.split()[1]) == CELLS


def test_the_last_notes_are_shown_and_the_height_stays_the_same() -> None:
    """The newest at the bottom; empty lines stand in for notes to come."""
    few = note_lines([Note(1.0, "one")]).plain
    many = note_lines([Note(float(index), f"n{index}") for index in range(NOTES + 1)]).plain
    assert few.count("\n") == many.count("\n") == NOTES - 1
    assert "n0" not in many
    assert many.endswith(f"n{NOTES}")
