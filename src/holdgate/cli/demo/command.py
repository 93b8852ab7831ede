"""`holdgate demo`: from its options to a run and what is printed of it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import sys
import threading

from rich.console import Console

from holdgate.cli.demo.frame import Output
from holdgate.cli.demo.outputs import LiveScreen, PlainLines, Silent
from holdgate.cli.demo.report import Report
from holdgate.cli.demo.scenario import Scenario
from holdgate.cli.demo.story import Story
from holdgate.cli.demo.summary import print_rows, print_summary
from holdgate.cli.demo.venue import Venue
from holdgate.errors import SettingsError

MEMORY = "memory"
EMBEDDED = "embedded"
ADDRESS = re.compile(r"[^\s,]+:\d{1,5}(,[^\s,]+:\d{1,5})*")
# Wide enough for every line and the table: a pipe has no width of its own, and COLUMNS may be that of somebody's terminal.
PLAIN_WIDTH = 200
# The clients log what the demo stages on purpose, in the middle of the screen.
NOISY = ("aiokafka", "holdgate")


def run_demo(broker: str, seconds: float, *, as_json: bool) -> bool:
    """Run the demo and print it; returns whether it ran to its end.

    Raises `SettingsError` for options that make no sense, `IntakeError` without a broker, `MissingExtra` without its client.
    """
    scenario = Scenario(seconds)
    venue = venue_for(broker)
    console = Console(highlight=False)
    live = console.is_terminal and not console.is_dumb_terminal
    if not live:
        console = Console(highlight=False, width=PLAIN_WIDTH, color_system=None)
    output = Silent() if as_json else output_for(console, live=live)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    story = Story(scenario, venue, broker, output)
    report = asyncio.run(_until_terminated(story))
    if as_json:
        sys.stdout.write(json.dumps(report.document(), indent=2) + "\n")
        return not report.interrupted
    if not live:
        print_rows(report, console)
    print_summary(report, console, ascii_only=not live)
    return not report.interrupted


def output_for(console: Console, *, live: bool) -> Output:
    """A live screen where the cursor can move, plain lines elsewhere."""
    return LiveScreen(console) if live else PlainLines(console)


def venue_for(broker: str) -> Venue:
    """The broker that `--broker` names. Raises `SettingsError` for anything but memory, embedded or an address."""
    if broker == MEMORY:
        from holdgate.cli.demo.memory_venue import MemoryVenue

        return MemoryVenue()
    from holdgate.cli.demo.kafka_venue import KafkaVenue

    if broker == EMBEDDED:
        return KafkaVenue()
    if not ADDRESS.fullmatch(broker):
        raise SettingsError(f"--broker {broker!r} is neither memory, embedded nor an address like localhost:9092")
    return KafkaVenue(broker)


async def _until_terminated(story: Story) -> Report:
    """Run the story; SIGTERM ends it as Ctrl-C does, which asyncio brings by itself."""
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32" and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await story.run()
