"""The page of faults and states is what the last run came to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from docs.generate import faults

if TYPE_CHECKING:
    from pathlib import Path

STATES = ("Closed", "Tripping", "Open", "Half-open", "Ramping", "Shutting down")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run of one row: held but once, and of one broker alone."""
    places = {
        "Kafka": {state: f"Kafka-it_fails-{state}" for state in STATES},
        "RabbitMQ": dict.fromkeys(STATES, "does not apply: no groups"),
    }
    cells: dict[str, Any] = {name: {"result": "held", "seconds": 3.0} for name in places["Kafka"].values()}
    cells["Kafka-it_fails-Open"] = {"result": "violated", "seconds": 3.0, "text": "first\nlost: 1 messages"}
    whole = {
        "date": "2026-11-25", "versions": {"Python": "3.11", "Kafka": "4.1.0"}, "cores": 2, "seconds": 120, "cells": cells,
        "rows": [{"name": "it fails", "group": "dependency", "sentence": "It fails.", "places": places}],
        "elsewhere": {"a store": "there is none"},
    }  # fmt: skip
    file = tmp_path / "results.json"
    file.write_text(json.dumps(whole))
    return file


def test_the_summary_counts_what_held(results: Path) -> None:
    """Cells that held, cells that did not, and places that do not apply."""
    text = faults.summary(results)
    assert "Run on 2026-11-25 in 2 minutes on 2 cores with Python 3.11, Kafka 4.1.0." in text
    assert "**6 cells were run: in 5 every invariant held**, 1 violated. 6 places" in text


def test_a_row_has_a_mark_for_each_state(results: Path) -> None:
    """What held, what did not, and a dash where nothing applies."""
    assert "| dependency: it fails | held | held | **violated** | held | held | held |" in faults.matrix("Kafka", results)
    assert "| dependency: it fails | - | - | - | - | - | - |" in faults.matrix("RabbitMQ", results)


def test_what_failed_is_told_in_the_checkers_words(results: Path) -> None:
    """By its last line, under the cell's name."""
    assert faults.failures(results) == "- Kafka-it_fails-Open: violated: lost: 1 messages"


def test_empty_places_say_why(results: Path) -> None:
    """A whole broker in one word, and what is in no row at all."""
    assert faults.reasons(results) == "- it fails, on RabbitMQ: no groups\n- a store, in no row of its own: there is none"


def test_each_fault_is_told(results: Path) -> None:
    """By its function's docstring."""
    assert "| dependency: it fails | It fails. |" in faults.sentences(results)
