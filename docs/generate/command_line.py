"""The commands of `holdgate`, from their own options: what each takes, does and ends with."""

from __future__ import annotations

import click
from docs.generate.tables import sentence, table

from holdgate.cli.app import app


def commands() -> str:
    """A section for each command of holdgate itself, in the order of the alphabet. Those of the laboratory are not here."""
    return "\n\n".join(section for name, command in sorted(app.commands.items()) for section in _sections(name, command))


def _sections(name: str, command: click.Command) -> list[str]:
    """The section of a command, and of those under it."""
    below = sorted(command.commands.items()) if isinstance(command, click.Group) else []
    return [_section(name, command), *(section for part, each in below for section in _sections(f"{name} {part}", each))]


def _section(name: str, command: click.Command) -> str:
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    usage = " ".join(["holdgate", name, *(_shown(each) for each in arguments)])
    options = [_option(each) for each in command.params if isinstance(each, click.Option)]
    notes = (command.epilog or "").replace("\b\n", "").strip()
    help_ = (command.help or "").replace("\b\n", "")
    parts = [f"### {name}", f"`{usage}`", "\n\n".join(sentence(each) for each in help_.split("\n\n"))]
    if options:
        parts.append(table(("option", "meaning"), options))
    return "\n\n".join([*parts, *(sentence(each) for each in notes.split("\n\n") if each)])


def _shown(argument: click.Argument) -> str:
    return argument.metavar or (argument.name or "").upper()


def _option(option: click.Option) -> tuple[str, str]:
    name = ", ".join(f"`{each}`" for each in option.opts)
    default = option.show_default if isinstance(option.show_default, str) else option.default if option.show_default else None
    ending = f" Left out: {default}." if default is not None else " Must be given." if option.required else ""
    return name, f"{option.help or ''}{ending}"
