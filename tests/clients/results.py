"""What the last run with real clients found: results.json, from which docs/reference/failures.md is made."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("results.json")
# The same of the outage of two minutes.
OUTAGE = Path(__file__).with_name("outage.json")


def cell(error: BaseException, verdict: str) -> dict[str, str]:
    """Return a client and a situation as they are kept: the verdict and the exception's class."""
    module = type(error).__module__.partition(".")[0]
    name = type(error).__name__
    return {"verdict": verdict, "raised": name if module == "builtins" else f"{module}.{name}"}


def merge(found: Mapping[str, Any], file: Path = FILE) -> None:
    """Put what a run found into the results; what it did not look at stays. Several processes of one run do so, one after another."""
    with file.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        whole = json.loads(file.read_text() or "{}")
        for family, clients in found.items():
            for client, result in clients.items():
                before = whole.setdefault(family, {}).get(client, {"cells": {}})
                whole[family][client] = {"version": result["version"], "cells": before["cells"] | result["cells"]}
        file.write_text(json.dumps(whole, indent=1) + "\n")


def keep_outage(environment: str, found: Mapping[str, Any], file: Path = OUTAGE) -> None:
    """Keep what an outage of the whole table came to; the other environments' outages stay."""
    whole = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(whole | {environment: found}, indent=1) + "\n")
