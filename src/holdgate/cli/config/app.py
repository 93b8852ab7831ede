"""`holdgate config`: what a settings file says, before a worker reads it. No broker and no worker is asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdgate.cli import FAILED
from holdgate.errors import HoldgateError

if TYPE_CHECKING:
    from holdgate.config.reading import Effective, SettingsReading

# As `diff` has them: 1 for a difference, 2 for trouble.
_TROUBLE = 2

_CHECK_CODES = """\b
Exit codes: 0 it is right; 1 it is not, or cannot be read;
2 the arguments are wrong."""
_DIFF_CODES = """\b
Exit codes: 0 no difference; 1 there are some;
2 one of them is not right, or the arguments are wrong."""

file_argument = click.argument("file", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
environment_option = click.option(
    "--no-environment", "alone", is_flag=True, help="Leave out what variables that begin with HOLDGATE__ say here."
)


@click.group()
def config() -> None:
    """Check, show and compare settings files. No worker is asked, and none is changed."""


@config.command(epilog=_CHECK_CODES)
@file_argument
@json_option
@environment_option
def check(file: Path, as_json: bool, alone: bool) -> None:
    """Say everything that is wrong in FILE, each with its line."""
    try:
        _read(file, alone=alone)
    except HoldgateError as error:
        problems = str(error).splitlines()
        if as_json:
            _print({"valid": False, "problems": problems})
        else:
            for each in problems:
                click.echo(each, err=True)
        raise click.exceptions.Exit(FAILED) from None
    if as_json:
        _print({"valid": True, "problems": []})
    else:
        click.echo(f"{file}: is right")


@config.command(epilog=_CHECK_CODES)
@file_argument
@click.option("--effective", is_flag=True, help="Show defaults, too: every setting as a worker would have it.")
@json_option
@environment_option
def show(file: Path, effective: bool, as_json: bool, alone: bool) -> None:
    """Show what FILE and the environment say, and where each value comes from. Tokens are masked."""
    from holdgate.config.reading import DEFAULT

    try:
        reading = _read(file, alone=alone)
    except HoldgateError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(FAILED) from None
    found = [each for each in reading.effective() if effective or each.origin != DEFAULT]
    if as_json:
        _print([{"setting": each.setting, "value": each.value, "from": each.origin} for each in found])
        return
    for line in _columns(found):
        click.echo(line)


@config.command(epilog=_DIFF_CODES)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@json_option
@environment_option
def diff(a: Path, b: Path, as_json: bool, alone: bool) -> None:
    """Show which settings differ between the files A and B, defaults counted, and which of them need a restart. Tokens are masked."""
    from holdgate.config.changes import differences, is_live

    try:
        before, after = _read(a, alone=alone).values(), _read(b, alone=alone).values()
    except HoldgateError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(_TROUBLE) from None
    found = [(each, is_live(each.place, before, after)) for each in differences(before, after)]
    if as_json:
        _print(
            [{"setting": each.setting, "before": each.before or None, "after": each.after or None, "live": live} for each, live in found]
        )
    else:
        for each, live in found:
            click.echo(f"{each}{'' if live else '  (needs a restart)'}")
    raise click.exceptions.Exit(FAILED if found else 0)


@config.command(name="schema")
def print_schema() -> None:
    """Print the JSON schema of a settings file, for an editor."""
    from holdgate.config.schema import schema

    _print(schema())


def _read(file: Path, *, alone: bool) -> SettingsReading:
    import os

    from holdgate.config.reading import read_tables
    from holdgate.config.toml_file import read_toml

    environment: Mapping[str, str] = {} if alone else os.environ
    return read_tables(read_toml(file), environment, {})


def _columns(found: Iterable[Effective]) -> Iterable[str]:
    rows = [(f"{each.setting} = {each.shown}", each.origin) for each in found]
    width = max((len(words) for words, _ in rows), default=0)
    return [f"{words:<{width}}  # {origin}" for words, origin in rows]


def _print(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))
