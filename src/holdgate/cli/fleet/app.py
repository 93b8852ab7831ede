"""`holdgate fleet`, with its options alone: the code that does its work is imported when it runs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import click

from holdgate.cli import INTERRUPTED
from holdgate.cli.commands import FLEET_VARIABLE, Failure, Refusal, client_option
from holdgate.cli.fleet.orders import FLEET_ORDERS
from holdgate.errors import FleetLogError, HoldgateError

_CREATE_CODES = """\b
Exit codes: 0 it is there now, also when it was before; 1 the server
refuses, or what is there cannot be used; 2 the arguments are wrong;
130 stopped by Ctrl-C."""
_SHOW_CODES = """\b
Exit codes: 0 shown; 1 it cannot be read; 2 the arguments are wrong;
130 stopped by Ctrl-C."""

# The URL is no option: it is what the command is about, and there is one.
url_argument = click.argument("url", required=False, envvar=FLEET_VARIABLE, metavar="[URL]")


@click.group()
def fleet() -> None:
    """Make and show the log by which the workers of a fleet agree, and command all of them together.

    `create` and `show` ask the log at URL, and no worker. URL is kafka://HOST:PORT/TOPIC, amqp://HOST/VHOST?stream=NAME or
    redis://HOST/0?key=NAME, or HOLDGATE_FLEET_URL has it. `hold`, `release`, `force-open` and `reset` ask one worker, which tells the
    others by the log.
    """


@fleet.command(epilog=_CREATE_CODES)
@url_argument
@client_option
@click.pass_context
def create(context: click.Context, url: str | None, options: tuple[str, ...]) -> None:
    """Make the log at URL, small and short-lived, as a fleet needs it.

    One that is there is compared with that: what differs is printed, and nothing is changed.
    """
    from holdgate.cli.fleet.command import run_create

    with _ending(context):
        run_create(url, options)


@fleet.command(epilog=_SHOW_CODES)
@url_argument
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(min=0.1, max=3600),
    default=3.0,  # one beat of a fleet with an outage, and a half
    show_default=True,
    help="Read on for so many seconds after what the log has of the last 30.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@client_option
@click.pass_context
def show(context: click.Context, url: str | None, seconds: float, as_json: bool, options: tuple[str, ...]) -> None:
    """Show the fleet as its log at URL tells it: members, and per dependency who conducts, the phase, the limit and the shares.

    It only reads. In quiet times a worker writes twice a minute, so that what the log has of the last 30 seconds names all of them.
    """
    from holdgate.cli.fleet.command import run_show

    with _ending(context):
        run_show(url, options, seconds=seconds, as_json=as_json)


for _order in FLEET_ORDERS:
    fleet.add_command(_order)


@contextmanager
def _ending(context: click.Context) -> Generator[None]:
    """End as the exit codes say."""
    try:
        yield
    except FleetLogError as error:
        raise Failure(str(error)) from error
    except HoldgateError as error:
        raise Refusal(str(error)) from error
    except KeyboardInterrupt:
        context.exit(INTERRUPTED)
