"""What every command shares: how it ends early, and how `holdgate` finds the commands that another package brings.

The laboratory's commands are not imported here: its package announces them as entry points, and holdgate works without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import cast

import click

from holdgate.cli import FAILED, REFUSED

# The group of entry points by which a package gives `holdgate` a command: the entry's name is the command's, and its object a click
# command.
GROUP = "holdgate.commands"
# These belong to holdgate's own wheel, but not to the package holdgate: someone may call them where they are missing.
_OF_THE_LABORATORY = frozenset({"demo", "simulate"})


class Refusal(click.ClickException):
    """A command could not begin. The text says why, and what to do."""

    exit_code = REFUSED


class Failure(click.ClickException):
    """A command had begun and could not go on. The text says why."""

    exit_code = FAILED


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
