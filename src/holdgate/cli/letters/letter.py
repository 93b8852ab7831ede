"""One dead letter as `holdgate letters` shows it: what its headers say. The payload, the key and the message's own headers stay out.

A letter of a guard says everything. One that RabbitMQ itself has dead-lettered has the broker's header instead, which names the queue, the
reason and the time. Of any other only its place is known.

Headers are other people's text: whatever could move a terminal's cursor, turn its text around or forge a line is written as an escape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, cast

from holdgate.flow.message import (
    ATTEMPTS,
    EXCEPTION,
    EXCEPTION_TEXT,
    FIRST_FAILURE,
    LAST_FAILURE,
    OFFSET,
    PARTITION,
    REASON,
    SOURCE,
    WORKER,
    replays_of,
)

UNKNOWN = "?"

# What RabbitMQ writes about each death, the last one first.
_DEATHS = "x-death"


@dataclass(frozen=True, slots=True)
class Letter:
    """What is known of one dead letter. None means that its headers do not say.

    `place` is where it lies now: topic, partition and offset, or a queue and the letter's number in this list. `source` is the topic or
    queue that it came from, `partition` and `offset` its place there. `text` is that of the exception, which only `exception_text=True`
    keeps. `first_failure` and `last_failure` are seconds since the epoch; for a letter of RabbitMQ's own the last one is when it died.
    `moved` means that a replay has moved it before.
    """

    place: Mapping[str, str | int]
    source: str | None = None
    partition: int | None = None
    offset: int | None = None
    exception: str | None = None
    reason: str | None = None
    text: str | None = None
    attempts: int | None = None
    replays: int = 0
    first_failure: float | None = None
    last_failure: float | None = None
    worker: str | None = None
    moved: bool = False

    def as_json(self, now: float) -> dict[str, object]:
        """Return it with plain values. `age` is the seconds since the last failure; `now` is seconds since the epoch."""
        return {
            **self.place,
            "source": self.source,
            "source_partition": self.partition,
            "source_offset": self.offset,
            "exception": self.exception,
            "reason": self.reason,
            "text": self.text,
            "attempts": self.attempts,
            "replays": self.replays,
            "first_failure": _iso(self.first_failure),
            "last_failure": _iso(self.last_failure),
            "age": None if self.last_failure is None else round(max(0.0, now - self.last_failure), 3),
            "worker": self.worker,
            "moved": self.moved,
        }

    @property
    def here(self) -> str:
        """Where it lies, in one word: `[0]@12` in a topic, `#1` in a queue."""
        return f"[{self.place['partition']}]@{self.place['offset']}" if "offset" in self.place else f"#{self.place['number']}"

    @property
    def origin(self) -> str:
        """Where it came from, as in the log: `orders[3]@4711`."""
        name = UNKNOWN if self.source is None else readable(self.source)
        return name if self.partition is None or self.offset is None else f"{name}[{self.partition}]@{self.offset}"

    @property
    def why(self) -> str:
        """The type of the exception, and the reason or the text as far as they are known."""
        known = dict.fromkeys(readable(word) for word in (self.exception, self.reason, self.text) if word)
        return ": ".join(known) or UNKNOWN  # the text of a Reject is its reason


class Looked(Protocol):
    """What a look at a topic or queue came to."""

    @property
    def letters(self) -> list[Letter]:
        """The letters, in the order in which they would be moved."""
        ...

    @property
    def waiting(self) -> int:
        """How many there are, those included that were not read."""
        ...

    @property
    def notes(self) -> list[str]:
        """What the look has done to the letters, in words."""
        ...


class Shelf(Protocol):
    """Where dead letters lie."""

    async def look(self, limit: int) -> Looked:
        """Read the first so many letters. Raises IntakeError where a broker, topic or queue is missing."""
        ...

    async def close(self) -> None:
        """Put back what is out, and disconnect. Idempotent, and safe when nothing has begun."""
        ...


def read_letter(place: Mapping[str, str | int], headers: Iterable[tuple[str, Any]], *, moved: bool = False) -> Letter:
    """Return what the headers of a message say. They may be anybody's, so a value that makes no sense counts as unknown."""
    headers = list(headers)
    known = dict(headers)
    replays = replays_of(headers)
    if SOURCE not in known and _DEATHS in known:
        return _of_rabbitmq(place, known[_DEATHS], replays)
    return Letter(
        place,
        source=_text(known.get(SOURCE)),
        partition=_number(known.get(PARTITION)),
        offset=_number(known.get(OFFSET)),
        exception=_text(known.get(EXCEPTION)),
        reason=_text(known.get(REASON)),
        text=_text(known.get(EXCEPTION_TEXT)),
        attempts=_number(known.get(ATTEMPTS)),
        replays=replays,
        first_failure=_seconds(_text(known.get(FIRST_FAILURE))),
        last_failure=_seconds(_text(known.get(LAST_FAILURE))),
        worker=_text(known.get(WORKER)),
        moved=moved,
    )


def _of_rabbitmq(place: Mapping[str, str | int], deaths: object, replays: int) -> Letter:
    """Return what RabbitMQ says of a letter of its own: it knows no exception."""
    last = cast("list[object]", deaths)[0] if isinstance(deaths, list) and deaths else None
    death: Mapping[str, Any] = cast("dict[str, Any]", last) if isinstance(last, dict) else {}
    died = death.get("time")
    reason = _text(death.get("reason"))
    return Letter(
        place,
        source=_text(death.get("queue")),
        reason=None if reason is None else f"{reason} by RabbitMQ",
        last_failure=_since_1970(died) if isinstance(died, datetime) else None,
        replays=replays,
    )


def readable(text: str) -> str:
    """Return a text in which nothing is left that a terminal would act on: control characters, and marks that turn text around."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def age(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _text(value: Any) -> str | None:
    return None if value is None else value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _number(value: Any) -> int | None:
    text = _text(value)
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _seconds(text: str | None) -> float | None:
    try:
        moment = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment is None else _since_1970(moment)


def _since_1970(moment: datetime) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
