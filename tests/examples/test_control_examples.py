"""The examples of the control plane that need no broker."""

from __future__ import annotations

from examples import control_fleet_test, control_mounted_test


async def test_the_test_of_a_fleet_passes() -> None:
    """What docs/how-to/control-page.md shows is what runs."""
    await control_fleet_test.test_a_worker_knows_how_its_peers_are()


async def test_the_test_of_a_mounted_app_passes() -> None:
    """What docs/how-to/control.md shows is what runs."""
    await control_mounted_test.test_the_worker_answers_under_a_path_of_the_app()
