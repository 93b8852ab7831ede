"""`holdgate letters` as a command: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from tests.cli.letters.fake_shelf import FakeShelf
from tests.cli.runner import invoke

from holdgate.cli import FAILED, INTERRUPTED, REFUSED
from holdgate.cli.letters import command
from holdgate.cli.letters.command import LookFailed, Request, run_letters
from holdgate.cli.letters.letter import Letter
from holdgate.errors import IntakeError, SettingsError

if TYPE_CHECKING:
    from click.testing import Result

POISON = Letter(
    {"topic": "orders.dead", "partition": 0, "offset": 12},
    source="orders",
    partition=3,
    offset=4711,
    exception="KeyError",
    text="'[red]amount'\x1b[2J",
    attempts=5,
    last_failure=100.0,
)
OTHER = Letter({"topic": "orders.dead", "partition": 0, "offset": 13})


def printed(shelf: FakeShelf, limit: int = 10, *, as_json: bool = False) -> tuple[str, list[str]]:
    told: list[str] = []
    out = io.StringIO()
    run_letters(shelf, Request("orders.dead", limit, as_json), Console(file=out, width=120), told.append)
    return out.getvalue(), told


def test_a_table_has_a_row_for_each_letter() -> None:
    """Where it lies, where it came from, why, how many attempts, how old; and how many there are besides."""
    out, told = printed(FakeShelf([POISON, OTHER, OTHER], notes=["nothing was moved"]), 2)
    row = next(line for line in out.splitlines() if "orders[3]@4711" in line)
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells[:4] == ["[0]@12", "orders[3]@4711", r"KeyError: '[red]amount'\x1b[2J", "5"]
    assert cells[4].endswith(" d")
    assert out.count("│ [0]@13") == 1
    assert out.endswith("2 of 3 in orders.dead\nnothing was moved\n")
    assert told == []


def test_columns_that_say_nothing_are_left_out() -> None:
    """Replays and what was moved have one where a letter has something to say."""
    assert "replays" not in printed(FakeShelf([POISON]))[0]
    out, _ = printed(FakeShelf([Letter({"queue": "dead", "number": 1}, replays=3, moved=True)]))
    assert "replays" in out
    assert "moved" in out


def test_json_is_an_object_a_line() -> None:
    """And nothing else goes to the same stream, so that a pipe gets what it can read."""
    out, told = printed(FakeShelf([POISON, OTHER], notes=["nothing was moved"]), as_json=True)
    first, second = (json.loads(line) for line in out.splitlines())
    assert (first["source"], first["source_offset"], first["text"]) == ("orders", 4711, POISON.text)
    assert second["exception"] is None
    assert told == ["2 of 2 in orders.dead", "nothing was moved"]
    assert "\x1b" not in out


def test_where_nothing_waits_it_says_so() -> None:
    """And puts back what it may have taken, as always."""
    shelf = FakeShelf()
    assert printed(shelf)[0] == "nothing waits in orders.dead\n"
    assert shelf.closed == 1


def test_an_error_in_the_middle_puts_everything_back() -> None:
    """It is another one than an error at the beginning."""
    shelf = FakeShelf(error=RuntimeError("gone"))
    with pytest.raises(LookFailed, match="in the middle: RuntimeError: gone"):
        printed(shelf)
    assert shelf.closed == 1


def test_sigterm_puts_everything_back() -> None:
    """As Ctrl-C does; the handler that was there before is there again."""
    before = signal.getsignal(signal.SIGTERM)

    class Slow(FakeShelf):
        async def look(self, limit: int) -> object:  # type: ignore[override]
            os.kill(os.getpid(), signal.SIGTERM)
            import asyncio  # noqa: PLC0415

            await asyncio.sleep(60)
            raise AssertionError

    shelf = Slow()
    with pytest.raises(KeyboardInterrupt):
        printed(shelf)
    assert shelf.closed == 1
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "say where the dead letters are"),
        (("--bootstrap", "h:1", "--url", "amqp://h"), "one of them"),
        (("--bootstrap", "h:1", "--limit", "0"), "--limit must be at least 1, got 0"),
        (("--url", "amqp://h", "--group", "g"), "Kafka's"),
        (("--url", "amqp://h", "--moved"), "Kafka's"),
        (("--url", "http://h"), "must begin with amqp://"),
        (("--url", "amqp://h", "--management-url", "h"), "management_url must be like"),
        (("--bootstrap", "h:1", "--option", "group_id=x"), "group_id is set by the command itself"),
    ],
)
def test_what_cannot_begin_is_refused(arguments: tuple[str, ...], text: str) -> None:
    """With the exit code of every refusal, and the remedy."""
    result = invoke("letters", "orders.dead", *arguments)
    assert result.exit_code == REFUSED
    assert text in result.stderr


def exits(error: BaseException | None, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(command, "shelf_for", lambda *_, **__: FakeShelf([POISON], error=error))
    return invoke("letters", "orders.dead", "--bootstrap", "h:1", "--json")


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (IntakeError("no topic"), REFUSED), (SettingsError("x"), REFUSED), (OSError(), FAILED), (KeyboardInterrupt(), INTERRUPTED)],
)
def test_the_exit_code_says_how_it_ended(error: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of every command."""
    assert exits(error, monkeypatch).exit_code == code


def test_the_streams_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON on one, how many there are on the other."""
    result = exits(None, monkeypatch)
    assert json.loads(result.stdout)["source"] == "orders"
    assert result.stderr == "1 of 1 in orders.dead\n"
