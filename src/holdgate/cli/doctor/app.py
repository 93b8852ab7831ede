"""`holdgate doctor`: what would hurt in an outage, found while there is none. It asks the broker, and not a worker.

Each finding says what is wrong and the remedy. One with which a run would refuse to start, or with which nothing could be examined, makes
the exit code 1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import click

from holdgate.cli import FAILED
from holdgate.cli.commands import Refusal
from holdgate.errors import HoldgateError

_CODES = """\b
Exit codes: 0 nothing, or only warnings; 1 a worker could not start,
or nobody answers; 2 the arguments are wrong; 130 stopped by Ctrl-C."""


class Finding(Protocol):
    """A diagnosis of any broker."""

    @property
    def about(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def refused(self) -> bool: ...


@click.group()
def doctor() -> None:
    """Examine a consumer group or a queue before an outage does. Nothing is consumed or changed."""


@doctor.command(epilog=_CODES)
@click.option("--bootstrap", required=True, metavar="HOST:PORT", help="The brokers, several separated by commas.")
@click.option("--group", required=True, help="The consumer group of the workers.")
@click.option("--topic", "topics", multiple=True, help="A topic that they read.  [default: where the group has committed]")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of aiokafka's clients, such as security_protocol=SASL_SSL or sasl_plain_password=env:PASSWORD.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def kafka(context: click.Context, bootstrap: str, group: str, topics: tuple[str, ...], options: tuple[str, ...], as_json: bool) -> None:  # noqa: PLR0917 - click passes them by name
    """Examine a consumer group: retention, compaction, offsets, and what waits for too long already."""
    import time

    from holdgate.cli.commands import read_options
    from holdgate.cli.letters.kafka import client_options

    try:
        from holdgate.brokers.kafka.examination import examine

        settings = client_options(read_options(options))
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    _report(context, examine(bootstrap, group, topics, settings, time.time()), as_json=as_json)


@doctor.command(epilog=_CODES)
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...")
@click.option(
    "--url", required=True, metavar="AMQP-URL", envvar="HOLDGATE_AMQP_URL", help="amqp://user:password@host/vhost, or HOLDGATE_AMQP_URL."
)
@click.option(
    "--management", metavar="URL", envvar="HOLDGATE_MANAGEMENT_URL", help="http://user:password@host:15672, or HOLDGATE_MANAGEMENT_URL."
)
@click.option("--prefetch", type=int, default=50, show_default=True, help="That of the workers.")  # that of RabbitMQIntake
@click.option("--longest-handler", type=float, metavar="SECONDS", help="How long a handler may take.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def rabbitmq(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    queues: tuple[str, ...],
    url: str,
    management: str | None,
    prefetch: int,
    longest_handler: float | None,
    as_json: bool,
) -> None:
    """Examine queues: type, delivery limit, timeouts, expiry, and, with --management, policies and other consumers."""
    try:
        from holdgate.brokers.rabbitmq import RabbitMQIntake

        intake = RabbitMQIntake(url, *queues, management_url=management, prefetch=prefetch)
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    _report(context, intake.examine(longest_handler=longest_handler), as_json=as_json)


def _report(context: click.Context, examination: Coroutine[Any, Any, Sequence[Finding]], *, as_json: bool) -> None:
    """Examine, print what was found, and end with its exit code."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the findings say it, in words
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    try:
        findings = asyncio.run(examination)
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    if as_json:
        import json

        click.echo(json.dumps([{"about": each.about, "text": each.text, "refused": each.refused} for each in findings], indent=2))
    else:
        for each in findings:
            click.echo(f"{each.about}, {'refused' if each.refused else 'warning'}: {each.text}")
        if not findings:
            click.echo("nothing was found that would hurt in an outage")
    if any(each.refused for each in findings):
        context.exit(FAILED)
