"""What the headers of a dead letter come to."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from holdgate.cli.letters.letter import Letter, age, read_letter, readable
from holdgate.flow.message import DeadLetter, Delivery, Partition

KAFKA_PLACE = {"topic": "orders.dead", "partition": 0, "offset": 12}
QUEUE_PLACE = {"queue": "orders.dead", "number": 1}


class Message(Delivery[Any]):
    """As much of a delivery as a letter needs."""

    __slots__ = ()

    @property
    def position(self) -> int:
        return 4711


def written(**changes: Any) -> list[tuple[str, bytes]]:
    """The headers that a guard writes."""
    facts: dict[str, Any] = {"attempts": 5, "first_failure": 100.0, "last_failure": 160.0, "exception": "app.Wrong", "text": "no customer"}
    facts |= {"reason": None, "worker": "host:1", **changes}
    letter = DeadLetter(Message(Partition("orders", 3), None), **facts)
    return [(name, value.encode()) for name, value in letter.facts(text=True).items()]


def test_what_a_guard_has_written_is_read() -> None:
    """All of it, from the very headers that it writes."""
    letter = read_letter(KAFKA_PLACE, written())
    assert letter == Letter(
        KAFKA_PLACE,
        source="orders",
        partition=3,
        offset=4711,
        exception="app.Wrong",
        text="no customer",
        attempts=5,
        first_failure=100.0,
        last_failure=160.0,
        worker="host:1",
    )
    assert (letter.here, letter.origin, letter.why) == ("[0]@12", "orders[3]@4711", "app.Wrong: no customer")


def test_a_rejection_has_a_reason() -> None:
    """It says more than the type, so both are shown."""
    letter = read_letter(KAFKA_PLACE, written(exception="holdgate.errors.Reject", reason="not JSON", text="not JSON"))
    assert letter.why == "holdgate.errors.Reject: not JSON"


def test_json_has_everything_but_the_message() -> None:
    """Times as text, and the age in seconds at that moment."""
    letter = read_letter(KAFKA_PLACE, [("tenant", b"secret"), *written(), ("holdgate-replays", b"2")])
    assert letter.as_json(200.5) == {
        "topic": "orders.dead",
        "partition": 0,
        "offset": 12,
        "source": "orders",
        "source_partition": 3,
        "source_offset": 4711,
        "exception": "app.Wrong",
        "reason": None,
        "text": "no customer",
        "attempts": 5,
        "replays": 2,
        "first_failure": "1970-01-01T00:01:40.000+00:00",
        "last_failure": "1970-01-01T00:02:40.000+00:00",
        "age": 40.5,
        "worker": "host:1",
        "moved": False,
    }


def test_a_letter_of_rabbitmq_itself_says_what_the_broker_knows() -> None:
    """The queue, the reason and the time of its last death."""
    died = datetime(2025, 3, 1, 9, 12, tzinfo=UTC)
    deaths = [{"queue": "orders", "reason": "rejected", "time": died, "count": 1}, {"queue": "retry", "reason": "expired", "time": died}]
    letter = read_letter(QUEUE_PLACE, [("x-death", deaths)])
    assert (letter.here, letter.origin, letter.why) == ("#1", "orders", "rejected by RabbitMQ")
    assert letter.last_failure == died.timestamp()


def test_of_any_other_message_only_the_place_is_known() -> None:
    """A question mark, and no guess."""
    letter = read_letter(QUEUE_PLACE, [("trace", "t")])
    assert (letter.origin, letter.why, letter.attempts) == ("?", "?", None)
    assert letter.as_json(time.time())["age"] is None


@pytest.mark.parametrize(
    "headers",
    [
        [("holdgate-source", b"\xff\xfe"), ("holdgate-attempts", b"many"), ("holdgate-last-failure", b"yesterday")],
        [("holdgate-source", None), ("holdgate-partition", b"-1"), ("holdgate-offset", "\u0661"), ("holdgate-first-failure", b"")],
        [("x-death", "no list")],
        [("x-death", [])],
        [("x-death", ["no table"])],
        [("x-death", [{"time": "no time", "queue": 3}])],
        [("holdgate-replays", b"twice"), ("holdgate-attempts", 3.5)],
    ],
)
def test_headers_that_make_no_sense_are_unknown(headers: list[tuple[str, Any]]) -> None:
    """Anybody can write such headers, and a list of letters must not end with them."""
    letter = read_letter(KAFKA_PLACE, headers)
    assert letter.attempts is None
    assert letter.last_failure is None
    assert json.dumps(letter.as_json(0.0))


def test_a_time_without_a_zone_is_utc() -> None:
    """As the guard's own are; and an age is never below nothing, whatever the clocks say."""
    letter = read_letter(KAFKA_PLACE, [("holdgate-last-failure", b"1970-01-01T00:02:40")])
    assert letter.last_failure == 160.0
    assert letter.as_json(100.0)["age"] == 0.0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jall gone", "\\x1b[2Jall gone"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("\x9b31m", "\\x9b31m"),
        ("grüße 世界", "grüße 世界"),
    ],
)
def test_what_a_terminal_would_act_on_is_an_escape(text: str, shown: str) -> None:
    """Colours, a cleared screen, a forged line, text that runs backwards; letters of any language stay."""
    assert readable(text) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200000, "2 d")])
def test_an_age_has_one_unit(seconds: float, shown: str) -> None:
    """The largest that fits."""
    assert age(seconds) == shown
