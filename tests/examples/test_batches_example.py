"""The example of batches."""

from __future__ import annotations

from examples import batches_test


def test_the_test_of_batches_passes() -> None:
    """The one that a reader copies."""
    batches_test.stored.clear()
    batches_test.inserts.clear()
    batches_test.test_many_at_once()
