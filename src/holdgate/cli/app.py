"""The commands of holdgate itself, with their options alone: each command imports the code that does its work when it runs."""

from __future__ import annotations

import click

from holdgate.cli import INTERRUPTED
from holdgate.cli.commands import CommandGroup, Failure, Refusal, bootstrap_option, client_option, url_option
from holdgate.cli.config.app import config
from holdgate.cli.doctor.app import doctor
from holdgate.cli.fleet.app import fleet
from holdgate.cli.importing.app import importing
from holdgate.cli.letters.app import letters
from holdgate.cli.worker.app import WORKER_COMMANDS
from holdgate.errors import HoldgateError


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="holdgate", message="%(prog)s %(version)s")
def app() -> None:
    """When a dependency is down, your workers stop pulling, keep their place, and come back gently."""


app.add_command(letters)
for each in (*WORKER_COMMANDS, config, doctor, fleet, importing):
    app.add_command(each)


REPLAY_NOTES = """\b
Exit codes: 0 all moved, nothing to move, a dry run or the answer no;
1 it ended in the middle by an error, 2 it could not begin,
130 stopped by Ctrl-C or SIGTERM.
After 1 and 130 the same command goes on where it stopped."""


@app.command(epilog=REPLAY_NOTES)
@click.argument("dead")
@click.option("--to", required=True, metavar="TOPIC|QUEUE", help="Where they are to be processed.")
@bootstrap_option
@url_option
@click.option("--dry-run", is_flag=True, help="Only look: how many, from where, by which exceptions.")
@click.option(
    "--rate",
    type=float,
    default=100.0,  # a tenth of what a small worker does: a replay beside live traffic is not noticed
    show_default=True,
    help="Letters a second, at most.",
)
@click.option("--limit", type=int, help="Move so many and end; for a first try.")
@click.option("--yes", "sure", is_flag=True, help="Do not ask.")
@click.option("--group", help="Kafka: the group that remembers what was moved.  [default: holdgate-replay-DEAD]")
@client_option
@click.pass_context
def replay(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    dead: str,
    to: str,
    bootstrap: str | None,
    url: str | None,
    dry_run: bool,
    rate: float,
    limit: int | None,
    sure: bool,
    group: str | None,
    options: tuple[str, ...],
) -> None:
    """Move dead letters from the topic or queue DEAD back to where they can be processed.

    It looks first and asks. Each message is written and confirmed before it counts as moved, so a stop in the middle loses nothing, and
    moves a few twice at worst. What waits at the beginning is moved, not what comes back meanwhile. On Kafka the letters stay in DEAD
    until its retention ends, and a group remembers which were moved; on RabbitMQ they leave the queue.
    """
    from holdgate.cli.replay.command import Broken, Ending, Options, route_for, run_replay

    try:
        wanted = Options(dead, to, rate, limit, dry_run=dry_run, sure=sure)
        route = route_for(dead, to, bootstrap=bootstrap, url=url, rate=rate, group=group, options=options)
        ending = run_replay(route, wanted, click.confirm)
    except Broken as error:
        raise Failure(str(error)) from error
    except HoldgateError as error:
        raise Refusal(str(error)) from error
    except click.Abort:  # Ctrl-C at the question, or no terminal to answer it
        click.echo("nothing was moved; --yes moves without asking", err=True)
        ending = Ending.STOPPED
    except KeyboardInterrupt:
        ending = Ending.STOPPED
    if ending is Ending.STOPPED:
        context.exit(INTERRUPTED)
