"""A name that is looked for in the wrong package gets the import that was meant."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import holdgate
import holdgate.brokers
import holdgate.integrations
from holdgate.slips import HOMES

NAMES = [(home, name) for home, names in HOMES.items() for name in names]


@pytest.mark.parametrize(("home", "name"), NAMES, ids=[name for _, name in NAMES])
def test_each_name_is_where_the_error_says(home: str, name: str) -> None:
    """And at the top there is none of that name, or nobody would be led astray."""
    assert hasattr(importlib.import_module(home), name)
    assert name not in holdgate.__all__


@pytest.mark.parametrize("package", ["brokers", "integrations"])
def test_whatever_needs_a_client_library_is_in_the_table(package: str) -> None:
    """A new broker or framework belongs there, too."""
    homes = {home for home in HOMES if home.startswith(f"holdgate.{package}.")}
    found = {name for home in homes for name in importlib.import_module(home).__all__}
    assert found == {name for home, name in NAMES if home in homes}
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.iter_modules(importlib.import_module(f"holdgate.{package}").__path__, f"holdgate.{package}.")
    ]
    assert homes == {module.__name__ for module in modules if hasattr(module, "__all__")}


@pytest.mark.parametrize(
    ("package", "name", "home"),
    [
        ("holdgate", "KafkaIntake", "holdgate.brokers.kafka"),
        ("holdgate.brokers", "RabbitMQIntake", "holdgate.brokers.rabbitmq"),
        ("holdgate.integrations", "CeleryGuard", "holdgate.integrations.celery"),
        ("holdgate", "SettingsError", "holdgate.errors"),
        ("holdgate.testing", "AsyncScriptedTransport", "holdgate.testing.scripted.httpx"),
        ("holdgate.testing.scripted", "ScriptedAdapter", "holdgate.testing.scripted.requests"),
    ],
)
def test_the_import_that_was_meant_is_in_the_error(package: str, name: str, home: str) -> None:
    """Of `from package import name`, which would hide the text of an AttributeError."""
    with pytest.raises(ImportError, match=f"^cannot import name '{name}' from '{package}': write `from {home} import {name}`$"):
        exec(f"from {package} import {name}", {})  # noqa: S102 - the import is the test


def test_asking_for_an_attribute_is_no_import() -> None:
    """`hasattr` and its like go on to work; the text is the same."""
    for package in (holdgate, holdgate.brokers, holdgate.integrations):
        assert not hasattr(package, "KafkaIntake")
        with pytest.raises(AttributeError, match=r"write `from holdgate\.brokers\.kafka import KafkaIntake`"):
            package.KafkaIntake  # noqa: B018 - the look-up is the test


def test_a_name_that_nobody_has_is_as_unknown_as_ever() -> None:
    """Nothing can be said of it."""
    for package in (holdgate, holdgate.brokers, holdgate.integrations):
        assert not hasattr(package, "Gaurd")
        with pytest.raises(ImportError, match="cannot import name 'Gaurd'"):
            exec(f"from {package.__name__} import Gaurd", {})  # noqa: S102


def test_a_module_is_still_found() -> None:
    """`from holdgate.brokers import kafka` asks the package for the name first."""
    from holdgate.brokers import kafka  # noqa: PLC0415

    assert kafka.KafkaIntake
