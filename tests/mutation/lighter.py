"""What makes the tests quick enough to be run for every mutant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

# Enough for most mutants; the full number runs in `make test`.
EXAMPLES = 10

# They measure memory, time, or chance over a hundred thousand messages: slow, and what they show is no line's own behaviour.
_LEFT_OUT = ("test_trap_13", "test_trap_14", "hundred_thousand")


def is_left_out(item: pytest.Item) -> bool:
    """Whether a test is not run against mutants at all."""
    return any(part in item.nodeid for part in _LEFT_OUT) or item.get_closest_marker("slow") is not None


def lighten(item: pytest.Item) -> None:
    """Few examples, always the same ones, and no search for the smallest one that fails: it is enough that one does."""
    function: Any = getattr(item, "obj", None)
    function = getattr(function, "__func__", function)
    given = getattr(function, "_hypothesis_internal_use_settings", None)
    if given is not None:
        function._hypothesis_internal_use_settings = _few(given)
    case: Any = getattr(item, "cls", None)
    if isinstance(getattr(case, "settings", None), settings):
        case.settings = _few(case.settings)


def _few(given: settings) -> settings:
    return settings(
        given,
        max_examples=min(given.max_examples, EXAMPLES),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
