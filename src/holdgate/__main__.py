"""`holdgate` and `python -m holdgate`: the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from holdgate.cli import REFUSED
from holdgate.errors import MissingExtra


def main(argv: Sequence[str] | None = None) -> None:
    """Run `holdgate` with `argv`, or with the process's own arguments.

    Ends the process through SystemExit: 0, 1 (it could not go on), 2 (wrong arguments, no broker, a missing extra) or 130 (interrupted).
    """
    try:
        from holdgate.cli.app import app  # noqa: PLC0415 - an import that fails is answered below

        app(args=argv, prog_name="holdgate")
    except ImportError as error:
        if (error.name or "").split(".")[0] not in {"click", "rich"}:
            raise
        missing = MissingExtra('The command line comes with: pip install "holdgate[cli]", and with what the demo needs: "holdgate[demo]"')
        sys.stderr.write(f"{missing}\n")
        raise SystemExit(REFUSED) from None


if __name__ == "__main__":
    main()
