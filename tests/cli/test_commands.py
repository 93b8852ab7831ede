"""CommandGroup: how `holdgate` finds what the laboratory brings, and what it says where that is missing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner
from tests.cli.runner import invoke, promised

from holdgate.cli import REFUSED, commands
from holdgate.cli.app import app


def announce(monkeypatch: pytest.MonkeyPatch, found: Mapping[str, EntryPoint]) -> None:
    monkeypatch.setattr(commands, "announced", lambda: found)


@click.command("greet")
def greet() -> None:
    """Say hello."""
    click.echo("hello")


def test_every_promised_command_can_be_loaded_by_its_name() -> None:
    """What pyproject.toml says is there."""
    for name, entry in promised().items():
        assert entry.load().name == name


def test_the_help_names_the_commands_of_both_packages() -> None:
    """Nobody has to know where one lives."""
    text = invoke("--help").stdout
    assert all(name in text for name in ("demo", "replay", "simulate"))


def test_a_command_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded when it is asked for, and runs as any other."""
    announce(monkeypatch, {"greet": EntryPoint("greet", "tests.cli.test_commands:greet", commands.GROUP)})

    assert CliRunner().invoke(app, ["greet"]).output == "hello\n"


def test_an_own_command_wins_over_an_announced_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who installs something else replaces `replay`."""
    announce(monkeypatch, {"replay": EntryPoint("replay", "tests.cli.test_commands:greet", commands.GROUP)})

    assert "Move dead letters" in CliRunner().invoke(app, ["replay", "--help"]).output


@pytest.mark.parametrize("name", sorted(promised()))
def test_where_the_laboratory_is_missing_its_command_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2 and what to do, instead of "no such command"; the help of the rest works."""
    announce(monkeypatch, {})

    result = CliRunner().invoke(app, [name])
    assert (result.exit_code, "install holdgate anew" in result.output) == (REFUSED, True)
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0


def test_a_name_that_nobody_has_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """As click says it."""
    announce(monkeypatch, {})

    assert "No such command" in CliRunner().invoke(app, ["nonsense"]).output


def test_what_is_announced_is_what_the_installed_packages_say() -> None:
    """Each entry by its name; of our own group alone."""
    assert all((entry.name, entry.group) == (name, commands.GROUP) for name, entry in commands.announced().items())
