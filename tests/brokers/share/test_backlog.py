"""How much waits, or why that is not known: said once, with the remedy."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from holdgate.brokers.share.backlog import ShareBacklogs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SETTINGS = {"bootstrap.servers": "localhost:9092", "group.id": "queue"}


class Offsets:
    """In place of GroupOffsets: answers, or raises."""

    def __init__(self, answer: Mapping[str, int] | Exception) -> None:
        self._answer = answer
        self.closed = 0

    async def lags(self, topics: Collection[str]) -> Mapping[str, int]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return {topic: self._answer[topic] for topic in topics}

    async def waiting(self, topics: Collection[str]) -> Mapping[tuple[str, int], int]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return {(topic, 0): self._answer[topic] for topic in topics}

    async def close(self) -> None:
        self.closed += 1


def asking(offsets: Offsets) -> ShareBacklogs:
    backlogs = ShareBacklogs(SETTINGS, "queue", ("orders",))
    backlogs._offsets = offsets  # type: ignore[assignment]
    return backlogs


async def test_the_answer_is_that_of_the_broker() -> None:
    """For the topics of the intake, and no others of the group."""
    assert await asking(Offsets({"orders": 3, "others": 9})).ask() == {"orders": 3}


async def test_without_aiokafka_the_log_says_what_to_install(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Once, however often somebody asks."""
    monkeypatch.setitem(sys.modules, "holdgate.brokers.share.offsets", None)
    backlogs = ShareBacklogs(SETTINGS, "queue", ("orders",))

    assert [await backlogs.ask() for _ in range(2)] == [{}, {}]

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "pip install 'holdgate[kafka]'" in record.getMessage()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sasl.oauthbearer.config": "secret"}, "no counterpart of sasl.oauthbearer.config"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "GSSAPI"}, "for GSSAPI"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/nowhere/ca.pem"}, "a file of the TLS settings cannot be read"),
    ],
)
async def test_settings_that_aiokafka_does_not_have_are_named(more: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture) -> None:
    """By name: a value may be a password."""
    backlogs = ShareBacklogs(SETTINGS | more, "queue", ("orders",))

    assert await backlogs.ask() == {}

    assert words in caplog.text
    assert "secret" not in caplog.text


async def test_a_broker_that_is_too_old_is_asked_once(caplog: pytest.LogCaptureFixture) -> None:
    """It will not learn the question while this worker runs."""
    offsets = Offsets(NotImplementedError())
    backlogs = asking(offsets)

    assert [await backlogs.ask() for _ in range(2)] == [{}, {}]

    assert offsets.closed == 1
    assert "Kafka 4.2" in caplog.text


async def test_closing_closes_what_asks() -> None:
    """And nothing where nobody has asked."""
    offsets = Offsets({})
    await asking(offsets).close()
    await ShareBacklogs(SETTINGS, "queue", ("orders",)).close()
    assert offsets.closed == 1


async def test_who_can_do_without_an_answer_asks_without_a_word(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A broker that is away, or too old, says nothing; and without aiokafka only what is asked of a person's own will is missed."""
    assert await asking(Offsets({"orders": 3})).waiting(["orders"]) == {("orders", 0): 3}
    for failure in (NotImplementedError(), TimeoutError(), ConnectionError()):
        assert await asking(Offsets(failure)).waiting(["orders"]) == {}
    monkeypatch.setitem(sys.modules, "holdgate.brokers.share.offsets", None)
    backlogs = ShareBacklogs(SETTINGS, "queue", ("orders",))
    assert await backlogs.waiting(["orders"]) == {}
    assert caplog.text == ""

    assert await backlogs.ask() == {}
    assert "pip install 'holdgate[kafka]'" in caplog.text
