"""Commands over HTTP: what a request must say, and how it becomes a call of the guard.

    POST /commands/hold
    {"target": "orders", "reason": "the schema changes at noon", "actor": "alice", "for": 3600}

The last part of the path is the guard's method, with dashes; one that begins with `fleet-` is a method of `Guard.fleet`, for all of its
workers. `target` is a dependency, or a source as `/status` names it, or a topic or queue. Nothing is guessed: a field that is missing,
unknown or of the wrong type is refused, and then nothing has happened.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from holdgate.control.access import Denied
from holdgate.errors import CommandError
from holdgate.flow.message import Source
from holdgate.ports import Controllable

# A reason and an actor of 500 characters each, a topic's name of 249, and what JSON adds to the most awkward of them.
BODY_AT_MOST = 16 * 1024

# Every command, with the fields that it takes beside target, reason and actor.
COMMANDS: Mapping[str, frozenset[str]] = {
    "hold": frozenset({"for"}),
    "unhold": frozenset(),
    "force-open": frozenset({"for"}),
    "disable": frozenset({"for"}),
    "observe": frozenset({"for"}),
    "clear-override": frozenset(),
    "reset": frozenset(),
    "probe": frozenset(),
    "retry": frozenset(),
    "skip": frozenset({"position"}),
    "fleet-hold": frozenset({"for"}),
    "fleet-release": frozenset(),
    "fleet-force-open": frozenset({"for"}),
    "fleet-reset": frozenset(),
}

_HOLDS = frozenset({"hold", "unhold"})
_FOR_ALL = "fleet-"


@dataclass(frozen=True, slots=True)
class Order:
    """A command as it was asked for, checked for its form. `words` are the keyword arguments of the guard's method."""

    command: str
    target: str
    words: Mapping[str, Any]
    position: int | None


def read_order(command: str, body: bytes) -> Order:
    """Return what a request asks for. Raises Denied with what the request must say instead."""
    if command not in COMMANDS:
        raise Denied(404, f"no command has that name; there are {', '.join(COMMANDS)}")
    given = _read_object(body)
    allowed = {"target", "reason", "actor", *COMMANDS[command]}
    unknown = sorted(set(given) - allowed)
    if unknown:
        raise Denied(422, f"{command} takes {', '.join(sorted(allowed))}, got {', '.join(map(_shown, unknown))} too")
    words: dict[str, Any] = {name: _text(given, name) for name in ("reason", "actor")}
    if "for" in given:
        words["for_"] = _duration(given["for"])
    return Order(command, _text(given, "target"), words, _position(given) if command == "skip" else None)


async def carry_out(guard: Controllable, order: Order) -> dict[str, Any]:
    """Give the command to the guard, and return what came of it beside its entry in the audit log, which is the last one then.

    A command for a fleet is waited for until the fleet's log has it, which takes a bounded time. Raises CommandError where it cannot be
    carried out now.
    """
    if order.command.startswith(_FOR_ALL):
        for_all: Callable[..., Awaitable[None]] = getattr(guard.fleet, order.command.removeprefix(_FOR_ALL).replace("-", "_"))
        await for_all(order.target, **order.words)
        return {"done": True}
    method: Callable[..., Any] = getattr(guard, order.command.replace("-", "_"))
    if order.command == "skip":
        method(_source(guard, order.target), order.position, **order.words)
    elif order.command == "retry":
        return {"done": True, "messages": method(_source(guard, order.target), **order.words)}
    elif order.command == "probe":
        done = method(order.target, **order.words)
        return {"done": done} if done else {"done": False, "text": f"{order.target} is not open: there is nothing to try"}
    else:
        method(_held(guard, order.target) if order.command in _HOLDS else order.target, **order.words)
    return {"done": True}


def _source(guard: Controllable, target: str) -> Source:
    sources = {str(source): source for source in guard.snapshot().sources}
    if target not in sources:
        here = sorted(sources)
        shown = ", ".join(here[:20]) + (" ..." if len(here) > 20 else "") or "none"  # noqa: PLR2004 - what one reads in a terminal
        raise CommandError(f"no source {_shown(target)} is assigned here; these are: {shown}")
    return sources[target]


def _held(guard: Controllable, target: str) -> Source | str:
    """Return the source of this name. A queue is held by its name, so that its hold is the same from wherever it comes."""
    for source in guard.snapshot().sources:
        if str(source) == target and source.name != target:
            return source
    return target


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        given: object = json.loads(body)
    except (ValueError, RecursionError):  # a text that is not UTF-8 is a ValueError as well
        raise Denied(400, "the body must be a JSON object in UTF-8") from None
    if not isinstance(given, dict):
        raise Denied(400, "the body must be a JSON object")
    return cast("dict[str, Any]", given)


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Denied(422, f"{name} must be text that is not empty")
    return value


def _duration(value: object) -> float | None:
    if value is None:
        return None
    # As an int it may have thousands of digits.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise Denied(422, "for must be a number of seconds above 0, or null for no end")
    return float(value)


def _position(given: Mapping[str, Any]) -> int:
    value = given.get("position")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Denied(422, "position must be a whole number from 0: the offset or delivery tag that blocks the source")
    return value


def _shown(text: str) -> str:
    """Return what a client sent, short and on one line."""
    return ascii(text if len(text) <= 100 else text[:100] + "...")  # noqa: PLR2004 - enough to recognise a slip
