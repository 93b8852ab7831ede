"""The tables for those who come from elsewhere: each name on our side exists."""

from __future__ import annotations

import importlib
import re

import pytest
from docs.generate.pages import ROOT
from docs.generate.settings import OWNERS, settings_of

import holdgate
from holdgate.cli.app import app
from holdgate.cli.importing import resilience4j

PAGE = (ROOT / "docs" / "reference" / "migration.md").read_text()
ROWS = [
    tuple(cell.strip() for cell in line.strip("| ").split(" | "))
    for line in PAGE.splitlines()
    if line.startswith("| ") and "---" not in line
]
OURS = [code for _, right in ROWS for code in re.findall(r"`([^`]+)`", right)]
SETTINGS = {setting.name for owner in OWNERS for setting in settings_of(owner)}
# A call of something of ours: guard.hold("orders", reason=...), RetryPolicy(attempts=5), payments.call(fn).
CALL = re.compile(r"@?(?:(guard|payments|delivery|consumer|http)\.)?(\w+)(?:\((.*)\))?")


def is_ours(code: str) -> bool:
    """Whether a piece of code on the right side is a setting, a name or a command of holdgate."""
    if code.startswith("holdgate "):
        return code.split()[1] in app.commands
    if re.fullmatch(r"\w+=(\w+=?)?(\[.*\]|\".*\"|\w+\(.*\))?", code):
        return code.split("=", maxsplit=1)[0] in SETTINGS
    found = CALL.fullmatch(code)
    if found is None:
        return False
    owner, name, arguments = found.groups()
    given = re.findall(r"(?:^|[(, ])(\w+)=", arguments or "")
    known = SETTINGS | {"reason", "after"}
    return exists(owner, name) and all(argument in known for argument in given)


def exists(owner: str | None, name: str) -> bool:
    """Whether holdgate has this name: a setting, a class, or what a guard, a dependency or `holdgate.http` has."""
    if owner == "guard":
        return hasattr(holdgate.Guard, name)
    if owner == "payments":
        return hasattr(holdgate.Dependency, name)
    if owner == "delivery":
        return hasattr(holdgate.Delivery, name)
    if owner == "http":
        return hasattr(holdgate.http, name)
    if owner == "consumer":
        return name == "commit"  # the client's own
    places = ("holdgate", "holdgate.errors", "holdgate.core", "holdgate.brokers.kafka")
    return name in SETTINGS or name == "retry_at" or any(hasattr(importlib.import_module(place), name) for place in places)


def test_the_page_has_a_table_for_each_of_them() -> None:
    """Two columns, and something on both sides of every row."""
    heads = re.findall(r"^## From (.+)$", PAGE, re.MULTILINE)

    assert len(heads) == 7
    assert len(ROWS) > 80
    assert all(len(row) == 2 and all(row) for row in ROWS)


@pytest.mark.parametrize("code", sorted(set(OURS)))
def test_a_name_of_ours_exists(code: str) -> None:
    """A setting that is renamed makes this page wrong."""
    assert is_ours(code)


@pytest.mark.parametrize(
    "code",
    [
        "open_wait",
        "RetryPolicy(tries=)",
        "guard.stop_all",
        "holdgate fly",
        "payments.ask(fn)",
        "delivery.again(after=)",
        "Breaker",
        "needz=",
    ],
)
def test_a_name_that_does_not_exist_is_found(code: str) -> None:
    """The check itself can fail."""
    assert not is_ours(code)


def test_the_table_has_what_the_import_knows() -> None:
    """Each property of a circuit breaker that `holdgate import` takes over is in a row of Resilience4j."""
    section = PAGE.split("## From Resilience4j")[1].split("## From")[0].lower()
    left = set(re.findall(r"`(\w+)`", section))

    assert set(resilience4j._CIRCUIT) <= left
    assert set(resilience4j._NO_CIRCUIT) - {"allowhealthindicatortofail", "ignoreclassbindingexceptions"} <= left
    assert set(resilience4j._NO_RETRY) - {"eventconsumerbuffersize"} <= left
    assert {"slidingwindowtype", "slidingwindowsize", "enableexponentialbackoff", "randomizedwaitfactor"} <= left
