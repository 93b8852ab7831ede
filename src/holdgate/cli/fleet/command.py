"""`holdgate fleet create` and `show`: make a log, or read one for some seconds and print what it tells."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from holdgate.cli.fleet.places import log_at
from holdgate.cli.fleet.view import LogSeen, as_document, fleets_of, show
from holdgate.errors import FleetLogError
from holdgate.ports import LOOK_BACK, FleetLog

# Seconds after which a log that says nothing at all counts as one that cannot be read.
_OPEN_WITHIN = 20.0


def run_create(url: str | None, options: Sequence[str], console: Console | None = None) -> None:
    """Make the log, and say what it came to. Raises SettingsError, MissingExtra and FleetLogError."""
    console = console or Console(highlight=False, soft_wrap=True)
    log = log_at(url, options)
    _silence_clients()
    made = asyncio.run(log.create())
    if made.is_new:
        console.print(Text(f"{log.place} is made"))
    elif not made.notes:
        console.print(Text(f"{log.place} exists, as it must be"))
    else:
        console.print(Text(f"{log.place} exists, and a fleet can use it. Nothing was changed:"))
        for note in made.notes:
            console.print(Text(f"- {note}"))


def run_show(url: str | None, options: Sequence[str], *, seconds: float, as_json: bool, console: Console | None = None) -> None:
    """Read the log for so long, and print what it tells. Raises SettingsError, MissingExtra and FleetLogError."""
    console = console or Console(highlight=False, soft_wrap=True)
    log = log_at(url, options)
    _silence_clients()
    reading, now = asyncio.run(read_for(log, seconds))
    fleets = fleets_of(reading, now)
    if as_json:
        console.file.write(json.dumps(as_document(log.place, reading, fleets)) + "\n")
        return
    found = f"{len(reading.records)} records, {reading.size} bytes, of the last {LOOK_BACK:g} s and the {seconds:g} s since"
    console.print(Text(f"{log.place}: {found}"))
    show(fleets, console)


async def read_for(log: FleetLog, seconds: float) -> tuple[LogSeen, float]:
    """Open the log, and return what it gives within so many seconds, and the second at which that ended. Raises FleetLogError."""
    reading, loop = LogSeen(), asyncio.get_running_loop()
    try:
        await _opened(log)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    entries = await log.read()
                    reading.add(loop.time(), entries)
        except TimeoutError:
            return reading, loop.time()
    finally:
        await log.close()


async def _opened(log: FleetLog) -> None:
    try:
        async with asyncio.timeout(_OPEN_WITHIN):
            await log.open()
    except TimeoutError as error:
        raise FleetLogError(
            f"{log.place} does not answer within {_OPEN_WITHIN:g} s: check the address and that the server is up"
        ) from error


def _silence_clients() -> None:
    """Let the clients log nothing: what they would say stands in our error, in words."""
    for name in ("aiokafka", "aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
