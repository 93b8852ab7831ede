"""`holdgate demo`: from its options to a run and what is printed of it.

The command line reads this file for its help. So it imports click alone, and the rest of the demo when the demo runs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sys
from typing import TYPE_CHECKING

import click

from holdgate.cli import INTERRUPTED
from holdgate.cli.commands import Refusal
from holdgate.errors import HoldgateError

if TYPE_CHECKING:  # the command line reads this file for its help
    from holdgate.control import Control
    from holdgate_lab.demo.report import Report
    from holdgate_lab.demo.venues import Venue

# Wide enough for every line and the table: a pipe has no width of its own, and COLUMNS may be that of somebody's terminal.
PLAIN_WIDTH = 200
# The clients log what the demo stages on purpose, in the middle of the screen.
NOISY = ("aiokafka", "holdgate")

DEMO_KEYS = """\b
--json prints one document at the end, and nothing else:
  version, broker, seconds, ran_seconds, interrupted, produced
  payments   down_at, weak_at, up_at (seconds), timeline
  guarded    the side with holdgate \\ the same keys:
  naive      the side without       /
    calls, wasted_calls (made while payments was down),
    overrun_calls (unanswered: too many at once), processed,
    duplicates, dead_letters, lost (neither processed nor dead-lettered,
    and behind the committed offset, or archived), waiting, peak_waiting,
    peak_in_flight_while_weak, rebalances, slowest_receipt_seconds,
    states, transitions (at, dependency, state), timeline

\b
Exit codes: 0 it ran to its end, 2 no broker or wrong arguments,
130 interrupted (what was seen until then is still printed)."""


@click.command("demo", epilog=DEMO_KEYS)
@click.option(
    "--broker",
    metavar="memory|embedded|HOST:PORT|share[@HOST:PORT]",
    default="embedded",  # real consumers on the real protocol, and nothing to install or start
    show_default=True,
    help="Where the messages are: in this process, on an embedded Kafka, or on a Kafka of yours (topics of its own, deleted at the end). "
    "share: read by Kafka's own queues, share groups, on either of the two (yours from 4.2 on).",
)
@click.option(
    "--seconds",
    type=float,
    default=30.0,  # with joining and leaving well below 45 s: as long as somebody watches a terminal
    show_default=True,
    help="How long it takes, from 4 to 600, joining and leaving not counted.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end instead of a screen.")
@click.option("--page", is_flag=True, help="Show the guarded side on a page in the browser, too. It stays after the end, until Ctrl-C.")
@click.pass_context
def demo(context: click.Context, broker: str, seconds: float, as_json: bool, page: bool) -> None:
    """An outage and a recovery, lived through twice side by side: with holdgate and without.

    Two consumers do the same work on the same messages: orders call a payment service, receipts call a mail service. The payment
    service goes down, comes back weak, and recovers. Watch one side hold, probe, ramp up and drain, and the other one call in vain.
    """
    if page and as_json:
        raise Refusal("--page stays until somebody ends it, and --json is for programs: leave one of them out")
    try:
        finished = run_demo(broker, seconds, as_json=as_json, page=page)
    except HoldgateError as error:
        raise Refusal(str(error)) from error
    except KeyboardInterrupt:
        finished = False
    if not finished:
        context.exit(INTERRUPTED)


def run_demo(broker: str, seconds: float, *, as_json: bool, page: bool = False) -> bool:
    """Run the demo and print it; returns whether it ran to its end. With `page` it ends when somebody ends it.

    Raises `SettingsError` for options that make no sense, `IntakeError` without a broker, `MissingExtra` without its client.
    """
    from rich.console import Console
    from rich.text import Text

    from holdgate_lab.demo.report import print_rows, print_summary
    from holdgate_lab.demo.scenario import DemoScenario
    from holdgate_lab.demo.screen import Silent, output_for
    from holdgate_lab.demo.story import Page, Story, until_terminated

    scenario = DemoScenario(seconds)
    venue = _venue(broker)
    console = Console(highlight=False)
    live = console.is_terminal and not console.is_dumb_terminal
    if not live:
        console = Console(highlight=False, width=PLAIN_WIDTH, color_system=None)
    output = Silent() if as_json else output_for(console, live=live)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def show(report: Report) -> None:
        if not live:
            print_rows(report, console)
        print_summary(report, console, ascii_only=not live)

    shown = None
    if page:
        control, words = _control()

        def show_with_page(report: Report) -> None:
            show(report)
            console.print(Text(f"The guarded side goes on until Ctrl-C. {words}\nIts page: {control.url}"), soft_wrap=True)

        shown = Page(control, show_with_page)
    report = asyncio.run(until_terminated(Story(scenario, venue, broker, output, page=shown)))
    if as_json:
        sys.stdout.write(json.dumps(report.document(), indent=2) + "\n")
    elif shown is None or report.interrupted:
        show(report)
    return not report.interrupted


def _venue(broker: str) -> Venue:
    """The broker that `--broker` names. Raises `SettingsError` for what names none, `MissingExtra` without its client."""
    from holdgate_lab.demo.venues import venue_for

    kind, separator, address = broker.partition("@")
    if kind != "share":
        return venue_for(broker)
    from holdgate_lab.demo.queues import share_venue

    return share_venue(address if separator else None)


def _control() -> tuple[Control, str]:
    """Return what shows the page, and what a person must know of its token. Raises `MissingExtra` without its libraries."""
    from holdgate.control import Control

    given = os.environ.get("HOLDGATE_TOKEN")
    token = given or secrets.token_urlsafe(24)
    words = "Commands take the token in HOLDGATE_TOKEN." if given else f"Commands take this token: {token}"
    return Control(port=0, token=token, name="demo"), words
