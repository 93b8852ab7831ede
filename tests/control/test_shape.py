from __future__ import annotations

from typing import Any, TypedDict

import pytest

from holdgate.control.shape import WrongShape, fitting


class Inner(TypedDict):
    name: str
    ratio: float | None


class Outer(TypedDict):
    count: int
    up: bool
    parts: list[Inner]


GOOD: dict[str, Any] = {"count": 1, "up": True, "parts": [{"name": "a", "ratio": 0.5}]}


def test_what_fits_comes_back_without_what_nobody_knows() -> None:
    """On every level; a whole number is a float as well, and a missing field that may be null is null."""
    assert fitting(GOOD, Outer) == GOOD
    more = {**GOOD, "payload": "canary", "parts": [{"name": "a", "ratio": 1, "key": "canary"}, {"name": "b"}]}
    assert fitting(more, Outer) == {**GOOD, "parts": [{"name": "a", "ratio": 1}, {"name": "b", "ratio": None}]}


@pytest.mark.parametrize(
    "changed",
    [
        {"count": None},
        {"count": 1.5},
        {"count": True},
        {"count": 10**400},
        {"up": 1},
        {"parts": {}},
        {"parts": [None]},
        {"parts": [{"name": 7, "ratio": None}]},
        {"parts": [{"name": "a", "ratio": "1"}]},
        {"parts": [{"name": "a", "ratio": False}]},
        {"parts": [{"name": "a", "ratio": float("nan")}]},
        {"parts": [{"name": "a", "ratio": float("-inf")}]},
        {"parts": [{"name": "a", "ratio": 10**400}]},
        {"parts": [{"ratio": 1.0}]},
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any]) -> None:
    """Wherever it stands."""
    with pytest.raises(WrongShape):
        fitting({**GOOD, **changed}, Outer)
