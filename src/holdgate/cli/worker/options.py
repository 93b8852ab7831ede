"""What every command that asks a worker takes: where the worker is, and what a duration looks like. And how such a command ends."""

from __future__ import annotations

import functools
import getpass
import os
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import click

from holdgate.cli import INTERRUPTED
from holdgate.cli.commands import Failure, Refusal

if TYPE_CHECKING:
    from holdgate.cli.worker.connection import WorkerConnection

ADDRESS_NOTES = """\b
The worker is asked at --url, or at --socket, which wins.
A token comes from HOLDGATE_TOKEN or a file, and never from an argument.
"""

CODES = """\b
Exit codes: 0 done, 1 the worker has answered and refuses,
2 nobody answers, or the token or the arguments are wrong,
130 stopped by Ctrl-C."""

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")


# The worker's own words name a header, which nobody types here.
_NOT_ALLOWED = "the worker needs its token, and got none or another: put it into HOLDGATE_TOKEN, or name its file with --token-file"


def duration(text: str) -> float | str:
    """Read seconds, or a number with a unit: 90, 45s, 30m, 2h, 1d. The word "forever" stays as it is, because None is a default's.

    Raises click.BadParameter.
    """
    if text == "forever":
        return text
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if seconds <= 0:
        raise click.BadParameter(f"{text!r} must be a duration above 0, such as 45s, 30m or 2h, or the word forever")
    return seconds


def asks_a_worker(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of an address. It gets a `worker` for them, and ends as CODES says.

    An error about the address or from the worker is one line, without a traceback.
    """

    @click.option(
        "--url", envvar="HOLDGATE_URL", default="http://127.0.0.1:9099", show_default=True, help="Where it listens. Or HOLDGATE_URL."
    )
    @click.option("--socket", "path", envvar="HOLDGATE_SOCKET", metavar="PATH", help="Its local socket instead. Or HOLDGATE_SOCKET.")
    @click.option("--token-file", envvar="HOLDGATE_TOKEN_FILE", metavar="PATH", help="A file with the token; else HOLDGATE_TOKEN has it.")
    @functools.wraps(function)
    def command(*given: Any, url: str, path: str | None, token_file: str | None, **named: Any) -> Any:
        from holdgate.cli.worker.connection import NoAnswer, RefusedByWorker, WorkerConnection, read_token

        try:
            return function(*given, worker=WorkerConnection(url, path, read_token(token_file)), **named)
        except NoAnswer as error:
            raise Refusal(str(error)) from None
        except (KeyboardInterrupt, click.Abort):
            click.get_current_context().exit(INTERRUPTED)
        except RefusedByWorker as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise Refusal(_NOT_ALLOWED) from None
            raise Failure(str(error)) from None

    return command


def acting_as() -> str:
    """Return who gives a command: HOLDGATE_ACTOR, or the user of this process."""
    named = os.environ.get("HOLDGATE_ACTOR")
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has a number and no name
        return f"user {os.getuid()}"


def send(worker: WorkerConnection, command: str, target: str, *, as_json: bool, **words: Any) -> None:
    """Give one command, and say what came of it."""
    import json

    answer = worker.post(f"/commands/{command}", {"target": target, **words})
    if as_json:
        click.echo(json.dumps(answer))
    elif not answer["done"]:
        raise Failure(answer["text"])
    else:
        click.echo(_said(command, target, answer))


def _said(command: str, target: str, answer: Any) -> str:
    from holdgate.flow.explain import lasting

    given = answer["command"]
    until = "" if given["until"] is None else f", for {lasting(given['until'] - given['at'])}"
    messages = "" if "messages" not in answer else f", {_many(answer['messages'])}"
    return f"{command} {target}: done by {given['actor']}{until}{messages}"


def _many(messages: int) -> str:
    if not messages:
        return "but no message of it was rejected, so that nothing has changed"
    return f"{messages} message{'' if messages == 1 else 's'}"
