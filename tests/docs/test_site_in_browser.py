"""The site in a real browser, as a reader with a telephone sees it, without a network."""

from __future__ import annotations

import functools
import re
import threading
from contextlib import asynccontextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright", reason="no Chromium: Playwright is not in this environment; make setup brings it")

from axe_playwright_python.async_playwright import Axe
from docs.site.staged import places
from playwright.async_api import expect
from tests.servers.chromium import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from playwright.async_api import Browser, Page

expect.set_options(timeout=PATIENCE)

# The loop is that of the browser.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long_file]

PHONE = {"width": 360, "height": 740}
# One of each kind: the front page with a picture, a guide with code and lists, and wide tables.
KINDS = ["index.html", "how-to/sort-errors.html", "reference/failures.html"]
# What of a page sticks out of the window, but for what lies in an element that scrolls.
WIDE = """() => document.documentElement.scrollWidth > document.documentElement.clientWidth
    ? [...document.querySelectorAll(".md-content *")].filter((each) => each.getBoundingClientRect().right > innerWidth
        && !each.closest(".md-typeset__scrollwrap, pre")).slice(0, 3).map((each) => each.outerHTML.slice(0, 100)) || ["the page"]
    : []"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served, ending in a slash."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@asynccontextmanager
async def reading(chromium: Browser, address: str, **look: object) -> AsyncIterator[Page]:
    """A page of a browser with this look. It ends with an error if a script had one, or asked anybody but the site."""
    page = await chromium.new_page(**look)
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    await page.close()
    assert said == []
    assert [each for each in asked if not each.startswith(address)] == []


async def test_no_page_is_wider_than_a_telephone(chromium: Browser, address: str) -> None:
    """All of them at 360 pixels: what is wide scrolls in itself."""
    async with reading(chromium, address, viewport=PHONE) as page:
        for path in places().values():
            name = path.removesuffix("md") + "html"
            await page.goto(address + name)
            assert await page.evaluate(WIDE) == [], name


async def test_a_wide_table_scrolls_in_itself(chromium: Browser, address: str) -> None:
    """It is wider than its frame, and the keyboard reaches the frame."""
    async with reading(chromium, address, viewport=PHONE) as page:
        await page.goto(address + "reference/failures.html")
        frame = page.locator(".md-typeset__scrollwrap").filter(has_text="aiohttp (sock_read)").first
        await expect(frame).to_have_attribute("tabindex", "0")
        assert await frame.evaluate("(each) => each.scrollWidth > each.clientWidth")
        await frame.focus()
        await page.keyboard.press("ArrowRight")
        await page.wait_for_function("() => document.activeElement.scrollLeft > 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pages_are_accessible(chromium: Browser, address: str, scheme: str) -> None:
    """One page of each kind, in the reader's colours, on a telephone: axe finds nothing."""
    async with reading(chromium, address, viewport=PHONE, color_scheme=scheme) as page:
        for name in KINDS:
            await page.goto(address + name)
            await expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate" if scheme == "dark" else "default")
            await expect(page.locator(".md-typeset__scrollwrap:not([aria-label]), .md-code__nav:not([aria-label])")).to_have_count(0)
            await expect(page.locator("article pre > nav, article table, article img").first).to_be_attached()
            found = await Axe().run(page)
            assert [(each["id"], each["nodes"][0]["html"]) for each in found.response["violations"]] == [], name


async def test_the_search_finds_without_a_network(chromium: Browser, address: str) -> None:
    """The index is part of the site; a result leads to its page."""
    async with reading(chromium, address, viewport={"width": 1280, "height": 800}) as page:
        await page.goto(address + "index.html")
        await page.locator(".md-search__button").click()
        await page.get_by_role("combobox", name="Search").fill("delivery limit")
        result = page.get_by_role("option").filter(has_text="Prefetch and requeue").first
        await result.click()
        await expect(page).to_have_url(re.compile(r"/explanation/prefetch-and-requeue\.html"))
        await expect(page.get_by_role("heading", name="The delivery limit")).to_be_in_viewport()


async def test_a_reader_finds_the_four_kinds_of_pages(chromium: Browser, address: str) -> None:
    """They are in the head of each page."""
    async with reading(chromium, address, viewport={"width": 1280, "height": 800}) as page:
        await page.goto(address + "index.html")
        for kind in ("Tutorials", "How-to guides", "Reference", "Explanation"):
            await expect(page.locator(".md-tabs").get_by_role("link", name=kind, exact=True)).to_be_visible()
