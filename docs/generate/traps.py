"""The figures of examples/traps, from a run."""

from __future__ import annotations

import logging
from functools import cache

from examples.traps.__main__ import TRAPS
from examples.traps.world import table


@cache
def figures(name: str) -> str:
    """Run a trap without and with a guard, in virtual time, and return the command with what it prints. Raises KeyError for a name that is
    no trap's."""
    log = logging.getLogger("holdgate")
    before, log.disabled = log.disabled, True
    try:
        return f"```\n$ python -m examples.traps {name}\n{table(TRAPS[name])}\n```"
    finally:
        log.disabled = before
