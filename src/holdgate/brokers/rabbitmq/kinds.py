"""What kind of queue it is, asked of the broker without a word of documentation about it.

A passive declare tells that a queue exists, and nothing else. A declare with other arguments than its own is refused, and the refusal names
one real value; so it is asked again with that value, until it is accepted: then every argument that the broker compares is known. Each
refusal closes the channel, hence channels to throw away. An accepted declare of a queue that exists changes nothing.

Policies do not show. They are read from the management API where there is one (management.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiormq.exceptions import AMQPError, ChannelAccessRefused, ChannelLockedResource, ChannelPreconditionFailed

from holdgate.brokers.rabbitmq.client import Client, throw_away
from holdgate.brokers.rabbitmq.failures import end_of_intake, exclusive_here
from holdgate.brokers.rabbitmq.versions import Kind
from holdgate.errors import IntakeError

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
        """Its type, for the rules of versions.py."""
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
