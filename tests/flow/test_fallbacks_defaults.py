from __future__ import annotations

from holdgate.flow.policy import FallbackSettings


def test_a_fallback_begins_at_once_and_takes_every_lane() -> None:
    """Unless it is told to wait, or to keep to a few."""
    settings = FallbackSettings()
    assert settings.after == 0.0
    assert settings.concurrency is None
