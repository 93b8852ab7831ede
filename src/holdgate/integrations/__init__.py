"""Guards inside of other frameworks: each has a module of its own, and needs that framework to be installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if not TYPE_CHECKING:  # a type checker would take every name for one that is here

    def __getattr__(name: str) -> object:
        """Name the module of what is looked for here and is further down."""
        from holdgate.slips import no_such_name  # noqa: PLC0415 - for an error alone

        raise no_such_name(__name__, name)
