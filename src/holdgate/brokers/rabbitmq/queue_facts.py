"""What is known of a queue: the rules of its version and type, its arguments, its policies.

What differs between RabbitMQ's versions and queue types, as one table. Nothing else in this package asks for a version.

Measured on 3.10.8, 4.0.5 and 4.3.6 (docs/reference/rabbitmq-versions.md is made of this table, docs/explanation/prefetch-and-requeue.md
has what a consumer sees of it); 4.1 and 4.2 are taken for 4.0. The tests with the marker `versions` show each line.

`counts`: which returns to the queue are counted (`x-delivery-count`). "nothing": a classic queue counts none. "returns": each one.
"failures": each but those by `basic.nack(requeue=True)` and by the consumer timeout; what died in such a queue takes its count along into
the next one.
`nacks_back`: whether nacks in delivery order put messages back at the front, in order and uncounted. Where they do not, on a quorum queue
without a limit, they put them at the back; closing the channel keeps the order on every queue, and counts wherever anything does.
`times_out`: whether the broker takes back what is unacked for longer than `consumer_timeout`. `checked_every`: how many seconds later it
may notice. `own_timeouts`: whether a consumer may have one of its own, by its argument `x-consumer-timeout`. `delivery_limit`: after how
many returns a message is dead when nobody has set a limit; None: never. `unlimited`: whether a limit of -1 means none; else it means 0.
`delays`: whether `x-delayed-retry-type` makes what comes back wait (terms.py).

The management API, where there is one: policies and other consumers, which no AMQP call tells.

What kind of queue it is, asked of the broker without a word of documentation about it.

A passive declare tells that a queue exists, and nothing else. A declare with other arguments than its own is refused, and the refusal names
one real value; so it is asked again with that value, until it is accepted: then every argument that the broker compares is known. Each
refusal closes the channel, hence channels to throw away. An accepted declare of a queue that exists changes nothing.

Policies do not show. They are read from the management API where there is one (this file).
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast
from urllib.error import URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from aiormq.exceptions import AMQPError, ChannelAccessRefused, ChannelLockedResource, ChannelPreconditionFailed

from holdgate.brokers.rabbitmq.client import Client, end_of_intake, exclusive_here, throw_away
from holdgate.errors import IntakeError, SettingsError

Kind = Literal["classic", "quorum"]
Counts = Literal["nothing", "returns", "failures"]

# What the broker waits for an ack, unless its configuration, a policy or the queue says otherwise: since 3.8.17.
DEFAULT_CONSUMER_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one queue type in one version; see the head of this file."""

    counts: Counts
    nacks_back: bool
    times_out: bool
    checked_every: float
    own_timeouts: bool
    delivery_limit: int | None
    unlimited: bool
    delays: bool

    def margin(self, timeout: float) -> float:
        """How many seconds before `timeout` is over messages go back: what running handlers get to end, and the broker's own clock."""
        return min(10.0 if self.checked_every == 0 else 120.0, timeout / 4)


_CLASSIC = Rules(
    "nothing", nacks_back=False, times_out=True, checked_every=60, own_timeouts=False, delivery_limit=None, unlimited=True, delays=False
)
_QUORUM = Rules(
    "returns", nacks_back=False, times_out=True, checked_every=60, own_timeouts=False, delivery_limit=None, unlimited=False, delays=False
)
_QUORUM_40 = replace(_QUORUM, delivery_limit=20, unlimited=True)
_QUORUM_43 = replace(_QUORUM_40, counts="failures", nacks_back=True, checked_every=0, own_timeouts=True, delays=True)

# Newest first: the first line whose version is not above the broker's, and whose kind matches, is the one.
_TABLE: tuple[tuple[tuple[int, int], Kind, Rules], ...] = (
    ((4, 3), "quorum", _QUORUM_43),
    ((4, 3), "classic", replace(_CLASSIC, times_out=False, checked_every=0)),
    ((4, 0), "quorum", _QUORUM_40),
    ((0, 0), "quorum", _QUORUM),
    ((0, 0), "classic", _CLASSIC),
)


def rules_for(version: tuple[int, int], kind: Kind | None) -> Rules:
    """The rules for a queue of `kind` (None: unknown) on a broker of `version`."""
    if kind is None:
        # What is right, or harmless, for both: a message that is near its limit by a header of somebody's own is only kept for longer.
        return replace(_CLASSIC, counts=rules_for(version, "quorum").counts)
    return next(rules for since, of, rules in _TABLE if version >= since and of == kind)


log = logging.getLogger(__name__)

# It answers in milliseconds, and nothing depends on it.
_ANSWER_WITHIN = 5.0


class Management:
    """The API at `url` ("http://user:password@host:15672"), for the queues of one virtual host. Raises SettingsError for another URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("management_url must be like http://user:password@host:15672")
        port = f":{parts.port}" if parts.port else ""
        self._base = urlunsplit((parts.scheme, f"{parts.hostname}{port}", parts.path.rstrip("/"), "", ""))
        word = f"{parts.username or 'guest'}:{parts.password or 'guest'}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(word.encode()).decode()}

    async def policy(self, vhost: str, queue: str) -> Mapping[str, Any] | None:
        """The settings that policies give a queue, operator policies included; None when the API does not tell."""
        told = await self._queue(vhost, queue)
        definition = None if told is None else told.get("effective_policy_definition", {})
        return cast("dict[str, Any]", definition) if isinstance(definition, dict) or definition is None else {}

    async def consumers(self, vhost: str, queue: str) -> Sequence[Mapping[str, Any]]:
        """Who consumes from a queue, as the API tells it some seconds late; nobody when it does not tell."""
        told = await self._queue(vhost, queue)
        return cast("list[dict[str, Any]]", (told or {}).get("consumer_details", []))

    async def _queue(self, vhost: str, queue: str) -> Mapping[str, object] | None:
        return await asyncio.to_thread(self._ask, f"{self._base}/api/queues/{quote(vhost, safe='')}/{quote(queue, safe='')}", queue)

    def _ask(self, address: str, queue: str) -> Mapping[str, object] | None:
        try:
            with urlopen(Request(address, headers=self._headers), timeout=_ANSWER_WITHIN) as answer:  # noqa: S310 - http, see above
                told: object = json.load(answer)
        except (URLError, OSError, ValueError) as error:
            log.warning("the management API at %s tells nothing of queue %s, such as its policies: %r", self._base, queue, error)
            return None
        return cast("dict[str, object]", told) if isinstance(told, dict) else {}


# Fifteen arguments can be compared at most.
_ROUNDS = 20
_REFUSAL = re.compile(r"inequivalent arg '([\w-]+)' for queue .*: received .* but current is (.*)", re.DOTALL)
_TYPED = re.compile(r"the value '(.*)' of type '(\w+)'", re.DOTALL)


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """What was found out of one queue.

    `type` is "classic", "quorum", "stream" or another; None when it could not be found out. `arguments` are those that the broker told,
    `policy` those of policies, None where nobody could be asked.
    """

    name: str
    type: str | None
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    auto_delete: bool = False
    policy: Mapping[str, Any] | None = None

    @property
    def kind(self) -> Kind | None:
        """Its type, for the rules of this file."""
        return "quorum" if self.type == "quorum" else "classic" if self.type == "classic" else None

    @property
    def single_active(self) -> bool:
        return self.arguments.get("x-single-active-consumer") is True

    def number(self, argument: str, policy: str) -> int | None:
        """A number that the queue or a policy sets; the lower one where both do, as the broker does. None: neither."""
        return min(self._numbers(argument, policy), default=None)

    @property
    def delivery_limit(self) -> int | None:
        """Its limit, below 0 where it was set to no limit, which is weaker than any other. None: not set."""
        found = self._numbers("x-delivery-limit", "delivery-limit")
        return min((limit for limit in found if limit >= 0), default=min(found, default=None))

    def _numbers(self, argument: str, policy: str) -> list[int]:
        return [value for value in (self.arguments.get(argument), (self.policy or {}).get(policy)) if isinstance(value, int)]

    @property
    def has_dead_letters(self) -> bool:
        return "x-dead-letter-exchange" in self.arguments or "dead-letter-exchange" in (self.policy or {})


async def declare(client: Client, name: str, arguments: Mapping[str, Any]) -> None:
    """Make a durable queue with these arguments, where there is none. Raises IntakeError, with the clash, where there is another one."""
    raw = await client.channel()
    try:
        await raw.queue_declare(queue=name, durable=True, arguments=dict(arguments))
    except ChannelPreconditionFailed as error:
        raise IntakeError(f"queue {name!r} exists and is another one than declare={dict(arguments)!r} says: {error}") from error
    except ChannelLockedResource as error:
        await _check_existence(client, name)
        raise exclusive_here(name) from error
    except AMQPError as error:
        raise end_of_intake(error, name, "configure") or IntakeError(f"queue {name!r} could not be declared: {error}") from error
    finally:
        await throw_away(raw)


async def find_out(client: Client, name: str) -> QueueFacts:
    """Everything that the broker tells of a queue. Raises IntakeError when there is none, or it may not be read."""
    await _check_existence(client, name)
    arguments: dict[str, Any] = {}
    flags = {"durable": True, "auto_delete": False}
    for _ in range(_ROUNDS):
        refusal = await _refusal(client, name, arguments, flags)
        if refusal is None:
            return QueueFacts(name, str(arguments.get("x-queue-type", "classic")), arguments, flags["auto_delete"])
        told = _REFUSAL.search(refusal)
        if told is None:
            break
        if told[1] in flags:
            flags[told[1]] = "true" in told[2]
        else:
            arguments[told[1]] = _value(told[2])
    return QueueFacts(name, None, arguments, flags["auto_delete"])


async def _check_existence(client: Client, name: str) -> None:
    raw = await client.channel()
    try:
        await raw.queue_declare(queue=name, passive=True)
    except AMQPError as error:
        raise end_of_intake(error, name) or IntakeError(f"queue {name!r} cannot be used: {error}") from error
    finally:
        await throw_away(raw)


async def _refusal(client: Client, name: str, arguments: Mapping[str, Any], flags: Mapping[str, bool]) -> str | None:
    """What the broker says against such a declare; None when it has nothing against it."""
    raw = await client.channel()
    try:
        await raw.queue_declare(queue=name, arguments=dict(arguments), **flags)
    except ChannelAccessRefused as error:
        return f"no permission to configure: {error}"
    except ChannelLockedResource as error:
        # It exists for this connection, and only its exclusiveness can differ.
        raise exclusive_here(name) from error
    except AMQPError as error:
        if (end := end_of_intake(error, name)) is not None:
            raise end from error
        return str(error)
    finally:
        await throw_away(raw)
    return None


def _value(text: str) -> object:
    typed = _TYPED.search(text)
    if typed is None:
        return text.strip().strip("'")
    if typed[2] == "bool":
        return typed[1] == "true"
    return typed[1] if typed[2] == "longstr" else int(typed[1])
