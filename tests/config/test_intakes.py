"""Intakes that a settings file describes: what they are made of, and what a wrong one is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.config.test_settings import complaint, loaded, written

import holdgate
from holdgate.brokers.confluent import ConfluentIntake
from holdgate.brokers.share import ShareIntake
from holdgate.errors import SettingsError

FILE = """
    [intakes.orders]
    client = "confluent"
    topics = ["orders", "mails"]
    inbox = 50
    commit_every = "500ms"

    [intakes.orders.settings]
    bootstrap.servers = "kafka:9092"
    group.id = "billing"
    "auto.offset.reset" = "earliest"
    max.poll.interval.ms = 60000

    [intakes.tasks]
    client = "share"
    topics = ["tasks"]
    in_hand = 5
    record_lock = "15s"
    settings = { "bootstrap.servers" = "kafka:9092", "group.id" = "workers" }
"""


def of(intake: Any) -> dict[str, Any]:
    """What an intake has got for librdkafka."""
    given: dict[str, Any] = intake._settings if isinstance(intake, ShareIntake) else intake._settings._given
    return given


def test_an_intake_is_what_its_table_says(tmp_path: Path) -> None:
    """Names mean the same in quotes and without; what is left out has the intake's own default."""
    settings = loaded(tmp_path, FILE)
    orders, tasks = settings.intake("orders"), settings.intake("tasks")
    assert isinstance(orders, ConfluentIntake)
    assert (orders.names, orders.inbox, orders.group) == (("mails", "orders"), 50, "billing")
    assert of(orders) == {
        "bootstrap.servers": "kafka:9092",
        "group.id": "billing",
        "auto.offset.reset": "earliest",
        "max.poll.interval.ms": 60000,
    }
    assert isinstance(tasks, ShareIntake)
    assert (tasks.names, tasks.inbox, tasks.terms.lock) == (("tasks",), 5, 15.0)


def test_each_call_makes_another_one(tmp_path: Path) -> None:
    """An intake opens once, and a worker may have several."""
    settings = loaded(tmp_path, FILE)
    assert settings.intake("orders") is not settings.intake("orders")


def test_the_program_says_what_a_file_cannot(tmp_path: Path) -> None:
    """A callback, or librdkafka's own; it wins over the file setting by setting."""
    losses: list[object] = []
    made = loaded(tmp_path, FILE).intake("orders", on_records_lost=losses.append, settings={"group.id": "other", "oauth_cb": print})
    assert isinstance(made, ConfluentIntake)
    assert made._on_records_lost == losses.append
    assert (made.group, of(made)["oauth_cb"], of(made)["bootstrap.servers"]) == ("other", print, "kafka:9092")


def test_a_variable_has_underscores_for_dots(tmp_path: Path) -> None:
    """Whether the file has the setting or not, however it writes it; it wins. A variable may not add an intake."""
    variables = {
        "HOLDGATE__INTAKES__ORDERS__SETTINGS__GROUP_ID": "other",
        "HOLDGATE__INTAKES__ORDERS__SETTINGS__AUTO_OFFSET_RESET": "error",
        "HOLDGATE__INTAKES__ORDERS__SETTINGS__SASL_USERNAME": "me",
        "HOLDGATE__INTAKES__ORDERS__INBOX": "7",
    }
    orders = loaded(tmp_path, FILE, **variables).intake("orders")
    assert isinstance(orders, ConfluentIntake)
    assert (orders.group, orders.inbox) == ("other", 7)
    assert (of(orders)["sasl.username"], of(orders)["auto.offset.reset"]) == ("me", "error")
    words = complaint(tmp_path, FILE, HOLDGATE__INTAKES__ORDES__INBOX="7")
    assert "intakes.ordes: is none of those that are known here; did you mean orders?" in words


def test_the_program_may_write_a_name_either_way(tmp_path: Path) -> None:
    """An underscore is a dot for it, too, as in a variable: librdkafka has no underscores in its settings."""
    said = {"intakes": {"orders": {"settings": {"group.id": "by-code", "sasl_username": "me"}}}}
    orders = holdgate.load(written(tmp_path, FILE), environment={}, in_code=said).intake("orders")
    assert (of(orders)["group.id"], of(orders)["sasl.username"]) == ("by-code", "me")


def test_every_value_says_where_it_comes_from(tmp_path: Path) -> None:
    """By its name with dots, and the line in which it stands."""
    settings = loaded(tmp_path, FILE, HOLDGATE__INTAKES__ORDERS__SETTINGS__GROUP_ID="other")
    found = {each.place[1:]: (each.value, each.origin.replace(f"{tmp_path}/", "")) for each in settings.effective()}
    assert found["orders", "settings", "bootstrap.servers"] == ("kafka:9092", "holdgate.toml:8")
    assert found["orders", "settings", "auto.offset.reset"] == ("earliest", "holdgate.toml:10")
    assert found["orders", "settings", "group.id"] == ("other", "environment HOLDGATE__INTAKES__ORDERS__SETTINGS__GROUP_ID")
    assert found["orders", "commit_every"] == (0.5, "holdgate.toml:5")
    assert found["tasks", "settings", "group.id"] == ("workers", "holdgate.toml:18")
    assert found["orders", "poll_timeout"] == (0.1, "default")


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password", "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase", "sasl.oauthbearer.config",
    ],
)  # fmt: skip
def test_a_secret_is_masked_everywhere(tmp_path: Path, name: str) -> None:
    """In the settings that are shown, in what has changed, and in the text of an error."""
    canary = "canary-of-this-test"
    text = FILE.replace("max.poll.interval.ms = 60000", f'{name} = "{canary}"')
    settings = loaded(tmp_path, text)
    assert of(settings.intake("orders"))[name] == canary
    written(tmp_path, text.replace(canary, f"{canary}-2"))
    found = settings.reload()
    assert [each.place[-1] for each in found.waiting] == [name]
    assert canary not in f"{settings.effective()} {found}"
    assert canary not in complaint(tmp_path, text.replace(f'"{canary}"', f'["{canary}"]'))


def test_what_is_changed_waits_for_a_restart(tmp_path: Path) -> None:
    """A consumer that runs has its settings; a new intake has the new ones."""
    settings = loaded(tmp_path, FILE)
    written(tmp_path, FILE.replace("inbox = 50", "inbox = 60"))
    found = settings.reload()
    assert ([str(each) for each in found.waiting], found.applied) == (["intakes.orders.inbox 50 -> 60"], ())
    made = settings.intake("orders")
    assert isinstance(made, ConfluentIntake)
    assert made.inbox == 60


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            '"confluent"',
            '"confluen"',
            'holdgate.toml:2: intakes.orders.client: "confluen" is not one of "confluent", "share"; did you mean',
        ),
        ('client = "share"', "", 'holdgate.toml:13: intakes.tasks: client is missing: give one of "confluent", "share"'),
        ("inbox = 50", "in_hand = 50", "holdgate.toml:4: intakes.orders.in_hand: is none of those that are known here"),
        ("inbox = 50", "inbox = 0", "holdgate.toml:4: intakes.orders.inbox: inbox must be at least 1"),
        ('"500ms"', '"half a second"', 'holdgate.toml:5: intakes.orders.commit_every: "half a second" is not seconds'),
        ('topics = ["tasks"]', "", "holdgate.toml:13: intakes.tasks: topics is missing: give a list of texts"),
        ('topics = ["orders", "mails"]', "", "holdgate.toml:1: intakes.orders: neither topics nor pattern is given"),
        ('group.id = "billing"', "", "holdgate.toml:1: intakes.orders: the settings have no group.id"),
        (
            '"auto.offset.reset" = "earliest"',
            'auto.offset.reset = "latest"',
            "holdgate.toml:10: intakes.orders.settings.auto.offset.reset: ",
        ),
        ("max.poll.interval.ms = 60000", "enable.auto.commit = true", "holdgate.toml:11: intakes.orders.settings.enable.auto.commit: "),
        ("60000", "[1]", "intakes.orders.settings.max.poll.interval.ms: [1] is not a text in quotes or true or false or a whole number"),
        ('settings = { "bootstrap.servers" = "kafka:9092", "group.id" = "workers" }', "settings = 3", "3 is no table of settings"),
    ],
)
def test_each_mistake_is_told_with_its_line(tmp_path: Path, before: str, after: str, words: str) -> None:
    """What the intake itself would refuse, too, before a worker starts."""
    assert before in FILE
    assert words in complaint(tmp_path, FILE.replace(before, after))


@pytest.mark.parametrize("text", ["intakes = 3", "[intakes]\norders = 3"])
def test_what_is_no_table_is_told(tmp_path: Path, text: str) -> None:
    """As for every other table."""
    assert "3 is no" in complaint(tmp_path, text)


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """As for dependencies and runs."""
    with pytest.raises(SettingsError, match=r'intake "oders" is none of those that are known here; did you mean orders\?'):
        loaded(tmp_path, FILE).intake("oders")
