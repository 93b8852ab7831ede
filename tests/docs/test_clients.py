"""The page of failures is what the last run with real clients found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from docs.generate import clients

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two clients, one of them with a situation more."""
    refused, answered = {"verdict": "failure", "raised": "ConnectionRefusedError"}, {"verdict": "own", "raised": "client.Refused"}
    found: dict[str, Any] = {
        "http": {
            "one": {"version": "1.0", "cells": {"refused": refused}},
            "two": {"version": None, "cells": {"refused": refused, "hung": refused, "422": answered}},
        }
    }
    file = tmp_path / "results.json"
    file.write_text(json.dumps(found))
    return file


def test_the_longer_side_goes_down(results: Path) -> None:
    """A wide table is hard to read; a dash is where nothing was tried."""
    lines = clients.verdicts("http", results).splitlines()
    assert lines[0] == "| situation | one | two |"
    assert lines[2:] == ["| refused | failure | failure |", "| hung | - | failure |", "| 422 | - | own |"]


def test_many_clients_are_the_rows(results: Path) -> None:
    """With more clients than situations."""
    found = json.loads(results.read_text())
    found["http"]["two"]["cells"].pop("hung")
    found["http"]["three"] = found["http"]["one"]
    results.write_text(json.dumps(found))
    assert clients.verdicts("http", results).splitlines()[0] == "| client | refused | 422 |"


def test_each_client_tells_what_it_raised(results: Path) -> None:
    """By exception class, with the situations; Python's own clients have its version."""
    assert clients.raised("http", results).splitlines()[2:] == [
        "| one | 1.0 | `ConnectionRefusedError`: refused |",
        "| two | Python's | `ConnectionRefusedError`: refused, hung; `client.Refused`: 422 |",
    ]


def test_an_outage_of_them_all_is_a_row_for_each_broker(tmp_path: Path) -> None:
    """What is buried beside the poison is good, and is to be 0."""
    seen = {"handlers": 8, "failures": 1200, "openings": 70, "good": 48, "processed": 46, "poison": 8, "buried": 10}
    (tmp_path / "outage.json").write_text(json.dumps({"clients": {"seconds": 120.0, "clients": 2, "brokers": {"Kafka": seen}}}))
    assert clients.outage(tmp_path / "outage.json").splitlines()[2:] == [
        "| Kafka (`.venv-clients`) | 120 s | 8 | 1,200 | 70 | 46 | 2 of 48 | 8 |"
    ]
