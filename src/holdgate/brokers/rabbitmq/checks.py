"""What is known of a queue before anything of it is consumed: asked at every start, and by whoever wants to know before an outage does.

Everything about a queue, a connection or a setting that would lose messages, their order or a hold: refused, or told with a remedy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from aio_pika.abc import AbstractConnection, AbstractRobustConnection
from yarl import URL

from holdgate.brokers.rabbitmq.client import Client
from holdgate.brokers.rabbitmq.queue_facts import DEFAULT_CONSUMER_TIMEOUT, Management, QueueFacts, Rules, declare, find_out, rules_for
from holdgate.brokers.rabbitmq.terms import QueueTerms, delay_of, word_on
from holdgate.core.validation import count, seconds
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import Queue
from holdgate.ports import DeadLetters

# Throughput does not grow above 10; every message of the window is one that a long hold gives back.
_PREFETCH_AT_MOST = 100
_HOUR = 3600.0


def check_connection(connection_or_url: object) -> None:
    """Refuse what is neither a robust connection nor a URL. Raises SettingsError."""
    if isinstance(connection_or_url, AbstractRobustConnection):
        return
    if isinstance(connection_or_url, AbstractConnection):
        raise SettingsError(
            "this connection is not robust, so it ends with the first fault: use aio_pika.connect_robust(...), or give the URL"
        )
    if not isinstance(connection_or_url, str | URL):
        raise SettingsError(f"{type(connection_or_url).__name__} is no connection: give aio_pika.connect_robust(...) or a URL")
    try:
        scheme = URL(connection_or_url).scheme
    except ValueError as error:
        raise SettingsError(f"the URL cannot be read: {error}") from error
    if scheme not in ("amqp", "amqps"):
        raise SettingsError(f"the URL begins with {scheme!r}: write amqp://user:password@host:5672/vhost, or amqps://")


def check_queues(queues: tuple[object, ...]) -> None:
    """Refuse names that are none. Raises SettingsError."""
    if not queues:
        raise SettingsError('no queue is named: RabbitMQIntake(connection, "orders")')
    for name in queues:
        if not isinstance(name, str) or not name:
            raise SettingsError(f"{name!r} is no queue name: give each name by itself, RabbitMQIntake(connection, 'orders', 'mails')")
    twice = sorted({str(name) for name in queues if queues.count(name) > 1})
    if twice:
        raise SettingsError(f"named twice: {', '.join(map(repr, twice))}")


def check_prefetch(prefetch: object) -> int:
    """A window from 1 to 100. Raises SettingsError."""
    if prefetch == 0 and not isinstance(prefetch, bool):
        raise SettingsError("prefetch=0 means no limit to RabbitMQ, and a hold would take the whole queue into memory: give 1 to 100")
    window = count("prefetch", prefetch)
    if window > _PREFETCH_AT_MOST:
        raise SettingsError(
            f"prefetch={window} is above {_PREFETCH_AT_MOST}: throughput does not grow above 10, and every message of the window is one "
            "that a long hold has to give back"
        )
    return window


def check_timeout(timeout: float | timedelta | None) -> float | None:
    """A consumer timeout in seconds; infinity where the broker has none. Raises SettingsError."""
    if timeout is None:
        return None
    return math.inf if timeout == math.inf else seconds("consumer_timeout", timeout)


def check_own_timeout(arguments: Mapping[str, object]) -> float:
    """The consumer timeout that these arguments of a consumer ask for, in seconds; infinity: none. Raises SettingsError."""
    asked = arguments.get("x-consumer-timeout")
    return math.inf if asked is None else count("x-consumer-timeout", asked) / 1000


def check_parking(target: object) -> DeadLetters:
    """Refuse what can take no letters. Raises SettingsError."""
    if not isinstance(target, DeadLetters):
        raise SettingsError(f'parking={type(target).__name__} takes no letters: give RabbitMQDeadLetters(url, "{{queue}}.parked")')
    return target


def check_kind(facts: QueueFacts, single_active: bool | None) -> None:
    """Refuse queues that a guard cannot hold. Raises IntakeError."""
    name = facts.name
    if facts.type not in (None, "classic", "quorum"):
        raise IntakeError(
            f"queue {name!r} is a {facts.type}: it has no acks that take messages out; a guard reads classic and quorum queues"
        )
    if facts.auto_delete:
        raise IntakeError(
            f"queue {name!r} is auto-delete: the first lost connection deletes it with everything that waits; declare it without"
        )
    if facts.single_active and single_active is None:
        raise IntakeError(
            f"queue {name!r} has a single active consumer, so its order matters to somebody: say RabbitMQIntake(..., single_active=True) "
            "to keep it (one handler at a time), or single_active=False if it does not matter here"
        )


def terms_of(
    facts: QueueFacts,
    version: tuple[int, int],
    *,
    single_active: bool | None,
    delivery_limit: int | None,
    consumer_timeout: float | None,
    parks: bool = False,
    own_timeout: float = math.inf,
) -> QueueTerms:
    """What holds for this queue: what was said wins over what was found, and that over the version's defaults.

    `own_timeout` is what its consumer asks the broker for, in seconds; infinity: nothing.
    """
    rules = rules_for(version, facts.kind)
    single = facts.single_active if single_active is None else single_active or facts.single_active
    delay = delay_of(facts) if rules.delays else None
    found = facts.number("x-consumer-timeout", "consumer-timeout")
    timeout = consumer_timeout or (DEFAULT_CONSUMER_TIMEOUT if found is None else found / 1000)
    if rules.own_timeouts:
        timeout = min(timeout, own_timeout)
    lasting = not rules.times_out or timeout == math.inf
    return QueueTerms(
        Queue(facts.name),
        timeout=None if lasting else timeout,
        margin=0.0 if lasting else rules.margin(timeout),
        # Where both ways wait, the one that is uncounted.
        nacks=rules.nacks_back and not single and (delay is None or delay.of_closing),
        limit=_limit(facts, rules, delivery_limit),
        single_active=single,
        parks=parks,
        counts=rules.counts,
        delay=delay,
    )


def _limit(facts: QueueFacts, rules: Rules, said: int | None) -> int | None:
    limit = facts.delivery_limit if said is None else said
    if limit is None:
        limit = rules.delivery_limit
    if limit is None or facts.kind == "classic" or (limit < 0 and rules.unlimited):
        return None
    return max(0, limit)


def findings(facts: QueueFacts, terms: QueueTerms) -> list[str]:
    """What may surprise later, with numbers and the remedy; a sentence each."""
    found: list[str] = []
    if facts.type is None:
        found.append("its type could not be found out (no permission to configure it); what holds for both types is used")
    expires = facts.number("x-expires", "expires")
    if expires is not None:
        found.append(
            f"it expires after {expires / 1000:g} s without a consumer, with everything that waits: longer than that without a connection, "
            "or with messages given back, and it is gone"
        )
    if terms.delay is not None:
        found.append(word_on(terms.delay, nacks=terms.nacks, single_active=terms.single_active))
    if terms.limit is not None and terms.timeout is not None and not (terms.nacks or terms.parks or facts.has_dead_letters):
        every = terms.timeout - terms.margin
        unseen = " that shows (policies were not checked: no management_url)" if facts.policy is None else ""
        hours = terms.limit * every / _HOUR
        found.append(
            f"it drops a message that has come back more than {terms.limit} times and has no dead letter exchange{unseen}. A hold gives "
            f"back every {every:g} s, so an outage of {hours:.1f} hours is the end of its first message: give it a dead letter exchange, a "
            "higher delivery-limit, or the intake parking=RabbitMQDeadLetters(...), or raise the broker's consumer_timeout"
        )
    return found


def too_slow(terms: QueueTerms, prefetch: int, longest: float | None) -> str | None:
    """What handlers that may take `longest` seconds (None: unknown) would not get done before the consumer timeout; None when all."""
    if longest is None or terms.timeout is None:
        return None
    patience = terms.timeout - terms.margin
    if longest >= patience:
        return (
            f"a handler may take {longest:g} s, and after {patience:g} s its message goes back and it is interrupted: raise the broker's "
            "consumer_timeout, and say it with consumer_timeout=; or give guard.run a shorter timeout="
        )
    if longest * prefetch >= patience:
        return (
            f"one handler that takes {longest:g} s for each of {prefetch} messages in hand is over the {patience:g} s after which they go "
            f"back: lower prefetch to {int(patience / longest)}, or let enough handlers run side by side"
        )
    return None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Something that would hurt in an outage. `about` is a queue, or the broker's address; `refused`: no run starts with it, else it is
    only told. `text` says why, and the remedy."""

    about: str
    text: str
    refused: bool


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """What an intake was told of its queues; None is left to be found out.

    `parks`: what is near its limit has another place to go. `own_timeout`: what its consumers ask for, in seconds; infinity: nothing.
    """

    single_active: bool | None
    delivery_limit: int | None
    consumer_timeout: float | None
    parks: bool
    management: Management | None
    own_timeout: float


async def look_at(client: Client, name: str, said: QueueOptions) -> tuple[QueueFacts, QueueTerms]:
    """The facts of a queue, and what follows from them. Raises IntakeError for one that a guard cannot hold."""
    facts = await find_out(client, name)
    if said.management is not None:
        facts = replace(facts, policy=await said.management.policy(client.vhost, name))
    check_kind(facts, said.single_active)
    terms = terms_of(
        facts,
        client.version,
        single_active=said.single_active,
        delivery_limit=said.delivery_limit,
        consumer_timeout=said.consumer_timeout,
        parks=said.parks,
        own_timeout=said.own_timeout,
    )
    return facts, terms


async def prepare(client: Client, name: str, said: QueueOptions, arguments: Mapping[str, Any] | None) -> tuple[QueueTerms, Sequence[str]]:
    """Make the queue with these arguments where it is missing (None: it must be there), and look at it; with what has to be told."""
    if arguments is not None:
        await declare(client, name, arguments)
    facts, terms = await look_at(client, name, said)
    return terms, findings(facts, terms)


async def examine(client: Client, names: Sequence[str], said: QueueOptions, *, prefetch: int, longest: float | None) -> list[Diagnosis]:
    """Everything that these queues, or the way to them, have against a hold; nothing is made, consumed or changed."""
    try:
        await client.connect()
    except IntakeError as error:
        return [Diagnosis(client.where, str(error), refused=True)]
    try:
        return [finding for name in names for finding in await _examine_queue(client, name, said, prefetch, longest)]
    finally:
        await client.close()


async def _examine_queue(client: Client, name: str, said: QueueOptions, prefetch: int, longest: float | None) -> list[Diagnosis]:
    try:
        facts, terms = await look_at(client, name, said)
    except IntakeError as error:
        return [Diagnosis(name, str(error), refused=True)]
    told = [*findings(facts, terms), too_slow(terms, prefetch, longest)]
    found = [Diagnosis(name, text, refused=False) for text in told if text is not None]
    if said.management is not None:
        found += [Diagnosis(name, text, refused) for text, refused in await _others(said.management, client.vhost, name)]
    return found


async def _others(management: Management, vhost: str, name: str) -> list[tuple[str, bool]]:
    """What the consumers that are there already do."""
    found: list[tuple[str, bool]] = []
    for consumer in await management.consumers(vhost, name):
        who = f"consumer {consumer.get('consumer_tag')!r}"
        if consumer.get("exclusive") is True:
            found.append((f"{who} reads it exclusively: stop it, or let it consume without exclusive=True", True))
        if consumer.get("ack_required") is False:
            found.append((f"{who} reads it without acks (no_ack), and loses what it has in hand when it ends: let it ack", False))
        elif consumer.get("prefetch_count") == 0:
            found.append((f"{who} has no prefetch, and takes all that waits into its memory: give it one, 10 is enough", False))
    return found
