"""How long the long tests are: `make test` plays a part of them, `make test-long` (HOLDGATE_TEST_LONG=1) the whole.

For a test whose every minute, or every thousand messages, does the same as the one before: what a change breaks shows in the first of them,
and only what grows slowly, or happens once in a hundred thousand times, needs the rest.
"""

from __future__ import annotations

import os

IS_LONG = bool(os.environ.get("HOLDGATE_TEST_LONG"))


def length(whole: int, part: int) -> int:
    """Return how much of it this run plays."""
    return whole if IS_LONG else part
