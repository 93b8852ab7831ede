"""`holdgate replay`: checks the options, shows what waits, asks, and moves with a progress bar."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from holdgate.cli.commands import check_address, read_options
from holdgate.cli.replay.route import Route, Stop, Survey, move
from holdgate.errors import HoldgateError, SettingsError

# 0.01 is one letter in 100 s, well inside Kafka's max.poll.interval.
SLOWEST = 0.01


class Broken(HoldgateError):
    """A replay had begun and cannot go on. What was moved is remembered."""


class Ending(Enum):
    """How a replay ended."""

    DONE = "done"
    DECLINED = "declined"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a replay. `limit` None means all that wait. `sure` means without a question. `dry_run` means only to look."""

    dead: str
    to: str
    rate: float
    limit: int | None = None
    dry_run: bool = False
    sure: bool = False

    def __post_init__(self) -> None:
        if self.dead == self.to:
            raise SettingsError(f"--to {self.to!r} is where the dead letters are already: name the topic or queue that is to process them")
        if not self.rate >= SLOWEST:
            raise SettingsError(f"--rate {self.rate:g} must be at least {SLOWEST:g} letters a second")
        if self.limit is not None and self.limit < 1:
            raise SettingsError(f"--limit {self.limit} must be at least 1")


def route_for(
    dead: str, to: str, *, bootstrap: str | None, url: str | None, rate: float, group: str | None, options: Sequence[str]
) -> Route:
    """Return the route that these options name. Raises SettingsError unless exactly one is named."""
    check_address(bootstrap, url)
    if bootstrap is not None:
        from holdgate.cli.replay.kafka import KafkaRoute

        return KafkaRoute(bootstrap, dead, to, rate=rate, group=group, options=read_options(options))
    from holdgate.cli.replay.rabbitmq import RabbitMQRoute

    if group is not None or options:
        raise SettingsError("--group and --option are Kafka's: leave them out with --url")
    return RabbitMQRoute(str(url), dead, to)


def run_replay(route: Route, options: Options, confirm: Callable[[str], bool], console: Console | None = None) -> Ending:
    """Look, ask, and move. `confirm` gets the question. Raises IntakeError and what the client raises; moved letters stay moved."""
    console = console or Console(highlight=False)
    with asyncio.Runner() as runner:
        try:
            survey = runner.run(route.survey())
            wanted = survey.waiting if options.limit is None else min(survey.waiting, options.limit)
            show(survey, options, wanted, console)
            if wanted == 0 or options.dry_run:
                return Ending.DONE
            # The question is asked outside of the event loop, which would keep Ctrl-C from it.
            if not options.sure and not confirm(f"Move {wanted} from {options.dead} to {options.to}?"):
                return Ending.DECLINED
            return runner.run(_move(route, options, wanted, console))
        finally:
            runner.run(route.end())


async def _move(route: Route, options: Options, wanted: int, console: Console) -> Ending:
    stop, count = Stop(), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _signals(stop), Progress(*columns, console=console) as progress:
        bar = progress.add_task("moving", total=wanted)
        await route.begin()

        def moved(so_far: int) -> None:
            nonlocal count
            count = so_far
            progress.update(bar, completed=so_far)

        try:
            await move(route, rate=options.rate, limit=options.limit, stop=stop, moved=moved)
        except Exception as error:
            raise Broken(f"the replay ended in the middle: {type(error).__name__}: {error}") from error
        finally:
            progress.stop()
            console.print(f"moved {count} of {wanted}" + ("" if count >= wanted else "; run it again to go on from here"))
    return Ending.STOPPED if stop.is_asked and count < wanted else Ending.DONE


def show(survey: Survey, options: Options, wanted: int, console: Console) -> None:
    """Print what waits, of which kinds, and what would be done."""
    if survey.waiting == 0:
        console.print(f"nothing waits in {options.dead}")
        return
    if survey.kinds:
        console.print(_title(survey))
        table = Table("source", "exception", "letters")
        for (source, exception), count in survey.kinds.most_common():
            table.add_row(source, exception, str(count))
        console.print(table)
    again = sum(count for replays, count in survey.replayed.items() if replays)
    if again:
        most = max(survey.replayed)
        console.print(f"{again} of them have been replayed before, up to {most} times: they will come back unless something has changed")
    takes = wanted / options.rate
    console.print(
        f"{survey.waiting} wait in {options.dead}; {wanted} go to {options.to}, {options.rate:g} a second, which takes {takes:.0f} s"
    )


def _title(survey: Survey) -> str:
    read = "all" if survey.looked_at >= survey.waiting else f"the first {survey.looked_at}"
    if survey.oldest is None or survey.newest is None:
        return read
    return f"{read}, from {_iso(survey.oldest)} to {_iso(survey.newest)}"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


@contextlib.contextmanager
def _signals(stop: Stop) -> Generator[None, None, None]:
    """Let Ctrl-C and SIGTERM end the replay after the letter under way, inside this block."""
    loop = asyncio.get_running_loop()
    theirs = () if sys.platform == "win32" or threading.current_thread() is not threading.main_thread() else (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in theirs]
    for number in theirs:
        loop.add_signal_handler(number, stop.ask)
    try:
        yield
    finally:
        for number, handler in zip(theirs, before, strict=True):
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
