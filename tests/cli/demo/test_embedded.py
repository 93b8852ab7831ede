from __future__ import annotations

import sys

import pytest

from holdgate.cli.demo.embedded import EmbeddedKafka
from holdgate.errors import MissingExtra


def test_without_confluent_kafka_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact command, as for every missing extra."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(MissingExtra, match=r'pip install "holdgate\[demo\]"'):
        EmbeddedKafka().open()


def test_closing_it_is_fine_at_any_time() -> None:
    """Never opened, or twice."""
    embedded = EmbeddedKafka()
    embedded.close()
    address = embedded.open()
    embedded.close()
    embedded.close()
    assert address.startswith("127.0.0.1:")
