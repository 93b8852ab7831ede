"""The page in a real browser, against a real worker over brokers in memory."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.control.served import TOKEN, port_of, served, until

from holdgate.control import Control
from holdgate.control.peers import check_peers

pytest.importorskip("playwright", reason="no Chromium: Playwright is not in this environment; make setup brings it")

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect
from tests.servers.chromium import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Locator, Page

expect.set_options(timeout=PATIENCE)

# The loop is that of the browser.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long_file]

MARKUP = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
RIGHT_TO_LEFT = "\u202egnihtemos \u05d0\u05d1\u05d2"


@asynccontextmanager
async def visited(chromium: Browser, control: Control, **look: object) -> AsyncIterator[Page]:
    """The page of a worker. It ends with an error if the page had one, broke its policy, or asked anybody else."""
    page = await chromium.new_page(**look)
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    assert control.url is not None
    await page.goto(control.url)
    await expect(light(page)).to_have_text("● live")
    yield page
    await page.close()
    # A browser says by itself that a request has failed: those of a worker that is gone, and those without a token.
    assert [each for each in said if not each.startswith("Failed to load resource")] == []
    assert [each for each in asked if not each.startswith(control.url)] == []


def light(page: Page) -> Locator:
    return page.locator("#light")


def row(page: Page, table: str, name: str) -> Locator:
    """The row of a table with a cell of this name."""
    return page.get_by_role("table", name=table).get_by_role("row").filter(has=page.get_by_text(name, exact=True))


def answer(page: Page, question: str) -> Locator:
    return page.locator("#questions > div").filter(has_text=question).locator("dd")


async def fill_order(page: Page, command: str, reason: str = "the schema changes", token: str = TOKEN) -> None:
    """Fill in the dialog that is open, and go on."""
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Command").select_option(command)
    await dialog.get_by_label("Reason").fill(reason)
    await dialog.get_by_label("Your name").fill("alice")
    await dialog.get_by_label("Token").fill(token)
    await dialog.get_by_role("button", name="Continue").click()


async def test_an_outage_shows_with_the_second_frame(chromium: Browser) -> None:
    """One is made each second, and the first may have been under way. All five questions are answered then, and it is in the list of what
    has happened."""
    async with served() as stage, visited(chromium, stage.control) as page:
        await expect(answer(page, "What is held?")).to_have_text("nothing")
        # How many frames had come when one had the outage, and what is on the page when the outage first is.
        await page.evaluate("""() => {
            const parse = JSON.parse;
            window.came = 0;
            JSON.parse = (text) => {
                const found = parse(text);
                window.came += found?.summary ? 1 : 0;
                if (found?.summary?.open) window.had ??= window.came;
                return found;
            };
            new MutationObserver(() => {
                const answers = [...document.querySelectorAll("#questions dd")].map((each) => each.textContent);
                if (answers[0] !== "nothing") window.first ??= { answers };
            }).observe(document.querySelector("#questions"), { subtree: true, childList: true, characterData: true });
        }""")
        await stage.outage()
        came = await page.evaluate("window.came")
        await expect(page).to_have_title(re.compile("^■ 1 OPEN · 2 held"))
        first = await page.evaluate("window.first")
        assert await page.evaluate("window.had") <= came + 2
        assert first["answers"][:2] == ["2 partitions", "payments OPEN: 5 calls in a row failed"]
        assert re.fullmatch(r"for \d+s", first["answers"][2])
        assert "10" in first["answers"][3]
        assert re.fullmatch(r"payments: probe in (9m\d\ds|10m00s)", first["answers"][4])
        await expect(page.locator("#log")).to_contain_text("payments is down: several calls in a row failed")
        await expect(page.get_by_role("row", name="payments").first).to_contain_text(re.compile(r"5 calls in a row failed: \w+ . \d"))


async def test_what_is_worst_comes_first(chromium: Browser) -> None:
    """A dependency that is down rises above one that is not, and is drawn as open."""
    async with served() as stage, visited(chromium, stage.control) as page:
        await stage.outage()
        first = page.get_by_role("table", name="Dependencies").locator('[role="row"]:not(.head)').first
        await expect(first).to_contain_text("payments")
        await expect(page.locator(".strip", has_text="payments").locator("rect.open")).to_have_count(1)


async def test_a_source_is_held_and_let_go_from_the_page(chromium: Browser) -> None:
    """With a reason, a name and an end, which the audit log has; then messages flow again."""
    async with served() as stage, visited(chromium, stage.control) as page:
        await row(page, "Partitions and queues", "orders[0]").get_by_role("button").click()
        await page.get_by_role("dialog").get_by_label("For").select_option("1 hour")
        await fill_order(page, "Hold")
        await expect(page.locator("#done")).to_have_text("✓ Hold: orders[0]. Done.")
        await expect(row(page, "Partitions and queues", "orders[0]")).to_contain_text("an operator")
        (given,) = stage.guard.audit()
        assert (given.actor, given.reason, str(given.target)) == ("alice", "the schema changes", "orders[0]")
        assert given.until is not None
        assert round(given.until - given.at) == 3600
        stage.broker.produce("orders", b"waits", partition=0)
        await page.get_by_role("button", name="End …").click()
        await fill_order(page, "End the hold")
        await until(lambda: stage.handled == [b"waits"])
        await expect(page.locator("#commands")).to_be_hidden()


async def test_what_can_hurt_takes_a_second_step(chromium: Browser) -> None:
    """It says what may go wrong. Going back keeps what was typed, and nothing happens before the second yes."""
    async with served() as stage, visited(chromium, stage.control) as page:
        await row(page, "Dependencies", "payments").get_by_role("button").click()
        await fill_order(page, "Disable", reason="a drill")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("In an outage nothing is held")
        await expect(dialog.get_by_role("button", name="Back")).to_be_focused()
        await dialog.get_by_role("button", name="Back").click()
        assert await dialog.get_by_label("Reason").input_value() == "a drill"
        assert stage.guard.audit() == ()
        await dialog.get_by_role("button", name="Continue").click()
        await dialog.get_by_role("button", name="Disable, I am sure").click()
        await expect(row(page, "Dependencies", "payments")).to_contain_text("◆ DISABLED")


async def test_a_wrong_token_is_said_and_nothing_is_kept(chromium: Browser) -> None:
    """The dialog stays with what was typed. No storage and no address of the browser has the token."""
    async with served() as stage, visited(chromium, stage.control) as page:
        await row(page, "Dependencies", "payments").get_by_role("button").click()
        await fill_order(page, "Force open", token="wrong-wrong-wrong-wrong")  # noqa: S106
        await page.get_by_role("button", name="Force open, I am sure").click()
        await expect(page.get_by_role("alert")).to_contain_text("commands need the token")
        await fill_order(page, "Force open")
        await page.get_by_role("button", name="Force open, I am sure").click()
        await expect(row(page, "Dependencies", "payments")).to_contain_text("■ FORCED OPEN")
        kept = await page.evaluate("[location.href, document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage)].join()")
        assert TOKEN not in kept
        assert TOKEN not in await page.content()


async def test_a_restarted_worker_is_found_again(chromium: Browser) -> None:
    """While it is away the page keeps what it has seen, and says how old that is."""
    page = await chromium.new_page()
    async with served() as stage:
        port = port_of(stage.control)
        await page.goto(f"http://127.0.0.1:{port}")
        await stage.outage()
        await expect(answer(page, "What is held?")).to_have_text("2 partitions")
    await expect(light(page)).to_contain_text("no answer; what follows is")
    await expect(answer(page, "What is held?")).to_have_text("2 partitions")
    async with served(Control(port=port, token=TOKEN, name="the next one")):
        await expect(light(page)).to_have_text("● live")
        await expect(page.locator("#worker")).to_have_text("the next one")
        await expect(answer(page, "What is held?")).to_have_text("nothing")
        await expect(page.locator("rect.open")).to_have_count(0)
    await page.close()


async def test_hostile_names_are_text(chromium: Browser) -> None:
    """Markup does nothing, a long name stays a row, and a character that turns the line around is shown by its code."""
    long = "x" * 10_000
    async with served(topics={MARKUP: 1, long: 1, RIGHT_TO_LEFT: 1}) as stage, visited(chromium, stage.control) as page:
        stage.guard.hold(MARKUP, reason=MARKUP, actor=MARKUP)
        table = page.get_by_role("table", name="Partitions and queues")
        await expect(table).to_contain_text(MARKUP)
        await expect(table).to_contain_text("x" * 120 + "… (10003 characters)")
        await expect(table).to_contain_text("\\u{202e}gnihtemos \u05d0\u05d1\u05d2")
        await expect(page.get_by_role("table", name="Commands in force")).to_contain_text(MARKUP)
        await expect(page.locator("#log")).to_contain_text(MARKUP)
        assert await page.locator("main img, main script").count() == 0
        assert await page.title() not in ("1", "2")
        for width in (1280, 360):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.get_by_role("button", name="End …").click()
        await fill_order(page, "End the hold")
        await until(lambda: stage.guard.snapshot().commands == ())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
async def test_axe_finds_nothing(chromium: Browser, scheme: str, width: int) -> None:
    """In an outage, with a command in force, and with each step of the dialog open."""
    look = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    async with served() as stage, visited(chromium, stage.control, **look) as page:
        await stage.outage()
        stage.guard.hold("orders", reason="a test")
        await expect(page.locator("#commands")).to_be_visible()
        await expect(answer(page, "What is held?")).to_have_text("2 partitions")
        await no_violations(page)
        await row(page, "Dependencies", "payments").get_by_role("button").click()
        await no_violations(page)
        await fill_order(page, "Reset")
        await no_violations(page)


async def no_violations(page: Page) -> None:
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


async def test_the_keyboard_is_enough(chromium: Browser) -> None:
    """Tab reaches every button, Enter opens the dialog, Escape leaves it, and the focus is where it was."""
    async with served() as stage, visited(chromium, stage.control) as page:
        await expect(row(page, "Dependencies", "payments")).to_contain_text("CLOSED")
        button = row(page, "Dependencies", "payments").get_by_role("button")
        for _ in range(20):
            await page.keyboard.press("Tab")
            if await button.evaluate("each => each === document.activeElement"):
                break
        await expect(button).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await expect(page.get_by_role("dialog").get_by_label("Command")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await expect(button).to_be_focused()
        await stage.outage()
        await expect(row(page, "Dependencies", "payments")).to_contain_text("OPEN")
        await expect(button).to_be_focused()


async def test_a_thousand_sources_can_be_searched(chromium: Browser) -> None:
    """A frame has the worst of them; all of them, and the one that is looked for, are asked for."""
    async with served(topics={"orders": 1000}) as stage, visited(chromium, stage.control) as page:
        rows = page.get_by_role("table", name="Partitions and queues").locator('[role="row"]:not(.head)')
        await expect(page.locator("#shown")).to_contain_text("of 1\u2009000")
        await page.get_by_label("all of them").check()
        await expect(rows).to_have_count(1000)
        assert await cpu_of_a_frame(page) < 0.05
        await page.get_by_label("Find").fill("orders[777]")
        await expect(rows).to_have_count(1)
        await rows.get_by_role("button").click()
        await fill_order(page, "Hold")
        await expect(rows.first).to_contain_text("an operator")


async def cpu_of_a_frame(page: Page) -> float:
    """The seconds of the processor, and not of the clock, that the page takes for what comes in a second."""
    tools = await page.context.new_cdp_session(page)
    await tools.send("Performance.enable", {"timeDomain": "threadTicks"})

    async def taken() -> float:
        metrics = (await tools.send("Performance.getMetrics"))["metrics"]
        return next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")

    before = await taken()
    await asyncio.sleep(5)
    return (await taken() - before) / 5


async def test_a_worker_that_is_read_with_a_token_asks_for_it(chromium: Browser) -> None:
    """The page itself has nothing of the worker, so it is there without one."""
    control = Control(port=0, read_token="read-" + TOKEN, name="worker-1")
    async with served(control) as stage:
        page = await chromium.new_page()
        await page.goto(str(stage.control.url))
        dialog = page.get_by_role("dialog", name="This worker wants a token for reading")
        await dialog.get_by_label("Token").fill("read-" + TOKEN)
        await dialog.get_by_role("button", name="Read").click()
        await expect(light(page)).to_have_text("● live")
        await expect(page.locator("#worker")).to_have_text("worker-1")
        await page.close()


async def test_peers_are_rows_of_one_table(chromium: Browser) -> None:
    """The worst first, with the one that does not answer above all."""
    other = Control(port=0, token=TOKEN, name="worker-2")
    async with served(other) as bad:
        own = Control(port=0, token=TOKEN, name="worker-1", peers=[str(other.url), "http://127.0.0.1:1"])
        async with served(own) as stage, visited(chromium, stage.control) as page:
            await bad.outage()
            names = page.get_by_role("table", name="Workers").locator('[role="row"]:not(.head) > [role="cell"]:first-child')
            await expect(names).to_have_text(["http://127.0.0.1:1/", "worker-2", "worker-1 (this one)"])
            await expect(row(page, "Workers", "worker-2")).to_contain_text("■ 1 OPEN · 2 held")
            link = row(page, "Workers", "worker-2").get_by_role("link")
            assert await link.get_attribute("href") == f"{other.url}/"


async def test_a_peer_of_the_same_name_is_another_worker(chromium: Browser) -> None:
    """All workers of a deployment may have one name. Only this worker itself, found among its peers, is shown once."""
    other = Control(port=0, token=TOKEN, name="orders")
    async with served(other):
        own = Control(port=0, token=TOKEN, name="orders", peers=[str(other.url)])
        async with served(own) as stage:
            own._peers._peers += check_peers([str(own.url)])  # its port is known only now
            async with visited(chromium, stage.control) as page:
                names = page.get_by_role("table", name="Workers").locator('[role="row"]:not(.head) > [role="cell"]:first-child')
                await expect(names).to_have_text(["orders", "orders (this one)"])
