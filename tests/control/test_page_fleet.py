"""The page of one worker of twenty in a real browser, and what it says of a dependency that refuses calls."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.control.served import PATIENCE, TOKEN, Stage, served, until
from tests.control.test_peers import STATUS, http, impostor

from holdgate import Fleet, State
from holdgate.control import Control
from holdgate.testing import LogTrouble, MemoryFleetLog, MemoryLogServer

pytest.importorskip("playwright", reason="no Chromium: Playwright is not in this environment; make setup brings it")

from playwright.async_api import expect
from tests.control.test_page import MARKUP, RIGHT_TO_LEFT, answer, cpu_of_a_frame, fill_order, light, no_violations, row, visited

if TYPE_CHECKING:
    from playwright.async_api import Browser

# The loop is that of the browser.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long_file]

READ = "read-" + TOKEN
NOBODY = ["http://127.0.0.1:1", "http://127.0.0.1:2/holdgate"]


async def test_a_limit_answers_the_five_questions(chromium: Browser) -> None:
    """Nothing is down, and nobody has to act: the dependency takes no more calls for now, and is asked again at a time that is known."""
    async with served() as stage, visited(chromium, stage.control) as page:
        await stage.limit()
        await expect(page).to_have_title(re.compile("^◪ 1 LIMITED · 2 held"))
        await expect(answer(page, "What is held?")).to_have_text("2 partitions")
        await expect(answer(page, "Why?")).to_have_text(re.compile("^payments LIMITED: takes no more calls for now, .*% refused$"))
        await expect(answer(page, "Since when?")).to_have_text(re.compile(r"^for \d+s$"))
        await expect(answer(page, "How much waits?")).to_have_text(re.compile("10"))
        await expect(answer(page, "What is next?")).to_have_text(re.compile("^payments: asks in (9m|10m)"))
        await expect(row(page, "Dependencies", "payments")).to_contain_text("◪ LIMITED")
        await expect(row(page, "Dependencies", "payments")).to_contain_text("lets nothing through")
        await expect(row(page, "Partitions and queues", "orders[0]")).to_contain_text("payments takes no more calls for now")
        await expect(page.locator("#log")).to_contain_text("is held: payments takes no more calls for now")
        await no_violations(page)


def hostile() -> bytes:
    """The status of a worker that somebody else has taken over: markup, a name without end, a direction that is turned around."""
    names = [MARKUP, "x" * 10_000, RIGHT_TO_LEFT]
    dependencies = [{**STATUS["dependencies"][0], "name": name, "failed_with": []} for name in names]
    status = {**STATUS, "worker": MARKUP + RIGHT_TO_LEFT, "version": MARKUP, "dependencies": dependencies, "payload": "canary-payload"}
    return http(json.dumps(status).encode())


async def worker(stack: AsyncExitStack, name: str, **settings: Any) -> Stage:
    return await stack.enter_async_context(served(Control(port=0, token=TOKEN, read_token=READ, name=name, **settings)))


async def test_a_fleet_of_twenty_is_one_table(chromium: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen workers of which one is in an outage, one is refused and one is commanded; two that are gone, one that never answers, and one
    that is not ours. Each is a row, the worst first, and none keeps the others away or writes on the page."""
    # All of them are in this process. Each round waits for the one that never answers, and on a busy machine for no other.
    monkeypatch.setattr("holdgate.control.peers._WITHIN", 5.0)
    async with AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(AsyncExitStack())
        others = [await worker(leaving if number == 9 else stack, f"worker-{number:02}") for number in range(2, 17)]
        silent = await stack.enter_async_context(impostor(b"HTTP/1.1 200 OK\r\n", hangs=True))
        stranger = await stack.enter_async_context(impostor(hostile()))
        peers = [*(str(each.control.url) for each in others), *NOBODY, silent.url, stranger.url]
        own = await worker(stack, "worker-01", peers=peers)
        down, refused, commanded = others[3], others[7], others[11]
        await down.outage()
        await refused.limit()
        commanded.guard.disable("payments", reason="a drill", actor="alice")
        page = await chromium.new_page()
        await page.goto(str(own.control.url))
        await page.get_by_role("dialog").get_by_label("Token").fill(READ)
        await page.get_by_role("dialog").get_by_role("button", name="Read").click()
        await expect(light(page)).to_have_text("● live")

        rows = page.get_by_role("table", name="Workers").locator('[role="row"]:not(.head)')
        names = rows.locator('[role="cell"]:first-child')
        await expect(rows).to_have_count(20)
        gone = [f"{each}/" for each in (*NOBODY, silent.url)]
        well = ["worker-01 (this one)", *(f"worker-{number:02}" for number in range(2, 17) if number not in (5, 9, 13))]
        async with asyncio.timeout(PATIENCE):  # a round may have been too much for this process, and the next one is not
            while (seen := await names.all_text_contents())[7:] != well:  # also of rows that are not on the screen
                await asyncio.sleep(0.2)
        assert sorted(seen[:3]) == sorted(gone)
        assert (seen[3], seen[5:7]) == ("worker-05", ["worker-13", "worker-09"])
        await expect(row(page, "Workers", gone[2])).to_contain_text("✕ no answer within 5 seconds")
        await expect(row(page, "Workers", "worker-05")).to_contain_text("■ 1 OPEN · 2 held")
        await expect(row(page, "Workers", "worker-09")).to_contain_text("payments LIMITED: takes no more calls for now")
        await expect(row(page, "Workers", "worker-13")).to_contain_text("◆ 1 overridden")

        # The one that is not ours is text in its row, and its link leads to the configured address.
        assert seen[4].startswith("<img src=x onerror=")
        assert "\\u{202e}" in seen[4]
        assert await rows.nth(4).get_by_role("link").get_attribute("href") == f"{stranger.url}/"
        assert await page.locator("main img, main script").count() == 0
        assert await page.title() not in ("1", "2")
        assert "canary-payload" not in await page.content()
        for width in (1280, 360):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await no_violations(page)
        assert await cpu_of_a_frame(page) < 0.05

        # And it stays up to date.
        address = f"{refused.control.url}/"
        await leaving.aclose()
        await expect(row(page, "Workers", address)).to_contain_text("✕")
        own.guard.hold("orders", reason="a drill")
        await expect(row(page, "Workers", "worker-01 (this one)")).to_contain_text("2 partitions")
        await page.close()
        await until(lambda: silent.closed > 0)


async def test_a_fleet_is_seen_and_commanded_from_the_page(chromium: Browser) -> None:
    """Who is in it, whether its log answers, what it agrees on with the worst first; an order for all takes a second step."""
    server = MemoryLogServer()
    async with (
        served(fleet=Fleet(MemoryFleetLog(server), silence=3.0)) as stage,
        served(fleet=MemoryFleetLog(server)) as other,
        visited(chromium, stage.control, viewport={"width": 360, "height": 800}) as page,
    ):
        agreed = page.locator("#agreement")
        rows = page.get_by_role("table", name="What the fleet agrees on").locator('[role="row"]:not(.head)')
        await expect(agreed.locator("#log-state")).to_have_text(re.compile(r"^□ its log answers in \d+ ms$"))
        await expect(agreed.locator("#members")).to_have_text(re.compile(r"^2 workers: \w{6} \(this one\), \w{6}$"))
        await expect(rows.filter(has_text="payments")).to_contain_text("□ WELL")
        await rows.filter(has_text="payments").get_by_role("button").click()
        await fill_order(page, "Hold for the whole fleet")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Every worker of the fleet stops calling it")
        assert stage.guard.audit() == ()
        await dialog.get_by_role("button", name="I am sure").click()
        await expect(page.locator("#done")).to_have_text("✓ Hold for the whole fleet: payments. Done.")
        await until(lambda: other.guard.circuit("payments").state is State.OPEN)
        await expect(rows.first).to_contain_text("■ HELD by alice")
        await expect(answer(page, "Why?")).to_have_text("payments OPEN: alice keeps the whole fleet from it: the schema changes")
        await expect(answer(page, "What is next?")).to_have_text(re.compile(r"^payments: ends in (29m\d\ds|30m00s)$"))
        await expect(page.locator("#log")).to_contain_text("hold payments for the whole fleet by alice: the schema changes")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await no_violations(page)
        server.trouble = LogTrouble(error="gone")
        await expect(agreed.locator("#log-state")).to_have_text(
            re.compile(r"^■ its log has been silent for \d+s: this worker goes by its own")
        )
