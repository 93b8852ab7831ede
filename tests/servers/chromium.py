"""A browser for the tests of the page: Debian's Chromium, driven by Playwright, whose own download is not used."""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.servers.apt import apt_get
from tests.servers.unavailable import Unavailable, may_install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

PACKAGE = "chromium"
REMEDY = "HOLDGATE_TEST_INSTALL=1 make test installs it by apt-get, HOLDGATE_TEST_CHROMIUM=/path/to/chromium make test takes yours"
# No sandbox: it needs rights that a container has not. The rest keeps it from asking anybody but our own worker.
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
# Only a failing test waits so long (milliseconds).
PATIENCE = 30_000


def find_chromium() -> str:
    """Return the path of a Chromium, after bringing here what is missing and may be brought. Raises Unavailable."""
    if importlib.util.find_spec("playwright") is None:
        raise Unavailable("Chromium", "Playwright is not in this environment", "make setup brings it")
    named = os.environ.get("HOLDGATE_TEST_CHROMIUM")
    if named:
        if shutil.which(named) is None:
            raise Unavailable("Chromium", "HOLDGATE_TEST_CHROMIUM names no program", "correct it, or unset it")
        return named
    if shutil.which(PACKAGE) is None and may_install():
        apt_get("Chromium", [PACKAGE], REMEDY, is_here=lambda: shutil.which(PACKAGE) is not None)
    found = shutil.which(PACKAGE)
    if found is None:
        raise Unavailable("Chromium", f"not installed: {PACKAGE}", REMEDY)
    return found


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser on the loop of the test. Raises Unavailable."""
    path = find_chromium()
    from playwright.async_api import async_playwright  # noqa: PLC0415 - not in every environment

    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield started
        finally:
            await started.close()
