"""What an operator says to a whole fleet, with the options alone: one worker is asked, and the fleet's log takes it to all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdgate.cli.worker.app import actor_option, for_option, json_option, reason_option
from holdgate.cli.worker.options import ADDRESS_NOTES, CODES, asks_a_worker, send

if TYPE_CHECKING:
    from holdgate.cli.worker.connection import WorkerConnection

_NOTES = f"{ADDRESS_NOTES}\n{CODES}"
# One slip stops twenty workers. For a single worker there is `holdgate hold`.
_STOPS = "Every worker of the fleet will stop calling {}. Go on?"
_RUSHES = "Every worker of the fleet will call {} at its full rate immediately, whether it works or not. Go on?"

sure_option = click.option("--yes", "sure", is_flag=True, help="Do not ask.")


def _lasting(name: str, text: str) -> click.Command:
    """Make a command that lasts for a while, and asks first."""

    @click.command(name, help=text, epilog=_NOTES)
    @click.argument("dependency", metavar="DEPENDENCY")
    @for_option
    @reason_option
    @actor_option
    @sure_option
    @json_option
    @asks_a_worker
    def command(  # noqa: PLR0917 - click passes them by name
        worker: WorkerConnection, dependency: str, lasts: float | str, reason: str, actor: str, sure: bool, as_json: bool
    ) -> None:
        _confirm(_STOPS, dependency, sure)
        seconds = None if lasts == "forever" else lasts
        send(worker, f"fleet-{name}", dependency, as_json=as_json, reason=reason, actor=actor, **{"for": seconds})

    return command


@click.command(epilog=_NOTES)
@click.argument("dependency", metavar="DEPENDENCY")
@reason_option
@actor_option
@json_option
@asks_a_worker
def release(worker: WorkerConnection, dependency: str, reason: str, actor: str, as_json: bool) -> None:
    """End a hold or force-open of the whole fleet. It comes back as from an outage: one probe, then a ramp for all."""
    send(worker, "fleet-release", dependency, as_json=as_json, reason=reason, actor=actor)


@click.command(epilog=_NOTES)
@click.argument("dependency", metavar="DEPENDENCY")
@reason_option
@actor_option
@sure_option
@json_option
@asks_a_worker
def reset(  # noqa: PLR0917 - click passes them by name
    worker: WorkerConnection, dependency: str, reason: str, actor: str, sure: bool, as_json: bool
) -> None:
    """Close the circuit of DEPENDENCY at every worker: the full rate comes immediately."""
    _confirm(_RUSHES, dependency, sure)
    send(worker, "fleet-reset", dependency, as_json=as_json, reason=reason, actor=actor)


def _confirm(question: str, dependency: str, sure: bool) -> None:
    if not sure:
        click.confirm(question.format(dependency), abort=True, err=True)


hold = _lasting("hold", "Keep every worker of the fleet from DEPENDENCY, those that come later included. What runs may finish.")
force_open = _lasting("force-open", "Open the circuit of DEPENDENCY at every worker of the fleet. Nobody probes before the end.")

FLEET_ORDERS = (hold, release, force_open, reset)
