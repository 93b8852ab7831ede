"""What is known of a queue: the rules of its version and type, its arguments, and its policies.

Rules. One table has everything that differs between RabbitMQ's versions and queue types. Nothing else in this package asks for a version.
It was measured on 3.10.8, 4.0.5 and 4.3.6; 4.1 and 4.2 are taken for 4.0. docs/reference/rabbitmq-versions.md is generated from it, and
docs/explanation/prefetch-and-requeue.md says what a consumer sees of it. The tests with the marker `versions` show each line.

Arguments. `find_facts` finds out what kind a queue is by provoking declare errors, which is undocumented but stable. A passive declare only
shows that a queue exists. A declare with other arguments than the queue's own is refused, and the refusal names one real value. So the next
declare has that value, and so on until one is accepted: then every argument that the broker compares is known. Each refusal closes the
channel, hence a fresh channel each time. An accepted declare of an existing queue changes nothing.

Policies. No AMQP call shows them, nor other consumers. `Management` asks the management API, where there is one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, cast
from urllib.error import URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelPreconditionFailed,
    ConnectionClosed,
)

from holdgate.brokers.rabbitmq.client import as_intake_error, exclusive_error, throw_away
from holdgate.errors import IntakeError, SettingsError

Kind = Literal["classic", "quorum"]
Counts = Literal["nothing", "returns", "failures"]

# -- rules -------------------------------------------------------------------------------------------------------------------------------

# How many seconds the broker waits for an ack since 3.8.17, unless its configuration, a policy or the queue sets another time.
DEFAULT_CONSUMER_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one queue type in one version.

    `counts` says which returns to the queue are counted in `x-delivery-count`. "nothing": none, on a classic queue. "returns": every one.
    "failures": every one but those by `basic.nack(requeue=True)` and by the consumer timeout; a message that died in such a queue takes its
    count along into the next one. `nacks_back` says whether nacks in delivery order put messages back at the front, in order and uncounted.
    Where they do not, they put them at the back of a quorum queue without a limit. Closing the channel keeps the order on every queue, and
    is counted where anything is. `times_out` says whether the broker takes back what is unacked for longer than `consumer_timeout`.
    `checked_every` is how many seconds later it may notice. `own_timeouts` says whether a consumer may have a timeout of its own, by its
    argument `x-consumer-timeout`. `delivery_limit` is after how many returns a message is dead if nobody has set a limit; None means never.
    `unlimited` says whether a limit of -1 means no limit; otherwise it means 0. `delays` says whether `x-delayed-retry-type` makes messages
    that come back wait (terms.py).
    """

    counts: Counts
    nacks_back: bool
    times_out: bool
    checked_every: float
    own_timeouts: bool
    delivery_limit: int | None
    unlimited: bool
    delays: bool

    def margin(self, timeout: float) -> float:
        """Return how many seconds before `timeout` messages go back: time for running handlers to end, and for the broker's slow clock."""
        return min(10.0 if self.checked_every == 0 else 120.0, timeout / 4)


_CLASSIC = Rules(
    "nothing", nacks_back=False, times_out=True, checked_every=60, own_timeouts=False, delivery_limit=None, unlimited=True, delays=False
)
_QUORUM = Rules(
    "returns", nacks_back=False, times_out=True, checked_every=60, own_timeouts=False, delivery_limit=None, unlimited=False, delays=False
)
_QUORUM_40 = replace(_QUORUM, delivery_limit=20, unlimited=True)
_QUORUM_43 = replace(_QUORUM_40, counts="failures", nacks_back=True, checked_every=0, own_timeouts=True, delays=True)

# Newest first: the first line applies whose kind matches, and whose version is not above the broker's.
_TABLE: tuple[tuple[tuple[int, int], Kind, Rules], ...] = (
    ((4, 3), "quorum", _QUORUM_43),
    ((4, 3), "classic", replace(_CLASSIC, times_out=False, checked_every=0)),
    ((4, 0), "quorum", _QUORUM_40),
    ((0, 0), "quorum", _QUORUM),
    ((0, 0), "classic", _CLASSIC),
)


def rules_for(version: tuple[int, int], kind: Kind | None) -> Rules:
    """Return the rules for a queue of `kind` on a broker of `version`. None means that the kind is unknown."""
    if kind is None:
        # Right or harmless for both: a message that seems near its limit because of a publisher's header is only kept longer.
        return replace(_CLASSIC, counts=rules_for(version, "quorum").counts)
    return next(rules for since, of, rules in _TABLE if version >= since and of == kind)


# -- policies ----------------------------------------------------------------------------------------------------------------------------

log = logging.getLogger(__name__)

# It answers in milliseconds, and nothing depends on it.
_ANSWER_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What goes on in one queue, by the management API.

    - `waiting`: how many messages it has, with those in consumers' hands.
    - `rate`: how many come in a second.
    - `consumers`: how many there are.

    None means that it is unknown.
    """

    waiting: int | None = None
    rate: float | None = None
    consumers: int | None = None


class Management:
    """The management API at `url` ("http://user:password@host:15672"). Raises SettingsError for another kind of URL."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:  # its text may be a piece of the password, so neither the error nor its cause quotes it
            parts, port = urlsplit(""), ""
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("management_url must be like http://user:password@host:15672")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._base = urlunsplit((parts.scheme, f"{host}{port}", parts.path.rstrip("/"), "", ""))
        credentials = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}

    async def policy(self, vhost: str, queue: str) -> Mapping[str, Any] | None:
        """Return what policies set for a queue, operator policies included. None means that the API did not answer."""
        answer = await self._queue(vhost, queue)
        definition = None if answer is None else answer.get("effective_policy_definition", {})
        return cast("dict[str, Any]", definition) if isinstance(definition, dict) or definition is None else {}

    async def consumers(self, vhost: str, queue: str) -> Sequence[Mapping[str, Any]]:
        """Return the consumers of a queue as of some seconds ago; none if the API did not answer."""
        answer = await self._queue(vhost, queue)
        return cast("list[dict[str, Any]]", (answer or {}).get("consumer_details", []))

    async def delayed(self, vhost: str, queue: str) -> int | None:
        """Return how many messages the broker keeps back for a later retry (`x-delayed-retry-type`), as of some seconds ago.

        0 where the broker has no such thing. None means that the API did not answer, which is not logged: it is asked again in seconds.
        """
        answer = await self._queue(vhost, queue, level=logging.DEBUG)
        count = None if answer is None else answer.get("messages_delayed", 0)
        return count if isinstance(count, int) else None

    async def traffic(self, vhost: str, queue: str) -> Traffic:
        """Return what goes on in a queue, as of some seconds ago."""
        answer = await self._queue(vhost, queue)
        if answer is None:
            return Traffic()
        published = cast("dict[str, dict[str, Any]]", answer.get("message_stats") or {}).get("publish_details", {})
        waiting, consumers = answer.get("messages"), answer.get("consumers")
        return Traffic(
            waiting if isinstance(waiting, int) else None,
            rate=float(published.get("rate", 0.0)),
            consumers=consumers if isinstance(consumers, int) else None,
        )

    async def _queue(self, vhost: str, queue: str, level: int = logging.WARNING) -> Mapping[str, object] | None:
        address = f"{self._base}/api/queues/{quote(vhost, safe='')}/{quote(queue, safe='')}"
        return await asyncio.to_thread(self._ask, address, queue, level)

    def _ask(self, address: str, queue: str, level: int) -> Mapping[str, object] | None:
        try:
            with urlopen(Request(address, headers=self._headers), timeout=_ANSWER_WITHIN) as response:  # noqa: S310 - http, see above
                answer: object = json.load(response)
        except (URLError, OSError, ValueError) as error:
            log.log(
                level, "the management API at %s does not answer, so the policies of queue %s are unknown: %r", self._base, queue, error
            )
            return None
        return cast("dict[str, object]", answer) if isinstance(answer, dict) else {}


# -- arguments ---------------------------------------------------------------------------------------------------------------------------

# The broker compares fifteen arguments at most.
_ROUNDS = 20
_REFUSAL = re.compile(r"inequivalent arg '([\w-]+)' for queue .*: received .* but current is (.*)", re.DOTALL)
_TYPED = re.compile(r"the value '(.*)' of type '(\w+)'", re.DOTALL)


class Channels(Protocol):
    """What gives a fresh channel for each question: the intake's `Client`, or a connection of aiormq."""

    async def channel(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """What was found out about one queue.

    `type` is "classic", "quorum", "stream" or another; None means that it could not be found out. `arguments` are those that the broker
    compares. `policy` is what policies set; None means that no management API answered.
    """

    name: str
    type: str | None
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    auto_delete: bool = False
    policy: Mapping[str, Any] | None = None

    @property
    def kind(self) -> Kind | None:
        """Its type, if this file has rules for it. None means that it has none."""
        return "quorum" if self.type == "quorum" else "classic" if self.type == "classic" else None

    @property
    def single_active(self) -> bool:
        return self.arguments.get("x-single-active-consumer") is True

    def number(self, argument: str, policy: str) -> int | None:
        """Return the number that the queue or a policy sets, and the lower one if both do, as the broker does. None means neither."""
        return min(self._numbers(argument, policy), default=None)

    @property
    def delivery_limit(self) -> int | None:
        """Its limit; below 0 if set to no limit, which is weaker than any other. None means that it is not set."""
        found = self._numbers("x-delivery-limit", "delivery-limit")
        return min((limit for limit in found if limit >= 0), default=min(found, default=None))

    def _numbers(self, argument: str, policy: str) -> list[int]:
        return [value for value in (self.arguments.get(argument), (self.policy or {}).get(policy)) if isinstance(value, int)]

    @property
    def way_of_rejected(self) -> str:
        """Return what becomes of a message that is rejected, after "rejected messages", as far as the broker shows it.

        AMQP shows the arguments of a queue, and the management API its policies. An argument wins over a policy.
        """
        exchange = self.arguments.get("x-dead-letter-exchange", (self.policy or {}).get("dead-letter-exchange"))
        key = self.arguments.get("x-dead-letter-routing-key", (self.policy or {}).get("dead-letter-routing-key"))
        if exchange:
            return f"go to exchange {exchange!r}, the dead letter exchange of the queue" + (f", with routing key {key!r}" if key else "")
        if exchange is not None:
            return f"go to queue {key or self.name!r}, by the dead letter exchange of the queue"
        if self.type is None:
            return "go to the dead letter exchange of the queue, or are dropped without one: its arguments could not be found out"
        if self.policy is None:
            return (
                "are dropped, unless a policy gives the queue a dead letter exchange: its arguments name none, and policies are not known"
                " without management_url"
            )
        return "are dropped: the queue has no dead letter exchange"

    @property
    def has_dead_letters(self) -> bool:
        return "x-dead-letter-exchange" in self.arguments or "dead-letter-exchange" in (self.policy or {})


async def declare(client: Channels, name: str, arguments: Mapping[str, Any]) -> None:
    """Declare a durable queue with these arguments, if there is none. Raises IntakeError if it exists with others, and names them."""
    raw = await client.channel()
    try:
        await raw.queue_declare(queue=name, durable=True, arguments=dict(arguments))
    except ChannelPreconditionFailed as error:
        raise IntakeError(f"queue {name!r} exists with other arguments than declare={dict(arguments)!r}: {error}") from error
    except ChannelLockedResource as error:
        await _check_existence(client, name)
        raise exclusive_error(name) from error
    except AMQPError as error:
        raise as_intake_error(error, name, "configure") or IntakeError(f"queue {name!r} could not be declared: {error}") from error
    finally:
        await throw_away(raw)


async def find_facts(client: Channels, name: str) -> QueueFacts:
    """Return everything that the broker shows of a queue. Raises IntakeError if there is none, or if it may not be read."""
    await _check_existence(client, name)
    arguments: dict[str, Any] = {}
    flags = {"durable": True, "auto_delete": False}
    for _ in range(_ROUNDS):
        refusal = await _refusal(client, name, arguments, flags)
        if refusal is None:
            return QueueFacts(name, str(arguments.get("x-queue-type", "classic")), arguments, flags["auto_delete"])
        found = _REFUSAL.search(refusal)
        if found is None:
            break
        if found[1] in flags:
            flags[found[1]] = "true" in found[2]
        else:
            arguments[found[1]] = _value(found[2])
    return QueueFacts(name, None, arguments, flags["auto_delete"])


async def _check_existence(client: Channels, name: str) -> None:
    raw = await client.channel()
    try:
        await raw.queue_declare(queue=name, passive=True)
    except AMQPError as error:
        raise as_intake_error(error, name) or IntakeError(f"queue {name!r} cannot be used: {error}") from error
    finally:
        await throw_away(raw)


async def _refusal(client: Channels, name: str, arguments: Mapping[str, Any], flags: Mapping[str, bool]) -> str | None:
    """Return why the broker refuses such a declare. None means that it accepts."""
    raw = await client.channel()
    try:
        await raw.queue_declare(queue=name, arguments=dict(arguments), **flags)
    except ChannelAccessRefused as error:
        return f"no permission to configure: {error}"
    except ChannelLockedResource as error:
        # The queue exists for this connection, so only its exclusiveness can differ.
        raise exclusive_error(name) from error
    except AMQPError as error:
        if (end := as_intake_error(error, name)) is not None:
            raise end from error
        if isinstance(error, AMQPConnectionError) and not isinstance(error, ConnectionClosed):
            raise  # a connection that went away without the broker's word is no answer
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
