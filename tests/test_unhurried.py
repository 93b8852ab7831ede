"""A test with a real server waits longer for its answers than the product does, and no other test."""

from __future__ import annotations

import pytest

pytest.importorskip("aio_pika", reason="aio-pika is not installed: pip install 'holdgate[rabbitmq]'")

from holdgate.brokers.rabbitmq import fleet_log
from tests.unhurried import LIMITS, PATIENCE


@pytest.mark.integration
def test_a_test_with_a_real_server_has_patience() -> None:
    """By its mark alone, whatever server it asks for."""
    assert fleet_log._ANSWER_WITHIN == PATIENCE


def test_any_other_test_has_the_products_own_limits() -> None:
    """Whatever ran before it in the same process."""
    assert fleet_log._ANSWER_WITHIN == 5.0


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_is_one_of_the_products_and_short(name: str) -> None:
    """What has another name now would be lengthened no more, and what is as long as a connection may take need not be."""
    module = pytest.importorskip(name, reason="its client is not in this environment", exc_type=ImportError)
    assert all(0.0 < getattr(module, limit) < 15.0 for limit in LIMITS[name])
