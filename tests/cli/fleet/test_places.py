"""The URL of a fleet's log: what is read of it, and what no error ever quotes."""

from __future__ import annotations

import pytest

from holdgate.cli.fleet.places import log_at
from holdgate.errors import HoldgateError, SettingsError


def test_a_kafka_url_names_servers_and_topic() -> None:
    """All servers and the topic are taken from the URL; without a topic it is the usual one."""
    assert log_at("kafka://one:9092,two:9093/agree", ()).place == "topic 'agree' at one:9092,two:9093"
    assert log_at("kafka://one:9092", ()).place == "topic 'holdgate-fleet' at one:9092"


def test_options_reach_the_client() -> None:
    """A number is one, and a setting of the log itself is refused."""
    log = log_at("kafka://one:9092/agree", ("request_timeout_ms=1234", "security_protocol=SASL_PLAINTEXT"))
    assert log._settings["request_timeout_ms"] == 1234
    assert log_at("kafka://one:9092/agree", ())._settings["request_timeout_ms"] == 15_000  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match="group_id"):
        log_at("kafka://one:9092/agree", ("group_id=x",))


@pytest.mark.parametrize("url", [None, ""])
def test_no_url_is_refused(url: str | None) -> None:
    """The error shows the form, and the variable that may have it."""
    with pytest.raises(SettingsError, match=r"kafka://HOST:PORT/TOPIC.*HOLDGATE_FLEET_URL"):
        log_at(url, ())


@pytest.mark.parametrize(
    "url", ["http://user:hidden@host/x", "user:hidden@host", "kafka://user:hidden@host/x", "kafka:///hidden", "kafka://[hidden"]
)
def test_what_is_no_place_is_refused_unquoted(url: str) -> None:
    """Whatever is wrong with a URL, it may have a password, and is not in the error."""
    with pytest.raises(HoldgateError) as caught:
        log_at(url, ())
    assert "hidden" not in str(caught.value)
    assert "kafka://" in str(caught.value)
