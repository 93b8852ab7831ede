from __future__ import annotations

import io
import os
import signal

import click
import pytest
from click.testing import Result
from rich.console import Console
from tests.cli.replay.fake_route import FakeRoute
from tests.cli.runner import invoke

from holdgate.cli import FAILED, INTERRUPTED, REFUSED
from holdgate.cli.commands import read_options
from holdgate.cli.letters.kafka import client_options
from holdgate.cli.replay import command
from holdgate.cli.replay.command import Broken, Ending, Options, run_replay
from holdgate.errors import IntakeError, SettingsError


def replay(route: FakeRoute, answer: bool = True, **options: object) -> tuple[Ending, str, list[str]]:
    """Run it with a person who gives `answer`; the ending, what was printed, and what was asked."""
    out, asked = io.StringIO(), []

    def confirm(question: str) -> bool:
        asked.append(question)
        return answer

    wanted = Options(**{"dead": "orders.dead", "to": "orders", "rate": 1000.0, **options})  # type: ignore[arg-type]
    ending = run_replay(route, wanted, confirm, Console(file=out, width=150))
    return ending, out.getvalue(), asked


def run(*args: str) -> Result:
    return invoke("replay", *args)


def test_it_looks_asks_and_moves() -> None:
    """In this order; and it says how many."""
    route = FakeRoute(5)
    ending, printed, asked = replay(route)
    assert (ending, asked) == (Ending.DONE, ["Move 5 from orders.dead to orders?"])
    assert "5 wait in orders.dead; 5 go to orders, 1000 a second" in printed
    assert "moved 5 of 5\n" in printed
    assert (len(route.done_with), route.ended) == (5, 1)


def test_no_moves_nothing() -> None:
    """Not even the group is joined."""
    route = FakeRoute(5)
    assert replay(route, answer=False)[0] is Ending.DECLINED
    assert (route.begun, len(route.waiting), route.ended) == (0, 5, 1)


def test_a_dry_run_asks_and_moves_nothing() -> None:
    """It only looks."""
    route = FakeRoute(5)
    ending, printed, asked = replay(route, dry_run=True)
    assert (ending, asked, route.begun, route.ended) == (Ending.DONE, [], 0, 1)
    assert "5 wait in orders.dead" in printed


def test_who_is_sure_is_not_asked() -> None:
    """For scripts."""
    route = FakeRoute(5)
    assert replay(route, answer=False, sure=True)[2] == []
    assert len(route.done_with) == 5


def test_nothing_that_waits_is_said_and_not_asked_about() -> None:
    """Exit code 0: a script may run it every hour."""
    ending, printed, asked = replay(FakeRoute(0))
    assert (ending, printed, asked) == (Ending.DONE, "nothing waits in orders.dead\n", [])


def test_a_limit_is_what_is_asked_about() -> None:
    """And how far the bar goes; the rest is still there."""
    route = FakeRoute(5)
    _, printed, asked = replay(route, limit=2)
    assert asked == ["Move 2 from orders.dead to orders?"]
    assert "moved 2 of 2" in printed
    assert len(route.waiting) == 3


def test_kinds_ages_and_earlier_replays_are_shown() -> None:
    """What a person decides by."""
    route = FakeRoute(2)
    route.survey_found.saw([("holdgate-source", b"orders"), ("holdgate-exception", b"KeyError"), ("holdgate-replays", b"2")], 0.0)
    route.survey_found.saw([("holdgate-source", b"mails"), ("holdgate-exception", b"ValueError")], 60.0)
    _, printed, _ = replay(route, dry_run=True)
    for words in ("KeyError", "ValueError", "all, from 1970-01-01 00:00:00Z to 1970-01-01 00:01:00Z"):
        assert words in printed
    assert "1 of them have been replayed before, up to 2 times" in printed


def test_of_many_letters_some_are_shown_and_called_so() -> None:
    """The table is of those that were read."""
    route = FakeRoute(2)
    route.survey_found.saw([], 0.0)
    assert "the first 1, from" in replay(route, dry_run=True)[1]


def before(*_: object) -> None:
    """Somebody's own handler of a signal."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_it_after_the_letter_under_way(number: signal.Signals) -> None:
    """What was moved is remembered, the route ends in order, and it says how to go on; the handler is as before."""
    route, default = FakeRoute(5), signal.getsignal(number)
    signal.signal(number, before)
    route.on_put = lambda letter: os.kill(os.getpid(), number)
    # It waits long before the second one, and not for that: a quick pace would leave the signal's way through the loop to chance.
    ending, printed, _ = replay(route, rate=0.01)
    assert ending is Ending.STOPPED
    assert route.done_with == [0]
    assert route.ended == 1
    assert "moved 1 of 5; run it again to go on from here" in printed
    after = signal.signal(number, default)
    assert after is before


def test_an_error_in_the_middle_says_what_was_moved() -> None:
    """The route ends in order all the same."""
    route = FakeRoute(5)
    route.on_put = lambda letter: route.fails.update(put=ConnectionError("gone")) if letter == 3 else None
    with pytest.raises(Broken, match="ended in the middle: ConnectionError: gone"):
        replay(route)
    assert (route.done_with, route.ended) == ([0, 1, 2], 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"to": "orders.dead"}, "where the dead letters are already"), ({"rate": 0.0}, "--rate 0"), ({"limit": 0}, "--limit 0")],
    ids=["onto itself", "no rate", "no limit"],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], told: str) -> None:
    """With what was given."""
    with pytest.raises(SettingsError, match=told):
        replay(FakeRoute(), **options)


# -- the command line ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [(), ("--bootstrap", "a:1", "--url", "amqp://b")], ids=["nowhere", "twice"])
def test_the_broker_must_be_named_once(where: tuple[str, ...]) -> None:
    """Exit code 2, with both ways."""
    result = run("orders.dead", "--to", "orders", *where)
    assert result.exit_code == REFUSED
    assert "--bootstrap HOST:PORT for Kafka, or --url amqp://... for RabbitMQ" in result.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--option", "security_protocol"), "write NAME=VALUE"),
        (("--option", "sasl_plain_password=env:NO_SUCH_VARIABLE"), "the environment has no NO_SUCH_VARIABLE"),
        (("--option", "group_id=mine"), "group_id is set by the command itself"),
    ],
    ids=["no value", "no variable", "ours"],
)
def test_an_option_for_the_client_is_checked(options: tuple[str, ...], told: str) -> None:
    """Exit code 2 before anything is asked of a broker."""
    result = run("orders.dead", "--to", "orders", "--bootstrap", "localhost:1", *options)
    assert result.exit_code == REFUSED
    assert told in result.stderr


def test_kafkas_options_are_refused_for_rabbitmq() -> None:
    """A group there would be ignored in silence."""
    result = run("orders.dead", "--to", "orders", "--url", "amqp://localhost:1", "--group", "g")
    assert result.exit_code == REFUSED
    assert "Kafka's" in result.stderr


def test_options_reach_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers where the client has milliseconds, text elsewhere, secrets from the environment, a context for TLS."""
    monkeypatch.setenv("SOME_NUMBER", "4711")
    given = ["request_timeout_ms=500", "sasl_plain_username=env:SOME_NUMBER", "security_protocol=SASL_SSL"]
    options = client_options(read_options(given))
    assert options["request_timeout_ms"] == 500
    assert options["sasl_plain_username"] == "4711"
    assert options["ssl_context"] is not None


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (Ending.DONE, 0),
        (Ending.DECLINED, 0),
        (Ending.STOPPED, INTERRUPTED),
        (IntakeError("no broker"), REFUSED),
        (Broken("in the middle"), FAILED),
        (KeyboardInterrupt(), INTERRUPTED),
        (click.Abort(), INTERRUPTED),
    ],
    ids=["done", "declined", "stopped", "no broker", "broken", "Ctrl-C", "Ctrl-C at the question"],
)
def test_the_exit_code_says_how_it_ended(ends: object, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the help says."""

    def ending(*_: object) -> object:
        if isinstance(ends, BaseException):
            raise ends
        return ends

    monkeypatch.setattr(command, "route_for", lambda *_, **__: FakeRoute())
    monkeypatch.setattr(command, "run_replay", ending)
    assert run("orders.dead", "--to", "orders", "--bootstrap", "localhost:1").exit_code == code


def test_where_nobody_can_answer_nothing_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe, without --yes: exit code 130, and a word on how to do without the question."""

    def nobody(_: str) -> bool:
        raise click.Abort  # as click says it of a pipe; its test runner up to 8.2 takes the end of its input for an empty line

    route = FakeRoute(3)
    monkeypatch.setattr(click, "confirm", nobody)
    monkeypatch.setattr(command, "route_for", lambda *_, **__: route)
    result = run("orders.dead", "--to", "orders", "--bootstrap", "localhost:1")
    assert (result.exit_code, route.done_with, route.ended) == (INTERRUPTED, [], 1)
    assert "--yes moves without asking" in result.stderr
