from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType
from tests.lab.demo.examples import FAILING, FRAME, HELD

from holdgate_lab.demo.screen import (
    ASCII_LEGEND,
    BLOCKS,
    CELLS,
    LEGEND,
    LETTERS,
    NOTES,
    Kind,
    LiveScreen,
    Mark,
    Note,
    PlainLines,
    Silent,
    Status,
    note_lines,
    output_for,
    row,
    screen,
    side_panel,
    status_text,
    timeline,
)

WIDTH, HEIGHT = 80, 24


def letters(*marks: Mark, now: float) -> str:
    return timeline(marks, now, 1.0, LETTERS)


def test_a_state_lasts_until_the_next_one() -> None:
    """A cell without a change shows what came before it."""
    assert letters(Mark(0.0, Kind.FINE), Mark(2.0, Kind.BAD), Mark(4.0, Kind.FINE), now=6.0) == "--##--"


def test_a_probe_within_one_cell_is_seen() -> None:
    """The rarer state wins the cell, and the cells after it show what came last."""
    assert letters(Mark(0.0, Kind.BAD), Mark(2.1, Kind.PARTLY, 1), Mark(2.2, Kind.BAD), now=4.0) == "##1#"


def test_the_last_limit_within_a_cell_is_shown() -> None:
    """A ramp that passes 1, 2 and 4 within a cell shows 4."""
    assert letters(Mark(0.1, Kind.PARTLY, 1), Mark(0.2, Kind.PARTLY, 2), Mark(0.3, Kind.PARTLY, 4), now=1.0) == "4"


def test_limits_are_steps_and_anything_above_eight_is_the_last_one() -> None:
    """1, 2, 4, 8, 16 and 32 messages at once; a limit between two steps shows the lower."""
    marks = [Mark(float(index), Kind.PARTLY, limit) for index, limit in enumerate((1, 2, 3, 4, 8, 16, 32))]
    assert timeline(marks, 7.0, 1.0, BLOCKS) == "▁▂▂▄▆██"


def test_partly_without_a_limit_is_the_last_step() -> None:
    """A weak service has no limit that could be shown."""
    assert letters(Mark(0.0, Kind.PARTLY), now=1.0) == "+"


def test_nothing_is_drawn_beyond_now() -> None:
    """The row grows with the run, the running cell included."""
    assert letters(Mark(0.0, Kind.FINE), now=2.5) == "---"


def test_no_time_no_row() -> None:
    """An interrupted start has an empty row."""
    assert letters(now=0.0) == ""


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


def plain() -> tuple[PlainLines, io.StringIO]:
    written = io.StringIO()
    return PlainLines(Console(file=written, width=60, color_system=None)), written


def test_plain_lines_are_one_a_second() -> None:
    """Eight pictures a second, one line of them."""
    output, written = plain()
    for eighth in range(17):
        output.show(replace(FRAME, now=eighth / 8))
    assert [line[:8] for line in written.getvalue().splitlines()] == ["   0.0 s", "   1.0 s", "   2.0 s"]


def test_a_plain_line_has_the_facts_of_both_sides_on_one_line() -> None:
    """State, in-flight, lag, wasted calls and dead letters, in ASCII, however narrow the output is."""
    output, written = plain()
    output.show(FRAME)
    line = written.getvalue()
    assert line.count("\n") == 1
    assert line.isascii()
    for fact in ("payments DOWN", "OPEN", "lag  123", "wasted   22", "FAILING CALLS", "lag   61", "wasted  321", "dead   97"):
        assert fact in line


def test_a_note_is_printed_at_once() -> None:
    """A transition does not wait for the next second."""
    output, written = plain()
    output.show(FRAME)
    output.note(Note(9.5, "payments HALF_OPEN"))
    assert written.getvalue().splitlines()[-1] == "   9.5 s  * payments HALF_OPEN"


def test_plain_lines_say_at_once_that_something_happens() -> None:
    """Joining takes seconds; silence would look like a hang."""
    output, written = plain()
    output.begin("embedded")
    assert "embedded" in written.getvalue()


def test_the_live_screen_draws_the_frame_and_ends_without_a_trace_of_it_running() -> None:
    """After the end nothing is drawn any more."""
    written = io.StringIO()
    output = LiveScreen(Console(file=written, force_terminal=True, width=80, height=24))
    output.begin("embedded")
    output.show(FRAME)
    shown = written.getvalue()
    output.end()
    output.end()
    assert "with holdgate" in shown


def test_silence_is_silent() -> None:
    """With --json stdout belongs to the document."""
    output = Silent()
    output.begin("memory")
    output.show(FRAME)
    output.note(Note(0.0, "x"))
    output.end()
    assert vars(output) == {}


def test_a_terminal_gets_a_live_screen_and_a_pipe_gets_lines() -> None:
    """A cursor that cannot move would fill a log with pictures."""
    assert isinstance(output_for(Console(), live=True), LiveScreen)
    assert isinstance(output_for(Console(), live=False), PlainLines)
