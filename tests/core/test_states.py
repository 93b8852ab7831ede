"""The table of transitions."""

from __future__ import annotations

import itertools

import pytest

from holdgate.core import State
from holdgate.core.states import TRANSITIONS, Trigger, transition
from holdgate.errors import HoldgateError

ROWS = """
CLOSED     BREACHED      OPEN
CLOSED     TOLD_TO_WAIT  OPEN
HALF_OPEN  BREACHED      OPEN
HALF_OPEN  TOLD_TO_WAIT  OPEN
OPEN       WAITED        HALF_OPEN
HALF_OPEN  RECOVERED     CLOSED
CLOSED     UNFORCED      HALF_OPEN
OPEN       UNFORCED      HALF_OPEN
HALF_OPEN  UNFORCED      HALF_OPEN
CLOSED     RESET         CLOSED
OPEN       RESET         CLOSED
HALF_OPEN  RESET         CLOSED
"""


def test_the_table_is_what_the_docs_say() -> None:
    """Every row, and no other."""
    rows = {(State[old], Trigger[trigger]): State[new] for old, trigger, new in (row.split() for row in ROWS.strip().splitlines())}
    assert rows == TRANSITIONS


@pytest.mark.parametrize(("state", "trigger"), list(itertools.product(State, Trigger)))
def test_a_pair_without_a_row_raises(state: State, trigger: Trigger) -> None:
    """A row gives the next state; anything else raises and names both."""
    if (state, trigger) in TRANSITIONS:
        assert transition(state, trigger) is TRANSITIONS[state, trigger]
        return
    with pytest.raises(HoldgateError, match=state.name) as caught:
        transition(state, trigger)
    assert trigger.value in str(caught.value)
