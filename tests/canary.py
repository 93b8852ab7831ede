"""A canary in what no log, event, metric, span or page may show, and a look at all of these in every test of the suite.

Planted: the payload, key and headers of each message in memory write themselves as `canary-payload` and so on, whatever is in them; they
compare, and work, as what they are. A message on a real broker has a header with a canary in it where a test gives it none, and a node of
our own has a canary for its password. Tests plant more of their own: what begins with `CANARY` may be shown nowhere.

Looked at, in this process: each record of holdgate's loggers with its fields, and whatever else pytest has captured of logs; each event, as
it is handed out; each reading for metrics; each span, when it ends; each answer of a control plane, its event streams and its page with it;
and what a command prints (tests/cli/runner.py). A finding fails the test in which it was made, when it ends.

It costs some microseconds for each event, and nothing is compared for messages.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import wraps
from typing import Any

from holdgate.control.app import Door
from holdgate.errors import MissingExtra
from holdgate.runtime.log import Announcer
from holdgate.telemetry.reading import Readings
from holdgate.testing.memory.message import MemoryDelivery

CANARY = "canary-"

_findings: list[str] = []


# -- planted --------------------------------------------------------------------------------------------------------------------------


class _Bytes(bytes):
    """Bytes that give themselves away where they are written out."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"b'{CANARY}bytes'"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, _spec: str) -> str:
        return repr(self)


class _Text(str):
    """A text that does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{CANARY}text'"

    def __str__(self) -> str:
        return f"{CANARY}text"

    def __format__(self, _spec: str) -> str:
        return str(self)


class _Headers(dict[str, Any]):
    """Headers that do."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{{'{CANARY}header'}}"

    __str__ = __repr__


def _marked(value: Any) -> Any:
    if type(value) is bytes:
        return _Bytes(value)
    return _Text(value) if type(value) is str else value


def plant() -> None:
    """Let the messages in memory give themselves away."""
    for name, mark in (("body", _marked), ("key", _marked), ("headers", _seen)):
        setattr(MemoryDelivery, name, _planted(getattr(MemoryDelivery, name).fget, mark))


def _planted(read: Any, mark: Any) -> property:
    @wraps(read)  # who reads the public names of the code finds what was there
    def planted(delivery: MemoryDelivery) -> Any:
        return mark(read(delivery))

    return property(planted)


def _seen(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    return _Headers({name: _marked(value) for name, value in headers.items()})


# -- looked at ------------------------------------------------------------------------------------------------------------------------


class _Records(logging.Handler):
    """Looks at each record: its line, and the fields that a formatter for JSON would write."""

    def emit(self, record: logging.LogRecord) -> None:
        look("a log record", f"{record.getMessage()} {record.__dict__}")


def look(where: str, text: str) -> None:
    """Note a finding, if there is a canary in this text."""
    place = text.find(CANARY)
    if place >= 0:
        _findings.append(f"{where}: ...{text[max(0, place - 80) : place + 80]}...")


def watch() -> None:
    """Look at everything that leaves the product from now on."""
    logging.getLogger("holdgate").addHandler(_Records())
    _before(Announcer, "announce", lambda _announcer, events: look("an event", repr(events)))
    _after(Readings, "_take", lambda values: look("a metric", repr([list(samples) for samples in values.values()])))
    try:
        from holdgate.telemetry.spans import Spans  # noqa: PLC0415 - an environment without OpenTelemetry has no spans to look at
    except MissingExtra:
        pass
    else:
        _before(Spans, "_finish", _look_at_spans)
    _watch_answers()


def findings() -> list[str]:
    """Return what was found since the last call."""
    found, _findings[:] = list(_findings), []
    return found


def _before(cls: type, name: str, act: Any) -> None:
    method = getattr(cls, name)

    @wraps(method)
    def looking(*given: Any) -> Any:
        act(*given)
        return method(*given)

    setattr(cls, name, looking)


def _after(cls: type, name: str, act: Any) -> None:
    method = getattr(cls, name)

    @wraps(method)
    def looking(*given: Any) -> Any:
        result = method(*given)
        act(result)
        return result

    setattr(cls, name, looking)


def _look_at_spans(spans: Any) -> None:
    for attempt in spans._ended:
        span: Any = attempt.span  # the SDK's, which can be read
        about = [getattr(span, name, None) for name in ("name", "attributes", "status")]
        events = [(event.name, dict(event.attributes or {})) for event in getattr(span, "events", ())]
        look("a span", f"{about[0]} {dict(about[1] or {})} {getattr(about[2], 'description', None)} {events}")


def _watch_answers() -> None:
    call = Door.__call__

    @wraps(call)
    async def looking(door: Door, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"].startswith("http.response"):
                look(f"an answer to {scope['path']}", f"{message.get('headers')} {message.get('body')!r}")
            await send(message)

        await call(door, scope, receive, sending)

    Door.__call__ = looking  # type: ignore[method-assign]
