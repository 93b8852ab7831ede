"""`python -m holdgate`: the command line, where the `holdgate` script is not on the path."""

from __future__ import annotations

from holdgate.cli import main

main()
