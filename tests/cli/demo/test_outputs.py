from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console
from tests.cli.demo.examples import FRAME

from holdgate.cli.demo.frame import Note
from holdgate.cli.demo.outputs import LiveScreen, PlainLines, Silent


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
