"""What is checked before anything is consumed: the settings, and each queue by what the broker tells of it.

`check_...` refuses a setting or a queue with which a run would lose messages, their order or a hold. `derive_terms` combines what was set,
what was found and what the version does into the `QueueTerms` by which a supervisor works. `describe_...` returns what is not refused and
may still hurt in an outage, each with the remedy. `prepare` does all of this for one queue when an intake opens; `examine` does it for all
queues before an outage, reports instead of raising, and looks at other consumers too.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from aio_pika.abc import AbstractConnection, AbstractRobustConnection
from yarl import URL

from holdgate.brokers.rabbitmq.client import Client, answered, describe_end
from holdgate.brokers.rabbitmq.costs import of_queue
from holdgate.brokers.rabbitmq.queue_facts import (
    DEFAULT_CONSUMER_TIMEOUT,
    Management,
    QueueFacts,
    Rules,
    Traffic,
    declare,
    find_facts,
    rules_for,
)
from holdgate.brokers.rabbitmq.terms import QueueTerms, describe_delay, find_delay
from holdgate.core.validation import count, seconds
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import Queue
from holdgate.ports import DeadLetters

T = TypeVar("T")

# Throughput does not grow above 10, and a long hold has to give every message of the window back.
_PREFETCH_AT_MOST = 100
_HOUR = 3600.0


def check_connection(connection_or_url: object) -> None:
    """Refuse anything but a robust connection or an AMQP URL. Raises SettingsError."""
    if isinstance(connection_or_url, AbstractRobustConnection):
        return
    if isinstance(connection_or_url, AbstractConnection):
        raise SettingsError(
            "the connection must be robust, or it ends with the first fault: use aio_pika.connect_robust(...), or give the URL"
        )
    if not isinstance(connection_or_url, str | URL):
        raise SettingsError(
            f"connection_or_url must be a robust connection or a URL, got {type(connection_or_url).__name__}: "
            "give aio_pika.connect_robust(...) or a URL"
        )
    try:
        scheme = URL(connection_or_url).scheme
    except ValueError:  # its text may be a piece of the password, so neither the error nor its cause quotes it
        raise SettingsError(
            "the URL cannot be read: write amqp://user:password@host:5672/vhost, special characters percent-encoded"
        ) from None
    if scheme not in ("amqp", "amqps"):
        raise SettingsError(f"the URL must begin with amqp:// or amqps://, got {scheme!r}: write amqp://user:password@host:5672/vhost")


def check_queues(queues: tuple[object, ...]) -> None:
    """Refuse invalid queue names. Raises SettingsError."""
    if not queues:
        raise SettingsError('at least one queue must be named: RabbitMQIntake(connection, "orders")')
    for name in queues:
        if not isinstance(name, str) or not name:
            raise SettingsError(
                f"a queue name must be a str that is not empty, got {name!r}: give each name by itself, "
                "RabbitMQIntake(connection, 'orders', 'mails')"
            )
    twice = sorted({str(name) for name in queues if queues.count(name) > 1})
    if twice:
        raise SettingsError(f"each queue must be named once, got twice: {', '.join(map(repr, twice))}")


def check_prefetch(prefetch: object) -> int:
    """Return the window if it is from 1 to 100. Raises SettingsError."""
    if prefetch == 0 and not isinstance(prefetch, bool):
        raise SettingsError("prefetch=0 means no limit to RabbitMQ, and a hold would take the whole queue into memory: give 1 to 100")
    window = count("prefetch", prefetch)
    if window > _PREFETCH_AT_MOST:
        raise SettingsError(
            f"prefetch must be from 1 to {_PREFETCH_AT_MOST}, got {window}: throughput does not grow above 10, and a long hold has to give "
            "every message of the window back"
        )
    return window


def check_timeout(timeout: float | timedelta | None) -> float | None:
    """Return a consumer timeout in seconds; infinity means that the broker has none. Raises SettingsError."""
    if timeout is None:
        return None
    return math.inf if timeout == math.inf else seconds("consumer_timeout", timeout)


def check_own_timeout(arguments: Mapping[str, object]) -> float:
    """Return the consumer timeout that a consumer's arguments ask for, in seconds; infinity means none. Raises SettingsError."""
    asked = arguments.get("x-consumer-timeout")
    return math.inf if asked is None else count("x-consumer-timeout", asked) / 1000


def check_overflow(target: object) -> DeadLetters:
    """Return the target if it can take messages. Raises SettingsError."""
    if not isinstance(target, DeadLetters):
        raise SettingsError(
            f'overflow must be dead letters, got {type(target).__name__}: give RabbitMQDeadLetters(url, "{{queue}}.overflow")'
        )
    return target


def check_kind(facts: QueueFacts, single_active: bool | None) -> None:
    """Refuse a queue that a guard cannot hold. Raises IntakeError."""
    name = facts.name
    if facts.type not in (None, "classic", "quorum"):
        raise IntakeError(f"queue {name!r} must be a classic or quorum queue, got a {facts.type}: its acks take no messages out")
    if facts.auto_delete:
        raise IntakeError(
            f"queue {name!r} is auto-delete, so the first lost connection deletes it with everything that waits: declare it without that"
        )
    if facts.single_active and single_active is None:
        raise IntakeError(
            f"queue {name!r} has a single active consumer, so its order matters to somebody: set RabbitMQIntake(..., single_active=True) "
            "to keep the order (one handler at a time), or single_active=False if it does not matter here"
        )


def derive_terms(
    facts: QueueFacts,
    version: tuple[int, int],
    *,
    single_active: bool | None,
    delivery_limit: int | None,
    consumer_timeout: float | None,
    has_overflow: bool = False,
    own_timeout: float = math.inf,
) -> QueueTerms:
    """Return the terms of this queue: a setting wins over what was found, and that wins over the defaults of the version.

    `own_timeout` is the consumer timeout that its consumer asks for, in seconds; infinity means none.
    """
    rules = rules_for(version, facts.kind)
    single = facts.single_active if single_active is None else single_active or facts.single_active
    delay = find_delay(facts) if rules.delays else None
    found = facts.number("x-consumer-timeout", "consumer-timeout")
    timeout = consumer_timeout or (DEFAULT_CONSUMER_TIMEOUT if found is None else found / 1000)
    if rules.own_timeouts:
        timeout = min(timeout, own_timeout)
    lasting = not rules.times_out or timeout == math.inf
    return QueueTerms(
        Queue(facts.name),
        timeout=None if lasting else timeout,
        margin=0.0 if lasting else rules.margin(timeout),
        # Where messages wait either way, nacks: they are not counted.
        nacks=rules.nacks_back and not single and (delay is None or delay.of_closing),
        limit=_limit(facts, rules, delivery_limit),
        single_active=single,
        has_overflow=has_overflow,
        counts=rules.counts,
        delay=delay,
        way_of_rejected=facts.way_of_rejected,
    )


def _limit(facts: QueueFacts, rules: Rules, setting: int | None) -> int | None:
    limit = facts.delivery_limit if setting is None else setting
    if limit is None:
        limit = rules.delivery_limit
    if limit is None or facts.kind == "classic" or (limit < 0 and rules.unlimited):
        return None
    return max(0, limit)


def describe_risks(facts: QueueFacts, terms: QueueTerms) -> list[str]:
    """Return what may surprise later about this queue: a text each, with the figures and the remedy."""
    found: list[str] = []
    if facts.type is None:
        found.append("its type could not be found out (no permission to configure it), so the rules that suit both types apply")
    expires = facts.number("x-expires", "expires")
    if expires is not None:
        found.append(
            f"it expires after {expires / 1000:g} s without a consumer, with everything that waits: it is gone after a longer time without "
            "a connection, or with all messages given back"
        )
    if terms.delay is not None:
        found.append(describe_delay(terms.delay, nacks=terms.nacks, single_active=terms.single_active))
    if terms.limit is not None and terms.timeout is not None and not (terms.nacks or terms.has_overflow or facts.has_dead_letters):
        every = terms.timeout - terms.margin
        unseen = " that is visible (policies were not checked: no management_url)" if facts.policy is None else ""
        hours = terms.limit * every / _HOUR
        found.append(
            f"it drops a message that has come back more than {terms.limit} times, and it has no dead letter exchange{unseen}. A hold "
            f"gives back every {every:g} s, so an outage of {hours:.1f} hours loses its first message: give the queue a dead letter "
            "exchange or a higher delivery-limit, give the intake overflow=RabbitMQDeadLetters(...), or raise the broker's consumer_timeout"
        )
    return found


def describe_slow_handlers(terms: QueueTerms, prefetch: int, longest: float | None) -> str | None:
    """Return what handlers of `longest` seconds would not finish before the consumer timeout. None means that they finish all.

    `longest` None means that the time is not known.
    """
    if longest is None or terms.timeout is None:
        return None
    patience = terms.timeout - terms.margin
    if longest >= patience:
        return (
            f"a handler may take {longest:g} s, but after {patience:g} s its message goes back and the handler is interrupted: raise the "
            "broker's consumer_timeout and set the same consumer_timeout= here, or give guard.run a shorter timeout="
        )
    if longest * prefetch >= patience:
        return (
            f"one handler that takes {longest:g} s for each of {prefetch} messages in hand needs more than the {patience:g} s after which "
            f"they go back: lower prefetch to {int(patience / longest)}, or let enough handlers run in parallel"
        )
    return None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Something that would hurt in an outage.

    `about` is a queue, or the broker's address. `text` says why, and the remedy. `refused` says whether a run refuses to start because of
    it; otherwise a run only logs it. `cost` says whether it is what an outage costs without a guard (costs.py), and no defect.
    """

    about: str
    text: str
    refused: bool
    cost: bool = False


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """What the settings of an intake say about its queues. None means that it is found out.

    `has_overflow` says whether messages near their limit have another queue to go to. `own_timeout` is the consumer timeout that its
    consumers ask for, in seconds; infinity means none.
    """

    single_active: bool | None
    delivery_limit: int | None
    consumer_timeout: float | None
    has_overflow: bool
    management: Management | None
    own_timeout: float


async def inspect_queue(client: Client, name: str, options: QueueOptions) -> tuple[QueueFacts, QueueTerms]:
    """Ask the broker about a queue, and derive its terms.

    Raises IntakeError for a queue that a guard cannot hold, and where nobody answers.
    """
    facts = await _ask(client, name, find_facts(client, name))
    if options.management is not None:
        facts = replace(facts, policy=await options.management.policy(client.vhost, name))
    check_kind(facts, options.single_active)
    terms = derive_terms(
        facts,
        client.version,
        single_active=options.single_active,
        delivery_limit=options.delivery_limit,
        consumer_timeout=options.consumer_timeout,
        has_overflow=options.has_overflow,
        own_timeout=options.own_timeout,
    )
    return facts, terms


async def prepare(
    client: Client, name: str, options: QueueOptions, arguments: Mapping[str, Any] | None
) -> tuple[QueueTerms, Sequence[str]]:
    """Declare the queue with these arguments (None means that it must exist). Returns its terms, and what to warn of."""
    if arguments is not None:
        await _ask(client, name, declare(client, name, arguments))
    facts, terms = await inspect_queue(client, name, options)
    return terms, describe_risks(facts, terms)


async def _ask(client: Client, name: str, question: Awaitable[T]) -> T:
    return await answered(
        question,
        lambda error: IntakeError(
            f"queue {name!r} cannot be used: the connection to {client.where} was lost meanwhile ({describe_end(error)})"
        ),
    )


async def examine(
    client: Client, names: Sequence[str], options: QueueOptions, *, prefetch: int, longest: float | None, outage: float | None
) -> list[Diagnosis]:
    """Return everything about these queues, or the connection, that would hurt in an outage, and what one of `outage` seconds costs; None
    means that this is left out. Nothing is made, consumed or changed."""
    try:
        await client.connect()
    except IntakeError as error:
        return [Diagnosis(client.where, str(error), refused=True)]
    try:
        found = [await _examine_queue(client, name, options, prefetch, longest, outage) for name in names]
        return [diagnosis for each in found for diagnosis in each]
    finally:
        await client.close()


async def _examine_queue(  # noqa: PLR0917 - what examine was given
    client: Client, name: str, options: QueueOptions, prefetch: int, longest: float | None, outage: float | None
) -> list[Diagnosis]:
    try:
        facts, terms = await inspect_queue(client, name, options)
    except IntakeError as error:
        return [Diagnosis(name, str(error), refused=True)]
    texts = [*describe_risks(facts, terms), describe_slow_handlers(terms, prefetch, longest)]
    found = [Diagnosis(name, text, refused=False) for text in texts if text is not None]
    if options.management is not None:
        found += [Diagnosis(name, text, refused) for text, refused in await _diagnose_consumers(options.management, client.vhost, name)]
    if outage is not None:
        traffic = Traffic() if options.management is None else await options.management.traffic(client.vhost, name)
        found += [Diagnosis(name, text, refused=False, cost=True) for text in of_queue(facts, terms, traffic, prefetch, outage)]
    return found


async def _diagnose_consumers(management: Management, vhost: str, name: str) -> list[tuple[str, bool]]:
    """Return what other consumers of the queue do that hurts, and whether a run refuses to start because of it."""
    found: list[tuple[str, bool]] = []
    for consumer in await management.consumers(vhost, name):
        who = f"consumer {consumer.get('consumer_tag')!r}"
        if consumer.get("exclusive") is True:
            found.append((f"{who} reads it exclusively: stop it, or let it consume without exclusive=True", True))
        if consumer.get("ack_required") is False:
            found.append((f"{who} reads it without acks (no_ack), and loses its messages in hand when it ends: let it ack", False))
        elif consumer.get("prefetch_count") == 0:
            found.append((f"{who} has no prefetch, and takes everything that waits into its memory: give it one, 10 is enough", False))
    return found
