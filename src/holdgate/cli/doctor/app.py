"""`holdgate doctor`: what would hurt in an outage or at a limit, found while there is none. It asks the broker, and not a worker.

Each finding says what is wrong and the remedy. One with which a run would refuse to start, or with which nothing could be examined, makes
the exit code 1. Costs say what an outage does to workers that have no guard, with the sum, so that a group, a queue or an app can be
looked at before anything of holdgate is in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

import click

from holdgate.cli import FAILED
from holdgate.cli.commands import Refusal
from holdgate.core import validation
from holdgate.errors import HoldgateError

_CODES = """\b
Exit codes: 0 nothing, or only warnings and costs; 1 a worker could not start,
or nobody answers, or an app has nothing to look at; 2 the arguments
are wrong, or the app cannot be imported; 130 stopped by Ctrl-C."""


# Longer than any outage, and than any broker keeps messages (seconds). Kafka knows no time before 1970.
_LONGEST = 366 * 86_400.0


class Finding(Protocol):
    """A diagnosis of any broker."""

    @property
    def about(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def refused(self) -> bool: ...

    @property
    def cost(self) -> bool: ...


def _seconds(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is None:
        return None
    try:
        outage = validation.seconds("--outage", value)
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    if outage > _LONGEST:
        raise Refusal(f"--outage must be at most a year, {_LONGEST:.0f} s, got {value!r}")
    return outage


def _span(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is None:
        return None
    try:
        return validation.seconds("--handler", value)
    except HoldgateError as error:
        raise Refusal(str(error)) from None


# A number of things, of which there is at least one.
_COUNT = click.IntRange(min=1)

# For the commands of brokers. An app has nothing but its costs to show, so its commands have a default.
_OUTAGE = click.option(
    "--outage",
    type=float,
    callback=_seconds,
    metavar="SECONDS",
    help="Say too what an outage of so long costs workers without a guard.",
)
_HOUR = click.option(
    "--outage",
    type=float,
    callback=_seconds,
    default=3600.0,  # no retries cover it, and it has happened to everybody
    show_default=True,
    metavar="SECONDS",
    help="How long the outage lasts.",
)
_BOOTSTRAP = click.option("--bootstrap", required=True, metavar="HOST:PORT", help="The brokers, several separated by commas.")
_GROUP = click.option("--group", required=True, help="The consumer group of the workers.")
_TOPICS = click.option("--topic", "topics", multiple=True, help="A topic that they read.  [default: where the group has committed]")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")


@click.group()
def doctor() -> None:
    """Examine a consumer group, a queue, an app or a settings file before an outage does. Nothing is consumed or changed."""


@doctor.command(epilog=_CODES)
@_BOOTSTRAP
@_GROUP
@_TOPICS
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of aiokafka's clients, such as security_protocol=SASL_SSL or sasl_plain_password=env:PASSWORD.",
)
@_OUTAGE
@_JSON
@click.pass_context
def kafka(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    bootstrap: str,
    group: str,
    topics: tuple[str, ...],
    options: tuple[str, ...],
    outage: float | None,
    as_json: bool,
) -> None:
    """Examine a consumer group: retention, compaction, offsets, and what waits for too long already."""
    import time

    from holdgate.cli.commands import read_options
    from holdgate.cli.letters.kafka import client_options

    try:
        from holdgate.brokers.kafka.examination import examine

        settings = client_options(read_options(options))
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    _report(context, examine(bootstrap, group, topics, settings, time.time(), outage=outage), as_json=as_json)


@doctor.command(epilog=_CODES)
@_BOOTSTRAP
@_GROUP
@_TOPICS
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the workers' consumers, such as group.protocol=consumer or sasl.password=env:PASSWORD.",
)
@_OUTAGE
@_JSON
@click.pass_context
def confluent(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    bootstrap: str,
    group: str,
    topics: tuple[str, ...],
    options: tuple[str, ...],
    outage: float | None,
    as_json: bool,
) -> None:
    """Examine a consumer group whose workers use confluent-kafka: as for kafka, and what librdkafka does otherwise."""
    import time

    from holdgate.cli.commands import read_options

    try:
        settings = {**read_options(options), "bootstrap.servers": bootstrap, "group.id": group}  # what was typed comes first

        from holdgate.brokers.confluent.examination import examine
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    _report(context, examine(settings, topics, time.time(), outage=outage), as_json=as_json)


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
@_OUTAGE
@_JSON
@click.pass_context
def rabbitmq(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    queues: tuple[str, ...],
    url: str,
    management: str | None,
    prefetch: int,
    longest_handler: float | None,
    outage: float | None,
    as_json: bool,
) -> None:
    """Examine queues: type, delivery limit, timeouts, expiry, and, with --management, policies and other consumers."""
    try:
        from holdgate.brokers.rabbitmq import RabbitMQIntake

        intake = RabbitMQIntake(url, *queues, management_url=management, prefetch=prefetch)
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    _report(context, intake.examine(longest_handler=longest_handler, outage=outage), as_json=as_json)


@doctor.command(epilog=_CODES)
@click.argument("topics", nargs=-1, required=True, metavar="TOPIC...")
@click.option("--bootstrap", required=True, metavar="HOST:PORT", help="The brokers, several separated by commas.")
@click.option("--group", required=True, help="The share group of the workers.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of librdkafka, such as security.protocol=SASL_SSL or sasl.password=env:PASSWORD.",
)
@click.option("--longest-handler", type=float, metavar="SECONDS", help="How long a handler may take.")
@_JSON
@click.pass_context
def share(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    topics: tuple[str, ...],
    bootstrap: str,
    group: str,
    options: tuple[str, ...],
    longest_handler: float | None,
    as_json: bool,
) -> None:
    """Examine a Kafka share group: lock duration, delivery limit, and what becomes of records after it."""
    from holdgate.cli.commands import read_options

    try:
        from holdgate.brokers.share import ShareIntake

        intake = ShareIntake({"bootstrap.servers": bootstrap, "group.id": group, **read_options(options)}, *topics)
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    _report(context, intake.examine(longest_handler=longest_handler), as_json=as_json)


@doctor.command(epilog=_CODES)
@click.argument("app", metavar="MODULE:APP")
@_HOUR
@_JSON
@click.pass_context
def celery(context: click.Context, app: str, outage: float, as_json: bool) -> None:
    """Say what an outage costs a Celery app as it is: retries, acks, prefetch. Imports the app, and asks no broker."""
    from holdgate.cli.doctor.celery_app import costs
    from holdgate.cli.doctor.loading import load_app

    _print(context, costs(load_app(app, "Celery"), outage), as_json=as_json)


@doctor.command(epilog=_CODES)
@click.argument("app", metavar="MODULE:APP")
@_HOUR
@_JSON
@click.pass_context
def faststream(context: click.Context, app: str, outage: float, as_json: bool) -> None:
    """Say what an outage costs a FastStream app as it is: acknowledgement policy, prefetch. Imports the app, and asks no broker."""
    from holdgate.cli.doctor.faststream_app import costs
    from holdgate.cli.doctor.loading import load_app

    _print(context, costs(load_app(app, "FastStream"), outage), as_json=as_json)


@doctor.command(epilog=_CODES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--partitions", type=_COUNT, help="Kafka: how many partitions a run reads, of all its topics and workers.")
@click.option("--prefetch", type=_COUNT, help="RabbitMQ: that of a worker.")
@click.option("--workers", type=_COUNT, default=1, show_default=True, help="How many run by this file.")
@click.option("--handler", type=float, callback=_span, metavar="SECONDS", help="How long a handler usually takes.")
@click.option("--body", type=_COUNT, metavar="BYTES", help="How large a message usually is.")
@_JSON
@click.pass_context
def limits(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    file: Path,
    partitions: int | None,
    prefetch: int | None,
    workers: int,
    handler: float | None,
    body: int | None,
    as_json: bool,
) -> None:
    """Examine the limits of the settings FILE: those that bound nothing, cannot be reached, or do not go with a run. Asks no broker."""
    import os

    from holdgate.cli.doctor.limit_settings import KnownOfWorker, examine
    from holdgate.config.reading import read_tables
    from holdgate.config.toml_file import read_toml

    if partitions is not None and prefetch is not None:
        raise Refusal("--partitions is of Kafka and --prefetch of RabbitMQ: give one of them")
    try:
        tables = read_tables(read_toml(file), os.environ, {}).tables
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    around = KnownOfWorker(partitions=partitions, prefetch=prefetch, workers=workers, handler=handler, body=body)
    _print(context, examine(tables, around), as_json=as_json, none="nothing was found that does not go together")


def _report(context: click.Context, examination: Coroutine[Any, Any, Sequence[Finding]], *, as_json: bool) -> None:
    """Examine, print what was found, and end with its exit code."""
    for client in ("aiokafka", "aiormq", "holdgate.brokers.confluent.librdkafka"):
        logging.getLogger(client).setLevel(logging.CRITICAL)  # the findings say it, in words
    try:
        findings = asyncio.run(examination)
    except HoldgateError as error:
        raise Refusal(str(error)) from None
    _print(context, findings, as_json=as_json)


def _print(
    context: click.Context,
    findings: Sequence[Finding],
    *,
    as_json: bool,
    none: str = "nothing was found that would hurt in an outage",
) -> None:
    if as_json:
        import json

        click.echo(
            json.dumps(
                [{"about": each.about, "text": each.text, "refused": each.refused, "cost": each.cost} for each in findings],
                indent=2,
                ensure_ascii=False,
            )
        )
    else:
        for each in findings:
            click.echo(f"{each.about}, {'an outage' if each.cost else 'refused' if each.refused else 'warning'}: {each.text}")
        if not findings:
            click.echo(none)
    if any(each.refused for each in findings):
        context.exit(FAILED)
