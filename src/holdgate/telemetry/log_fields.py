"""The fields of a log record: what its line says, for a formatter that writes JSON.

Every record of an event has its figures as attributes of their own, beside the line for people. A formatter that puts the `extra` of a
record into its output, as python-json-logger and structlog's ProcessorFormatter do, needs nothing more:

    {"message": "payments is down ...", "holdgate_event": "CircuitOpened", "holdgate_dependency": "payments",
     "holdgate_reason": "consecutive_failures", "holdgate_until_in": 5.0, ...}

All of them begin with `holdgate_`, so that they meet no attribute that a record has already. An event's times are seconds of a monotonic
clock, which mean nothing to a reader: they become seconds from the event on (`_in`) or up to it (`_ago`).

Names of topics, queues and groups come from outside. Log lines have their control characters escaped, so that no name can begin a line
that looks like another record, or talk to a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from holdgate.core.events import Event
from holdgate.flow.events import AHEAD, BEHIND, AnyEvent, CommandGiven, SourceHeld, SourceReleased
from holdgate.flow.message import Partition, Queue

PREFIX = "holdgate_"


def one_line(text: str) -> str:
    """Return a line of the log with everything escaped that is not printable, line breaks included."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def fields_of(alike: Sequence[AnyEvent]) -> dict[str, Any]:
    """Return the fields of one record, which tells of events that happened together: sources that were held or released at a time.

    The figures are those of the first event. With several, `holdgate_sources` has the sources of all.
    """
    first = alike[0]
    found = dict(_flat(first, first.at))
    if isinstance(first, Event):
        found["dependency"] = found.pop("name")
    if isinstance(first, SourceHeld | SourceReleased):
        found["sources"] = [_plain(each.source) for each in alike if isinstance(each, SourceHeld | SourceReleased)]
        found.pop("source")
    return {PREFIX + name: value for name, value in {"event": type(first).__name__, **found}.items()}


def _flat(value: Any, at: float) -> Iterable[tuple[str, Any]]:
    for field in fields(value):
        name, found = field.name, getattr(value, field.name)
        if name == "at":
            continue
        if name in AHEAD:
            yield f"{name}_in", None if found is None else found - at
        elif name in BEHIND:
            yield f"{name}_ago", None if found is None else at - found
        elif isinstance(found, CommandGiven):  # the command that has ended
            yield from _flat(found, found.at)
        else:
            yield name, _plain(found)


def _plain(value: Any) -> Any:
    """Return what JSON has a word for."""
    if isinstance(value, Partition | Queue):
        return one_line(str(value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return one_line(value)
    return [_plain(each) for each in value] if value.__class__ is tuple else value
