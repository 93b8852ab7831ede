from __future__ import annotations

from holdgate.cli.demo.clock import StoryClock


def test_it_stands_at_zero_until_it_is_started() -> None:
    """Joining the groups takes seconds that are no part of the story."""
    time = 100.0
    clock = StoryClock(lambda: time)
    time = 105.0
    before = clock.now()
    clock.start()
    time = 107.5
    assert (before, clock.now()) == (0.0, 2.5)
