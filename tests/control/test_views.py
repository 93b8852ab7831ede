from __future__ import annotations

import json
from typing import Any

import pytest
from tests.control.served import served

from holdgate.control import views
from holdgate.control.views import Reading, Views, encode, shortened
from holdgate.flow.history import LastEvents


class Clock:
    """Stands still until it is moved; making a value moves it by `cost`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cost = 0.0
        self.made = 0

    def __call__(self) -> float:
        return self.now

    def make(self) -> int:
        self.now += self.cost
        self.made += 1
        return self.made


def reading(clock: Clock, kept_for: float = 0.25) -> Reading[int]:
    return Reading(clock.make, kept_for, clock)


def test_what_was_read_is_given_out_again_for_a_moment() -> None:
    """However many ask."""
    clock = Clock()
    value = reading(clock)
    assert [value.get() for _ in range(100)] == [1] * 100
    clock.now = 0.24
    assert value.get() == 1
    clock.now = 0.25
    assert value.get() == 2


def test_a_change_is_seen_immediately() -> None:
    """By the next question."""
    clock = Clock()
    value = reading(clock)
    value.get()
    value.expire()
    assert value.get() == 2


def test_reading_takes_a_tenth_of_the_time_at_most() -> None:
    """Whoever asks however often, and whatever changes; a command's own reader alone may ask again."""
    clock = Clock()
    clock.cost = 0.1
    value = reading(clock)
    assert value.get() == 1
    for _ in range(10):
        value.expire()
        clock.now += 0.09
        assert value.get() == 1
    clock.now += 0.11
    assert value.get() == 2
    value.expire(whatever_it_cost=True)
    assert value.get() == 3


async def test_a_stop_is_seen_at_once_whatever_reading_has_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: the readings that follow are given out again as all others are."""
    monkeypatch.setattr(views, "_KEPT_TIMES", 1e9)  # whatever is read counts as costly
    async with served() as stage:
        read = Views(stage.guard, LastEvents(), None)
        assert (read.health()["status"], json.loads(read.status())["health"]["ready"]) == ("ok", True)
        json.loads(read.frame())
        await stage.guard.stop()
        assert (read.health()["status"], read.health()["ready"]) == ("stopping", False)
        assert json.loads(read.status())["health"]["ready"] is False
        assert json.loads(read.frame())["health"]["ready"] is False
        assert read.status() is read.status()


def test_a_document_is_cut_only_where_it_is_longer() -> None:
    """And what is left out is counted; the document itself is not changed."""
    document: Any = {"sources": [1, 2, 3], "sources_left_out": 0}
    assert shortened(document, 3) is document
    assert shortened(document, 1) == {"sources": [1], "sources_left_out": 2}
    assert document == {"sources": [1, 2, 3], "sources_left_out": 0}


def test_names_from_elsewhere_are_escaped() -> None:
    """A line end, a mark that turns the direction of text, a null: none of them is in the bytes, and all are in what is read."""
    hostile = "\u2028\u202e<script>\0\ud800"
    assert encode({"name": hostile}).isascii()
    assert b"\n" not in encode({"name": "a\nb"})
    assert json.loads(encode({"name": hostile})) == {"name": hostile}
