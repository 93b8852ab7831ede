"""`holdgate letters`, with its options alone: the code that does its work is imported when it runs."""

from __future__ import annotations

import click

from holdgate.cli import INTERRUPTED
from holdgate.cli.commands import MANAGEMENT_VARIABLE, Failure, Refusal, bootstrap_option, client_option, url_option
from holdgate.errors import HoldgateError

_NOTES = """\b
Exit codes: 0 listed, also when there is none; 1 it ended in the middle
by an error, 2 it could not begin, 130 stopped by Ctrl-C or SIGTERM.

Nothing of a message is printed: no payload, no key, no header of its own.

RabbitMQ has no way to read a message without taking it: each letter is
delivered and goes back, marked as redelivered. On a quorum queue up to
4.2 that is counted. One that another return might drop is written again,
at the end of the queue. What happened is said below the table."""


@click.command(epilog=_NOTES)
@click.argument("dead")
@bootstrap_option
@url_option
@click.option(
    "--limit",
    type=int,
    default=50,  # a screen or two; and on RabbitMQ nobody else gets those while they are looked at
    show_default=True,
    help="Show so many at most, from the one that has waited longest on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line; everything else goes to stderr.")
@click.option("--moved", is_flag=True, help="Kafka: also those that a replay has moved, as long as they are in the topic.")
@click.option("--group", help="Kafka: the group of the replay.  [default: holdgate-replay-DEAD]")
@client_option
@click.option(
    "--management-url",
    metavar="HTTP-URL",
    envvar=MANAGEMENT_VARIABLE,
    help=f"RabbitMQ: http://user:password@host:15672, or {MANAGEMENT_VARIABLE}; shows which policies limit returns.",
)
@click.pass_context
def letters(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    dead: str,
    bootstrap: str | None,
    url: str | None,
    limit: int,
    as_json: bool,
    moved: bool,
    group: str | None,
    options: tuple[str, ...],
    management_url: str | None,
) -> None:
    """List the dead letters that wait in the topic or queue DEAD: where each came from, why, after how many attempts, how long ago.

    It moves nothing: `holdgate replay` does that. On Kafka it leaves no trace, and shows what a replay would move.
    """
    from holdgate.cli.letters.command import LookFailed, Request, run_letters, shelf_for

    try:
        request = Request(dead, limit, as_json)
        shelf = shelf_for(dead, bootstrap=bootstrap, url=url, management_url=management_url, group=group, moved=moved, options=options)
        run_letters(shelf, request, told=lambda line: click.echo(line, err=True))
    except LookFailed as error:
        raise Failure(str(error)) from error
    except HoldgateError as error:
        raise Refusal(str(error)) from error
    except KeyboardInterrupt:
        context.exit(INTERRUPTED)
