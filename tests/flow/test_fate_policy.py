"""The policy's defaults, and what it says of two settings that clash."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdgate.errors import SettingsError
from holdgate.flow.policy import RetryPolicy


def test_the_defaults() -> None:
    """The numbers that the docs name."""
    assert RetryPolicy() == RetryPolicy(
        attempts=5,
        initial_backoff=0.5,
        multiplier=2.0,
        max_backoff=30.0,
        jitter=0.2,
        not_retryable=(),
        doubt=1e-6,
        reject_after_probes=None,
        on_exhausted="reject",
    )


def test_backoffs_that_clash_are_told_with_the_remedy() -> None:
    """Both values, and what to do."""
    with pytest.raises(SettingsError) as caught:
        RetryPolicy(initial_backoff=5.0, max_backoff=2.0)
    assert str(caught.value) == "max_backoff=2.0 is shorter than initial_backoff=5.0: raise the first or lower the second"


@pytest.mark.parametrize(
    ("alone", "gives_way"),
    [
        ({"initial_backoff": 60.0}, {"max_backoff": 60.0}),
        ({"initial_backoff": 30.0}, {"max_backoff": 30.0}),
        ({"max_backoff": 0.1}, {"initial_backoff": 0.1}),
        ({"max_backoff": 60.0}, {"initial_backoff": 0.5}),
    ],
)
def test_a_backoff_alone_is_never_refused_for_the_default_of_the_other(alone: dict[str, float], gives_way: dict[str, float]) -> None:
    """The one that is left out gives way, and is worked out anew by `replace`."""
    policy = RetryPolicy(**alone)  # type: ignore[arg-type]
    assert policy == RetryPolicy(**alone, **gives_way)  # type: ignore[arg-type]
    assert replace(policy, **dict.fromkeys(alone, 2.0)) == replace(RetryPolicy(), **dict.fromkeys(alone, 2.0))  # type: ignore[arg-type]
