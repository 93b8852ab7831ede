"""What is known of a queue before anything of it is consumed: asked at every start, and by whoever wants to know before an outage does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdgate.brokers.rabbitmq.checks import check_kind, findings, terms_of, too_slow
from holdgate.brokers.rabbitmq.client import Client
from holdgate.brokers.rabbitmq.give_back import Terms
from holdgate.brokers.rabbitmq.kinds import QueueFacts, declare, find_out
from holdgate.brokers.rabbitmq.management import Management
from holdgate.errors import IntakeError


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that would hurt in an outage. `about` is a queue, or the broker's address; `refused`: no run starts with it, else it is
    only told. `text` says why, and the remedy."""

    about: str
    text: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Said:
    """What an intake was told of its queues; None is left to be found out.

    `parks`: what is near its limit has another place to go. `own_timeout`: what its consumers ask for, in seconds; infinity: nothing.
    """

    single_active: bool | None
    delivery_limit: int | None
    consumer_timeout: float | None
    parks: bool
    management: Management | None
    own_timeout: float


async def look_at(client: Client, name: str, said: Said) -> tuple[QueueFacts, Terms]:
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


async def prepare(client: Client, name: str, said: Said, arguments: Mapping[str, Any] | None) -> tuple[Terms, Sequence[str]]:
    """Make the queue with these arguments where it is missing (None: it must be there), and look at it; with what has to be told."""
    if arguments is not None:
        await declare(client, name, arguments)
    facts, terms = await look_at(client, name, said)
    return terms, findings(facts, terms)


async def examine(client: Client, names: Sequence[str], said: Said, *, prefetch: int, longest: float | None) -> list[Finding]:
    """Everything that these queues, or the way to them, have against a hold; nothing is made, consumed or changed."""
    try:
        await client.connect()
    except IntakeError as error:
        return [Finding(client.where, str(error), refused=True)]
    try:
        return [finding for name in names for finding in await _examine_queue(client, name, said, prefetch, longest)]
    finally:
        await client.close()


async def _examine_queue(client: Client, name: str, said: Said, prefetch: int, longest: float | None) -> list[Finding]:
    try:
        facts, terms = await look_at(client, name, said)
    except IntakeError as error:
        return [Finding(name, str(error), refused=True)]
    told = [*findings(facts, terms), too_slow(terms, prefetch, longest)]
    found = [Finding(name, text, refused=False) for text in told if text is not None]
    if said.management is not None:
        found += [Finding(name, text, refused) for text, refused in await _others(said.management, client.vhost, name)]
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
