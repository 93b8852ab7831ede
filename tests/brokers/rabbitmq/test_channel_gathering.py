"""When what has come of a queue is a batch, on a clock that the test sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from holdgate.brokers.rabbitmq.channel import ripe_at

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 4


def channel(arrivals: Sequence[float], *, prefetch: int = 10, in_work: int = 0) -> Any:
    """As much of a channel as is looked at; everything in `arrivals` waits."""
    arrived = [SimpleNamespace(arrived_at=at) for at in arrivals]
    return SimpleNamespace(arrived=arrived, unsettled=range(len(arrived) + in_work), prefetch=prefetch, last_arrival=arrivals[-1])


@pytest.mark.parametrize(
    ("waiting", "after_the_last"),
    [
        pytest.param(channel([1.0]), 0.005, id="one alone waits for a pause of the wire"),
        pytest.param(channel([1.0, 1.004]), 0.005, id="and for another after each that comes"),
        pytest.param(channel([1.0, 1.001, 1.002, 1.003]), 0.0, id="a full batch waits for nothing"),
        pytest.param(channel([1.0, 1.0], prefetch=2), 0.0, id="nor does a full window, of which nothing more can come"),
        pytest.param(channel([1.0, 1.0], prefetch=5, in_work=3), 0.0, id="in which others are still in work"),
        pytest.param(channel([1.0, 1.018]), 0.002, id="a trickle does not keep the first longer than 20 ms"),
    ],
)
def test_when_it_is_a_batch(waiting: Any, after_the_last: float) -> None:
    """A pause, a full batch or window, or 20 ms: whichever comes first."""
    assert ripe_at(waiting, MOST) == pytest.approx(waiting.last_arrival + after_the_last)
