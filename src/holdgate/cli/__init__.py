"""The command line. Importing this imports neither click nor rich: they come with an extra, and `main` says so where they are missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from holdgate.errors import MissingExtra

# What a shell expects: 0 it worked, 1 it could not go on, 2 it could not begin, 130 ended by Ctrl-C.
FAILED = 1
REFUSED = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> None:
    """Run `holdgate` with `argv`, or with the process's own arguments.

    Ends the process through SystemExit: 0, 1 (it could not go on), 2 (wrong arguments, no broker, a missing extra) or 130 (interrupted).
    """
    try:
        from holdgate.cli.app import app

        app(args=argv, prog_name="holdgate")
    except ImportError as error:
        if (error.name or "").split(".")[0] not in {"click", "rich"}:
            raise
        missing = MissingExtra('The command line comes with: pip install "holdgate[cli]", and with what the demo needs: "holdgate[demo]"')
        sys.stderr.write(f"{missing}\n")
        raise SystemExit(REFUSED) from None
