"""`holdgate letters`: looks at dead letters, and prints a table, or JSON for other programs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdgate.cli.commands import check_address, read_options
from holdgate.cli.letters.letter import UNKNOWN, Letter, Looked, Shelf, age, readable
from holdgate.errors import HoldgateError, SettingsError


class LookFailed(HoldgateError):
    """A look had begun and could not go on. Nothing was moved."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted: the first `limit` letters of `dead`, as JSON or as a table."""

    dead: str
    limit: int
    as_json: bool = False

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise SettingsError(f"--limit must be at least 1, got {self.limit}")


def shelf_for(
    dead: str,
    *,
    bootstrap: str | None,
    url: str | None,
    management_url: str | None,
    group: str | None,
    moved: bool,
    options: Sequence[str],
) -> Shelf:
    """Return where the letters lie by these options. Raises SettingsError unless exactly one broker is named."""
    check_address(bootstrap, url)
    if bootstrap is not None:
        from holdgate.cli.letters.kafka import DeadTopic, KafkaShelf

        topic = DeadTopic(bootstrap, dead, group=group, options=read_options(options))
        return KafkaShelf(topic, moved=moved)
    from holdgate.cli.letters.rabbitmq import RabbitMQShelf

    if group is not None or options or moved:
        raise SettingsError("--group, --moved and --option are Kafka's: leave them out with --url")
    return RabbitMQShelf(str(url), dead, management_url=management_url)


def run_letters(shelf: Shelf, request: Request, console: Console | None = None, told: Callable[[str], object] | None = None) -> None:
    """Look, put back, and print. `told` gets, with JSON, what is not JSON.

    Raises IntakeError, LookFailed, and KeyboardInterrupt after Ctrl-C or SIGTERM; what was taken has gone back in each case.
    """
    console = console or Console(highlight=False)
    with asyncio.Runner() as runner:
        found = runner.run(_look(shelf, request.limit))
    if request.as_json:
        show_json(found, request, console, told or (lambda _: None))
    else:
        show(found, request, console)


async def _look(shelf: Shelf, limit: int) -> Looked:
    with _sigterm_as_ctrl_c():
        try:
            return await shelf.look(limit)
        except HoldgateError:
            raise
        except Exception as error:
            raise LookFailed(f"the look ended in the middle: {type(error).__name__}: {error}") from error
        finally:
            await shelf.close()


def show(found: Looked, request: Request, console: Console) -> None:
    """Print a table, oldest first, and what the look has done."""
    if not found.letters:
        console.print(Text(f"nothing waits in {request.dead}"))
        return
    now = time.time()
    table = Table("here", "from", "why", "attempts", "age")
    replayed, moved = any(letter.replays for letter in found.letters), any(letter.moved for letter in found.letters)
    for name in (*(["replays"] if replayed else ()), *(["moved"] if moved else ())):
        table.add_column(name)
    for letter in found.letters:
        row = [letter.here, letter.origin, letter.why, _or_unknown(letter.attempts), _age(letter, now)]
        row += [str(letter.replays)] if replayed else []
        row += ["yes" if letter.moved else ""] if moved else []
        # As Text: a square bracket in somebody's text is no markup.
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    console.print(table)
    console.print(Text(f"{len(found.letters)} of {found.waiting} in {readable(request.dead)}"))
    for note in found.notes:
        console.print(Text(note))


def show_json(found: Looked, request: Request, console: Console, told: Callable[[str], object]) -> None:
    """Print a JSON object in a line of its own for each letter. What the look has done goes to `told`."""
    now = time.time()
    for letter in found.letters:
        console.file.write(json.dumps(letter.as_json(now)) + "\n")
    told(f"{len(found.letters)} of {found.waiting} in {readable(request.dead)}")
    for note in found.notes:
        told(note)


def _or_unknown(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)


def _age(letter: Letter, now: float) -> str:
    return UNKNOWN if letter.last_failure is None else age(max(0.0, now - letter.last_failure))


@contextmanager
def _sigterm_as_ctrl_c() -> Generator[None, None, None]:
    """Let SIGTERM end the look as Ctrl-C does, so that what was taken goes back: a process that is killed leaves that to the broker."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
