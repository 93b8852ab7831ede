"""What `make mutation` found last, from tests/mutation."""

from __future__ import annotations

from tests.mutation import page


def tables(what: str) -> str:
    """The `scores` of all files, or the `survivors` with their reasons."""
    return {"scores": page.score_table, "survivors": page.survivors_list}[what]()
