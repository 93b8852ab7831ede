"""The commands that ask a running worker, with their options alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from holdgate.cli import FAILED
from holdgate.cli.worker.options import ADDRESS_NOTES, CODES, acting_as, asks_a_worker, duration, send

if TYPE_CHECKING:
    from holdgate.cli.worker.connection import WorkerConnection

_NOTES = f"{ADDRESS_NOTES}\n{CODES}"
# More than a paragraph has, whatever its names are (characters).
_PARAGRAPH = 20_000

json_option = click.option("--json", "as_json", is_flag=True, help="Print the worker's answer as JSON.")
reason_option = click.option("--reason", required=True, help="Why; others will read it.")
actor_option = click.option("--actor", default=acting_as, show_default="HOLDGATE_ACTOR, or you", help="Who gives the command.")
for_option = click.option(
    "--for",
    "lasts",
    type=duration,
    default="30m",  # as the guard's own: longer than a deployment, shorter than what is found the next morning
    show_default=True,
    help="When it ends by itself: 45s, 30m, 2h, or forever.",
)


# -- reading --------------------------------------------------------------------------------------------------------------------------


@click.command(epilog=_NOTES)
@click.option("--all", "all_sources", is_flag=True, help="List every source, not only what is held.")
@json_option
@asks_a_worker
def status(worker: WorkerConnection, all_sources: bool, as_json: bool) -> None:
    """Show what is held, why, since when, how much waits, and what happens next."""
    document = worker.get("/status")
    if as_json:
        import json

        click.echo(json.dumps(document, indent=2))
        return
    from rich.console import Console

    from holdgate.cli.worker.table import render

    Console().print(render(document, all_sources=all_sources))


@click.command(epilog=f"{ADDRESS_NOTES}\n\b\nIt ends with Ctrl-C, and its exit code is 130 then.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.2),
    default=1.0,  # what an event stream does, and what a person sees as moving
    show_default=True,
    help="Seconds between two looks.",
)
@asks_a_worker
def watch(worker: WorkerConnection, every: float) -> None:
    """Show the status as it changes, by the worker's event stream, or by asking again and again where none can be had.

    A worker that goes away is waited for.
    """
    from rich.console import Console
    from rich.live import Live

    from holdgate.cli.worker.table import render, silent
    from holdgate.cli.worker.watching import looks

    document = worker.get("/status?limit=100")  # an address that is wrong is an error, and nothing to wait for
    with Live(render(document), console=Console(), auto_refresh=False, screen=False) as live:
        for seen in looks(worker, every):
            if not isinstance(seen, Exception):
                document = seen
            live.update(silent(document, str(seen)) if isinstance(seen, Exception) else render(document), refresh=True)


@click.command(epilog=_NOTES)
@click.argument("name", metavar="SOURCE")
@json_option
@asks_a_worker
def explain(worker: WorkerConnection, name: str, as_json: bool) -> None:
    """Say in one paragraph why SOURCE waits, or does not.

    SOURCE is a partition (orders[3]), a topic or queue, or a dependency.
    """
    from holdgate.cli.commands import Failure
    from holdgate.cli.worker.words import clean
    from holdgate.flow.explain import Unknown
    from holdgate.flow.explain import explain as in_words

    try:
        text = in_words(worker.get("/status"), name)
    except Unknown as error:
        raise Failure(clean(str(error), _PARAGRAPH)) from None
    if as_json:
        import json

        click.echo(json.dumps({"name": name, "text": text}))
    else:
        click.echo(clean(text, _PARAGRAPH))  # a queue may have any name, such as one that moves a cursor


@click.command(epilog=f"{ADDRESS_NOTES}\n\b\nExit codes: 0 yes, 1 no, 2 nobody answers, 130 stopped by Ctrl-C.")
@click.option("--ready", "what", flag_value="readyz", help="Has it started, and is it not stopping?")
@click.option("--started", "what", flag_value="startupz", help="Has it had its first assignment?")
@click.option("--live", "what", flag_value="livez", default="livez", help="Should it be left running? This is the default.")
@json_option
@click.pass_context
@asks_a_worker
def health(context: click.Context, worker: WorkerConnection, what: str | None, as_json: bool) -> None:
    """Ask as a probe does: for workers without a port, in a probe that runs a command.

    An open circuit is no reason for a no.
    """
    what = what or "livez"
    answer: dict[str, Any] = worker.get(f"/{what}", wanted=(200, 503))
    if as_json:
        import json

        click.echo(json.dumps(answer))
    else:
        click.echo("; ".join([answer["status"], *answer.get("reasons", ())]))
    if not answer[{"livez": "live", "readyz": "ready", "startupz": "started"}[what]]:
        context.exit(FAILED)


@click.command(epilog=_NOTES)
@json_option
@asks_a_worker
def audit(worker: WorkerConnection, as_json: bool) -> None:
    """List the last commands, and what settings files have changed: who, what, why, until when."""
    from datetime import UTC, datetime

    entries = worker.get("/audit")
    if as_json:
        import json

        click.echo(json.dumps(entries, indent=2))
        return
    from holdgate.cli.worker.words import clean

    for entry in entries:
        at = datetime.fromtimestamp(entry["ended"] or entry["at"], UTC).isoformat(timespec="seconds")
        over = "" if entry["ended"] is None else " is over"
        where = clean(entry["target"]) + ("" if entry["position"] is None else f"@{entry['position']}")
        click.echo(f"{at} {entry['command'].replace('_', ' ')} {where} by {clean(entry['actor'])}{over}: {clean(entry['reason'])}")


# -- commands -------------------------------------------------------------------------------------------------------------------------


def _lasting(name: str, target: str, text: str) -> click.Command:
    """Make a command that lasts for a while."""

    @click.command(name, help=text, epilog=_NOTES)
    @click.argument("target", metavar=target)
    @for_option
    @reason_option
    @actor_option
    @json_option
    @asks_a_worker
    def command(  # noqa: PLR0917 - click passes them by name
        worker: WorkerConnection, target: str, lasts: float | str, reason: str, actor: str, as_json: bool
    ) -> None:
        seconds = None if lasts == "forever" else lasts
        send(worker, name, target, as_json=as_json, reason=reason, actor=actor, **{"for": seconds})

    return command


def _momentary(name: str, target: str, text: str) -> click.Command:
    """Make a command that is over when it is done."""

    @click.command(name, help=text, epilog=_NOTES)
    @click.argument("target", metavar=target)
    @reason_option
    @actor_option
    @json_option
    @asks_a_worker
    def command(worker: WorkerConnection, target: str, reason: str, actor: str, as_json: bool) -> None:
        send(worker, name, target, as_json=as_json, reason=reason, actor=actor)

    return command


hold = _lasting("hold", "SOURCE", "Start no handler for SOURCE: a partition (orders[3]), or all of a topic or queue. What runs may finish.")
unhold = _momentary("unhold", "SOURCE", "End an operator's hold. What a circuit holds stays held.")
force_open = _lasting("force-open", "DEPENDENCY", "Let nothing through to DEPENDENCY. After the end the work comes back slowly.")
disable = _lasting("disable", "DEPENDENCY", "Let everything through to DEPENDENCY, and record nothing.")
observe = _lasting("observe", "DEPENDENCY", "Let everything through to DEPENDENCY, and log when its circuit would have opened.")
clear_override = _momentary("clear-override", "DEPENDENCY", "End force-open, disable or observe now.")
probe = _momentary("probe", "DEPENDENCY", "Try an open DEPENDENCY now, and not at the end of its wait.")
reset = _momentary("reset", "DEPENDENCY", "Close the circuit of DEPENDENCY and forget its history: the full rate comes immediately.")
retry = _momentary(
    "retry", "SOURCE", "Let the rejected messages of a blocked SOURCE go on: they start afresh, or go to the dead letters now."
)


@click.command(epilog=_NOTES)
@click.argument("source")
@click.argument("position", type=click.IntRange(min=0))
@reason_option
@actor_option
@click.option("--yes", "sure", is_flag=True, help="Do not ask.")
@json_option
@asks_a_worker
def skip(  # noqa: PLR0917 - click passes them by name
    worker: WorkerConnection, source: str, position: int, reason: str, actor: str, sure: bool, as_json: bool
) -> None:
    """Give up the message at POSITION that SOURCE waits behind. It is settled as if it were done, and lost.

    POSITION is the offset or delivery tag that `holdgate explain SOURCE` names.
    """
    if not sure:
        click.confirm(f"The message at {source} {position} will be lost. Skip it?", abort=True, err=True)
    send(worker, "skip", source, as_json=as_json, reason=reason, actor=actor, position=position)


WORKER_COMMANDS = (
    status, watch, explain, health, audit, hold, unhold, force_open, disable, observe, clear_override, probe, reset, retry, skip
)  # fmt: skip
