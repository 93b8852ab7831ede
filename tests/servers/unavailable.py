"""Why a server cannot be had here, and what would change that."""

from __future__ import annotations

import os


class Unavailable(Exception):
    """No such server here. `reason` says why, `remedy` is a command that would change it."""

    def __init__(self, server: str, reason: str, remedy: str) -> None:
        super().__init__(f"no {server}: {reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


def in_ci() -> bool:
    """Whether a missing server is a failure: CI=true."""
    return os.environ.get("CI", "").lower() == "true"


def may_install() -> bool:
    """Whether system packages may be installed: somebody said so by HOLDGATE_TEST_INSTALL=1, or this is a CI machine."""
    return in_ci() or os.environ.get("HOLDGATE_TEST_INSTALL") == "1"
