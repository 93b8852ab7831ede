"""The commands, and nothing of what they do: each imports its own part when it runs."""

from __future__ import annotations

import click

from holdgate.cli import INTERRUPTED, REFUSED
from holdgate.errors import HoldgateError


class Refusal(click.ClickException):
    """A command could not begin; the text says why and what to do."""

    exit_code = REFUSED


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="holdgate", message="%(prog)s %(version)s")
def app() -> None:
    """When a dependency is down, your workers stop pulling, keep their place, and come back gently."""


DEMO_KEYS = """\b
--json prints one document at the end, and nothing else:
  version, broker, seconds, ran_seconds, interrupted, produced
  payments   down_at, weak_at, up_at (seconds), timeline
  guarded    the side with holdgate \\ the same keys:
  naive      the side without       /
    calls, wasted_calls (made while payments was down),
    overrun_calls (unanswered: too many at once), processed,
    duplicates, dead_letters, lost (behind the committed offset and
    neither processed nor dead-lettered), waiting, peak_waiting,
    peak_in_flight_while_weak, rebalances, slowest_receipt_seconds,
    states, transitions (at, dependency, state), timeline

\b
Exit codes: 0 it ran to its end, 2 no broker or wrong arguments,
130 interrupted (what was seen until then is still printed)."""


@app.command(epilog=DEMO_KEYS)
@click.option(
    "--broker",
    metavar="memory|embedded|HOST:PORT",
    default="embedded",  # real consumers on the real protocol, and nothing to install or start
    show_default=True,
    help="Where the messages are: in this process, on an embedded Kafka, or on a Kafka of yours (topics of its own, deleted at the end).",
)
@click.option(
    "--seconds",
    type=float,
    default=30.0,  # with joining and leaving well below 45 s: as long as somebody watches a terminal
    show_default=True,
    help="How long it takes, from 4 to 600, joining and leaving not counted.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end instead of a screen.")
@click.pass_context
def demo(context: click.Context, broker: str, seconds: float, as_json: bool) -> None:
    """An outage and a recovery, lived through twice side by side: with holdgate and without.

    Two consumers do the same work on the same messages: orders call a payment service, receipts call a mail service. The payment
    service goes down, comes back weak, and recovers. Watch one side hold, probe, ramp up and drain, and the other one call in vain.
    """
    from holdgate.cli.demo.command import run_demo

    try:
        finished = run_demo(broker, seconds, as_json=as_json)
    except HoldgateError as error:
        raise Refusal(str(error)) from error
    except KeyboardInterrupt:
        finished = False
    if not finished:
        context.exit(INTERRUPTED)
