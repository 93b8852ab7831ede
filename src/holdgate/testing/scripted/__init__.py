"""Stand-ins for the far end of real clients, each in a module of the client's name, which imports that client.

    from holdgate.testing.scripted.httpx import AsyncScriptedTransport

    client = httpx.AsyncClient(transport=AsyncScriptedTransport(payments))

In an outage of the Dependency each call fails as it does with the real thing: refused, hung, dropped, or answered with an error. Otherwise
it gets what `answer` gives. Nothing here is imported by `holdgate.testing` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if not TYPE_CHECKING:  # a type checker would take every name for one that is here

    def __getattr__(name: str) -> object:
        """Name the module of what is looked for here and is further down."""
        from holdgate.slips import no_such_name  # noqa: PLC0415 - for an error alone

        raise no_such_name(__name__, name)
