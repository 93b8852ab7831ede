"""`holdgate import`: what the settings of another library become here."""

from __future__ import annotations

from pathlib import Path

import click

from holdgate.cli import FAILED
from holdgate.cli.commands import Failure, Refusal
from holdgate.errors import HoldgateError, SettingsError

_CODES = """\b
Exit codes: 0 a settings file was made; 1 what is in FILE is wrong;
2 it cannot be read, or the arguments are wrong."""


@click.group(name="import")
def importing() -> None:
    """Make a settings file of what another library was configured by."""


@importing.command(epilog=_CODES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write the settings file; left out, it is printed. A file that is there stays."
)
@click.option(
    "--profile", "profiles", multiple=True, help="A profile of Spring that is active; may be given several times, and adds its documents."
)
def resilience4j(file: Path, out: Path | None, profiles: tuple[str, ...]) -> None:
    """Take over circuit breakers, rate limiters, bulkheads, retries and time limiters of a Spring Boot FILE, YAML or .properties.

    It says on standard error, line by line, what was taken over, what has another meaning here, and what has no equal.
    """
    from holdgate.cli.importing.instances import application
    from holdgate.cli.importing.properties import read_documents
    from holdgate.cli.importing.resilience4j import imported
    from holdgate.cli.importing.toml_text import problems, report, written

    try:
        found = application(read_documents(file), profiles)
    except HoldgateError as error:
        raise Refusal(str(error)) from error
    result = imported(found)
    for document in found.left_out:
        click.echo(f"{file}:{document.line}: left out, it is for the profile {', '.join(document.profiles)}: --profile adds it", err=True)
    if not (result.problems or result.values or result.asides):
        raise Failure(f"{file}: has nothing of Resilience4j that a settings file could have")
    text = written(result, file.name)
    lines = problems(result.problems, str(file)) or _wrong(text, file)
    if lines:
        for line in lines:
            click.echo(line, err=True)
        raise click.exceptions.Exit(FAILED)
    _put(text, out)
    click.echo(report(result, str(file)), err=True)


def _wrong(text: str, file: Path) -> list[str]:
    """Return what `holdgate config check` would say of the settings."""
    from holdgate.config.reading import read_tables
    from holdgate.config.toml_file import parse_toml

    try:
        read_tables(parse_toml(f"what {file.name} becomes", text), {}, {})
    except SettingsError as error:
        return str(error).splitlines()
    return []


def _put(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        with out.open("x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        raise Refusal(f"{out}: is there already; name another file, or move it away") from None
    except OSError as error:
        raise Refusal(f"{out}: cannot be written: {error.strerror}") from error
