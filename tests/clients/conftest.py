"""Tests with real clients: only in the environments of `make test-clients`, and what they found becomes docs/reference/failures.md."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.clients import results
from tests.clients.installed import HAVE_CLIENTS, installed, version
from tests.clients.outages import assert_buries_nothing
from tests.clients.verdicts import verdict_on
from tests.servers.unavailable import in_ci

from holdgate import http

# test_installed.py says, in one line, that the rest is not here. niquests has an environment of its own, with HTTP clients alone.
collect_ignore_glob = [] if HAVE_CLIENTS else ["test_*_clients.py"]
if installed("niquests"):
    collect_ignore_glob += [
        f"test_{family}_clients.py"
        for family in ("amqp", "aws", "grpc", "kafka", "limited", "mongo", "redis", "search", "smtp", "sql", "waiting")
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The clients' own warnings are theirs."""
    for item in items:
        if "tests/clients" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def found() -> Iterator[dict[str, Any]]:
    """What this run finds; outside of CI it goes into results.json, in CI it must be what is there."""
    found: dict[str, Any] = {}
    yield found
    if not in_ci():
        results.merge(found)


@pytest.fixture
def record(found: dict[str, Any]) -> Callable[..., str]:
    """Write down what a family's client raised in a situation, and what it was taken for, which is returned: "failure", "throttled" or
    "own". An outage of it must bury nothing."""
    known = json.loads(results.FILE.read_text()) if in_ci() else {}

    def write(family: str, client: str, package: str | None, situation: str, error: BaseException) -> str:
        preset = http if family == "http" else importlib.import_module(f"holdgate.presets.{family}")
        verdict = verdict_on(preset, error)
        cell = results.cell(error, verdict)
        of_client = found.setdefault(family, {}).setdefault(client, {"version": version(package) if package else None, "cells": {}})
        of_client["cells"][situation] = cell
        if verdict != "own" and isinstance(error, Exception):
            assert_buries_nothing(preset, error)
        if in_ci():
            was = known.get(family, {}).get(client, {}).get("cells", {}).get(situation, {"verdict": "nothing"})
            assert was["verdict"] == cell["verdict"], f"{results.FILE.name} is not up to date: make test-clients, python -m docs.generate"
        return verdict

    return write
