"""Which confluent-kafka is accepted: the minor version whose preview was run, and no other."""

from __future__ import annotations

import runpy
from importlib import metadata
from pathlib import Path

import confluent_kafka
import pytest

import holdgate.brokers.share
from holdgate.errors import MissingExtra

PACKAGE = Path(holdgate.brokers.share.__file__)


@pytest.mark.parametrize("version", ["2.6.0", "2.15.9", "2.17.0", "3.0.0"])
def test_another_version_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Its ShareConsumer may differ: the error names both versions, and what to install."""
    monkeypatch.setattr(metadata, "version", lambda name: version)
    monkeypatch.setattr(confluent_kafka, "version", lambda: (version, 0))  # as older ones answer

    with pytest.raises(MissingExtra, match=rf"needs confluent-kafka 2.16, got {version}.*pip install 'holdgate\[confluent\]'"):
        runpy.run_path(str(PACKAGE))


def test_a_later_patch_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches mend what was run."""
    monkeypatch.setattr(metadata, "version", lambda name: "2.16.9")

    assert "ShareIntake" in runpy.run_path(str(PACKAGE))
