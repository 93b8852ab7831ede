"""The pictures of the page: `python -m docs.generate.screenshots` makes them anew in docs/images.

A real worker lives through an outage over brokers in memory, in half a minute; a real browser looks at it. Where there is no Chromium, the
error says what would bring it.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.chromium import browser

from holdgate import CircuitSettings, Dependency, Guard
from holdgate.control import Control
from holdgate.testing import MemoryBroker, MemoryIntake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from holdgate import Delivery

FOLDER = Path(__file__).parents[1] / "images"
WIDE = {"width": 1180, "height": 860}
NARROW = {"width": 360, "height": 740}
# Two failed tries after the outage has begun, and the wait for the third.
PAYMENTS = CircuitSettings(open_duration=4.0, open_duration_max=60.0)


class Shop:
    """One worker: orders need payments, receipts need email. `down` lets payments fail."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.down = False
        self._broker = MemoryBroker(topics={"orders": 6, "receipts": 2})

    async def _handle(self, delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.02)
        if self.down and delivery.source.name == "orders":
            raise ConnectionRefusedError

    async def _produce(self) -> None:
        while True:
            for topic in ("orders", "orders", "receipts"):
                self._broker.produce(topic, b"1")
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Guard]:
        """Run it."""
        payments = Dependency("payments", failures=ConnectionRefusedError, settings=PAYMENTS)
        email = Dependency("email", failures=ConnectionRefusedError)
        needs = {"orders": [payments], "receipts": [email]}
        async with Guard(Dependency("ledger"), control=self.control, signals=False) as guard:
            run = asyncio.create_task(guard.run(MemoryIntake(self._broker, topics=list(needs)), self._handle, needs=needs))
            producing = asyncio.create_task(self._produce())
            try:
                yield guard
            finally:
                producing.cancel()
                await guard.stop()
                await run


async def _take(chromium: Browser, url: str, name: str, **look: Any) -> None:
    page = await chromium.new_page(**look)
    await page.goto(url)
    await page.locator("#span").select_option("60")
    await page.locator("#light", has_text="live").wait_for()
    await page.locator("#fleet").wait_for()
    await asyncio.sleep(3)  # a few samples for the curves
    if look["viewport"] is NARROW:
        await page.get_by_role("table", name="Dependencies").get_by_role("button").first.click()
        await page.get_by_role("dialog").get_by_label("Reason").fill("the provider says that it is back")
        await page.get_by_role("dialog").get_by_label("Your name").fill("alice")
    await page.screenshot(path=FOLDER / name)
    await page.close()


async def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(exist_ok=True)
    others = [Shop(Control(port=0, name=f"worker-{number}")) for number in (2, 3)]
    async with AsyncExitStack() as stack:
        chromium = await stack.enter_async_context(browser())
        for other in others:
            await stack.enter_async_context(other.open())
        shop = Shop(Control(port=0, name="worker-1", peers=[str(each.control.url) for each in others]))
        guard = await stack.enter_async_context(shop.open())
        watched = await chromium.new_page()  # it has the curves from the beginning
        await watched.goto(str(shop.control.url))
        await asyncio.sleep(6)
        shop.down = others[0].down = True
        await asyncio.sleep(14)
        guard.hold("receipts", reason="its records of today are looked at", actor="alice")
        await watched.set_viewport_size({"width": WIDE["width"], "height": 1060})
        await watched.locator("#span").select_option("60")
        await asyncio.sleep(2)
        await watched.screenshot(path=FOLDER / "page.png")
        await _take(chromium, str(shop.control.url), "page-narrow.png", viewport=NARROW, color_scheme="light")


if __name__ == "__main__":
    asyncio.run(main())
