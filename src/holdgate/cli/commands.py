"""What every command shares: how it ends early, how a broker is named, and how `holdgate` finds the commands of another package.

The laboratory's commands are not imported here: its package announces them as entry points, and holdgate works without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import cast

import click

from holdgate.cli import FAILED, REFUSED
from holdgate.errors import SettingsError

# The group of entry points by which a package gives `holdgate` a command: the entry's name is the command's, and its object a click
# command.
GROUP = "holdgate.commands"
# These belong to holdgate's own wheel, but not to the package holdgate: someone may call them where they are missing.
_OF_THE_LABORATORY = frozenset({"demo", "simulate"})

# The values that a command reads from the environment, so that no password is visible in a list of processes.
URL_VARIABLE = "HOLDGATE_AMQP_URL"
MANAGEMENT_VARIABLE = "HOLDGATE_MANAGEMENT_URL"
FLEET_VARIABLE = "HOLDGATE_FLEET_URL"

# How the commands of dead letters are told which broker it is.
bootstrap_option = click.option("--bootstrap", metavar="HOST:PORT", help="Kafka: the brokers, several separated by commas.")
url_option = click.option(
    "--url", metavar="AMQP-URL", envvar=URL_VARIABLE, help=f"RabbitMQ: amqp://user:password@host/vhost, or {URL_VARIABLE}."
)
client_option = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Kafka: a setting of aiokafka's clients, such as security_protocol=SASL_SSL or sasl_plain_password=env:PASSWORD.",
)


class Refusal(click.ClickException):
    """A command could not begin. The text says why, and what to do."""

    exit_code = REFUSED


class Failure(click.ClickException):
    """A command had begun and could not go on. The text says why."""

    exit_code = FAILED


def check_address(bootstrap: str | None, url: str | None) -> None:
    """Raise SettingsError unless exactly one broker is named.

    - `bootstrap`: Kafka's brokers. None means that it is not Kafka.
    - `url`: that of a RabbitMQ. None means that it is not RabbitMQ.
    """
    if (bootstrap is None) == (url is None):
        raise SettingsError(
            "say where the dead letters are: --bootstrap HOST:PORT for Kafka, or --url amqp://... for RabbitMQ, one of them"
        )


def read_option(text: str) -> tuple[str, str]:
    """Return the name and the value of NAME=VALUE, or of NAME=env:VARIABLE.

    The second form is for a value that must not be visible in a list of processes. Raises SettingsError.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise SettingsError(f"--option {name!r} has no value: write NAME=VALUE")
    if not value.startswith("env:"):
        return name, value
    variable = value.removeprefix("env:")
    if variable not in os.environ:
        raise SettingsError(f"--option {name}=env:{variable}: the environment has no {variable}")
    return name, os.environ[variable]


def read_options(texts: Sequence[str]) -> dict[str, str]:
    """Return all of them, by name; if a name comes twice, the last one wins. Raises SettingsError."""
    return dict(read_option(each) for each in texts)


def announced() -> Mapping[str, EntryPoint]:
    """Return the commands that installed packages announce, by name. They are read afresh at each call, and not imported yet."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


class CommandGroup(click.Group):
    """holdgate's own commands, and those that other packages announce. An own command wins over an announced one of the same name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the alphabet, as the help shows them."""
        return sorted({*super().list_commands(ctx), *announced()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the command of this name. None means that there is none. Raises Refusal for one of the laboratory's that is missing."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = announced().get(cmd_name)
        if entry is not None:
            return cast("click.Command", entry.load())
        if cmd_name in _OF_THE_LABORATORY:
            raise Refusal(
                f"{cmd_name!r} belongs to holdgate's laboratory, and no installed package announces it: "
                'install holdgate anew, with pip install --force-reinstall "holdgate[cli]" (a checkout: make setup)'
            )
        return None
