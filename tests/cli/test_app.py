from __future__ import annotations

import socket

import pytest
from click.testing import Result
from tests.cli.runner import invoke

from holdgate.cli import INTERRUPTED, REFUSED
from holdgate.cli.demo import command
from holdgate.errors import IntakeError, MissingExtra


def run(*args: str) -> Result:
    return invoke(*args)


def test_the_help_names_the_brokers_and_the_exit_codes() -> None:
    """What a person or a script needs to know before the first run."""
    text = run("demo", "--help").output
    for word in ("memory|embedded|HOST:PORT", "--seconds", "--json", "Exit codes", "130"):
        assert word in text


@pytest.mark.parametrize("broker", ["nonsense", "localhost", "localhost:port", "a b:1", ""])
def test_a_broker_that_is_none_is_refused_with_the_choices(broker: str) -> None:
    """Exit code 2, and the text shows what is possible."""
    result = run("demo", "--broker", broker)
    assert result.exit_code == REFUSED
    assert "localhost:9092" in result.stderr


def test_a_length_without_room_for_the_story_is_refused() -> None:
    """Exit code 2 before anything is started."""
    result = run("demo", "--seconds", "1")
    assert result.exit_code == REFUSED
    assert "from 4 to 600" in result.stderr


def test_a_broker_that_is_not_there_is_a_clear_error() -> None:
    """Exit code 2, the address, what to do; no traceback and no client's log lines."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        result = run("demo", "--broker", address, "--seconds", "4", "--json")
    assert result.exit_code == REFUSED
    assert result.stderr.startswith(f"Error: no Kafka broker answers at {address}")
    assert result.stdout == ""


@pytest.mark.parametrize("error", [IntakeError("no broker"), MissingExtra("install it")])
def test_what_keeps_the_demo_from_beginning_is_told_in_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of holdgate's own tree are for people: text and exit code, no traceback."""

    def fail(*_args: object, **_named: object) -> bool:
        raise error

    monkeypatch.setattr(command, "run_demo", fail)
    result = run("demo")
    assert (result.exit_code, result.stderr) == (REFUSED, f"Error: {error}\n")


def test_a_run_to_its_end_is_exit_code_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options reach the run."""
    seen: list[object] = []

    def finish(broker: str, seconds: float, *, as_json: bool) -> bool:
        seen.extend((broker, seconds, as_json))
        return True

    monkeypatch.setattr(command, "run_demo", finish)
    assert run("demo", "--broker", "memory", "--seconds", "5", "--json").exit_code == 0
    assert seen == ["memory", 5.0, True]


def test_without_options_it_is_the_embedded_broker_for_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to install, nothing to start, and over before a minute is."""
    seen: list[object] = []

    def finish(broker: str, seconds: float, *, as_json: bool) -> bool:
        seen.extend((broker, seconds, as_json))
        return True

    monkeypatch.setattr(command, "run_demo", finish)
    run("demo")
    assert seen == ["embedded", 30.0, False]


def test_an_interrupted_run_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell expects of Ctrl-C, also when it came before anything could be reported."""

    def cut_short(*_args: object, **_named: object) -> bool:
        return False

    def cut_at_once(*_args: object, **_named: object) -> bool:
        raise KeyboardInterrupt

    codes = []
    for ending in (cut_short, cut_at_once):
        monkeypatch.setattr(command, "run_demo", ending)
        codes.append(run("demo").exit_code)
    assert codes == [INTERRUPTED, INTERRUPTED]
